//! What a batch has loaded and changed, before its commit.

use florin_ledger::{AccountId, AccountMap, HashForm, KeyDigest, Outcome};
use florin_store::{BatchRows, ChainHead, StoreError};

use super::{
    KeyMap, KeySet,
    history::MARK_EVERY,
    journal::{BatchRow, JournalRows, Mark},
    memory::{Held, WriteId},
    record::{BodyWriter, Place},
};

/// It counts from the commit on: for a batch that is decided behind it, before that.
#[derive(Debug, Default, Clone)]
pub(crate) struct Staged {
    pub(crate) accounts: AccountMap<Held>,
    pub(crate) changed: Vec<AccountId>,
    /// Keys of what was applied.
    pub(crate) keys: KeyMap<Place>,
    /// Keys of what was refused, and of whole requests.
    pub(crate) other_keys: KeySet,
    pub(crate) head: Option<(u16, ChainHead)>,
    pub(crate) last_sequence: Option<i64>,
    pub(crate) operations: usize,
    /// Its name, if it was decided before its transaction began.
    pub(crate) write: Option<WriteId>,
}

impl Staged {
    pub(crate) fn changes_something(&self) -> bool {
        self.last_sequence.is_some() || !self.other_keys.is_empty()
    }

    /// Whether it has an answer to this key.
    pub(crate) fn answers(&self, digest: &KeyDigest) -> bool {
        self.keys.contains_key(digest) || self.other_keys.contains(digest)
    }

    /// Takes in what a batch came to; gives its rows. `last_place` is where the last posting stands of an account that
    /// the batch was decided on and that is not staged.
    ///
    /// # Errors
    /// [`StoreError::Internal`] for an account that was neither read nor opened: its history would be cut off.
    pub(crate) fn take_in(
        &mut self,
        last_place: impl Fn(AccountId) -> Option<Place>,
        sequence: i64,
        rows: &BatchRows<'_>,
    ) -> Result<JournalRows, StoreError> {
        let is_refused = |(_, outcome): &&(_, &Outcome)| matches!(outcome, Outcome::Rejected(_));
        let refused =
            rows.answered.iter().filter(is_refused).map(|(key, outcome)| ((*key).clone(), (*outcome).clone()));
        let refused: Vec<_> = refused.collect();
        self.other_keys.extend(refused.iter().map(|(key, _)| key.digest()));
        let batch = match rows.header {
            Some(header) => {
                self.take_in_accounts(last_place, rows)?;
                let (body, marks) = self.write_body(sequence, header.form, rows)?;
                let opened = rows.opened.iter().filter_map(|account| self.accounts.get(&account.id).cloned()).collect();
                self.changed.extend(rows.changed.iter().map(|account| account.id));
                self.operations += rows.applied.len();
                let head =
                    ChainHead { number: header.number, hash: header.hash(), recorded_at_us: header.recorded_at_us };
                self.head = Some((header.writer, head));
                self.last_sequence = Some(sequence);
                Some(BatchRow { sequence, header: *header, hash: head.hash, body, marks, opened })
            }
            None => None,
        };
        Ok(JournalRows { refused, batch, recorded_at_us: rows.recorded_at_us })
    }

    /// Accounts as they are after the batch, each with the place of its last posting before it.
    fn take_in_accounts(
        &mut self,
        last_place: impl Fn(AccountId) -> Option<Place>,
        rows: &BatchRows<'_>,
    ) -> Result<(), StoreError> {
        let staged = &mut self.accounts;
        staged.reserve(rows.changed.len());
        for &account in &rows.changed {
            let id = account.id;
            let earlier = staged.get(&id).map(|held| held.place).or_else(|| last_place(id));
            let is_opened = || rows.opened.iter().any(|opened| opened.id == id);
            let place = match earlier {
                Some(place) => place,
                None if is_opened() => Place::default(),
                None => return Err(StoreError::Internal(format!("account {} was changed but not read", id.0))),
            };
            staged.insert(id, Held { account: account.clone(), place });
        }
        Ok(())
    }

    /// The batch's body; places, keys and marks on the way.
    fn write_body(
        &mut self,
        sequence: i64,
        form: HashForm,
        rows: &BatchRows<'_>,
    ) -> Result<(Vec<u8>, Vec<Mark>), StoreError> {
        let (mut body, mut marks) = (BodyWriter::new(form, rows.recorded_at_us, rows.applied.len()), Vec::new());
        for (command, applied) in &rows.applied {
            let place = Place::new(sequence, body.offset())
                .ok_or_else(|| StoreError::Internal("a batch is larger than 64 MiB".to_owned()))?;
            let accounts = &mut self.accounts;
            body.push(command, &applied.legs, |posted| {
                let held = accounts.get_mut(&posted.leg.account_id);
                held.map_or(Place::default(), |held| std::mem::replace(&mut held.place, place))
            });
            let marked = applied.legs.iter().filter(|posted| posted.version % MARK_EVERY == 0);
            marks.extend(marked.map(|posted| Mark {
                account_id: posted.leg.account_id,
                version: posted.version,
                place,
            }));
            if let Some(key) = &command.idempotency {
                self.keys.insert(key.digest(), place);
            }
        }
        Ok((body.finish(), marks))
    }
}
