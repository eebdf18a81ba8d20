//! Money as integers: assets with a fixed exponent, amounts in minor units, exact parsing and printing.
//!
//! No float is used anywhere. An amount is an `i128` count of minor units (cents, for EUR).

mod amount;
mod asset;
mod decimal;
mod iso4217;
mod split;

pub use amount::{Amount, AmountError};
pub use asset::{Asset, AssetCode, AssetError};
pub use decimal::{Digits, MAX_DIGITS, ParseDecimalError, decimal_digits, format_minor, parse_minor};
pub use split::{SplitError, split_by_weights};
