//! One row: from its texts to an item of a batch.

use florin_ledger::{AccountId, Side};
use florin_money::{Asset, decimal_digits, format_minor, parse_minor};
use uuid::Uuid;

use crate::wallet::{BatchItem, BatchMove, ItemRefusal};

const REASON_MAX_CHARS: usize = 500;
/// Longest amount that is looked at, and its most digits before the point: those of every request.
const AMOUNT_MAX_CHARS: usize = 1_000;
const WHOLE_DIGITS: u32 = 18;

/// An item whose texts are its own.
pub(super) type RowItem = BatchItem<'static, String>;

/// The names of a row's members, in CSV the columns.
pub(super) const MEMBERS: [&str; 7] = ["type", "wallet", "from", "to", "amount", "direction", "reason"];

/// The texts of a row, in the order of [`MEMBERS`]; `None` where there is none, or an empty one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RowTexts<'a>(pub(super) [Option<&'a str>; MEMBERS.len()]);

impl<'a> RowTexts<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let at = MEMBERS.iter().position(|member| *member == name)?;
        self.0[at].filter(|text| !text.is_empty())
    }

    fn required(&self, name: &str) -> Result<&'a str, ItemRefusal> {
        self.get(name).ok_or_else(|| invalid(format!("{name} is missing.")))
    }

    fn wallet(&self, name: &str) -> Result<AccountId, ItemRefusal> {
        let text = self.required(name)?;
        let id = if text.len() == 36 { Uuid::try_parse(text).ok() } else { None };
        id.map(AccountId).ok_or_else(|| invalid(format!("{name} is not a UUID.")))
    }

    /// The item, if the row has what its type needs and nothing else.
    pub(super) fn read(&self) -> Result<RowItem, ItemRefusal> {
        let kind = self.required("type")?;
        let (what, wallet) = match kind {
            "DEPOSIT" => (BatchMove::Deposit, self.wallet("wallet")?),
            "WITHDRAW" => (BatchMove::Withdraw, self.wallet("wallet")?),
            "TRANSFER" => {
                let (from, to) = (self.wallet("from")?, self.wallet("to")?);
                if from == to {
                    return Err(invalid("to is the same wallet as from.".to_owned()));
                }
                (BatchMove::Transfer { to }, from)
            }
            "ADJUSTMENT" => {
                let side = match self.required("direction")? {
                    "CREDIT" => Side::Credit,
                    "DEBIT" => Side::Debit,
                    _ => return Err(invalid("direction must be CREDIT or DEBIT.".to_owned())),
                };
                self.required("reason")?;
                (BatchMove::Adjust(side), self.wallet("wallet")?)
            }
            _ => return Err(invalid("type must be DEPOSIT, WITHDRAW, TRANSFER or ADJUSTMENT.".to_owned())),
        };
        self.refuse_strangers(kind)?;
        let amount = self.required("amount")?.to_owned();
        let reason = self.get("reason").map(str::trim).filter(|reason| !reason.is_empty());
        if reason.is_some_and(|reason| reason.chars().count() > REASON_MAX_CHARS || reason.contains('\0')) {
            return Err(invalid(format!("reason is longer than {REASON_MAX_CHARS} characters, or has a null.")));
        }
        Ok(BatchItem { what, wallet, amount, reason: reason.map(|reason| reason.to_owned().into()) })
    }

    fn refuse_strangers(&self, kind: &str) -> Result<(), ItemRefusal> {
        let strangers: &[&str] = match kind {
            "TRANSFER" => &["wallet", "direction"],
            "ADJUSTMENT" => &["from", "to"],
            _ => &["from", "to", "direction"],
        };
        match strangers.iter().find(|name| self.get(name).is_some()) {
            Some(name) => Err(invalid(format!("{kind} has no {name}."))),
            None => Ok(()),
        }
    }
}

/// A row that is not one.
pub(super) fn invalid(detail: String) -> ItemRefusal {
    ItemRefusal { code: "validation_error", detail }
}

