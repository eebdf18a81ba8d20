//! The form of a batch's body: how it is hashed and its time, then one record a transaction.
//!
//! ```text
//! body    = form of hashing (1 byte) · recorded_at (8 bytes, little endian) · record*
//! record  = length of the rest (varint) · transaction id (16) · kind · flags · asset · actor (16)
//!           · [reason] · [key: scope (16) · fingerprint (32) · text] · [effective_at (8)] · number of legs · leg*
//! leg     = account (16) · side · amount · version · posted after · pending after · place of the account's last record
//! ```
//!
//! The form of hashing, 1 or 2, is that in which the hash chain has the batch ([`HashForm`]); the records are alike.
//! Integers are LEB128 varints, signed ones zigzag; texts have their length before them. A [`Place`] names a record by
//! its batch and its offset in the body.

use florin_ledger::{
    AccountId, Balance, Command, HashForm, KeyDigest, Leg, PostedLeg, TransactionId, key_digest, put_signed,
    put_unsigned,
};
use florin_money::Asset;
use florin_store::{
    StoreError, StoredTransaction,
    codes::{hash_form_code, hash_form_from_code, kind_code, kind_from_code, side_code, side_from_code},
};
use uuid::Uuid;

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 9;

const HAS_REASON: u8 = 1;
const HAS_KEY: u8 = 2;
const HAS_EFFECTIVE_AT: u8 = 4;

/// Where a record is: a batch's sequence and the record's offset in its body. 0 is nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place(pub(crate) i64);

impl Place {
    const OFFSET_BITS: u32 = 26;

    /// `None` when a body has grown past 64 MiB.
    pub(crate) fn new(sequence: i64, offset: usize) -> Option<Self> {
        let offset = i64::try_from(offset).ok().filter(|offset| *offset < 1 << Self::OFFSET_BITS)?;
        Some(Self(sequence.checked_mul(1 << Self::OFFSET_BITS)? | offset))
    }

    pub(crate) const fn sequence(self) -> i64 {
        self.0 >> Self::OFFSET_BITS
    }

    pub(crate) fn offset(self) -> usize {
        usize::try_from(self.0 & ((1 << Self::OFFSET_BITS) - 1)).unwrap_or_default()
    }
}

/// A record as it is read: the transaction, its key, and for each leg the place of its account's record before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// In which the hash chain has it.
    pub(crate) form: HashForm,
    pub(crate) transaction: StoredTransaction,
    pub(crate) key: Option<RecordedKey>,
    pub(crate) previous: Vec<Place>,
}

/// A key as it is recorded: without its resource, which whoever asks for the key knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordedKey {
    pub(crate) scope: Uuid,
    pub(crate) key: String,
    pub(crate) fingerprint: [u8; 32],
}

impl RecordedKey {
    /// That of the key.
    pub(crate) fn digest(&self) -> KeyDigest {
        key_digest(self.scope.as_bytes(), &self.key)
    }
}

/// A body that is being written.
pub(crate) struct BodyWriter {
    bytes: Vec<u8>,
    record: Vec<u8>,
}

