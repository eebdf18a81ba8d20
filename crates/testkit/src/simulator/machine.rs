//! The machine that is simulated: a disk, an engine, nodes with their queues. It is killed and started again.

use std::{io, sync::Arc};

use florin_app::{CommitQueue, LedgerWriter, QueueSettings};
use florin_store::Engine;
use florin_store_sqlite::{SqliteEngine, SqliteOptions};
use parking_lot::Mutex;

use super::{
    clock::SimulatedClock,
    disk::Disk,
    engine::{FaultyEngine, Lie},
    faults::{Faults, Victim},
};

/// A node: one queue, and the writer that is stepped by hand.
pub struct Node {
    /// The way in.
    pub queue: CommitQueue,
    /// The other end.
    pub writer: LedgerWriter,
}

/// One database, some nodes.
pub struct Machine {
    // Nodes go before the engine that they hold.
    nodes: Vec<Node>,
    engine: Arc<dyn Engine>,
    disk: Arc<Mutex<Disk>>,
    clock: Arc<SimulatedClock>,
    faults: Arc<Faults>,
    settings: QueueSettings,
    lie: Option<Lie>,
}

impl Machine {
    /// Starts so many nodes on this disk.
    ///
    /// # Errors
    /// The database cannot be opened: it is damaged.
    pub fn start(
        disk: Disk,
        clock: Arc<SimulatedClock>,
        faults: Arc<Faults>,
        (nodes, settings): (u16, QueueSettings),
        lie: Option<Lie>,
    ) -> Result<Self, String> {
        let disk = Arc::new(Mutex::new(disk));
        let engine = open(&disk, &faults, lie)?;
        let mut machine = Self { nodes: Vec::new(), engine, disk, clock, faults, settings, lie };
        machine.nodes = (0..nodes).map(|number| machine.node(number)).collect();
        Ok(machine)
    }

    /// The database, as the nodes see it.
    #[must_use]
    pub fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// How many nodes there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.nodes.len()
    }

    /// A node by its number.
    pub fn node_mut(&mut self, number: usize) -> &mut Node {
        &mut self.nodes[number]
    }

    /// Starts again what was killed. The nodes whose queues are gone are in the answer.
    ///
    /// # Errors
    /// The database cannot be opened: it is damaged.
    pub fn revive(&mut self, victim: Victim, node: usize) -> Result<Vec<usize>, String> {
        match victim {
            Victim::Node => {
                self.nodes[node] = self.node(u16::try_from(node).unwrap_or_default());
                Ok(vec![node])
            }
            Victim::Machine => {
                let count = self.nodes.len();
                self.nodes.clear();
                self.engine = open(&self.disk, &self.faults, self.lie)?;
                self.nodes = (0..u16::try_from(count).unwrap_or_default()).map(|number| self.node(number)).collect();
                Ok((0..count).collect())
            }
        }
    }

    /// The process ends here, outside any transaction.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn pull_the_plug(&self) -> io::Result<()> {
        self.disk.lock().end_life()
    }

    fn node(&self, number: u16) -> Node {
        let (queue, writer) = CommitQueue::stepped(Arc::clone(&self.engine), self.clock.clone(), number, self.settings);
        Node { queue, writer }
    }
}

fn open(disk: &Arc<Mutex<Disk>>, faults: &Arc<Faults>, lie: Option<Lie>) -> Result<Arc<dyn Engine>, String> {
    let options = SqliteOptions {
        read_connections: 1,
        cache_size_kib: 1024,
        mmap_size_bytes: 0,
        // So few that accounts and keys follow the journal, and keys are merged, all the time.
        generation_operations: 3,
        // One thread, and nothing that is begun is written before its end is asked for.
        journal_thread: false,
        ahead_min: 0,
        ..SqliteOptions::default()
    };
    let path = disk.lock().database();
    let inner = SqliteEngine::open(&path, options).map_err(|error| format!("the database does not open: {error}"))?;
    inner.migrate().map_err(|error| format!("the schema is damaged: {error}"))?;
    Ok(Arc::new(FaultyEngine::new(inner, Arc::clone(faults), Arc::clone(disk), lie)))
}
