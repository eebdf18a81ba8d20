//! An amount of one asset.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

use crate::{Asset, ParseDecimalError, decimal::is_within_max_digits, format_minor, parse_minor};

/// Why two amounts do not combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AmountError {
    /// They count different assets.
    #[error("amounts of different assets do not combine")]
    AssetMismatch,
    /// The result has more than 38 digits.
    #[error("amount is too large")]
    Overflow,
}

/// A signed count of minor units of one asset. Not ordered: only amounts of one asset compare, by [`Amount::compare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Amount {
    /// Minor units (cents, for EUR).
    pub minor: i128,
    /// What is counted.
    pub asset: Asset,
}

impl Amount {
    /// `minor` minor units of `asset`.
    #[must_use]
    pub const fn new(minor: i128, asset: Asset) -> Self {
        Self { minor, asset }
    }

    /// Reads an amount in major units, exactly: `"10.50"` is 1050 minor units of EUR.
    ///
    /// # Errors
    /// As [`parse_minor`].
    pub fn parse(text: &str, asset: Asset) -> Result<Self, ParseDecimalError> {
        Ok(Self { minor: parse_minor(text, asset.exponent())?, asset })
    }

    /// The sum.
    ///
    /// # Errors
    /// [`AmountError::AssetMismatch`], or [`AmountError::Overflow`] past 38 digits.
    pub fn checked_add(self, other: Self) -> Result<Self, AmountError> {
        self.combine(other, i128::checked_add)
    }

    /// The difference.
    ///
    /// # Errors
    /// [`AmountError::AssetMismatch`], or [`AmountError::Overflow`] past 38 digits.
    pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        self.combine(other, i128::checked_sub)
    }

    /// The amount with the other sign.
    ///
    /// # Errors
    /// [`AmountError::Overflow`] past 38 digits.
    pub fn checked_neg(self) -> Result<Self, AmountError> {
        Self { minor: 0, asset: self.asset }.checked_sub(self)
    }

    /// Which of two amounts of one asset is the greater.
    ///
    /// # Errors
    /// [`AmountError::AssetMismatch`].
    pub fn compare(self, other: Self) -> Result<Ordering, AmountError> {
        if self.asset == other.asset { Ok(self.minor.cmp(&other.minor)) } else { Err(AmountError::AssetMismatch) }
    }

    fn combine(self, other: Self, operation: fn(i128, i128) -> Option<i128>) -> Result<Self, AmountError> {
        if self.asset != other.asset {
            return Err(AmountError::AssetMismatch);
        }
        let minor =
            operation(self.minor, other.minor).filter(|sum| is_within_max_digits(*sum)).ok_or(AmountError::Overflow)?;
        Ok(Self { minor, asset: self.asset })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", format_minor(self.minor, self.asset.exponent()), self.asset.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asset(code: &str) -> Asset {
        Asset::find_iso(code).unwrap()
    }

    #[test]
    fn prints_as_people_write_it() {
        assert_eq!(Amount::new(100_000, asset("EUR")).to_string(), "1000.00 EUR");
        assert_eq!(Amount::new(-5, asset("EUR")).to_string(), "-0.05 EUR");
        assert_eq!(Amount::new(7, asset("JPY")).to_string(), "7 JPY");
        assert_eq!(Amount::new(1, asset("KWD")).to_string(), "0.001 KWD");
    }

    #[test]
    fn assets_do_not_mix() {
        let (euro, yen) = (Amount::new(1, asset("EUR")), Amount::new(1, asset("JPY")));
        assert_eq!(euro.checked_add(yen), Err(AmountError::AssetMismatch));
        assert_eq!(euro.checked_sub(yen), Err(AmountError::AssetMismatch));
        assert_eq!(euro.compare(yen), Err(AmountError::AssetMismatch));
        // The same code with another exponent is another asset.
        let odd = Amount::new(1, Asset::new("EUR", 3).unwrap());
        assert_eq!(euro.checked_add(odd), Err(AmountError::AssetMismatch));
    }

    #[test]
    fn arithmetic_is_checked_at_thirty_eight_digits() {
        let most = Amount::new(10_i128.pow(38) - 1, asset("EUR"));
        let one = Amount::new(1, asset("EUR"));
        assert_eq!(most.checked_add(one), Err(AmountError::Overflow));
        assert_eq!(most.checked_neg().unwrap().checked_sub(one), Err(AmountError::Overflow));
        assert_eq!(most.checked_sub(one).unwrap().minor, 10_i128.pow(38) - 2);
        assert_eq!(Amount::new(i128::MIN, asset("EUR")).checked_neg(), Err(AmountError::Overflow));
        assert_eq!(one.compare(most), Ok(Ordering::Less));
        assert_eq!(Amount::parse("10.50", asset("EUR")).unwrap().minor, 1050);
    }
}
