//! When a balance may be answered from memory: while no other process could have changed it.
//!
//! Each connection holds an advisory lock that names its process for as long as it lives, and writes to the ledger no
//! sooner than [`GRACE`] after it took that lock. So whoever asks the server, and finds no other process there, may
//! believe what it remembers for [`TERM`] from the moment at which it asked: a lease (Gray and Cheriton, "Leases: an
//! efficient fault-tolerant mechanism for distributed file cache consistency", SOSP 1989). Nobody waits for another one
//! to give anything back, and a process that was cut off has lost its lease before anybody else writes.
//!
//! Nothing rests on what clocks show, only on that they run about equally fast. A connection that is thrown away in the
//! middle of a write may still be at work in the server: from then on this process has another name, and is a stranger
//! to itself until that connection is gone there, too.

use std::{fmt, time::Duration};

use parking_lot::Mutex;

/// How long an answer of the server is believed, from before it was asked.
const TERM: Duration = Duration::from_millis(200);
/// How old a connection must be to write to the ledger: longer than any lease that its process's name did not prevent.
pub(crate) const GRACE: Duration = Duration::from_millis(250);
/// How long after another process was found the server is not asked again.
const ABSTINENCE: Duration = Duration::from_secs(1);

/// The lock of the connections, `pg_advisory_lock_shared(LOCK_CLASS, name)`: a number of our own ("Flor").
pub(crate) const LOCK_CLASS: i32 = 0x466c_6f72;

/// The process among those that share a database.
#[derive(Clone, Copy)]
pub struct Process {
    /// Its name: drawn at random when it starts.
    pub name: u32,
    /// Time since some moment, which goes on while the machine sleeps and is never put back.
    pub uptime: fn() -> Duration,
}

impl fmt::Debug for Process {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Process").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Leases that follow each other without a gap, in which somebody else could have written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tenure(u64);

/// A question to the server that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) name: u32,
    at: Duration,
}

#[derive(Debug)]
pub(crate) struct ReadLease {
    /// Without one nothing is ever believed.
    process: Option<Process>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    name: u32,
    tenure: Tenure,
    until: Duration,
    /// When the server may be asked, again.
    ask_at: Duration,
}

impl ReadLease {
    pub(crate) fn new(process: Option<Process>) -> Self {
        let name = process.map_or(0, |process| process.name);
        let (until, ask_at) = (Duration::ZERO, Duration::ZERO);
        Self { process, state: Mutex::new(State { name, tenure: Tenure(0), until, ask_at }) }
    }

    /// What connections are to be named after.
    pub(crate) fn name(&self) -> u32 {
        self.state.lock().name
    }

    /// The tenure that goes on at this moment.
    pub(crate) fn tenure(&self) -> Option<Tenure> {
        let now = (self.process?.uptime)();
        let state = self.state.lock();
        (now < state.until).then_some(state.tenure)
    }

    /// The same, but none when the server should be asked before this lease ends: who can ask instead, does.
    pub(crate) fn tenure_unless_due(&self) -> Option<Tenure> {
        let now = (self.process?.uptime)();
        let state = self.state.lock();
        (now < state.until && now < state.ask_at).then_some(state.tenure)
    }

    /// Whether the server is to be asked, now: there is no lease, or half of it is over. One caller is told so.
    pub(crate) fn ask_if_due(&self) -> Option<Asked> {
        let at = (self.process?.uptime)();
        let mut state = self.state.lock();
        if at < state.ask_at {
            return None;
        }
        state.ask_at = at + TERM / 4;
        Some(Asked { name: state.name, at })
    }

    /// The server's answer: whether there was no other process. The tenure that goes on after it, if one does.
    pub(crate) fn answered(&self, asked: Asked, is_alone: bool) -> Option<Tenure> {
        let now = (self.process?.uptime)();
        let mut state = self.state.lock();
        if state.name != asked.name {
            return None;
        }
        if !is_alone {
            state.until = Duration::ZERO;
            state.ask_at = now + ABSTINENCE;
            return None;
        }
        // Before the old lease ended nobody else can have written, after it somebody may have come and gone.
        if now >= state.until {
            state.tenure.0 += 1;
        }
        state.until = state.until.max(asked.at + TERM);
        state.ask_at = asked.at + TERM / 2;
        (now < state.until).then_some(state.tenure)
    }

    /// Something that this process asked for may still be done by the server, unknown to it.
    pub(crate) fn renounce(&self) {
        let mut state = self.state.lock();
        state.name = state.name.wrapping_add(1);
        state.tenure.0 += 1;
        state.until = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    thread_local! {
        static NOW: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    fn at(ms: u64) {
        NOW.set(Duration::from_secs(100) + Duration::from_millis(ms));
    }

    fn lease() -> ReadLease {
        at(0);
        ReadLease::new(Some(Process { name: 7, uptime: || NOW.get() }))
    }

    #[test]
    fn it_is_believed_from_before_the_question_and_no_longer() {
        let lease = lease();
        assert_eq!(lease.tenure(), None);
        let asked = lease.ask_if_due().unwrap();
        at(60);
        let tenure = lease.answered(asked, true);
        assert!(tenure.is_some());
        at(199);
        assert_eq!(lease.tenure(), tenure);
        assert_eq!(lease.tenure_unless_due(), None);
        at(200);
        assert_eq!(lease.tenure(), None);
    }

    #[test]
    fn an_answer_that_comes_too_late_gives_nothing() {
        let lease = lease();
        let asked = lease.ask_if_due().unwrap();
        at(200);
        assert_eq!(lease.answered(asked, true), None);
        assert_eq!(lease.tenure(), None);
    }

    #[test]
    fn asked_in_time_it_goes_on_and_after_a_gap_another_one_begins() {
        let lease = lease();
        let first = lease.answered(lease.ask_if_due().unwrap(), true).unwrap();
        at(99);
        assert!(lease.ask_if_due().is_none(), "half of it is not over");
        at(150);
        let asked = lease.ask_if_due().unwrap();
        assert!(lease.ask_if_due().is_none(), "somebody asks already");
        at(199);
        assert_eq!(lease.answered(asked, true), Some(first));
        at(300);
        // This answer arrives after the lease of the one before: somebody may have come and gone since.
        let asked = lease.ask_if_due().unwrap();
        at(350);
        let second = lease.answered(asked, true).unwrap();
        assert_ne!(second, first);
    }

    #[test]
    fn another_process_ends_it_for_a_while() {
        let lease = lease();
        lease.answered(lease.ask_if_due().unwrap(), true).unwrap();
        at(100);
        assert_eq!(lease.answered(lease.ask_if_due().unwrap(), false), None);
        assert_eq!(lease.tenure(), None);
        at(1099);
        assert!(lease.ask_if_due().is_none());
        at(1100);
        assert!(lease.ask_if_due().is_some());
    }

    #[test]
    fn who_may_have_written_unknowingly_is_a_stranger_to_itself() {
        let lease = lease();
        let first = lease.answered(lease.ask_if_due().unwrap(), true).unwrap();
        at(100);
        let asked = lease.ask_if_due().unwrap();
        lease.renounce();
        assert_ne!(lease.name(), asked.name);
        assert_eq!(lease.tenure(), None);
        assert_eq!(lease.answered(asked, true), None, "asked under the old name");
        at(200);
        assert_ne!(lease.answered(lease.ask_if_due().unwrap(), true).unwrap(), first);
    }

    #[test]
    fn a_process_without_a_clock_believes_nothing() {
        let lease = ReadLease::new(None);
        assert!(lease.ask_if_due().is_none());
        assert_eq!(lease.tenure(), None);
    }
}
