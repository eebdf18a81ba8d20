//! The body of a batch, read item by item: nothing of it is kept but slices of its text.

use std::{borrow::Cow, fmt};

use axum::http::StatusCode;
use florin_app::wallet::{BatchItem, BatchMove};
use florin_ledger::{AccountId, Side};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{COMMANDS_MAX, member::Member};
use crate::{
    django::{AmountText, is_python_space},
    problem::Problem,
    request_body::{BodyRefusal, Object, text_of},
    v1::parse_uuid,
};

const REQUIRED: &str = "This field is required.";
const REASON_MAX_CHARS: usize = 500;
/// Messages in one answer; more would only repeat themselves.
const MESSAGES_MAX: usize = 50;
const TOO_MANY: &str = "too many commands";

/// A batch as it was sent.
pub(super) struct Batch<'a> {
    pub(super) items: Vec<BatchItem<'a, Amount<'a>>>,
    pub(super) atomic: bool,
}

/// An amount, not read yet.
#[derive(Debug, Clone)]
pub(super) enum Amount<'a> {
    Number(&'a str),
    Text(Cow<'a, str>),
}

impl Amount<'_> {
    pub(super) fn as_text(&self) -> AmountText<'_> {
        match self {
            Self::Number(text) => AmountText::Number(text),
            Self::Text(text) => AmountText::Text(text),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    #[serde(borrow, default)]
    commands: Option<Commands<'a>>,
    #[serde(default)]
    atomic: Option<bool>,
}

/// The members of a command as they were written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Member<'a>>,
    #[serde(borrow)]
    wallet: Option<Member<'a>>,
    #[serde(borrow)]
    from: Option<Member<'a>>,
    #[serde(borrow)]
    to: Option<Member<'a>>,
    #[serde(borrow)]
    amount: Option<&'a RawValue>,
    #[serde(borrow)]
    direction: Option<Member<'a>>,
    #[serde(borrow)]
    reason: Option<Member<'a>>,
}

/// The commands, and what is wrong with them.
#[derive(Default)]
struct Commands<'a> {
    items: Vec<BatchItem<'a, Amount<'a>>>,
    errors: Vec<(String, Vec<String>)>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Commands<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Each;

        impl<'de> Visitor<'de> for Each {
            type Value = Commands<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a list of commands")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut commands = Commands::default();
                for index in 0.. {
                    let named = |error: A::Error| A::Error::custom(format!("commands[{index}]: {error}"));
                    let Some(Object(raw)) = list.next_element::<Object<Raw<'de>>>().map_err(named)? else { break };
                    if index >= COMMANDS_MAX {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    let mut fields = Fields { index, errors: &mut commands.errors };
                    if let Some(item) = read_item(raw, &mut fields) {
                        commands.items.push(item);
                    }
                }
                Ok(commands)
            }
        }

        deserializer.deserialize_seq(Each)
    }
}

/// Reads a batch.
pub(super) fn read_batch(text: &str) -> Result<Batch<'_>, Problem> {
    // Some programs begin every text with a mark of the byte order; RFC 8259, section 8.1, lets a reader pass over it.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if !text.trim_ascii_start().starts_with('{') {
        return Err(Problem::invalid_field("non_field_errors", "An object with a list of commands is required."));
    }
    let Object(body) = serde_json::from_str::<Object<Body<'_>>>(text).map_err(|error| {
        let message = error.to_string();
        if message.starts_with(TOO_MANY) {
            return Problem::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "batch_too_large",
                "Batch too large",
                format!("A batch has at most {COMMANDS_MAX} commands. Send the others in another one."),
            );
        }
        BodyRefusal::Parse(message).into()
    })?;
    let Some(mut commands) = body.commands else { return Err(Problem::invalid_field("commands", REQUIRED)) };
    if commands.items.is_empty() && commands.errors.is_empty() {
        return Err(Problem::invalid_field("commands", "This list may not be empty."));
    }
    if !commands.errors.is_empty() {
        commands.errors.truncate(MESSAGES_MAX);
        return Err(Problem::invalid_items(commands.errors));
    }
    Ok(Batch { items: commands.items, atomic: body.atomic.unwrap_or(false) })
}

/// Where messages about one command go.
struct Fields<'e> {
    index: usize,
    errors: &'e mut Vec<(String, Vec<String>)>,
}

