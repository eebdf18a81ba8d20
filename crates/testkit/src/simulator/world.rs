//! One simulation from beginning to end.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
    sync::Arc,
};

use florin_app::{
    QueueSettings,
    port::{Clock, Rng, new_id},
};
use florin_ledger::{Account, AccountId, Outcome};
use florin_store::wallet::{find_wallet, insert_wallet};
use parking_lot::Mutex;

use super::{
    Tally,
    book::{Book, KnownWallet, OWNER, Standing, asset},
    check::{Finding, check_all, check_books, check_wallet},
    clock::SimulatedClock,
    disk::Disk,
    engine::{Killed, Lie},
    faults::{Faults, Rates, Victim},
    machine::Machine,
    random::Random,
};

/// Wallets at the most.
const WALLETS: usize = 4;

const CALM: Rates = Rates { call: 0, commit: 0, kill: 0 };
const WEATHERS: [Rates; 4] = [
    CALM,
    Rates { call: 5, commit: 60, kill: 200 },
    Rates { call: 30, commit: 250, kill: 200 },
    Rates { call: 150, commit: 500, kill: 50 },
];

/// Runs one seed. The record is in the answer if it is kept, whether all held or not.
pub fn run(template: &Path, seed: u64, lie: Option<Lie>, is_traced: bool) -> Result<(Tally, String), (String, String)> {
    let mut random = Random::of(seed);
    let clock = Arc::new(SimulatedClock::start());
    let faults = Arc::new(Faults::of(Random::of(random.next_u64()), clock.clone(), is_traced));
    let begin = |faults: &Arc<Faults>| {
        let disk = Disk::with(template).map_err(|error| format!("no disk: {error}"))?;
        let nodes = 1 + u16::from(random.chance(400));
        let settings = QueueSettings {
            capacity: 1 + random.index(12),
            batch_max: 1 + random.index(8),
            ahead_min: 1 + random.index(8),
            bulk_max: 1 + random.index(20),
            bulk_capacity: 1 + random.index(40),
        };
        let machine = Machine::start(disk, clock.clone(), Arc::clone(faults), (nodes, settings), lie)?;
        let ids = Ids(Mutex::new(Random::of(random.next_u64())));
        Ok(World { machine, book: Book::default(), random, ids, clock, faults: Arc::clone(faults) })
    };
    let result = begin(&faults).and_then(|mut world: World| world.live().map(|()| world.tally()));
    match result {
        Ok(tally) => Ok((tally, faults.trace())),
        Err(text) => Err((text, faults.trace())),
    }
}

pub(super) struct Ids(Mutex<Random>);

impl Rng for Ids {
    fn fill(&self, bytes: &mut [u8]) {
        let mut random = self.0.lock();
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&random.next_u64().to_be_bytes()[..chunk.len()]);
        }
    }
}

pub(super) struct World {
    pub(super) machine: Machine,
    pub(super) book: Book,
    pub(super) random: Random,
    pub(super) ids: Ids,
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) faults: Arc<Faults>,
}

impl World {
    fn live(&mut self) -> Result<(), String> {
        self.faults.set(WEATHERS[self.random.index(WEATHERS.len())]);
        self.open_wallet()?;
        // Most lives are short, so that many of them can be lived; some are long.
        let actions = if self.random.chance(980) { 15 + self.random.below(40) } else { 100 + self.random.below(200) };
        for _ in 0..actions {
            self.act()?;
        }
        self.faults.note(|| "faults stop".to_owned());
        self.faults.set(CALM);
        self.settle()?;
        self.check(|world| check_all(&*world.machine.engine(), &world.book))
    }

    fn act(&mut self) -> Result<(), String> {
        match self.random.below(1000) {
            0..300 => self.want(),
            300..350 => self.want_many(),
            350..450 => self.ask_again(),
            450..470 => self.misuse_a_key(),
            470..830 => self.step(),
            830..890 => {
                let wallet = self.random.index(self.book.wallets.len());
                self.check(|world| check_wallet(&*world.machine.engine(), &mut world.book, wallet))
            }
            890..920 => self.open_wallet(),
            920..945 => {
                let attempt = self.random.index(self.book.attempts.len());
                if attempt < self.book.attempts.len() {
                    self.book.walk_away(attempt);
                }
                Ok(())
            }
            945..980 => {
                let weather = WEATHERS[self.random.index(WEATHERS.len())];
                self.faults.note(|| format!("weather: {weather:?}"));
                self.faults.set(weather);
                Ok(())
            }
            980..990 => {
                self.faults.jump();
                Ok(())
            }
            _ => self.pull_the_plug(),
        }
    }

