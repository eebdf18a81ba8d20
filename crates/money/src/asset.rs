//! What is counted: an ISO 4217 currency or a custom unit, with a fixed exponent.

use std::fmt;

use thiserror::Error;

use crate::iso4217;

const MAX_CODE_LEN: usize = 12;
const MAX_EXPONENT: u8 = 18;

/// Why a code or an exponent is not an asset's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AssetError {
    /// The code is empty, longer than 12 characters, or has one that is not `A-Z`, `0-9` or `_`.
    #[error("an asset code is 1 to 12 characters of A-Z, 0-9 and _")]
    InvalidCode,
    /// The exponent is above 18.
    #[error("an asset has at most 18 decimal places")]
    ExponentTooLarge,
}

/// The name of an asset: 1 to 12 characters of `A-Z`, `0-9` and `_`, kept in place.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssetCode {
    bytes: [u8; MAX_CODE_LEN],
    len: u8,
}

impl AssetCode {
    /// Reads a code, exactly: nothing is trimmed and lower case is not accepted.
    ///
    /// # Errors
    /// [`AssetError::InvalidCode`].
    pub fn parse(text: &str) -> Result<Self, AssetError> {
        let valid = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b'_');
        if text.is_empty() || text.len() > MAX_CODE_LEN || !text.as_bytes().iter().all(valid) {
            return Err(AssetError::InvalidCode);
        }
        let mut bytes = [0; MAX_CODE_LEN];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        let len = u8::try_from(text.len()).map_err(|_| AssetError::InvalidCode)?;
        Ok(Self { bytes, len })
    }

    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // `parse` lets only ASCII in, so the fallback is never taken.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Debug for AssetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssetCode({})", self.as_str())
    }
}

impl fmt::Display for AssetCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What an amount counts: a code, and how many decimal places lie between a major and a minor unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Asset {
    code: AssetCode,
    exponent: u8,
}

impl Asset {
    /// An asset of that code and exponent (decimal places: 2 for EUR, 0 for JPY, 3 for KWD).
    ///
    /// # Errors
    /// [`AssetError::InvalidCode`], or [`AssetError::ExponentTooLarge`] above 18.
    pub fn new(code: &str, exponent: u8) -> Result<Self, AssetError> {
        if exponent > MAX_EXPONENT {
            return Err(AssetError::ExponentTooLarge);
        }
        Ok(Self { code: AssetCode::parse(code)?, exponent })
    }

    /// Its code.
    #[must_use]
    pub const fn code(&self) -> AssetCode {
        self.code
    }

    /// Decimal places between a major and a minor unit.
    #[must_use]
    pub const fn exponent(&self) -> u8 {
        self.exponent
    }

    /// The active ISO 4217 currency of that code (upper case), if there is one.
    #[must_use]
    pub fn find_iso(code: &str) -> Option<Self> {
        Self::new(code, iso4217::exponent_of(code)?).ok()
    }

    /// Every active ISO 4217 currency that has a minor unit defined, sorted by code.
    #[must_use]
    pub fn all_iso() -> Vec<Self> {
        iso4217::codes().into_iter().filter_map(Self::find_iso).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_exactly() {
        for good in ["EUR", "POINTS", "A", "0", "_", "ABCDEFGHIJKL", "GOLD_18K"] {
            let code = AssetCode::parse(good).unwrap();
            assert_eq!(code.as_str(), good);
            assert_eq!(code.to_string(), good);
        }
        for bad in ["", "ABCDEFGHIJKLM", "eur", "E R", " EUR", "EUR\n", "É", "EUR\0", "A-B", "ＥＵＲ"] {
            assert_eq!(AssetCode::parse(bad), Err(AssetError::InvalidCode), "{bad:?}");
        }
    }

    #[test]
    fn an_exponent_above_eighteen_is_refused() {
        assert_eq!(Asset::new("WEI", 18).unwrap().exponent(), 18);
        assert_eq!(Asset::new("WEI", 19), Err(AssetError::ExponentTooLarge));
    }

    #[test]
    fn iso_currencies_have_their_exponents() {
        let table = [("EUR", 2), ("ZAR", 2), ("BRL", 2), ("JPY", 0), ("KRW", 0), ("CLP", 0), ("XOF", 0), ("UGX", 0)];
        let wide = [("KWD", 3), ("BHD", 3), ("TND", 3), ("IQD", 3), ("CLF", 4), ("UYW", 4)];
        for (code, exponent) in table.into_iter().chain(wide) {
            let asset = Asset::find_iso(code).unwrap();
            assert_eq!((asset.code().as_str(), asset.exponent()), (code, exponent));
        }
        for unknown in ["", "eur", "EU", "EURO", "AAA", "HRK", "XAU", "XXX", "XTS", "POINTS"] {
            assert_eq!(Asset::find_iso(unknown), None, "{unknown:?}");
        }
    }

    #[test]
    fn the_list_of_iso_currencies_is_sorted_and_whole() {
        let all = Asset::all_iso();
        assert!(all.windows(2).all(|pair| pair[0].code() < pair[1].code()));
        assert_eq!(all.len(), iso4217::codes().len());
        assert!(all.len() > 150);
    }
}
