//! Which idempotency keys may have an answer. Nearly every key that comes is new: a filter in memory says so without a
//! look into the index of applied keys or the table of other answers, which are soon larger than any cache.
//!
//! A filter has no false negatives (Bloom, "Space/time trade-offs in hash coding with allowable errors", 1970), and
//! keys are never deleted. What is there when the process starts is read behind its back; until that is done, every
//! key is looked up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread::{self, JoinHandle},
};

use fastbloom::BloomFilter;
use florin_ledger::key_digest;
use florin_store::StoreError;
use rusqlite::{Connection, params};
use tracing::warn;

use super::key_run::{entries_in, name_of};
use crate::{connection::Db, error::store_error};

/// In the order in which keys move on: what is merged away before it is read comes again behind what is read then.
pub(crate) const SELECT_ALL_BLOCKS: [&str; 2] = [
    "SELECT id, entries FROM key_blocks WHERE id > ?1 ORDER BY id LIMIT ?2",
    "SELECT id, entries FROM merged_key_blocks WHERE id > ?1 ORDER BY id LIMIT ?2",
];

pub(crate) const SELECT_ANSWERED_KEYS: &str = "SELECT bucket, scope, key FROM idempotency_keys \
    WHERE (bucket, scope, key) > (?1, ?2, ?3) ORDER BY bucket, scope, key LIMIT ?4";

/// Keys of the first filter; each further one takes twice as many.
const FIRST_ROOM: usize = 1 << 18;
/// Sixteen bits a key: few keys in a thousand are looked up in vain.
const BITS_A_KEY: usize = 16;
/// Read at once, on one snapshot: no checkpoint waits long.
const BLOCKS_AT_ONCE: i64 = 250;
const ANSWERS_AT_ONCE: i64 = 20_000;

/// Names of keys that have an answer, and some that have not.
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
    pub(crate) fn insert(&mut self, name: u64) {
        if self.layers.last().is_none_or(|layer| layer.room == 0) {
            let room = FIRST_ROOM << self.layers.len().min(20);
            let filter = BloomFilter::with_num_bits(room * BITS_A_KEY).seed(&0).expected_items(room);
            self.layers.push(Layer { filter, room });
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.filter.insert_hash(name);
            layer.room -= 1;
        }
    }

    fn contains(&self, name: u64) -> bool {
        // A name is a piece of a digest, which is as good as any hash.
        self.layers.iter().rev().any(|layer| layer.filter.contains_hash(name))
    }
}

/// What the writer knows of the keys that have an answer.
#[derive(Debug, Default)]
pub(crate) struct KnownKeys {
    /// Those written since the start.
    written: KeyFilter,
    /// Those that were there before; none until they have been read.
    found: Option<KeyFilter>,
    coming: Option<Receiver<KeyFilter>>,
}

impl KnownKeys {
    /// An answer to a key of this name is about to be written.
    pub(crate) fn insert(&mut self, name: u64) {
        self.written.insert(name);
    }

    /// Whether a key of this name has to be looked up.
    pub(crate) fn may_have_answer(&mut self, name: u64) -> bool {
        if self.found.is_none() {
            self.found = self.coming.as_ref().and_then(|coming| coming.try_recv().ok());
        }
        self.found.as_ref().is_none_or(|found| found.contains(name)) || self.written.contains(name)
    }

    /// Reads what is there if it is little. If it is much, [`KeyReader`] shall send it.
    pub(crate) fn start(&mut self, connection: &Connection) -> Result<Option<Sender<KeyFilter>>, StoreError> {
        let (mut found, mut at) = (KeyFilter::default(), Some(Position::default()));
        // One step for each table.
        for _ in 0..=SELECT_ALL_BLOCKS.len() {
            at = at.map_or(Ok(None), |at| read_on(connection, at, &mut found))?;
        }
        if at.is_none() {
            self.found = Some(found);
            return Ok(None);
        }
        let (sender, receiver) = channel();
        self.coming = Some(receiver);
        Ok(Some(sender))
    }
}

/// What was read last.
#[derive(Debug)]
enum Position {
    /// A block of a table of [`SELECT_ALL_BLOCKS`].
    Block(usize, i64),
    /// A key: bucket, scope and text.
    Answer(i64, Vec<u8>, String),
}

impl Default for Position {
    fn default() -> Self {
        Self::Block(0, 0)
    }
}

/// Reads what comes next; how far that is, unless it was all.
fn read_on(connection: &Connection, at: Position, into: &mut KeyFilter) -> Result<Option<Position>, StoreError> {
    let insert = |name| into.insert(name);
    match at {
        Position::Block(table, after) => read_blocks(connection, (table, after), insert).map(Some),
        Position::Answer(..) => read_answers(connection, at, insert),
    }
}

fn read_blocks(
    connection: &Connection,
    (table, mut after): (usize, i64),
    mut insert: impl FnMut(u64),
) -> Result<Position, StoreError> {
    let mut select = connection.prepare_cached(SELECT_ALL_BLOCKS[table]).map_err(store_error)?;
    let mut rows = select.query(params![after, BLOCKS_AT_ONCE]).map_err(store_error)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(store_error)? {
        after = row.get(0).map_err(store_error)?;
        let bytes = row.get_ref(1).map_err(store_error)?.as_blob().unwrap_or_default();
        let damaged = || StoreError::Inconsistent(format!("block {after} of idempotency keys cannot be read"));
        entries_in(bytes).ok_or_else(damaged)?.for_each(|(name, _)| insert(name));
        count += 1;
    }
    Ok(match table + 1 {
        _ if count == BLOCKS_AT_ONCE => Position::Block(table, after),
        next if next < SELECT_ALL_BLOCKS.len() => Position::Block(next, 0),
        _ => Position::Answer(-1, Vec::new(), String::new()),
    })
}

