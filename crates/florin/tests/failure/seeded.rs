//! How often the tests of faults repeat themselves, and where their random choices begin.

use florin_testkit::simulator::random::Random;

use crate::kill::seed;

/// Rounds of each fault: `FLORIN_TEST_FAULT_ROUNDS`, else so many.
pub fn fault_rounds(otherwise: u64) -> u64 {
    std::env::var("FLORIN_TEST_FAULT_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Random choices from the printed seed.
pub fn random() -> Random {
    Random::of(seed())
}
