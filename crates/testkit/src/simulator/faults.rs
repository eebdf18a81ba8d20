//! What goes wrong, decided by the seed at every call of the port.

use std::{fmt::Write as _, sync::Arc};

use parking_lot::Mutex;

use super::{clock::SimulatedClock, random::Random};

/// Ten years, microseconds.
const FAR_US: u64 = 10 * 365 * 86_400 * 1_000_000;

/// How often something goes wrong, in a thousand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rates {
    /// At each call inside a database transaction.
    pub call: u64,
    /// At each end of one.
    pub commit: u64,
    /// Of what goes wrong, how much kills the process.
    pub kill: u64,
}

/// What goes wrong at a call inside a database transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCall {
    /// Nothing.
    Nothing,
    /// An error, and the call was not made.
    FailBefore,
    /// An error, and the call was made: the connection is lost.
    FailAfter,
    /// The database ends the transaction, and it is run again whole (40001, 40P01, 55P03).
    Retry,
    /// The process is killed before the call.
    Kill(Victim),
}

/// What goes wrong at the end of a database transaction that writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtCommit {
    /// Nothing.
    Nothing,
    /// It is refused (a full disk, say): not done.
    Refuse,
    /// The answer is lost, and it was done.
    LoseDone,
    /// The answer is lost, and it was not done.
    LoseUndone,
    /// The database ends the transaction, and it is run again whole.
    Retry,
    /// The process is killed before it.
    KillBefore(Victim),
    /// The process is killed after it, before anybody was answered.
    KillAfter(Victim),
    /// Power is lost in the middle of it: the log ends anywhere inside it.
    Tear,
}

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The machine, with the engine: it comes back with the files as they were.
    Machine,
    /// One node; the database goes on.
    Node,
}

/// How often each thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Injected {
    /// Errors before a call, after a call, and commits refused.
    pub failures: u64,
    /// Transactions run again whole.
    pub retries: u64,
    /// Commits whose outcome was not told.
    pub unknown: u64,
    /// Kills of the machine or of a node.
    pub kills: u64,
    /// Commits torn by loss of power.
    pub torn: u64,
    /// Jumps of the clock.
    pub jumps: u64,
}

/// The seed's decisions, and a record of them.
#[derive(Debug)]
pub struct Faults {
    clock: Arc<SimulatedClock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    random: Random,
    rates: Rates,
    injected: Injected,
    trace: Option<String>,
}

impl Faults {
    /// Nothing goes wrong until rates are set. `is_traced`: what happens is kept as text.
    #[must_use]
    pub fn of(random: Random, clock: Arc<SimulatedClock>, is_traced: bool) -> Self {
        let trace = is_traced.then(String::new);
        let state = State { random, rates: Rates::default(), injected: Injected::default(), trace };
        Self { clock, state: Mutex::new(state) }
    }

    /// How often things go wrong from now on.
    pub fn set(&self, rates: Rates) {
        self.state.lock().rates = rates;
    }

    /// What happened so far.
    pub fn injected(&self) -> Injected {
        self.state.lock().injected
    }

    /// Adds a line to the record.
    pub fn note(&self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.state.lock().trace {
            let _ = writeln!(trace, "{}", line());
        }
    }

    /// The record so far; empty unless it is kept.
    pub fn trace(&self) -> String {
        self.state.lock().trace.clone().unwrap_or_default()
    }

    /// A number below `bound`, from the same stream.
    pub fn below(&self, bound: u64) -> u64 {
        self.state.lock().random.below(bound)
    }

    /// Decides a call.
    pub fn at_call(&self) -> AtCall {
        let fate = {
            let state = &mut *self.state.lock();
            if !state.random.chance(state.rates.call) {
                return AtCall::Nothing;
            }
            state.at_call()
        };
        match fate {
            AtCall::Nothing => self.jump(),
            fate => self.note(|| format!("  at a call: {fate:?}")),
        }
        fate
    }

    /// Decides the end of a database transaction that writes.
    pub fn at_commit(&self) -> AtCommit {
        let fate = {
            let state = &mut *self.state.lock();
            if !state.random.chance(state.rates.commit) {
                return AtCommit::Nothing;
            }
            state.at_commit()
        };
        self.note(|| format!("  at the commit: {fate:?}"));
        fate
    }

    /// Sets the clock off, in either direction, by anything up to ten years.
    pub fn jump(&self) {
        let by_us = {
            let state = &mut *self.state.lock();
            state.injected.jumps += 1;
            let width_us = (1 + FAR_US) >> state.random.below(48);
            let by_us = i64::try_from(state.random.below(width_us)).unwrap_or_default();
            if state.random.chance(500) { by_us } else { -by_us }
        };
        self.clock.jump_us(by_us);
        self.note(|| format!("  the clock jumps by {by_us} µs"));
    }
}

impl State {
    fn at_call(&mut self) -> AtCall {
        if self.random.chance(self.rates.kill) {
            self.injected.kills += 1;
            return AtCall::Kill(self.victim());
        }
        match self.random.below(4) {
            0 => {
                self.injected.failures += 1;
                AtCall::FailBefore
            }
            1 => {
                self.injected.failures += 1;
                AtCall::FailAfter
            }
            2 => {
                self.injected.retries += 1;
                AtCall::Retry
            }
            _ => AtCall::Nothing,
        }
    }

    fn at_commit(&mut self) -> AtCommit {
        if self.random.chance(self.rates.kill) {
            self.injected.kills += 1;
            return match self.random.below(3) {
                0 => AtCommit::KillBefore(self.victim()),
                1 => AtCommit::KillAfter(self.victim()),
                _ => {
                    self.injected.torn += 1;
                    AtCommit::Tear
                }
            };
        }
        match self.random.below(5) {
            0 => {
                self.injected.failures += 1;
                AtCommit::Refuse
            }
            1 => {
                self.injected.retries += 1;
                AtCommit::Retry
            }
            2 | 3 => {
                self.injected.unknown += 1;
                AtCommit::LoseDone
            }
            _ => {
                self.injected.unknown += 1;
                AtCommit::LoseUndone
            }
        }
    }

    fn victim(&mut self) -> Victim {
        if self.random.chance(300) { Victim::Node } else { Victim::Machine }
    }
}
