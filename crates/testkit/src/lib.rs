//! florin-testkit.