/// A number as JSON has it, without the zeros at the end of its fraction: they say nothing. In a text they are kept,
/// and count.
pub(super) fn without_idle_zeros(number: &str) -> String {
    let split = number.find(['e', 'E']).unwrap_or(number.len());
    let (mantissa, exponent) = number.split_at(split);
    if !mantissa.contains('.') {
        return number.to_owned();
    }
    format!("{}{exponent}", mantissa.trim_end_matches('0').trim_end_matches('.'))
}

/// Reads an amount above zero, exactly. What is too long or too precise is so in a batch as well.
pub(super) fn read_amount(text: &str, asset: Asset) -> Result<i128, String> {
    let exponent = asset.exponent();
    if text.len() > AMOUNT_MAX_CHARS {
        return Err("not a number.".to_owned());
    }
    let digits = decimal_digits(text).map_err(|error| format!("{error}."))?;
    if digits.fraction_digits > u32::from(exponent) {
        return Err(format!("more than {exponent} decimal places."));
    }
    if digits.integer_digits > WHOLE_DIGITS {
        return Err(format!("more than {WHOLE_DIGITS} digits before the decimal point."));
    }
    match parse_minor(text, exponent) {
        Ok(minor) if minor > 0 => Ok(minor),
        Ok(_) => Err(format!("must be at least {}.", format_minor(1, exponent))),
        Err(error) => Err(format!("{error}.")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0197b9a2-7c31-7d52-9d5e-7f0f2f6f3a11";
    const B: &str = "0197b9a2-9e0a-7b1c-8c3d-1f2e3d4c5b6a";

    fn row(text: &str) -> Result<BatchMove, String> {
        let texts: Vec<_> = text
            .split(',')
            .map(|text| match text {
                "a" => A,
                "b" => B,
                other => other,
            })
            .collect();
        let mut members = [None; MEMBERS.len()];
        for (member, text) in members.iter_mut().zip(&texts) {
            *member = Some(*text);
        }
        RowTexts(members).read().map(|item| item.what).map_err(|refusal| refusal.detail)
    }

    #[test]
    fn a_row_has_what_its_type_needs_and_nothing_else() {
        let to = AccountId(Uuid::parse_str(B).unwrap());
        assert_eq!(row("DEPOSIT,a,,,1,,"), Ok(BatchMove::Deposit));
        assert_eq!(row("WITHDRAW,a,,,1,,cash"), Ok(BatchMove::Withdraw));
        assert_eq!(row("TRANSFER,,a,b,1,,"), Ok(BatchMove::Transfer { to }));
        assert_eq!(row("ADJUSTMENT,a,,,1,DEBIT,x"), Ok(BatchMove::Adjust(Side::Debit)));
        for (text, said) in [
            (",a,,,1,,", "type is missing."),
            ("deposit,a,,,1,,", "type must be"),
            ("DEPOSIT,,,,1,,", "wallet is missing."),
            ("DEPOSIT,x,,,1,,", "wallet is not a UUID."),
            ("DEPOSIT,a,,,,,", "amount is missing."),
            ("DEPOSIT,a,,b,1,,", "DEPOSIT has no to."),
            ("TRANSFER,a,a,b,1,,", "TRANSFER has no wallet."),
            ("TRANSFER,,a,a,1,,", "to is the same wallet"),
            ("ADJUSTMENT,a,,,1,UP,x", "direction must be"),
            ("ADJUSTMENT,a,,,1,DEBIT,", "reason is missing."),
        ] {
            assert!(row(text).unwrap_err().starts_with(said), "{text}: {:?}", row(text));
        }
    }

    #[test]
    fn amounts_are_exact_and_above_zero() {
        let euro = Asset::find_iso("EUR").unwrap();
        assert_eq!(read_amount("10.5", euro), Ok(1050));
        assert_eq!(read_amount(&format!("{}5", "0".repeat(200)), euro), Ok(500));
        for wrong in ["0", "-1", "1.001", "1,5", "", "abc", &"9".repeat(1001), &"9".repeat(19), "1e18"] {
            assert!(read_amount(wrong, euro).is_err(), "{wrong}");
        }
    }
}