fn read_answers(
    connection: &Connection,
    mut at: Position,
    mut insert: impl FnMut(u64),
) -> Result<Option<Position>, StoreError> {
    let Position::Answer(bucket, scope, key) = &at else { return Ok(None) };
    let mut select = connection.prepare_cached(SELECT_ANSWERED_KEYS).map_err(store_error)?;
    let mut rows = select.query(params![bucket, scope, key, ANSWERS_AT_ONCE]).map_err(store_error)?;
    let mut count = 0;
    while let Some(row) = rows.next().map_err(store_error)? {
        let (scope, key) =
            (row.get::<_, Vec<u8>>(1).map_err(store_error)?, row.get::<_, String>(2).map_err(store_error)?);
        insert(name_of(&key_digest(&scope, &key)));
        at = Position::Answer(row.get(0).map_err(store_error)?, scope, key);
        count += 1;
    }
    Ok(Some(at).filter(|_| count == ANSWERS_AT_ONCE))
}

/// The thread that reads much; stops when dropped.
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
    let (mut found, mut at) = (KeyFilter::default(), Some(Position::default()));
    while let Some(position) = at {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        at = read_on(connection, position, &mut found)?;
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use florin_store::migrations::MIGRATIONS;

    use super::*;
    use crate::ledger::key_index::{
        KeyIndex,
        tests::{add_run, database, digest},
    };

    fn name(number: i64) -> u64 {
        name_of(&digest(number))
    }

    fn index_of(keys: i64) -> Connection {
        let connection = database(MIGRATIONS.len());
        let mut runs = KeyIndex::load(&connection).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        add_run(&connection, &mut runs, 0..keys / 2);
        add_run(&connection, &mut runs, keys / 2..keys);
        connection.execute_batch("COMMIT").unwrap();
        connection
    }

    #[test]
    fn no_key_is_missed_and_few_are_looked_up_in_vain() {
        let mut filter = KeyFilter::default();
        let keys = i64::try_from(FIRST_ROOM).unwrap() * 3 + 1;
        (0..keys).for_each(|number| filter.insert(name(number)));
        assert_eq!(filter.layers.len(), 3);
        assert!((0..keys).all(|number| filter.contains(name(number))));
        let in_vain = (keys..keys + 10_000).filter(|number| filter.contains(name(*number))).count();
        assert!(in_vain < 50, "{in_vain} of 10 000");
    }

    #[test]
    fn other_answers_are_known_too() {
        let connection = index_of(10);
        let insert = |number: i64| {
            let row = params![number % 3, [7_u8; 16], format!("rent-{number}")];
            let text = "INSERT INTO idempotency_keys VALUES (?1, ?2, ?3, x'', '', 0)";
            connection.execute(text, row).unwrap();
        };
        connection.execute_batch("BEGIN").unwrap();
        let answers = ANSWERS_AT_ONCE + 1;
        (0..answers).for_each(insert);
        let found = read_all(&connection, &AtomicBool::new(false)).unwrap().unwrap();
        let is_found = |number| found.contains(name_of(&key_digest(&[7; 16], &format!("rent-{number}"))));
        assert!((0..answers).all(is_found));
        assert!((answers..answers + 10).any(|number| !is_found(number)));
        assert!((0..10).all(|number| found.contains(name(number))));
    }

    #[test]
    fn a_small_index_is_known_at_once() {
        let mut known = KnownKeys::default();
        assert!(known.may_have_answer(name(-1)), "nothing is known");
        assert!(known.start(&index_of(100)).unwrap().is_none());
        assert!((0..100).all(|number| known.may_have_answer(name(number))));
        assert!((100..200).any(|number| !known.may_have_answer(name(number))));
        known.insert(name(200));
        assert!(known.may_have_answer(name(200)));
    }

    #[test]
    fn in_a_large_index_every_key_is_looked_up_until_all_are_known() {
        let keys = BLOCKS_AT_ONCE * 200 * 2 + 10;
        let (mut known, connection) = (KnownKeys::default(), index_of(keys));
        let sender = known.start(&connection).unwrap().unwrap();
        known.insert(name(keys));
        assert!((keys..keys + 100).all(|number| known.may_have_answer(name(number))));
        sender.send(read_all(&connection, &AtomicBool::new(false)).unwrap().unwrap()).unwrap();
        assert!((0..=keys).all(|number| known.may_have_answer(name(number))));
        assert!((keys + 1..keys + 100).any(|number| !known.may_have_answer(name(number))));
    }

    #[test]
    fn keys_that_are_merged_while_they_are_read_are_not_missed() {
        let connection = database(MIGRATIONS.len());
        let mut runs = KeyIndex::load(&connection).unwrap();
        let a_run = BLOCKS_AT_ONCE * 200;
        (0..8).for_each(|run| add_run(&connection, &mut runs, run * a_run..(run + 1) * a_run));
        let mut found = KeyFilter::default();
        let mut at = read_on(&connection, Position::default(), &mut found).unwrap();
        let blocks =
            || connection.query_row("SELECT count(*) FROM key_blocks", [], |row| row.get::<_, i64>(0)).unwrap();
        while blocks() > 0 {
            runs.maintain(&connection, 1_000).unwrap();
            runs.committed();
        }
        while let Some(position) = at {
            at = read_on(&connection, position, &mut found).unwrap();
        }
        assert!((0..8 * a_run).all(|number| found.contains(name(number))));
    }

    #[test]
    fn reading_ends_when_it_is_stopped() {
        assert!(read_all(&index_of(2), &AtomicBool::new(true)).unwrap().is_none());
    }
}
