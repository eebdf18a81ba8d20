//! florin-http.
