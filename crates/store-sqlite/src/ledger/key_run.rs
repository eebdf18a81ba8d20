//! A sorted run of idempotency keys: written once from its beginning to its end, in blocks of a page.
//!
//! Names of keys are as good as random, so each block takes an equal share of all names: where a key has to be needs no
//! search. Who searches for keys whose names fall into one block makes that block longer than a page, and what is
//! looked up there slower; nothing else. The form of a block is described where its table is created.

use florin_ledger::KeyDigest;
use florin_store::StoreError;
use rusqlite::{Connection, params};

use super::record::Place;
use crate::error::store_error;

/// Keys that a block has on average: nearly never more than fit into a page of 4 KiB.
pub(crate) const KEYS_A_BLOCK: usize = 200;
const KEY_BYTES: usize = 16;

/// By [`Run::table`].
pub(crate) const INSERT_BLOCK: [&str; 2] = [
    "INSERT INTO key_blocks (id, entries) VALUES (?1, ?2)",
    "INSERT INTO merged_key_blocks (id, entries) VALUES (?1, ?2)",
];
pub(crate) const SELECT_BLOCKS: [&str; 2] = [
    "SELECT entries FROM key_blocks WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
    "SELECT entries FROM merged_key_blocks WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
];
pub(crate) const DELETE_BLOCKS: [&str; 2] =
    ["DELETE FROM key_blocks WHERE id BETWEEN ?1 AND ?2", "DELETE FROM merged_key_blocks WHERE id BETWEEN ?1 AND ?2"];
pub(crate) const INSERT_RUN: &str =
    "INSERT INTO key_runs (number, level, state, keys, blocks) VALUES (?1, ?2, 0, ?3, ?4)";
pub(crate) const UPDATE_RUN_STATE: &str = "UPDATE key_runs SET state = ?2 WHERE number = ?1";
pub(crate) const DELETE_RUN: &str = "DELETE FROM key_runs WHERE number = ?1";
pub(crate) const SELECT_RUNS: &str = "SELECT number, level, state, keys, blocks FROM key_runs ORDER BY number";

pub(crate) const IN_USE: i64 = 1;
pub(crate) const DELETED: i64 = 2;

/// The eight bytes of a digest by which a key is found.
pub(crate) fn name_of(digest: &KeyDigest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *digest;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// A key's name and the place of its transaction.
pub(crate) type Entry = (u64, Place);

/// Keys in order, in blocks that each take an equal share of all names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) number: i64,
    pub(crate) level: i64,
    pub(crate) keys: i64,
    pub(crate) blocks: i64,
}

impl Run {
    pub(crate) fn of(number: i64, level: i64, keys: usize) -> Self {
        let blocks = i64::try_from(keys.div_ceil(KEYS_A_BLOCK)).unwrap_or(i64::MAX).clamp(1, u32::MAX.into());
        Self { number, level, keys: i64::try_from(keys).unwrap_or(i64::MAX), blocks }
    }

    /// Generations and merged runs grow at the same time, each at the end of a table of its own.
    fn table(&self) -> usize {
        usize::from(self.level > 0)
    }

    fn id_of(&self, block: i64) -> i64 {
        self.number << 32 | block
    }

    /// Where a key of this name has to be.
    pub(crate) fn block_of(&self, name: u64) -> i64 {
        let block = (u128::from(name) * u128::from(self.blocks.unsigned_abs())) >> 64;
        i64::try_from(block).unwrap_or(i64::MAX)
    }

    /// The smallest name in this block; past every name after the last one.
    pub(crate) fn first_name(&self, block: i64) -> u128 {
        (u128::from(block.unsigned_abs()) << 64).div_ceil(self.blocks.unsigned_abs().into())
    }

    pub(crate) fn begin(&self, connection: &Connection) -> Result<(), StoreError> {
        let mut insert = connection.prepare_cached(INSERT_RUN).map_err(store_error)?;
        insert.execute(params![self.number, self.level, self.keys, self.blocks]).map_err(store_error)?;
        Ok(())
    }

    /// Writes the blocks that `count` of the keys that are left belong to; how many keys that were. They are in order.
    pub(crate) fn write_some(
        &self,
        connection: &Connection,
        left: &[Entry],
        count: usize,
    ) -> Result<usize, StoreError> {
        let Some((last, _)) = left.get(count.min(left.len()).saturating_sub(1)) else { return Ok(0) };
        let block = self.block_of(*last);
        let end = left.partition_point(|(name, _)| self.block_of(*name) <= block);
        self.write(connection, &left[..end])?;
        Ok(end)
    }

