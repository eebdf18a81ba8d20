//! florin-money.
