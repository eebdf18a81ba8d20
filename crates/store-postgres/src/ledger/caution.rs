//! How far a batch may trust what its node remembers, by what became of the batches before.
//!
//! A node whose accounts nobody else touches decides on its memory. After it met another node it asks first what has
//! changed, until nothing had for some batches; where even that is overtaken, it locks, for longer with each time.

/// Batches in a row for which nothing had changed, until memory is trusted again.
const CLEAN_BATCHES: u32 = 8;
/// Batches under locks after one that was overtaken; doubled with each that follows, up to the greatest.
const LOCKED_BATCHES_MIN: u32 = 2;
const LOCKED_BATCHES_MAX: u32 = 256;

/// What a batch is decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Basis {
    /// What this node remembers, and what it does not, read.
    #[default]
    Memory,
    /// What was read for it.
    Reading,
    /// What was read under locks.
    Locks,
}

#[derive(Debug, Default)]
pub(crate) struct Caution {
    clean_batches_wanted: u32,
    locked_batches: u32,
    penalty: u32,
}

impl Caution {
    /// For the next batch.
    pub(crate) fn basis(&mut self) -> Basis {
        if self.locked_batches > 0 {
            self.locked_batches -= 1;
            Basis::Locks
        } else if self.clean_batches_wanted > 0 {
            Basis::Reading
        } else {
            Basis::Memory
        }
    }

    /// Another node had been there first.
    pub(crate) fn overtaken(&mut self, basis: Basis) {
        self.clean_batches_wanted = CLEAN_BATCHES;
        if basis == Basis::Memory {
            // It is decided again under locks: also where a repeated key was what had been there first, which reading
            // accounts would not tell.
            self.locked_batches = self.locked_batches.max(1);
        } else {
            self.penalty = (self.penalty * 2).clamp(LOCKED_BATCHES_MIN, LOCKED_BATCHES_MAX);
            self.locked_batches = self.penalty;
        }
    }

    /// A batch was committed; whether something was not as it was remembered.
    pub(crate) fn committed(&mut self, basis: Basis, had_changed: bool) {
        self.clean_batches_wanted =
            if had_changed { CLEAN_BATCHES } else { self.clean_batches_wanted.saturating_sub(1) };
        if basis != Basis::Locks {
            self.penalty /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(caution: &mut Caution, batches: u32, had_changed: bool) -> Vec<Basis> {
        let mut next = || {
            let basis = caution.basis();
            caution.committed(basis, had_changed);
            basis
        };
        (0..batches).map(|_| next()).collect()
    }

    #[test]
    fn memory_is_trusted_again_when_nothing_changes_any_more() {
        let mut caution = Caution::default();
        assert_eq!(run(&mut caution, 3, false), [Basis::Memory; 3]);
        caution.overtaken(Basis::Memory);
        assert_eq!(run(&mut caution, 1, true), [Basis::Locks]);
        assert_eq!(run(&mut caution, 20, true), [Basis::Reading; 20]);
        assert_eq!(run(&mut caution, 8, false), [Basis::Reading; 8]);
        assert_eq!(run(&mut caution, 2, false), [Basis::Memory; 2]);
    }

    #[test]
    fn who_is_overtaken_again_and_again_locks_for_longer() {
        let mut caution = Caution::default();
        for locked in [2, 4, 8, 16, 32, 64, 128, 256, 256] {
            caution.overtaken(Basis::Reading);
            let batches = run(&mut caution, locked, true);
            assert!(batches.iter().all(|basis| *basis == Basis::Locks), "{locked}: {batches:?}");
        }
        assert_eq!(run(&mut caution, 7, true), [Basis::Reading; 7], "and peace makes it shorter");
        caution.overtaken(Basis::Reading);
        assert_eq!(run(&mut caution, 5, true)[..4], [Basis::Locks; 4]);
        assert_eq!(caution.basis(), Basis::Reading);
    }
}
