//! A wallet on the wire.

use std::fmt;

use florin_app::wallet::Wallet;
use florin_money::format_minor;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::django::time_text;

/// Minor units that are written as a decimal string with the asset's places.
#[derive(Clone, Copy)]
pub(crate) struct Figure {
    pub(crate) minor: i128,
    pub(crate) exponent: u8,
}

/// Bytes of the longest figure on the stack: 39 digits, a point and a sign.
const FIGURE_BYTES: usize = 41;
/// The most places that fit into it.
const PLACES_MAX: u8 = 38;

/// A figure's text on the stack, written from its end.
struct FigureText {
    bytes: [u8; FIGURE_BYTES],
    start: usize,
}

impl FigureText {
    /// `None` for what is longer than any amount.
    fn of(figure: Figure) -> Option<Self> {
        if figure.exponent > PLACES_MAX {
            return None;
        }
        let mut text = Self { bytes: [0; FIGURE_BYTES], start: FIGURE_BYTES };
        let mut rest = figure.minor.unsigned_abs();
        for written in 0..=PLACES_MAX {
            if written == figure.exponent && written > 0 {
                text.put(b'.');
            }
            let digit;
            (rest, digit) = last_digit(rest);
            text.put(b'0' + digit);
            if rest == 0 && written >= figure.exponent {
                break;
            }
        }
        if figure.minor < 0 {
            text.put(b'-');
        }
        (rest == 0).then_some(text)
    }

    fn put(&mut self, byte: u8) {
        self.start = self.start.saturating_sub(1);
        self.bytes[self.start] = byte;
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[self.start..]).unwrap_or_default()
    }
}

/// What is left of a number without its last digit, and that digit.
fn last_digit(number: u128) -> (u128, u8) {
    // Division of wide numbers is slow and seldom needed.
    let (rest, digit) = match u64::try_from(number) {
        Ok(narrow) => (u128::from(narrow / 10), u128::from(narrow % 10)),
        Err(_) => (number / 10, number % 10),
    };
    (rest, u8::try_from(digit).unwrap_or_default())
}

impl Figure {
    /// Puts its text behind `out`.
    pub(crate) fn write_to(self, out: &mut Vec<u8>) {
        match FigureText::of(self) {
            Some(text) => out.extend_from_slice(text.as_str().as_bytes()),
            None => out.extend_from_slice(format_minor(self.minor, self.exponent).as_bytes()),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match FigureText::of(*self) {
            Some(text) => formatter.write_str(text.as_str()),
            None => formatter.write_str(&format_minor(self.minor, self.exponent)),
        }
    }
}

impl Serialize for Figure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match FigureText::of(*self) {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

/// A wallet with its figures, from one atomic read.
#[derive(Serialize, ToSchema)]
#[schema(as = Wallet, example = json!({
    "id": "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11", "balance": "1000.00", "created_at": "2025-01-19T10:00:00.123456Z",
    "updated_at": "2025-01-19T10:30:00.654321Z", "asset": "EUR", "label": "", "posted": "1000.00", "pending": "0.00",
    "available": "1000.00"
}))]
pub(crate) struct WalletBody<'a> {
    /// Its id.
    id: Uuid,
    /// The same as `posted`.
    #[schema(value_type = String)]
    balance: Figure,
    /// When it was opened.
    created_at: String,
    /// When it last changed.
    updated_at: String,
    /// What it counts: an ISO 4217 code, or a unit of the operator's.
    #[schema(value_type = String)]
    asset: Code,
    /// The owner's name for it.
    label: &'a str,
    /// Settled.
    #[schema(value_type = String)]
    posted: Figure,
    /// Held.
    #[schema(value_type = String)]
    pending: Figure,
    /// What can be spent: `posted - pending`.
    #[schema(value_type = String)]
    available: Figure,
}

/// An asset's code.
struct Code(florin_money::AssetCode);

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl<'a> From<&'a Wallet> for WalletBody<'a> {
    fn from(wallet: &'a Wallet) -> Self {
        let figure = |minor| Figure { minor, exponent: wallet.asset.exponent() };
        Self {
            id: wallet.id.0,
            balance: figure(wallet.balance.posted_minor),
            created_at: time_text(wallet.created_at_us),
            updated_at: time_text(wallet.updated_at_us),
            asset: Code(wallet.asset.code()),
            label: &wallet.label,
            posted: figure(wallet.balance.posted_minor),
            pending: figure(wallet.balance.pending_minor),
            available: figure(wallet.balance.available_minor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_as_money_writes_them() {
        let wide = [i128::from(u64::MAX), 10_i128.pow(37), -(10_i128.pow(38) - 1), i128::MAX, i128::MIN];
        for minor in [0, 1, -1, 5, 99, 100, -12345].into_iter().chain(wide) {
            for exponent in [0, 1, 2, 3, 8, 18, 37, 38, 39, 200] {
                let figure = Figure { minor, exponent };
                let mut written = b"a".to_vec();
                figure.write_to(&mut written);
                let text = format_minor(minor, exponent);
                assert_eq!(figure.to_string(), text);
                assert_eq!(written, format!("a{text}").into_bytes());
            }
        }
    }
}