    /// Writes the blocks of these keys, which must be whole.
    pub(crate) fn write(&self, connection: &Connection, mut entries: &[Entry]) -> Result<(), StoreError> {
        let mut insert = connection.prepare_cached(INSERT_BLOCK[self.table()]).map_err(store_error)?;
        let mut bytes = Vec::with_capacity(KEYS_A_BLOCK * KEY_BYTES * 5 / 4);
        while let Some((name, _)) = entries.first() {
            let block = self.block_of(*name);
            let end = entries.partition_point(|(name, _)| self.block_of(*name) == block);
            bytes.clear();
            for (name, place) in &entries[..end] {
                bytes.extend_from_slice(&name.to_be_bytes());
                bytes.extend_from_slice(&place.0.to_be_bytes());
            }
            insert.execute(params![self.id_of(block), bytes]).map_err(store_error)?;
            entries = &entries[end..];
        }
        Ok(())
    }

    pub(crate) fn set_state(&self, connection: &Connection, state: i64) -> Result<(), StoreError> {
        let mut update = connection.prepare_cached(UPDATE_RUN_STATE).map_err(store_error)?;
        update.execute(params![self.number, state]).map_err(store_error)?;
        Ok(())
    }

    /// Gives what these blocks hold.
    pub(crate) fn read(
        &self,
        connection: &Connection,
        (first, last): (i64, i64),
        mut give: impl FnMut(Entry),
    ) -> Result<(), StoreError> {
        let mut select = connection.prepare_cached(SELECT_BLOCKS[self.table()]).map_err(store_error)?;
        let mut rows = select.query(params![self.id_of(first), self.id_of(last)]).map_err(store_error)?;
        while let Some(row) = rows.next().map_err(store_error)? {
            let bytes = row.get_ref(0).map_err(store_error)?;
            let bytes = bytes.as_blob().map_err(|_| self.damaged())?;
            entries_in(bytes).ok_or_else(|| self.damaged())?.for_each(&mut give);
        }
        Ok(())
    }

    pub(crate) fn delete_blocks(&self, connection: &Connection, (first, last): (i64, i64)) -> Result<(), StoreError> {
        let mut delete = connection.prepare_cached(DELETE_BLOCKS[self.table()]).map_err(store_error)?;
        delete.execute(params![self.id_of(first), self.id_of(last.min(self.blocks - 1))]).map_err(store_error)?;
        Ok(())
    }

    /// When its blocks are deleted.
    pub(crate) fn delete(&self, connection: &Connection) -> Result<(), StoreError> {
        let mut delete = connection.prepare_cached(DELETE_RUN).map_err(store_error)?;
        delete.execute(params![self.number]).map_err(store_error)?;
        Ok(())
    }

    pub(crate) fn damaged(&self) -> StoreError {
        StoreError::Inconsistent(format!("run {} of idempotency keys cannot be read", self.number))
    }

    pub(crate) fn find(&self, connection: &Connection, name: u64) -> Result<Vec<Place>, StoreError> {
        let (block, mut places) = (self.block_of(name), Vec::new());
        self.read(connection, (block, block), |(found, place)| places.extend((found == name).then_some(place)))?;
        Ok(places)
    }
}

/// What a block holds; none when it is damaged.
pub(crate) fn entries_in(bytes: &[u8]) -> Option<impl Iterator<Item = Entry> + '_> {
    let (entries, []) = bytes.as_chunks::<KEY_BYTES>() else { return None };
    Some(entries.iter().map(|entry| {
        let (mut name, mut place) = ([0; 8], [0; 8]);
        name.copy_from_slice(&entry[..8]);
        place.copy_from_slice(&entry[8..]);
        (u64::from_be_bytes(name), Place(i64::from_be_bytes(place)))
    }))
}

/// With their states, the oldest first.
pub(crate) fn all_runs(connection: &Connection) -> Result<Vec<(Run, i64)>, StoreError> {
    let mut select = connection.prepare_cached(SELECT_RUNS).map_err(store_error)?;
    let runs = select.query_map([], |row| {
        let run = Run { number: row.get(0)?, level: row.get(1)?, keys: row.get(3)?, blocks: row.get(4)? };
        Ok((run, row.get(2)?))
    });
    runs.map_err(store_error)?.collect::<Result<_, _>>().map_err(store_error)
}
