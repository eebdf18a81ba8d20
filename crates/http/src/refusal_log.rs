//! Under overload nearly every request is refused: the log must not become the load.

use parking_lot::Mutex;

/// Lines in a second.
const LINES_A_SECOND: u32 = 10;

/// Which refusals have a line of their own: the first few of each second. The others are counted.
#[derive(Default)]
pub(crate) struct RefusalLog(Mutex<State>);

#[derive(Default)]
struct State {
    second: i64,
    lines: u32,
    left_out: u64,
}

impl RefusalLog {
    /// How many were left out since the last line, if this one is to be written.
    pub(crate) fn admit(&self, elapsed_us: i64) -> Option<u64> {
        let second = elapsed_us.div_euclid(1_000_000);
        let mut state = self.0.lock();
        if state.second != second {
            (state.second, state.lines) = (second, 0);
        }
        if state.lines >= LINES_A_SECOND {
            state.left_out += 1;
            return None;
        }
        state.lines += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_so_many_lines_and_the_next_one_tells_of_the_others() {
        let log = RefusalLog::default();
        let lines = (0..1000).filter(|at| log.admit(5_000_000 + at * 100).is_some()).count();
        assert_eq!(lines, 10);
        assert_eq!(log.admit(6_000_000), Some(990));
        assert_eq!(log.admit(6_000_001), Some(0));
    }
}