impl Fields<'_> {
    fn refuse(&mut self, name: &str, message: &str) {
        if self.errors.len() <= MESSAGES_MAX {
            self.errors.push((format!("commands[{}].{name}", self.index), vec![message.to_owned()]));
        }
    }

    /// A text that must be there.
    fn required<'r>(&mut self, name: &str, member: Option<&'r Member<'_>>) -> Option<&'r str> {
        match member {
            Some(Member::Text(text)) => return Some(text),
            Some(Member::Other) => self.refuse(name, "Not a valid string."),
            None => self.refuse(name, REQUIRED),
        }
        None
    }

    fn wallet(&mut self, name: &str, member: Option<&Member<'_>>) -> Option<AccountId> {
        let id = parse_uuid(self.required(name, member)?);
        if id.is_none() {
            self.refuse(name, "Must be a valid UUID.");
        }
        id.map(AccountId)
    }

    /// A member that this kind of command does not have.
    fn stranger(&mut self, name: &str, member: Option<&Member<'_>>) {
        if member.is_some() {
            self.refuse(name, "Commands of this type do not have it.");
        }
    }
}

fn read_item<'a>(raw: Raw<'a>, fields: &mut Fields<'_>) -> Option<BatchItem<'a, Amount<'a>>> {
    let kind = fields.required("type", raw.kind.as_ref())?;
    let amount = read_amount_text(raw.amount, fields);
    let reason = read_reason(raw.reason, kind == "ADJUSTMENT", fields);
    let is_transfer = kind == "TRANSFER";
    let (what, wallet) = match kind {
        "DEPOSIT" => (Some(BatchMove::Deposit), fields.wallet("wallet", raw.wallet.as_ref())),
        "WITHDRAW" => (Some(BatchMove::Withdraw), fields.wallet("wallet", raw.wallet.as_ref())),
        "ADJUSTMENT" => (
            read_side(raw.direction.as_ref(), fields).map(BatchMove::Adjust),
            fields.wallet("wallet", raw.wallet.as_ref()),
        ),
        "TRANSFER" => {
            let (from, to) = (fields.wallet("from", raw.from.as_ref()), fields.wallet("to", raw.to.as_ref()));
            if from.is_some() && from == to {
                fields.refuse("to", "Must be another wallet.");
            }
            fields.stranger("wallet", raw.wallet.as_ref());
            (to.map(|to| BatchMove::Transfer { to }), from)
        }
        _ => {
            fields.refuse("type", "Must be DEPOSIT, WITHDRAW, TRANSFER or ADJUSTMENT.");
            return None;
        }
    };
    if !is_transfer {
        fields.stranger("from", raw.from.as_ref());
        fields.stranger("to", raw.to.as_ref());
    }
    if kind != "ADJUSTMENT" {
        fields.stranger("direction", raw.direction.as_ref());
    }
    Some(BatchItem { what: what?, wallet: wallet?, amount: amount?, reason: reason? })
}

fn read_side(member: Option<&Member<'_>>, fields: &mut Fields<'_>) -> Option<Side> {
    match fields.required("direction", member)? {
        "CREDIT" => Some(Side::Credit),
        "DEBIT" => Some(Side::Debit),
        _ => {
            fields.refuse("direction", "Must be CREDIT or DEBIT.");
            None
        }
    }
}

fn read_amount_text<'a>(raw: Option<&'a RawValue>, fields: &mut Fields<'_>) -> Option<Amount<'a>> {
    let Some(raw) = raw else {
        fields.refuse("amount", REQUIRED);
        return None;
    };
    let text = raw.get();
    let amount = match text.as_bytes().first() {
        Some(b'"') => text_of(raw).map(Amount::Text),
        Some(b'-' | b'0'..=b'9') => Some(Amount::Number(text)),
        _ => None,
    };
    if amount.is_none() {
        fields.refuse("amount", "A valid number is required.");
    }
    amount
}

/// The reason, trimmed; `None` inside for none or an empty one.
fn read_reason<'a>(
    member: Option<Member<'a>>,
    required: bool,
    fields: &mut Fields<'_>,
) -> Option<Option<Cow<'a, str>>> {
    let text = match member {
        Some(Member::Text(text)) => text,
        Some(Member::Other) => {
            fields.refuse("reason", "Not a valid string.");
            return None;
        }
        None => {
            if required {
                fields.refuse("reason", REQUIRED);
            }
            return Some(None);
        }
    };
    let text = match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.trim_matches(is_python_space)),
        Cow::Owned(text) => Cow::Owned(text.trim_matches(is_python_space).to_owned()),
    };
    if text.contains('\0') {
        fields.refuse("reason", "Null characters are not allowed.");
    } else if text.chars().count() > REASON_MAX_CHARS {
        fields.refuse("reason", "Ensure this field has no more than 500 characters.");
    } else if text.is_empty() && required {
        fields.refuse("reason", "This field may not be blank.");
    }
    Some(Some(text).filter(|text| !text.is_empty()))
}
