//! The body of an operation: read straight from the text, without a tree of values between.

use std::{borrow::Cow, fmt};

use axum::{body::Bytes, http::HeaderMap};
use florin_app::user::FieldErrors;
use florin_ledger::Kind;
use florin_money::Asset;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    Refusal,
    amount::{AmountText, read_amount},
};
use crate::request_body::{BodyRefusal, expect_object, json_text, text_of};

const REQUIRED: &str = "This field is required.";
const NULL: &str = "This field may not be null.";
const NOT_A_NUMBER: &str = "A valid number is required.";
const REASON_MAX_CHARS: usize = 500;

/// A valid operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OperationForm {
    /// Deposit or withdraw.
    pub(crate) kind: Kind,
    /// Minor units, greater than zero.
    pub(crate) amount_minor: i128,
    /// A reason or reference, if given.
    pub(crate) reason: Option<String>,
}

#[derive(Default)]
struct Members<'a> {
    operation_type: Option<&'a RawValue>,
    amount: Option<&'a RawValue>,
    reason: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Name {
    OperationType,
    Amount,
    Reason,
    #[serde(other)]
    Other,
}

/// A derived reader would refuse a repeated key; here the last one counts.
impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some(name) = map.next_key::<Name>()? {
                    match name {
                        Name::OperationType => members.operation_type = Some(map.next_value()?),
                        Name::Amount => members.amount = Some(map.next_value()?),
                        Name::Reason => members.reason = Some(map.next_value()?),
                        Name::Other => {
                            map.next_value::<IgnoredAny>()?;
                        }
                    }
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl OperationForm {
    /// Reads a body for a wallet of `asset`.
    pub(crate) fn read(headers: &HeaderMap, body: &Bytes, asset: Asset) -> Result<Self, Refusal> {
        let members = match json_text(headers, body)? {
            None => Members::default(),
            Some(text) => {
                expect_object(text).map_err(|refusal| Refusal::from(refusal).under_errors())?;
                serde_json::from_str(text).map_err(|error| BodyRefusal::Parse(error.to_string()))?
            }
        };
        let kind = read_kind(members.operation_type);
        let amount = read_raw_amount(members.amount, asset);
        let reason = read_reason(members.reason);
        match (kind, amount, reason) {
            (Ok(kind), Ok(amount_minor), Ok(reason)) => Ok(Self { kind, amount_minor, reason }),
            (kind, amount, reason) => {
                let wrong = [("operation_type", kind.err()), ("amount", amount.err()), ("reason", reason.err())];
                let errors = wrong.into_iter().filter_map(|(name, error)| Some((name, vec![error?]))).collect();
                Err(Refusal::Fields(FieldErrors(errors)).under_errors())
            }
        }
    }
}

fn read_kind(raw: Option<&RawValue>) -> Result<Kind, String> {
    let raw = raw.ok_or(REQUIRED)?;
    let shown = match text_of(raw) {
        Some(text) => match text.as_ref() {
            "DEPOSIT" => return Ok(Kind::Deposit),
            "WITHDRAW" => return Ok(Kind::Withdraw),
            _ => text,
        },
        None => match raw.get() {
            "null" => return Err(NULL.to_owned()),
            // As Python writes them.
            "true" => Cow::Borrowed("True"),
            "false" => Cow::Borrowed("False"),
            other => Cow::Borrowed(other),
        },
    };
    Err(format!("\"{shown}\" is not a valid choice."))
}

fn read_raw_amount(raw: Option<&RawValue>, asset: Asset) -> Result<i128, String> {
    let raw = raw.ok_or(REQUIRED)?;
    let written = raw.get();
    match written.as_bytes().first() {
        Some(b'"') => {
            let text = text_of(raw).ok_or(NOT_A_NUMBER)?;
            read_amount(AmountText::Text(&text), asset)
        }
        Some(b'-' | b'0'..=b'9') => read_amount(AmountText::Number(written), asset),
        Some(b'n') => Err(NULL.to_owned()),
        _ => Err(NOT_A_NUMBER.to_owned()),
    }
}

fn read_reason(raw: Option<&RawValue>) -> Result<Option<String>, String> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let text = text_of(raw).ok_or("Not a valid string.")?;
    if text.contains('\0') {
        return Err("Null characters are not allowed.".to_owned());
    }
    if text.chars().count() > REASON_MAX_CHARS {
        return Err(format!("Ensure this field has no more than {REASON_MAX_CHARS} characters."));
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}
