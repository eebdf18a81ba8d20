//! Amounts from the text of a request, with the messages of a Django decimal field.

use std::borrow::Cow;

use florin_money::{Asset, decimal_digits, format_minor, parse_minor};

const NOT_A_NUMBER: &str = "A valid number is required.";
/// Longest text that is looked at.
const MAX_CHARS: usize = 1000;
/// Digits before the point.
const WHOLE_DIGITS: u32 = 18;

/// An amount as it stands in JSON.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AmountText<'a> {
    /// A number, with the text that was sent.
    Number(&'a str),
    /// A string.
    Text(&'a str),
}

/// Reads an amount greater than zero into minor units of `asset`, exactly.
///
/// # Errors
/// The message for the client.
pub(crate) fn read_amount(amount: AmountText<'_>, asset: Asset) -> Result<i128, String> {
    let exponent = asset.exponent();
    let text = match amount {
        AmountText::Number(text) => without_idle_zeros(text),
        AmountText::Text(text) => Cow::Borrowed(text),
    };
    if text.chars().count() > MAX_CHARS {
        return Err("String value too large.".to_owned());
    }
    let digits = decimal_digits(&text).map_err(|_| NOT_A_NUMBER.to_owned())?;
    let total = WHOLE_DIGITS + u32::from(exponent);
    if digits.total_digits > total {
        return Err(format!("Ensure that there are no more than {total} digits in total."));
    }
    if digits.fraction_digits > u32::from(exponent) {
        let unit = if exponent == 1 { "place" } else { "places" };
        return Err(format!("Ensure that there are no more than {exponent} decimal {unit}."));
    }
    if digits.integer_digits > WHOLE_DIGITS {
        return Err(format!("Ensure that there are no more than {WHOLE_DIGITS} digits before the decimal point."));
    }
    if digits.is_zero || digits.negative {
        return Err(format!("Ensure this value is greater than or equal to {}.", format_minor(1, exponent)));
    }
    parse_minor(&text, exponent).map_err(|_| NOT_A_NUMBER.to_owned())
}

/// Zeros at the end of a number's fraction say nothing: `1.100` is `1.1`. In a string they are kept, and count.
fn without_idle_zeros(text: &str) -> Cow<'_, str> {
    let split = text.find(['e', 'E']).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at(split);
    if !mantissa.contains('.') || !mantissa.ends_with('0') {
        return Cow::Borrowed(text);
    }
    let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
    if exponent.is_empty() { Cow::Borrowed(mantissa) } else { Cow::Owned(format!("{mantissa}{exponent}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str, code: &str) -> Result<i128, String> {
        read_amount(AmountText::Number(text), Asset::find_iso(code).unwrap())
    }

    fn text(text: &str) -> Result<i128, String> {
        read_amount(AmountText::Text(text), Asset::find_iso("EUR").unwrap())
    }

    #[test]
    fn amounts_are_read_from_their_text() {
        assert_eq!(number("1000", "EUR"), Ok(100_000));
        assert_eq!(number("0.1", "EUR"), Ok(10));
        assert_eq!(number("1.100", "EUR"), Ok(110));
        assert_eq!(number("10.0", "JPY"), Ok(10));
        assert_eq!(number("1.10e1", "EUR"), Ok(1100));
        assert_eq!(number("0.005", "KWD"), Ok(5));
        assert_eq!(number("999999999999999999.99", "EUR"), Ok(99_999_999_999_999_999_999));
        assert_eq!(text("0005.50"), Ok(550));
        assert_eq!(text(".5"), Ok(50));
        assert_eq!(text("1E3"), Ok(100_000));
    }

    #[test]
    fn what_is_no_amount_is_refused_in_djangos_words() {
        for wrong in ["", " 5", "5 ", "1_000", "1,5", "0x10", "NaN", "Infinity", "\u{661}", "５", "abc", "True"] {
            assert_eq!(text(wrong), Err(NOT_A_NUMBER.to_owned()), "{wrong:?}");
        }
        assert_eq!(text("1.000"), Err("Ensure that there are no more than 2 decimal places.".to_owned()));
        assert_eq!(number("1.5", "JPY"), Err("Ensure that there are no more than 0 decimal places.".to_owned()));
        assert_eq!(number("0", "JPY"), Err("Ensure this value is greater than or equal to 1.".to_owned()));
        assert_eq!(number("0.000", "EUR"), Err("Ensure this value is greater than or equal to 0.01.".to_owned()));
        assert_eq!(
            number("1e999999999999999999", "EUR"),
            Err("Ensure that there are no more than 20 digits in total.".to_owned())
        );
    }
}
