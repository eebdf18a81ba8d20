//! The index of applied idempotency keys: sorted runs that are written once, block after block, and merged.
//!
//! Keys are as good as random. A row for each at its place in a tree costs a page of 4 KiB twice (log and file) as soon
//! as the tree is larger than what a generation touches. Here a generation's keys are one run, and eight runs of a
//! level become one run of the next (O'Neil et al., "The Log-Structured Merge-Tree", 1996): a key is written once a
//! level, in blocks of a page. Both happen in the transactions of the batches, a little with each, so a run counts from
//! the commit that finishes it; what a crash leaves unfinished is deleted.

use florin_store::StoreError;
use rusqlite::Connection;

use super::{
    key_run::{DELETED, Entry, IN_USE, KEYS_A_BLOCK, Run, all_runs},
    record::Place,
};

/// Runs of one level that become one of the next.
const FAN_IN: usize = 8;
/// Blocks merged at once: as many keys as one block of each input has.
const BLOCKS_AT_ONCE: i64 = 8;
/// Keys merged with each operation. Each is merged once a level, so this is ahead of any number of levels.
const MERGED_WITH_AN_OPERATION: usize = 16;
/// Keys merged with each commit beside that.
const MERGED_WITH_A_COMMIT: usize = 64;
/// Blocks deleted with each commit.
const DELETED_WITH_A_COMMIT: i64 = 64;

/// The runs, as the last commit left them and as the open transaction has them.
#[derive(Debug, Default)]
pub(crate) struct KeyIndex {
    committed: State,
    staged: Option<State>,
    /// Keys that may be merged before it is the next batch's turn.
    credit: usize,
}

#[derive(Debug, Default, Clone)]
struct State {
    /// In use, the newest last.
    runs: Vec<Run>,
    /// What is being merged.
    merge: Option<Merge>,
    /// To be deleted, and the first block that is still there.
    dropped: Vec<(Run, i64)>,
    last_number: i64,
}

#[derive(Debug, Clone)]
struct Merge {
    inputs: Vec<Run>,
    output: Run,
    /// Of the output.
    next_block: i64,
}

impl KeyIndex {
    /// Those of the database. What is not finished never will be.
    pub(crate) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let mut committed = State::default();
        for (run, state) in all_runs(connection)? {
            committed.last_number = run.number;
            if state == IN_USE { committed.runs.push(run) } else { committed.dropped.push((run, 0)) }
        }
        committed.plan();
        Ok(Self { committed, ..Self::default() })
    }

    /// What `look` finds at the first place that a key of this name leads to where it finds something.
    pub(crate) fn find<T>(
        &self,
        connection: &Connection,
        name: u64,
        look: impl FnMut(Place) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        find_in(connection, &self.staged.as_ref().unwrap_or(&self.committed).runs, name, look)
    }

    /// Begins the run of a generation.
    pub(crate) fn begin(&mut self, connection: &Connection, keys: usize) -> Result<Run, StoreError> {
        let state = self.stage();
        state.last_number += 1;
        let run = Run::of(state.last_number, 0, keys);
        run.begin(connection)?;
        Ok(run)
    }

    /// The run of a generation has all its blocks.
    pub(crate) fn finish(&mut self, connection: &Connection, run: Run) -> Result<(), StoreError> {
        run.set_state(connection, IN_USE)?;
        let state = self.stage();
        state.runs.push(run);
        state.plan();
        Ok(())
    }

    /// Merges and deletes a little, in the open transaction of a batch of `operations`.
    pub(crate) fn maintain(&mut self, connection: &Connection, operations: usize) -> Result<(), StoreError> {
        if !self.staged.as_ref().unwrap_or(&self.committed).has_work() {
            self.credit = 0;
            return Ok(());
        }
        self.credit += operations * MERGED_WITH_AN_OPERATION + MERGED_WITH_A_COMMIT;
        let mut credit = self.credit;
        let state = self.stage();
        state.delete(connection)?;
        let at_once = KEYS_A_BLOCK * usize::try_from(BLOCKS_AT_ONCE).unwrap_or_default();
        while credit >= at_once && state.merge(connection)? {
            credit -= at_once;
        }
        self.credit = credit.min(at_once);
        Ok(())
    }

    /// The commit is done.
    pub(crate) fn committed(&mut self) {
        if let Some(staged) = self.staged.take() {
            self.committed = staged;
        }
    }

    /// The transaction was rolled back.
    pub(crate) fn rolled_back(&mut self) {
        self.staged = None;
    }

    fn stage(&mut self) -> &mut State {
        self.staged.get_or_insert_with(|| self.committed.clone())
    }
}