impl BodyWriter {
    pub(crate) fn new(form: HashForm, recorded_at_us: i64, transactions: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + transactions * 128);
        bytes.push(u8::try_from(hash_form_code(form)).unwrap_or(u8::MAX));
        bytes.extend_from_slice(&recorded_at_us.to_le_bytes());
        Self { bytes, record: Vec::with_capacity(256) }
    }

    /// The offset of the next record.
    pub(crate) fn offset(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the record of a command that was applied; `previous` gives each leg's place before.
    pub(crate) fn push(
        &mut self,
        command: &Command,
        legs: &[PostedLeg],
        mut previous: impl FnMut(&PostedLeg) -> Place,
    ) {
        let out = &mut self.record;
        out.clear();
        out.extend_from_slice(command.transaction_id.0.as_bytes());
        out.push(u8::try_from(kind_code(command.kind)).unwrap_or(u8::MAX));
        let flags = [
            (command.reason.is_some(), HAS_REASON),
            (command.idempotency.is_some(), HAS_KEY),
            (command.effective_at_us.is_some(), HAS_EFFECTIVE_AT),
        ];
        out.push(flags.iter().filter(|(is_there, _)| *is_there).map(|(_, flag)| flag).sum());
        put_text(out, command.asset.code().as_str());
        out.push(command.asset.exponent());
        out.extend_from_slice(command.actor_id.as_bytes());
        if let Some(reason) = &command.reason {
            put_text(out, reason);
        }
        if let Some(key) = &command.idempotency {
            out.extend_from_slice(key.scope.as_bytes());
            out.extend_from_slice(&key.fingerprint);
            put_text(out, &key.key);
        }
        if let Some(effective_at_us) = command.effective_at_us {
            out.extend_from_slice(&effective_at_us.to_le_bytes());
        }
        put_unsigned(out, legs.len() as u128);
        for posted in legs {
            out.extend_from_slice(posted.leg.account_id.0.as_bytes());
            out.push(u8::try_from(side_code(posted.leg.side)).unwrap_or(u8::MAX));
            put_signed(out, posted.leg.amount_minor);
            put_signed(out, i128::from(posted.version));
            put_signed(out, posted.balance.posted_minor);
            put_signed(out, posted.balance.pending_minor);
            put_signed(out, i128::from(previous(posted).0));
        }
        put_unsigned(&mut self.bytes, self.record.len() as u128);
        self.bytes.extend_from_slice(&self.record);
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// What the first bytes of a body say of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyHead {
    pub(crate) form: HashForm,
    pub(crate) recorded_at_us: i64,
}

impl BodyHead {
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, StoreError> {
        let mut reader = Reader { bytes };
        let form = hash_form_from_code(i64::from(reader.byte()?)).map_err(|_| damaged("its form is not known"))?;
        Ok(Self { form, recorded_at_us: i64::from_le_bytes(reader.array()?) })
    }
}

/// The record at the start of `bytes` and the number of bytes it takes, or how many bytes are needed to read it.
pub(crate) fn read_record(bytes: &[u8], head: BodyHead) -> Result<Result<(Record, usize), usize>, StoreError> {
    let mut reader = Reader { bytes };
    let length = usize::try_from(reader.unsigned()?).map_err(|_| damaged("a record's length"))?;
    let prefix = bytes.len() - reader.bytes.len();
    let end = prefix.checked_add(length).ok_or_else(|| damaged("a record's length"))?;
    let Some(record) = reader.bytes.get(..length) else { return Ok(Err(end)) };
    Ok(Ok((read_fields(&mut Reader { bytes: record }, head)?, end)))
}

/// Every record of a body, with its offset.
pub(crate) fn read_body(body: &[u8], mut visit: impl FnMut(usize, Record) -> bool) -> Result<(), StoreError> {
    let head = BodyHead::read(body)?;
    let mut offset = HEADER_BYTES;
    while let Some(rest) = body.get(offset..).filter(|rest| !rest.is_empty()) {
        let Ok((record, length)) = read_record(rest, head)? else {
            return Err(damaged("its end is missing"));
        };
        if !visit(offset, record) {
            return Ok(());
        }
        offset += length;
    }
    Ok(())
}

fn read_fields(reader: &mut Reader<'_>, head: BodyHead) -> Result<Record, StoreError> {
    let BodyHead { form, recorded_at_us } = head;
    let transaction_id = TransactionId(reader.uuid()?);
    let kind = kind_from_code(i64::from(reader.byte()?))?;
    let flags = reader.byte()?;
    if flags & !(HAS_REASON | HAS_KEY | HAS_EFFECTIVE_AT) != 0 {
        return Err(damaged("a record says more than is known"));
    }
    let code = reader.text()?;
    let asset = Asset::new(&code, reader.byte()?).map_err(|_| damaged("a record's asset"))?;
    let actor_id = reader.uuid()?;
    let reason = if flags & HAS_REASON == 0 { None } else { Some(reader.text()?) };
    let key = if flags & HAS_KEY == 0 { None } else { Some(reader.key()?) };
    let effective_at_us =
        if flags & HAS_EFFECTIVE_AT == 0 { recorded_at_us } else { i64::from_le_bytes(reader.array()?) };
    let count = usize::try_from(reader.unsigned()?).map_err(|_| damaged("a record's legs"))?;
    let (mut legs, mut previous) = (Vec::with_capacity(count.min(64)), Vec::with_capacity(count.min(64)));
    for _ in 0..count {
        let (leg, place) = reader.leg()?;
        legs.push(leg);
        previous.push(place);
    }
    if !reader.bytes.is_empty() {
        return Err(damaged("a record is longer than it says"));
    }
    let idempotency_key = key.as_ref().map(|key| key.key.clone());
    let transaction = StoredTransaction {
        transaction_id,
        kind,
        asset,
        actor_id,
        reason,
        idempotency_key,
        effective_at_us,
        recorded_at_us,
        legs,
    };
    Ok(Record { form, transaction, key, previous })
}

fn damaged(what: &str) -> StoreError {
    StoreError::Inconsistent(format!("a batch's body is damaged: {what}"))
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_unsigned(out, text.len() as u128);
    out.extend_from_slice(text.as_bytes());
}

struct Reader<'b> {
    bytes: &'b [u8],
}

