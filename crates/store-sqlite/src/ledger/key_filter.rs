//! Which idempotency keys may be in their table. Nearly every key that comes is new: a filter in memory says so without
//! a look into a table that is soon larger than any cache.
//!
//! A filter has no false negatives (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970), and
//! keys are never deleted. What is in the table when the process starts is read behind its back; until that is done,
//! every key is looked up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use fastbloom::BloomFilter;
use florin_store::StoreError;
use rusqlite::{Connection, params};
use tracing::warn;

use super::KeyDigest;
use crate::{connection::Db, error::store_error};

pub(crate) const SELECT_DIGESTS: &str = "SELECT digest FROM applied_keys WHERE digest > ?1 ORDER BY digest LIMIT ?2";

/// Keys of the first filter; each further one takes twice as many.
const FIRST_ROOM: usize = 1 << 18;
/// Ten bits a key: one key in a hundred is looked up in vain.
const BITS_A_KEY: usize = 10;
/// Read at once, on one snapshot: no checkpoint waits long.
const KEYS_AT_ONCE: i64 = 50_000;

/// Keys of the table, and some that are not in it.
#[derive(Debug, Default)]
pub(crate) struct KeyFilter {
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    filter: BloomFilter,
    room: usize,
}

impl KeyFilter {
    pub(crate) fn insert(&mut self, digest: &KeyDigest) {
        if self.layers.last().is_none_or(|layer| layer.room == 0) {
            let room = FIRST_ROOM << self.layers.len().min(20);
            let filter = BloomFilter::with_num_bits(room * BITS_A_KEY).seed(&0).expected_items(room);
            self.layers.push(Layer { filter, room });
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.filter.insert_hash(hash_of(digest));
            layer.room -= 1;
        }
    }

    fn contains(&self, digest: &KeyDigest) -> bool {
        let hash = hash_of(digest);
        self.layers.iter().rev().any(|layer| layer.filter.contains_hash(hash))
    }
}

/// A digest is as good as any hash.
fn hash_of(digest: &KeyDigest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// What the writer knows of the keys in the table.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    /// Those written since the start.
    written: KeyFilter,
    /// Those that were there before; none until they have been read.
    found: Option<KeyFilter>,
    coming: Option<Receiver<KeyFilter>>,
}

impl KnownKeys {
    /// A key is about to be written into the table.
    pub(crate) fn insert(&mut self, digest: &KeyDigest) {
        self.written.insert(digest);
    }

    /// Whether the table has to be asked.
    pub(crate) fn may_be_in_table(&mut self, digest: &KeyDigest) -> bool {
        if self.found.is_none() {
            self.found = self.coming.as_ref().and_then(|coming| coming.try_recv().ok());
        }
        self.found.as_ref().is_none_or(|found| found.contains(digest)) || self.written.contains(digest)
    }

    /// Reads a small table at once. Where it is a large one, [`KeyReader`] shall send what is in it.
    pub(crate) fn start(&mut self, connection: &Connection) -> Result<Option<Sender<KeyFilter>>, StoreError> {
        let mut found = KeyFilter::default();
        if read_after(connection, None, &mut found)?.is_none() {
            self.found = Some(found);
            return Ok(None);
        }
        let (sender, receiver) = channel();
        self.coming = Some(receiver);
        Ok(Some(sender))
    }
}

/// Reads what comes after a key; the last one read, unless there is nothing more.
fn read_after(
    connection: &Connection,
    after: Option<KeyDigest>,
    into: &mut KeyFilter,
) -> Result<Option<KeyDigest>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_DIGESTS).map_err(store_error)?;
    let after: &[u8] = after.as_ref().map_or(&[], |digest| digest);
    let mut rows = select.query(params![after, KEYS_AT_ONCE]).map_err(store_error)?;
    let (mut last, mut count) = (None, 0);
    while let Some(row) = rows.next().map_err(store_error)? {
        let digest: KeyDigest = row.get(0).map_err(store_error)?;
        into.insert(&digest);
        last = Some(digest);
        count += 1;
    }
    Ok(last.filter(|_| count == KEYS_AT_ONCE))
}

