//! The goals: what each promises, and whether a figure holds it.

use clap::ValueEnum;
use serde_json::{Value, json};

use super::spread::Spread;

/// A goal, as numbered in docs/performance.md.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Goal {
    /// Single deposits on SQLite.
    #[value(name = "G1")]
    G1,
    /// One hot wallet, either engine.
    #[value(name = "G2")]
    G2,
    /// Single deposits on PostgreSQL.
    #[value(name = "G3")]
    G3,
    /// One hot wallet on PostgreSQL.
    #[value(name = "G4")]
    G4,
    /// The batch route on SQLite.
    #[value(name = "G5")]
    G5,
    /// The batch route on PostgreSQL.
    #[value(name = "G6")]
    G6,
    /// Reading a wallet.
    #[value(name = "G7")]
    G7,
    /// The Django wallet service's own request.
    #[value(name = "G8")]
    G8,
    /// Growth.
    #[value(name = "G9")]
    G9,
    /// Two nodes.
    #[value(name = "G10")]
    G10,
    /// Memory.
    #[value(name = "G11")]
    G11,
    /// Start to first answer.
    #[value(name = "G12")]
    G12,
    /// Durable bytes of one operation.
    #[value(name = "G13")]
    G13,
}

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// No less.
    AtLeast(f64),
    /// No more.
    AtMost(f64),
    /// Shown beside the goal, without a bound of its own.
    Shown,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Of the reference.
    Ratio,
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
    /// Millions of bytes.
    Megabytes,
    /// Bytes.
    Bytes,
    /// Share of a whole, in hundredths.
    Percent,
}

/// One line of the summary.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Which goal.
    pub goal: Goal,
    /// What was measured, and against what.
    pub what: String,
    /// The figure.
    pub measured: Spread,
    /// What it counts.
    pub unit: Unit,
    /// What it must be.
    pub bound: Bound,
}

impl Line {
    /// A line, if there is a figure.
    pub fn of(goal: Goal, what: &str, measured: Option<Spread>, unit: Unit, bound: Bound) -> Option<Self> {
        Some(Self { goal, what: what.to_owned(), measured: measured?, unit, bound })
    }

    /// Whether the median keeps the bound; none without a bound.
    pub fn is_held(&self) -> Option<bool> {
        match self.bound {
            Bound::AtLeast(least) => Some(self.measured.median >= least),
            Bound::AtMost(most) => Some(self.measured.median <= most),
            Bound::Shown => None,
        }
    }

    /// A row of a Markdown table: goal, what, measured, bound, held or missed.
    pub fn row(&self) -> String {
        let Spread { median, low, high } = self.measured;
        let text = |figure| self.unit.text(figure);
        let spread = if low < high { format!(" ({}–{})", text(low), text(high)) } else { String::new() };
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("≥ {}", text(least)),
            Bound::AtMost(most) => format!("≤ {}", text(most)),
            Bound::Shown => "–".to_owned(),
        };
        let held = match self.is_held() {
            Some(true) => "held",
            Some(false) => "missed",
            None => "–",
        };
        let goal = format!("{:?}", self.goal);
        format!("| {goal} | {} | {}{spread}{} | {bound} | {held} |", self.what, text(median), self.unit.suffix())
    }

    /// For the file of raw figures.
    pub fn to_json(&self) -> Value {
        let (least, most) = match self.bound {
            Bound::AtLeast(least) => (Some(least), None),
            Bound::AtMost(most) => (None, Some(most)),
            Bound::Shown => (None, None),
        };
        json!({
            "goal": format!("{:?}", self.goal),
            "what": self.what,
            "measured": self.measured.to_json(),
            "unit": format!("{:?}", self.unit).to_lowercase(),
            "at_least": least,
            "at_most": most,
            "held": self.is_held(),
        })
    }
}

impl Unit {
    fn text(self, figure: f64) -> String {
        match self {
            Self::Bytes => format!("{figure:.0}"),
            Self::Megabytes | Self::Percent => format!("{figure:.1}"),
            Self::Millis | Self::Seconds | Self::Ratio if figure.abs() >= 100.0 => format!("{figure:.0}"),
            Self::Millis | Self::Seconds | Self::Ratio if figure.abs() >= 10.0 => format!("{figure:.1}"),
            Self::Millis | Self::Seconds | Self::Ratio => format!("{figure:.2}"),
        }
    }

    const fn suffix(self) -> &'static str {
        match self {
            Self::Ratio => "",
            Self::Millis => " ms",
            Self::Seconds => " s",
            Self::Megabytes => " MB",
            Self::Bytes => " bytes",
            Self::Percent => " %",
        }
    }
}

/// The summary, as a Markdown table, in the order of the goals.
pub fn table(lines: &[Line]) -> String {
    let mut sorted: Vec<&Line> = lines.iter().collect();
    sorted.sort_by_key(|line| line.goal);
    let head = "| goal | what | measured: median (lowest–highest) | bound | |\n|---|---|---|---|---|\n";
    sorted.iter().fold(head.to_owned(), |table, line| table + &line.row() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(measured: f64, bound: Bound) -> Line {
        Line { goal: Goal::G1, what: "x / y".to_owned(), measured: Spread::once(measured), unit: Unit::Ratio, bound }
    }

    #[test]
    fn a_bound_is_held_or_missed_by_the_median() {
        assert_eq!(line(0.7, Bound::AtLeast(0.7)).is_held(), Some(true));
        assert_eq!(line(0.69, Bound::AtLeast(0.7)).is_held(), Some(false));
        assert_eq!(line(6.1, Bound::AtMost(6.0)).is_held(), Some(false));
        assert_eq!(line(6.1, Bound::Shown).is_held(), None);
    }

    #[test]
    fn a_row_says_everything() {
        let spread = Spread { median: 0.5, low: 0.25, high: 12.0 };
        let row = Line { measured: spread, ..line(0.0, Bound::AtLeast(0.7)) }.row();
        assert_eq!(row, "| G1 | x / y | 0.50 (0.25–12.0) | ≥ 0.70 | missed |");
        assert_eq!(line(8.0, Bound::AtMost(9.0)).row(), "| G1 | x / y | 8.00 | ≤ 9.00 | held |");
    }

    #[test]
    fn the_table_is_in_the_order_of_the_goals() {
        let lines = [Line { goal: Goal::G10, ..line(1.0, Bound::Shown) }, line(1.0, Bound::Shown)];
        let table = table(&lines);
        assert!(table.find("| G1 |").unwrap() < table.find("| G10 |").unwrap(), "{table}");
    }
}
