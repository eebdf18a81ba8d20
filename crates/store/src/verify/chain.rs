//! One writer's hash chain: it recomputes from genesis to head, and gives its postings in their order.

use std::collections::VecDeque;

use florin_ledger::{AccountMap, GENESIS_HASH, Hash, PostedLeg, merkle_root};

use super::{
    Check, Stop,
    sums::{Sums, signed},
};
use crate::{Row, StoredBatch, Tx};

/// A chain as far as it was read.
pub(super) struct Chain {
    writer: u16,
    head_number: i64,
    head_hash: Hash,
    /// The last batch that was recomputed, and its hash.
    number: i64,
    previous: Hash,
    is_at_head: bool,
    /// Postings that were read, and are not added to their accounts yet.
    waiting: VecDeque<PostedLeg>,
}

impl Chain {
    /// The chain that ends at this head: its writer, number and hash.
    pub(super) fn of(head: &Row) -> Result<Self, Stop> {
        let writer = u16::try_from(head.get_int(0)?)
            .map_err(|_| Stop::Divergence("the writer of a chain is out of range".to_owned()))?;
        Ok(Self {
            writer,
            head_number: head.get_int(1)?,
            head_hash: head.get_array(2)?,
            number: 0,
            previous: GENESIS_HASH,
            is_at_head: false,
            waiting: VecDeque::new(),
        })
    }

    /// Adds the postings whose turn it is in their accounts, up to one that has to wait. Whether there were any.
    pub(super) fn add_postings(&mut self, check: &mut Check<'_>) -> Result<bool, Stop> {
        let before = check.report.postings;
        while let Some(posted) = self.waiting.front() {
            let Some(sums) = check.sums.get_mut(&posted.leg.account_id) else { break };
            if !sums.add(posted).map_err(Stop::Divergence)? {
                break;
            }
            self.waiting.pop_front();
            check.report.postings += 1;
        }
        Ok(check.report.postings > before)
    }

    /// The posting that waits, if any.
    pub(super) fn first_waiting(&self) -> Option<&PostedLeg> {
        self.waiting.front()
    }

    /// Recomputes the next batches, unless a posting of those before still waits. Whether there was anything to do.
    pub(super) fn read_on(&mut self, tx: &mut dyn Tx, check: &mut Check<'_>) -> Result<bool, Stop> {
        if self.is_at_head || !self.waiting.is_empty() {
            return Ok(false);
        }
        if self.number < self.head_number {
            let sums = &check.sums;
            let batches = tx.list_batches(self.writer, self.number, &|id| sums.get(&id).map(|sums| sums.asset))?;
            if batches.is_empty() {
                let (writer, missing, head) = (self.writer, self.number + 1, self.head_number);
                diverge!("chain {writer}: batch {missing} is missing, the head is {head}");
            }
            for batch in batches {
                self.previous = self.header(&batch)?;
                self.number += 1;
                check.report.batches += 1;
                check.report.transactions += self.transactions(&batch, &check.sums)?;
                self.waiting.extend(batch.transactions.into_iter().flat_map(|transaction| transaction.legs));
            }
        }
        if self.number >= self.head_number {
            self.end()?;
        }
        Ok(true)
    }

    fn end(&mut self) -> Result<(), Stop> {
        self.is_at_head = true;
        let Self { writer, head_number, number, .. } = self;
        if number != head_number || self.previous != self.head_hash {
            diverge!("chain {writer}: the head says batch {head_number}, the chain ends at {number}, or hashes differ");
        }
        Ok(())
    }

    /// The hash of a batch that follows.
    fn header(&self, batch: &StoredBatch) -> Result<Hash, Stop> {
        let (header, number) = (&batch.header, self.number + 1);
        let place = format!("chain {}, batch {number}", header.writer);
        if header.number != number {
            diverge!("{place}: missing, {} follows", header.number);
        }
        if header.previous_hash != self.previous {
            diverge!("{place}: does not follow from the batch before it");
        }
        if header.transactions as usize != batch.transactions.len() {
            diverge!("{place}: holds {} transactions, {} are stored", header.transactions, batch.transactions.len());
        }
        let hash = header.hash();
        if hash != batch.hash {
            diverge!("{place}: its hash does not recompute");
        }
        let hashes: Vec<Hash> = batch.transactions.iter().map(|transaction| transaction.hash(header.form)).collect();
        if header.merkle_root != merkle_root(&hashes, header.form) {
            diverge!("{place}: its Merkle root does not recompute from the stored transactions");
        }
        Ok(hash)
    }

    /// Each transaction sums to zero, in the asset of its accounts; gives their number.
    fn transactions(&self, batch: &StoredBatch, sums: &AccountMap<Sums>) -> Result<u64, Stop> {
        for transaction in &batch.transactions {
            let place = || {
                format!("transaction {} (chain {}, batch {})", transaction.transaction_id.0, self.writer, self.number)
            };
            let mut sum = 0_i128;
            for posted in &transaction.legs {
                let Some(sums) = sums.get(&posted.leg.account_id) else {
                    diverge!("{}: account {} is missing", place(), posted.leg.account_id.0);
                };
                if sums.asset != transaction.asset {
                    diverge!("{}: account {} counts another asset", place(), posted.leg.account_id.0);
                }
                sum += signed(posted.leg.side, posted.leg.amount_minor);
            }
            if sum != 0 {
                diverge!("{}: its postings sum to {sum} minor units, not to zero", place());
            }
        }
        Ok(batch.transactions.len() as u64)
    }
}
