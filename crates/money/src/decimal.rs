//! Decimal text to minor units and back, exactly.

use thiserror::Error;

/// The most digits that an amount in minor units may have.
pub const MAX_DIGITS: u32 = 38;

const LIMIT_MINOR: i128 = 10_i128.pow(MAX_DIGITS);

/// Why a text is not an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ParseDecimalError {
    /// There is no text.
    #[error("no number was given")]
    Empty,
    /// It is not a decimal number in ASCII digits.
    #[error("not a number")]
    NotANumber,
    /// It has more fraction digits than the asset.
    #[error("more than {allowed} decimal places")]
    TooPrecise {
        /// How many the asset has.
        allowed: u8,
    },
    /// It has more than 38 digits in minor units.
    #[error("number is too large")]
    TooLarge,
}

/// How a decimal number is written, counted the way the Django service that Florin replaces counts: coefficient digits
/// without leading zeros, moved by the exponent. Counts stop at `u32::MAX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digits {
    /// Digits before the point.
    pub integer_digits: u32,
    /// Digits after the point, trailing zeros included.
    pub fraction_digits: u32,
    /// Both together.
    pub total_digits: u32,
    /// Whether there is a minus sign (zero may have one).
    pub negative: bool,
    /// Whether the number is zero.
    pub is_zero: bool,
}

/// A decimal number taken apart: `±integer.fraction × 10^exponent`.
struct Parts<'a> {
    negative: bool,
    integer: &'a [u8],
    fraction: &'a [u8],
    /// Stops at the ends of `i64`.
    exponent: i64,
}

impl Parts<'_> {
    /// How many places the coefficient's last digit lies after the point; negative if before it.
    fn scale(&self) -> i64 {
        count(self.fraction).saturating_sub(self.exponent)
    }

    /// The coefficient's digits without leading zeros; none for zero.
    fn significant(&self) -> impl Iterator<Item = u8> + Clone {
        self.integer.iter().chain(self.fraction).copied().skip_while(|digit| *digit == b'0')
    }

    fn significant_count(&self) -> i64 {
        i64::try_from(self.significant().count()).unwrap_or(i64::MAX)
    }
}

/// Reads `text` (major units) as minor units of an asset with `exponent` decimal places, exactly.
///
/// Accepts an optional sign, ASCII digits with an optional fraction (`.5` and `5.` too), and an optional exponent
/// (`1.1e1` is 11). Nothing is trimmed and nothing is rounded: what has more fraction digits than the asset is refused,
/// even if they are zeros. Work and memory are bounded by the length of `text`, whatever its exponent.
///
/// # Errors
/// [`ParseDecimalError`], by cause.
pub fn parse_minor(text: &str, exponent: u8) -> Result<i128, ParseDecimalError> {
    let parts = take_apart(text)?;
    let shift = i64::from(exponent).saturating_sub(parts.scale());
    if shift < 0 {
        return Err(ParseDecimalError::TooPrecise { allowed: exponent });
    }
    let digits = parts.significant_count();
    if digits == 0 {
        return Ok(0);
    }
    if digits.saturating_add(shift) > i64::from(MAX_DIGITS) {
        return Err(ParseDecimalError::TooLarge);
    }
    // At most 38 digits from here on: nothing below overflows.
    let coefficient = parts.significant().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'));
    let shift = u32::try_from(shift).map_err(|_| ParseDecimalError::TooLarge)?;
    let minor = coefficient * 10_i128.pow(shift);
    Ok(if parts.negative { -minor } else { minor })
}

/// Counts the digits of `text` as written, for rules like "at most 12 digits, 2 of them decimals".
///
/// # Errors
/// [`ParseDecimalError::Empty`] or [`ParseDecimalError::NotANumber`].
pub fn decimal_digits(text: &str) -> Result<Digits, ParseDecimalError> {
    let parts = take_apart(text)?;
    let (scale, significant) = (parts.scale(), parts.significant_count());
    // Zero has one digit: the zero.
    let coefficient = significant.max(1);
    let (integer, fraction) = if scale <= 0 {
        (coefficient.saturating_sub(scale), 0)
    } else if coefficient > scale {
        (coefficient - scale, scale)
    } else {
        (0, scale)
    };
    let bounded = |digits: i64| u32::try_from(digits).unwrap_or(u32::MAX);
    Ok(Digits {
        integer_digits: bounded(integer),
        fraction_digits: bounded(fraction),
        total_digits: bounded(integer.saturating_add(fraction)),
        negative: parts.negative,
        is_zero: significant == 0,
    })
}

/// Writes minor units as major units with exactly `exponent` decimal places: `"-0.05"`, `"1000.00"`, `"7"`.
#[must_use]
pub fn format_minor(minor: i128, exponent: u8) -> String {
    let places = usize::from(exponent);
    let sign = if minor < 0 { "-" } else { "" };
    // One digit more than the places, so that there is always one before the point.
    let digits = format!("{:0>width$}", minor.unsigned_abs(), width = places + 1);
    let (integer, fraction) = digits.split_at(digits.len() - places);
    if fraction.is_empty() { format!("{sign}{integer}") } else { format!("{sign}{integer}.{fraction}") }
}

/// Whether `minor` has at most 38 digits.
pub(crate) const fn is_within_max_digits(minor: i128) -> bool {
    -LIMIT_MINOR < minor && minor < LIMIT_MINOR
}

fn take_apart(text: &str) -> Result<Parts<'_>, ParseDecimalError> {
    if text.is_empty() {
        return Err(ParseDecimalError::Empty);
    }
    let (negative, unsigned) = take_sign(text.as_bytes());
    let (integer, rest) = take_digits(unsigned);
    let (fraction, rest) = match rest {
        [b'.', rest @ ..] => take_digits(rest),
        _ => (&[][..], rest),
    };
    if integer.is_empty() && fraction.is_empty() {
        return Err(ParseDecimalError::NotANumber);
    }
    let exponent = match rest {
        [] => 0,
        [b'e' | b'E', rest @ ..] => read_exponent(rest)?,
        _ => return Err(ParseDecimalError::NotANumber),
    };
    Ok(Parts { negative, integer, fraction, exponent })
}

fn take_sign(bytes: &[u8]) -> (bool, &[u8]) {
    match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    }
}

fn take_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().take_while(|byte| byte.is_ascii_digit()).count())
}

fn read_exponent(bytes: &[u8]) -> Result<i64, ParseDecimalError> {
    let (negative, unsigned) = take_sign(bytes);
    let (digits, rest) = take_digits(unsigned);
    if digits.is_empty() || !rest.is_empty() {
        return Err(ParseDecimalError::NotANumber);
    }
    let size = digits.iter().fold(0_i64, |sum, digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    Ok(if negative { -size } else { size })
}

fn count(digits: &[u8]) -> i64 {
    i64::try_from(digits.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "decimal_tests.rs"]
mod tests;