impl State {
    fn has_work(&self) -> bool {
        !self.dropped.is_empty() || self.merge.is_some()
    }

    /// The oldest runs of the lowest level that has enough of them.
    fn mergeable(&self) -> Option<Vec<Run>> {
        let mut levels: Vec<i64> = self.runs.iter().map(|run| run.level).collect();
        levels.sort_unstable();
        levels.dedup();
        let of_level = |level| self.runs.iter().filter(move |run| run.level == level).copied();
        levels
            .into_iter()
            .find(|level| of_level(*level).count() >= FAN_IN)
            .map(|level| of_level(level).take(FAN_IN).collect())
    }

    /// Decides what to merge next; to be asked whenever a run has come into use.
    fn plan(&mut self) {
        if self.merge.is_some() {
            return;
        }
        let Some(inputs) = self.mergeable() else { return };
        let keys = inputs.iter().map(|run| usize::try_from(run.keys).unwrap_or_default()).sum();
        let level = inputs.first().map_or(0, |run| run.level) + 1;
        self.last_number += 1;
        self.merge = Some(Merge { inputs, output: Run::of(self.last_number, level, keys), next_block: 0 });
    }

    /// Merges the next blocks. False when there is nothing to merge.
    fn merge(&mut self, connection: &Connection) -> Result<bool, StoreError> {
        let Some(mut merge) = self.merge.take() else { return Ok(false) };
        merge.step(connection)?;
        if !merge.is_done() {
            self.merge = Some(merge);
            return Ok(true);
        }
        merge.output.set_state(connection, IN_USE)?;
        self.runs.retain(|run| !merge.inputs.contains(run));
        self.runs.push(merge.output);
        for input in merge.inputs {
            input.set_state(connection, DELETED)?;
            self.dropped.push((input, 0));
        }
        self.plan();
        Ok(true)
    }

    /// Deletes the next blocks of what is not needed any more.
    fn delete(&mut self, connection: &Connection) -> Result<(), StoreError> {
        let Some((run, first)) = self.dropped.last_mut() else { return Ok(()) };
        run.delete_blocks(connection, (*first, *first + DELETED_WITH_A_COMMIT - 1))?;
        *first += DELETED_WITH_A_COMMIT;
        if *first >= run.blocks {
            run.delete(connection)?;
            self.dropped.pop();
        }
        Ok(())
    }
}

impl Merge {
    /// Writes the next blocks.
    fn step(&mut self, connection: &Connection) -> Result<(), StoreError> {
        if self.next_block == 0 {
            self.output.begin(connection)?;
        }
        let end = self.output.blocks.min(self.next_block + BLOCKS_AT_ONCE);
        let names = self.output.first_name(self.next_block)..self.output.first_name(end);
        let mut entries: Vec<Entry> = Vec::with_capacity(KEYS_A_BLOCK * 2 * FAN_IN);
        for input in &self.inputs {
            let block_of = |name: u128| input.block_of(u64::try_from(name).unwrap_or(u64::MAX));
            input.read(connection, (block_of(names.start), block_of(names.end - 1)), |entry| {
                entries.extend(names.contains(&entry.0.into()).then_some(entry));
            })?;
        }
        // Sorted pieces one behind the other: this sort finds them.
        entries.sort();
        self.output.write(connection, &entries)?;
        self.next_block = end;
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.next_block == self.output.blocks
    }
}

/// [`KeyIndex::find`] in the runs that the open snapshot has.
pub(crate) fn find_key<T>(
    connection: &Connection,
    name: u64,
    look: impl FnMut(Place) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    let runs = all_runs(connection)?.into_iter().filter(|(_, state)| *state == IN_USE).map(|(run, _)| run);
    find_in(connection, &runs.collect::<Vec<_>>(), name, look)
}

/// The newest run first: what is repeated was mostly asked a moment ago.
fn find_in<T>(
    connection: &Connection,
    runs: &[Run],
    name: u64,
    mut look: impl FnMut(Place) -> Result<Option<T>, StoreError>,
) -> Result<Option<T>, StoreError> {
    for run in runs.iter().rev() {
        for place in run.find(connection, name)? {
            if let Some(found) = look(place)? {
                return Ok(Some(found));
            }
        }
    }
    Ok(None)
}

