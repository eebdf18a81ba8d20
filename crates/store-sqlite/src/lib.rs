//! florin-store-sqlite.
