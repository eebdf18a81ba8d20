//! The bytes that are hashed of a transaction and of a batch's header: everything that is kept of them, so that stored
//! rows can be checked. No two records share a form.
//!
//! ```text
//! first form:  every field with its length (32 bits, big-endian) before it, integers big-endian in their full width
//!   transaction = "florin.transaction.v1" · transaction id · kind · asset code · exponent · actor · reason · key
//!                 · effective at · recorded at · number of legs (32 bits, no length) · leg*
//!   leg         = account · "D" or "C" · amount · version · posted after · pending after
//!   header      = "florin.batch.v1" · writer · number · previous hash · Merkle root · transactions · recorded at
//! second form:
//!   transaction = 0x00 · 0x02 · transaction id (16) · actor (16) · recorded at (8, big-endian) · effective at, less
//!                 recorded at · kind · asset code · exponent (1) · reason · key · number of legs · leg*
//!   leg         = account (16) · "D" or "C" · amount · version · posted after · pending after
//!   header      = as in the first form, with "florin.batch.v2"
//! ```
//!
//! In the second form integers without a width are [varints](crate::put_unsigned), all but lengths and numbers of legs
//! signed, and a text has its length before it. A text that may be missing is, in both forms, a byte 0, or a byte 1 and
//! the text. Kinds are their names.
//!
//! The second form is shorter: a plain deposit takes 2 blocks of SHA-256 where the first takes 6. It begins like the
//! leaf of a Merkle tree (RFC 9162 section 2.1.1), so that a transaction's hash is one.

use crate::{BatchHeader, HashForm, PostedLeg, Side, TransactionRecord, put_signed, put_unsigned};

/// A record in its form. They are hashed in one piece: SHA-256 takes many small ones slowly.
#[derive(Default)]
pub(crate) struct CanonicalForm(Vec<u8>);

impl CanonicalForm {
    /// Its bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Becomes that of a transaction.
    pub(crate) fn set_transaction(&mut self, record: &TransactionRecord<'_>, form: HashForm) {
        self.0.clear();
        self.0.reserve(512);
        match form {
            HashForm::V1 => self.put_transaction_v1(record),
            HashForm::V2 => self.put_transaction_v2(record),
        }
    }

    /// Becomes that of a header.
    pub(crate) fn set_header(&mut self, header: &BatchHeader) {
        self.0.clear();
        self.0.reserve(192);
        self.field(match header.form {
            HashForm::V1 => b"florin.batch.v1",
            HashForm::V2 => b"florin.batch.v2",
        });
        self.field(&header.writer.to_be_bytes());
        self.field(&header.number.to_be_bytes());
        self.field(&header.previous_hash);
        self.field(&header.merkle_root);
        self.field(&header.transactions.to_be_bytes());
        self.field(&header.recorded_at_us.to_be_bytes());
    }

    fn put_transaction_v2(&mut self, record: &TransactionRecord<'_>) {
        self.0.extend_from_slice(&[0, 2]);
        self.0.extend_from_slice(record.transaction_id.0.as_bytes());
        self.0.extend_from_slice(record.actor_id.as_bytes());
        self.0.extend_from_slice(&record.recorded_at_us.to_be_bytes());
        put_signed(&mut self.0, i128::from(record.effective_at_us) - i128::from(record.recorded_at_us));
        self.text(record.kind.as_str());
        self.text(record.asset.code().as_str());
        self.0.push(record.asset.exponent());
        for text in [record.reason, record.idempotency_key] {
            self.0.push(u8::from(text.is_some()));
            if let Some(text) = text {
                self.text(text);
            }
        }
        put_unsigned(&mut self.0, record.legs.len() as u128);
        for posted in record.legs {
            self.0.extend_from_slice(posted.leg.account_id.0.as_bytes());
            self.0.push(side_letter(posted)[0]);
            put_signed(&mut self.0, posted.leg.amount_minor);
            put_signed(&mut self.0, i128::from(posted.version));
            put_signed(&mut self.0, posted.balance.posted_minor);
            put_signed(&mut self.0, posted.balance.pending_minor);
        }
    }

    fn text(&mut self, text: &str) {
        put_unsigned(&mut self.0, text.len() as u128);
        self.0.extend_from_slice(text.as_bytes());
    }

    fn put_transaction_v1(&mut self, record: &TransactionRecord<'_>) {
        self.field(b"florin.transaction.v1");
        self.field(record.transaction_id.0.as_bytes());
        self.field(record.kind.as_str().as_bytes());
        self.field(record.asset.code().as_str().as_bytes());
        self.field(&[record.asset.exponent()]);
        self.field(record.actor_id.as_bytes());
        for text in [record.reason, record.idempotency_key] {
            self.0.push(u8::from(text.is_some()));
            if let Some(text) = text {
                self.field(text.as_bytes());
            }
        }
        self.field(&record.effective_at_us.to_be_bytes());
        self.field(&record.recorded_at_us.to_be_bytes());
        self.count(record.legs.len());
        for posted in record.legs {
            self.field(posted.leg.account_id.0.as_bytes());
            self.field(side_letter(posted));
            self.field(&posted.leg.amount_minor.to_be_bytes());
            self.field(&posted.version.to_be_bytes());
            self.field(&posted.balance.posted_minor.to_be_bytes());
            self.field(&posted.balance.pending_minor.to_be_bytes());
        }
    }

    fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.extend_from_slice(bytes);
    }

    fn count(&mut self, count: usize) {
        // No record comes near 2^32 bytes or legs; the length that is fed says so even there, by never wrapping.
        self.0.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_be_bytes());
    }
}

const fn side_letter(posted: &PostedLeg) -> &'static [u8; 1] {
    match posted.leg.side {
        Side::Debit => b"D",
        Side::Credit => b"C",
    }
}
