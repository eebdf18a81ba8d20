//! When things happened in the demonstration: by day, never at night, always before now.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// People wake at seven, UTC.
const MORNING_US: i64 = 7 * 3_600_000_000;

/// Some days that end yesterday.
#[derive(Debug, Clone, Copy)]
pub struct Calendar {
    first_day_us: i64,
    span_us: i64,
}

impl Calendar {
    /// The `days` days before the one of `now_us` (microseconds since the Unix epoch, UTC).
    pub const fn before(now_us: i64, days: i64) -> Self {
        Self { first_day_us: (now_us / DAY_US - days) * DAY_US, span_us: days * DAY_US }
    }

    /// The time of step `step` of `steps`; never earlier than that of the step before.
    pub fn at(&self, step: u64, steps: u64) -> i64 {
        let steps = i128::from(steps.max(1));
        let position = i128::from(self.span_us) * i128::from(step).min(steps - 1) / steps;
        let position = i64::try_from(position).unwrap_or_default();
        // Sixteen hours awake stand for the twenty-four of the plain line.
        self.first_day_us + position / DAY_US * DAY_US + MORNING_US + position % DAY_US / 3 * 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_forward_by_day_and_ends_before_now() {
        let now_us = 1_790_000_000_000_000;
        let calendar = Calendar::before(now_us, 120);
        let times: Vec<i64> = (0..5000).map(|step| calendar.at(step, 5000)).collect();
        assert!(times.is_sorted());
        assert!(times.iter().all(|at| (MORNING_US..MORNING_US + DAY_US / 3 * 2).contains(&(at % DAY_US))));
        assert!(*times.last().unwrap() < now_us && now_us - times[0] < 121 * DAY_US);
    }
}