/// The thread that reads a large table; stops when dropped.
#[derive(Debug)]
pub(crate) struct KeyReader {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl KeyReader {
    pub(crate) fn start(own: Db, sender: Sender<KeyFilter>) -> Result<Self, StoreError> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("florin-keys".to_owned())
            .spawn(move || match read_all(&own.connection, &stopped) {
                // Nobody waits for it any more when the engine is gone.
                Ok(found) => drop(found.map(|found| sender.send(found))),
                Err(error) => warn!(%error, "idempotency keys could not be read ahead: each is looked up"),
            })
            .map_err(|error| StoreError::Unavailable(format!("no thread for idempotency keys: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Until all is read.
    #[cfg(test)]
    pub(crate) fn wait(mut self) {
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for KeyReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            warn!("the thread for idempotency keys had panicked");
        }
    }
}

/// None when it was stopped.
fn read_all(connection: &Connection, stop: &AtomicBool) -> Result<Option<KeyFilter>, StoreError> {
    let mut found = KeyFilter::default();
    let mut after = None;
    while !stop.load(Ordering::Relaxed) {
        after = read_after(connection, after, &mut found)?;
        if after.is_none() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn digest(number: i64) -> KeyDigest {
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(number.to_le_bytes())[..16]);
        digest
    }

    fn table_of(keys: i64) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE applied_keys (digest BLOB NOT NULL PRIMARY KEY) WITHOUT ROWID").unwrap();
        connection.execute_batch("BEGIN").unwrap();
        for number in 0..keys {
            let mut insert = connection.prepare_cached("INSERT INTO applied_keys VALUES (?1)").unwrap();
            insert.execute([digest(number)]).unwrap();
        }
        connection.execute_batch("COMMIT").unwrap();
        connection
    }

    #[test]
    fn no_key_is_missed_and_few_are_looked_up_in_vain() {
        let mut filter = KeyFilter::default();
        let keys = i64::try_from(FIRST_ROOM).unwrap() * 3 + 1;
        (0..keys).for_each(|number| filter.insert(&digest(number)));
        assert_eq!(filter.layers.len(), 3);
        assert!((0..keys).all(|number| filter.contains(&digest(number))));
        let in_vain = (keys..keys + 10_000).filter(|number| filter.contains(&digest(*number))).count();
        assert!(in_vain < 500, "{in_vain} of 10 000");
    }

    #[test]
    fn a_small_table_is_known_at_once() {
        let mut known = KnownKeys::default();
        assert!(known.may_be_in_table(&digest(-1)), "nothing is known");
        assert!(known.start(&table_of(100)).unwrap().is_none());
        assert!((0..100).all(|number| known.may_be_in_table(&digest(number))));
        assert!((100..200).any(|number| !known.may_be_in_table(&digest(number))));
        known.insert(&digest(200));
        assert!(known.may_be_in_table(&digest(200)));
    }

    #[test]
    fn in_a_large_table_every_key_is_looked_up_until_all_are_known() {
        let keys = KEYS_AT_ONCE * 2 + 10;
        let (mut known, connection) = (KnownKeys::default(), table_of(keys));
        let sender = known.start(&connection).unwrap().unwrap();
        known.insert(&digest(keys));
        assert!((keys..keys + 100).all(|number| known.may_be_in_table(&digest(number))));
        sender.send(read_all(&connection, &AtomicBool::new(false)).unwrap().unwrap()).unwrap();
        assert!((0..=keys).all(|number| known.may_be_in_table(&digest(number))));
        assert!((keys + 1..keys + 100).any(|number| !known.may_be_in_table(&digest(number))));
    }

    #[test]
    fn reading_ends_when_it_is_stopped() {
        assert!(read_all(&table_of(1), &AtomicBool::new(true)).unwrap().is_none());
    }
}