/// A set of keys and their places, whatever the order they come in. It finds damage, not a forger who balances the sum.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct KeySum {
    keys: i64,
    sum: u128,
}

impl KeySum {
    pub(crate) fn add(&mut self, (name, place): Entry) {
        self.keys += 1;
        self.sum = self.sum.wrapping_add(u128::from(name) * u128::from(place.0.unsigned_abs()));
    }
}

/// All keys of the runs in use; each must be in its block, and in order.
pub(crate) fn sum_keys(connection: &Connection) -> Result<KeySum, StoreError> {
    let mut sum = KeySum::default();
    for (run, _) in all_runs(connection)?.into_iter().filter(|(_, state)| *state == IN_USE) {
        for block in 0..run.blocks {
            let (mut last, mut is_right) = (0, true);
            run.read(connection, (block, block), |(name, place)| {
                is_right &= run.block_of(name) == block && last <= name;
                last = name;
                sum.add((name, place));
            })?;
            if !is_right {
                return Err(run.damaged());
            }
        }
    }
    Ok(sum)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use florin_ledger::KeyDigest;
    use florin_store::migrations::MIGRATIONS;
    use proptest::prelude::*;
    use rusqlite::params;
    use sha2::{Digest as _, Sha256};

    use super::{super::key_run::name_of, *};

    /// A database as it was before this migration, or after the last one.
    pub(crate) fn database(migrations: usize) -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        MIGRATIONS[..migrations].iter().for_each(|migration| connection.execute_batch(migration.sqlite).unwrap());
        connection
    }

    pub(crate) fn digest(number: i64) -> KeyDigest {
        let mut digest = [0; 16];
        digest.copy_from_slice(&Sha256::digest(number.to_le_bytes())[..16]);
        digest
    }

    fn entries(numbers: std::ops::Range<i64>) -> Vec<Entry> {
        let mut entries: Vec<_> = numbers.map(|number| (name_of(&digest(number)), Place(number))).collect();
        entries.sort_unstable();
        entries
    }

    /// A whole run in one transaction.
    pub(crate) fn add_run(connection: &Connection, runs: &mut KeyIndex, numbers: std::ops::Range<i64>) {
        let keys = entries(numbers);
        let run = runs.begin(connection, keys.len()).unwrap();
        assert_eq!(run.write_some(connection, &keys, keys.len()).unwrap(), keys.len());
        runs.finish(connection, run).unwrap();
        runs.committed();
    }

    fn place_of(connection: &Connection, runs: &KeyIndex, number: i64) -> Option<Place> {
        let mine = runs.find(connection, name_of(&digest(number)), |place| Ok(Some(place))).unwrap();
        let theirs = find_key(connection, name_of(&digest(number)), |place| Ok(Some(place))).unwrap();
        assert_eq!(mine, theirs, "the writer and a reader agree");
        mine
    }

    fn stored(connection: &Connection) -> BTreeMap<u64, Place> {
        let mut stored = BTreeMap::new();
        for (run, _) in all_runs(connection).unwrap() {
            run.read(connection, (0, run.blocks), |(name, place)| assert_eq!(stored.insert(name, place), None))
                .unwrap();
        }
        stored
    }

    fn transaction(connection: &Connection, runs: &mut KeyIndex, ends: bool, work: impl FnOnce(&mut KeyIndex)) {
        connection.execute_batch("BEGIN").unwrap();
        work(runs);
        if ends {
            connection.execute_batch("COMMIT").unwrap();
            runs.committed();
        } else {
            connection.execute_batch("ROLLBACK").unwrap();
            runs.rolled_back();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

        /// Generations of any size, transactions that are rolled back, and processes that end in the middle.
        #[test]
        fn every_key_of_a_finished_run_is_found(
            generations in prop::collection::vec((1_i64..400, 0_usize..400, 0_u8..8), 1..90),
        ) {
            let connection = database(MIGRATIONS.len());
            let mut runs = KeyIndex::load(&connection).unwrap();
            let mut next = 0;
            for (count, operations, event) in generations {
                let keys = entries(next..next + count);
                transaction(&connection, &mut runs, event != 0, |runs| {
                    let run = runs.begin(&connection, keys.len()).unwrap();
                    let first = run.write_some(&connection, &keys, 1).unwrap();
                    run.write_some(&connection, &keys[first..], keys.len()).unwrap();
                    if event != 1 {
                        runs.finish(&connection, run).unwrap();
                    }
                });
                // 0: rolled back; 1: never finished; 2: a new process.
                next += if event > 1 { count } else { 0 };
                if event <= 2 {
                    runs = KeyIndex::load(&connection).unwrap();
                }
                transaction(&connection, &mut runs, event != 3, |runs| runs.maintain(&connection, operations).unwrap());
                let is_found = |number| place_of(&connection, &runs, number) == Some(Place(number));
                prop_assert!((0..next).step_by(97).all(is_found));
            }
            let is_found = |number| place_of(&connection, &runs, number) == Some(Place(number));
            prop_assert!((0..next).all(is_found));
            prop_assert!((next..next + 100).all(|number| place_of(&connection, &runs, number).is_none()));
            while runs.committed.has_work() {
                transaction(&connection, &mut runs, true, |runs| runs.maintain(&connection, 1_000).unwrap());
            }
            prop_assert_eq!(stored(&connection), entries(0..next).into_iter().collect());
            let of_level = |level| runs.committed.runs.iter().filter(|run| run.level == level).count();
            prop_assert!((0..4).all(|level| of_level(level) < FAN_IN));
        }
    }

    #[test]
    fn eight_runs_become_one() {
        let connection = database(MIGRATIONS.len());
        let mut index = KeyIndex::load(&connection).unwrap();
        (0..8).for_each(|run| add_run(&connection, &mut index, run * 100..(run + 1) * 100));
        // Enough for 800 keys and for the blocks of eight runs.
        for _ in 0..10 {
            transaction(&connection, &mut index, true, |index| index.maintain(&connection, 100).unwrap());
        }
        let levels: Vec<_> = index.committed.runs.iter().map(|run| (run.level, run.keys)).collect();
        assert_eq!((levels, all_runs(&connection).unwrap().len()), (vec![(1, 800)], 1));
        assert_eq!(stored(&connection), entries(0..800).into_iter().collect());
    }

    #[test]
    fn blocks_share_all_names() {
        for keys in [1, 201, 65_536, 10_000_019] {
            let run = Run::of(1, 0, keys);
            let at = |name: u128| run.block_of(u64::try_from(name).unwrap());
            assert_eq!((run.first_name(0), run.first_name(run.blocks)), (0, 1 << 64));
            for block in (1..run.blocks).step_by(7) {
                let first = run.first_name(block);
                assert_eq!((at(first - 1), at(first)), (block - 1, block), "{keys} keys");
            }
        }
    }

    #[test]
    fn two_keys_of_one_name_are_told_apart() {
        let connection = database(MIGRATIONS.len());
        let mut index = KeyIndex::load(&connection).unwrap();
        let run = index.begin(&connection, 3).unwrap();
        run.write_some(&connection, &[(7, Place(1)), (7, Place(2)), (8, Place(3))], 3).unwrap();
        index.finish(&connection, run).unwrap();
        let find = |place| index.find(&connection, 7, |found| Ok((found == place).then_some(found))).unwrap();
        assert_eq!([1, 2, 3].map(|place| find(Place(place))), [Some(Place(1)), Some(Place(2)), None]);
    }

    #[test]
    fn a_row_for_each_key_becomes_a_run() {
        let connection = database(5);
        for number in 1..=3_000_i64 {
            let row = params![digest(number), [0_u8; 32], number];
            connection.execute("INSERT INTO applied_keys VALUES (?1, ?2, ?3)", row).unwrap();
        }
        connection.execute_batch(MIGRATIONS[5].sqlite).unwrap();
        let runs = KeyIndex::load(&connection).unwrap();
        assert!((1..=3_000).all(|number| place_of(&connection, &runs, number) == Some(Place(number))));
        assert_eq!(place_of(&connection, &runs, 0), None);
        assert_eq!(runs.committed.runs.iter().map(|run| (run.level, run.keys)).collect::<Vec<_>>(), [(1, 3_000)]);
    }

    #[test]
    fn a_block_that_was_cut_is_an_error() {
        let connection = database(MIGRATIONS.len());
        let mut runs = KeyIndex::load(&connection).unwrap();
        add_run(&connection, &mut runs, 0..10);
        connection.execute_batch("UPDATE key_blocks SET entries = substr(entries, 1, 15)").unwrap();
        let found = runs.find(&connection, name_of(&digest(1)), |place| Ok(Some(place)));
        assert!(matches!(found, Err(StoreError::Inconsistent(_))), "{found:?}");
    }
}
