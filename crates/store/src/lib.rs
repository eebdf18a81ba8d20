//! florin-store.