impl Reader<'_> {
    fn byte(&mut self) -> Result<u8, StoreError> {
        let (first, rest) = self.bytes.split_first().ok_or_else(|| damaged("it ends too soon"))?;
        self.bytes = rest;
        Ok(*first)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], StoreError> {
        let (array, rest) = self.bytes.split_first_chunk().ok_or_else(|| damaged("it ends too soon"))?;
        self.bytes = rest;
        Ok(*array)
    }

    fn uuid(&mut self) -> Result<Uuid, StoreError> {
        self.array().map(Uuid::from_bytes)
    }

    fn unsigned(&mut self) -> Result<u128, StoreError> {
        let mut value = 0_u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            value |= u128::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged("a number does not end"))
    }

    fn signed(&mut self) -> Result<i128, StoreError> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn small(&mut self) -> Result<i64, StoreError> {
        i64::try_from(self.signed()?).map_err(|_| damaged("a number is too large"))
    }

    fn text(&mut self) -> Result<String, StoreError> {
        let length = usize::try_from(self.unsigned()?).map_err(|_| damaged("a text's length"))?;
        let (text, rest) = self.bytes.split_at_checked(length).ok_or_else(|| damaged("it ends too soon"))?;
        self.bytes = rest;
        String::from_utf8(text.to_vec()).map_err(|_| damaged("a text is not UTF-8"))
    }

    fn key(&mut self) -> Result<RecordedKey, StoreError> {
        Ok(RecordedKey { scope: self.uuid()?, fingerprint: self.array()?, key: self.text()? })
    }

    fn leg(&mut self) -> Result<(PostedLeg, Place), StoreError> {
        let account_id = AccountId(self.uuid()?);
        let side = side_from_code(i64::from(self.byte()?))?;
        let leg = Leg { account_id, side, amount_minor: self.signed()? };
        let version = self.small()?;
        let (posted_minor, pending_minor) = (self.signed()?, self.signed()?);
        let balance =
            Balance { posted_minor, pending_minor, available_minor: posted_minor.saturating_sub(pending_minor) };
        Ok((PostedLeg { leg, version, balance }, Place(self.small()?)))
    }
}

#[cfg(test)]
mod tests {
    use florin_ledger::{IdempotencyKey, Kind, Side};
    use proptest::prelude::*;

