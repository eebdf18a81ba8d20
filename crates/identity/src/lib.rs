//! florin-identity.
