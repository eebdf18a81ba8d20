//! florin-ledger.
