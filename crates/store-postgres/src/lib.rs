//! florin-store-postgres.
