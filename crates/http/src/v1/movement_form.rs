//! The body of a transfer or a correction: what is the same in both.

use florin_ledger::AccountId;
use florin_money::Asset;
use serde_json::Value;

use super::parse_uuid;
use crate::django::{AmountText, Form, TextRule, read_amount};

const REASON_MAX_CHARS: usize = 500;

/// The reason, where one may be given.
pub(super) fn read_reason(form: &mut Form, required: bool) -> Option<String> {
    let rule = TextRule { max_chars: REASON_MAX_CHARS, ..TextRule::REQUIRED };
    let optional = TextRule { required: false, blank_ok: true, null_ok: true, ..rule };
    form.text("reason", if required { rule } else { optional }).filter(|reason| !reason.is_empty())
}

/// The amount in `asset`, minor units.
pub(super) fn read_amount_field(form: &mut Form, asset: Asset) -> Option<i128> {
    let read = match form.member("amount") {
        None => Err("This field is required.".to_owned()),
        Some(Value::Null) => Err("This field may not be null.".to_owned()),
        Some(Value::String(text)) => read_amount(AmountText::Text(text), asset),
        Some(Value::Number(number)) => read_amount(AmountText::Number(number.as_str()), asset),
        Some(_) => Err("A valid number is required.".to_owned()),
    };
    read.map_err(|message| form.refuse("amount", message)).ok()
}

/// The id of a wallet.
pub(super) fn read_wallet(form: &mut Form, name: &'static str) -> Option<AccountId> {
    let text = form.text(name, TextRule::REQUIRED)?;
    let id = parse_uuid(&text);
    if id.is_none() {
        form.refuse(name, "Must be a valid UUID.".to_owned());
    }
    id.map(AccountId)
}