    use super::*;

    fn posted(seed: (u128, bool, i128, i64, i128, i128)) -> PostedLeg {
        let (id, is_debit, amount_minor, version, posted_minor, pending_minor) = seed;
        let side = if is_debit { Side::Debit } else { Side::Credit };
        PostedLeg {
            leg: Leg { account_id: AccountId(Uuid::from_u128(id)), side, amount_minor },
            version,
            balance: Balance {
                posted_minor,
                pending_minor,
                available_minor: posted_minor.saturating_sub(pending_minor),
            },
        }
    }

    fn command(id: u128, reason: Option<String>, key: Option<String>, effective_at_us: Option<i64>) -> Command {
        Command {
            transaction_id: TransactionId(Uuid::from_u128(id)),
            kind: Kind::Transfer,
            asset: Asset::new("POINTS", 0).unwrap(),
            legs: Vec::new(),
            actor_id: Uuid::from_u128(id.wrapping_mul(3)),
            reason,
            effective_at_us,
            idempotency: key.map(|key| IdempotencyKey {
                scope: Uuid::from_u128(id),
                resource: Uuid::from_u128(id.wrapping_add(1)),
                key,
                fingerprint: [7; 32],
            }),
            owners: Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            ids in prop::collection::vec((any::<u128>(), any::<Option<String>>(), any::<Option<String>>(),
                any::<Option<i64>>()), 1..5),
            seeds in prop::collection::vec(any::<(u128, bool, i128, i64, i128, i128)>(), 0..5),
            place in 0..i64::MAX, at_us in any::<i64>(), is_first in any::<bool>(),
        ) {
            let legs: Vec<PostedLeg> = seeds.into_iter().map(posted).collect();
            let form = if is_first { HashForm::V1 } else { HashForm::V2 };
            let commands: Vec<Command> =
                ids.into_iter().map(|(id, reason, key, at)| command(id, reason, key, at)).collect();
            let mut body = BodyWriter::new(form, at_us, commands.len());
            let offsets: Vec<usize> = commands.iter().map(|command| {
                let offset = body.offset();
                body.push(command, &legs, |_| Place(place));
                offset
            }).collect();
            let body = body.finish();
            prop_assert_eq!(BodyHead::read(&body).unwrap(), BodyHead { form, recorded_at_us: at_us });
            let mut found = Vec::new();
            read_body(&body, |offset, record| { found.push((offset, record)); true }).unwrap();
            prop_assert_eq!(found.len(), commands.len());
            for ((offset, record), (wanted, command)) in found.iter().zip(offsets.iter().zip(&commands)) {
                prop_assert_eq!((offset, record.form), (wanted, form));
                let recorded = |IdempotencyKey { scope, key, fingerprint, .. }| RecordedKey { scope, key, fingerprint };
                let key = command.idempotency.clone().map(recorded);
                prop_assert_eq!(&record.key, &key);
                prop_assert_eq!(&record.transaction.legs, &legs);
                prop_assert_eq!(&record.transaction.reason, &command.reason);
                prop_assert_eq!(record.transaction.effective_at_us, command.effective_at_us.unwrap_or(at_us));
                prop_assert_eq!(record.transaction.transaction_id, command.transaction_id);
                prop_assert!(record.previous.iter().all(|previous| *previous == Place(place)));
            }
        }

        #[test]
        fn damaged_bytes_are_an_error_and_never_a_panic(body in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read_body(&body, |_, _| true);
        }
    }

    #[test]
    fn a_place_names_a_batch_and_an_offset() {
        let place = Place::new(77, 1_000_000).unwrap();
        assert_eq!((place.sequence(), place.offset()), (77, 1_000_000));
        assert!(Place::new(77, 64 * 1024 * 1024).is_none(), "past what an offset can say");
        assert!(place < Place::new(78, HEADER_BYTES).unwrap(), "later batches are later places");
    }
}
