//! florin-app.