    /// A writer takes its batch.
    fn step(&mut self) -> Result<(), String> {
        let node = self.random.index(self.machine.count());
        self.faults.note(|| format!("node {node} writes"));
        self.survive(node, |world| {
            world.machine.node_mut(node).writer.step();
        })?;
        self.hear()
    }

    fn hear(&mut self) -> Result<(), String> {
        let heard = self.book.hear()?;
        for line in heard {
            self.faults.note(|| line);
        }
        Ok(())
    }

    fn open_wallet(&mut self) -> Result<(), String> {
        let waiting = self.book.wallets.iter().position(|wallet| !wallet.is_open);
        let place = match waiting {
            Some(place) => place,
            None if self.book.wallets.len() < WALLETS => {
                let id = AccountId(new_id(&*self.clock, &self.ids));
                self.book.wallets.push(KnownWallet { id, is_open: false, version: 0 });
                self.book.wallets.len() - 1
            }
            None => return Ok(()),
        };
        let account = Account::wallet(self.book.wallets[place].id, OWNER, asset()?, self.clock.now_us());
        self.faults.note(|| format!("wallet {place} is opened"));
        let node = self.random.index(self.machine.count());
        self.survive(node, |world| {
            let opened = florin_store::write(&*world.machine.engine(), |tx| {
                if find_wallet(tx, account.id)?.is_none() {
                    insert_wallet(tx, &account, OWNER, "")?;
                }
                Ok(())
            });
            world.book.wallets[place].is_open = opened.is_ok();
        })
    }

    fn pull_the_plug(&mut self) -> Result<(), String> {
        self.faults.note(|| "the machine is killed between two transactions".to_owned());
        self.machine.pull_the_plug().map_err(|error| format!("the disk could not be copied: {error}"))?;
        self.revive(Victim::Machine, 0)
    }

    /// Does something at whose every call `node`, or the machine, may be killed.
    fn survive(&mut self, node: usize, act: impl FnOnce(&mut Self)) -> Result<(), String> {
        let Err(payload) = catch_unwind(AssertUnwindSafe(|| act(self))) else { return Ok(()) };
        match payload.downcast_ref::<Killed>() {
            Some(Killed(victim)) => self.revive(*victim, node),
            // Not ours: a panic of the code under test.
            None => resume_unwind(payload),
        }
    }

    fn revive(&mut self, victim: Victim, node: usize) -> Result<(), String> {
        self.faults.note(|| format!("{victim:?} comes back"));
        self.machine.revive(victim, node)?;
        // Whoever waited on what was killed hears that there is no answer.
        self.hear()?;
        if self.random.chance(200) {
            return self.check(|world| check_books(&*world.machine.engine()));
        }
        Ok(())
    }

    fn check(&mut self, check: impl FnOnce(&mut Self) -> Result<(), Finding>) -> Result<(), String> {
        let mut finding = Ok(());
        self.survive(0, |world| {
            finding = match check(world) {
                Err(Finding::Broken(text)) => Err(text),
                Ok(()) | Err(Finding::Unavailable) => Ok(()),
            };
        })?;
        finding
    }

    /// Every wallet is open.
    pub(super) fn open_all(&mut self) -> Result<(), String> {
        (0..WALLETS).try_for_each(|_| self.open_wallet())
    }

    pub(super) fn drain(&mut self) -> Result<(), String> {
        for node in 0..self.machine.count() {
            // What is on its way may have a kill before it.
            self.survive(node, |world| while world.machine.node_mut(node).writer.step() {})?;
        }
        self.hear()?;
        match self.book.attempts.iter().position(|attempt| attempt.standing == Standing::Waiting) {
            Some(request) => Err(format!("request {request} waits for ever")),
            None => Ok(()),
        }
    }

    fn tally(&self) -> Tally {
        let count = |wanted: fn(&Outcome) -> bool| {
            let answers = self.book.intents.iter().filter_map(|intent| intent.answer.as_ref());
            u64::try_from(answers.filter(|answer| wanted(answer)).count()).unwrap_or_default()
        };
        Tally {
            requests: u64::try_from(self.book.attempts.len()).unwrap_or_default(),
            applied: count(|answer| matches!(answer, Outcome::Applied(_))),
            refused: count(|answer| matches!(answer, Outcome::Rejected(_))),
            replayed: self.book.replayed,
            injected: self.faults.injected(),
        }
    }
}
