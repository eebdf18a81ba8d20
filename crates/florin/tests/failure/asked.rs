//! Every operation that clients asked for, by a name that is kept in its postings, and how often histories have it.
//!
//! What a server does twice under a key is refused at the key the second time. An operation without a key shows it.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

/// A movement that a client wants.
#[derive(Debug, Clone)]
pub struct Intent {
    /// The reason that is given for it, and its key if it has one. No other has this name.
    pub name: String,
    /// With a key it is repeated until it is answered, without one it is sent once.
    pub has_key: bool,
    /// The wallet it is taken from; none for a deposit.
    pub from: Option<usize>,
    /// The wallet that it goes to; none for a withdrawal.
    pub to: Option<usize>,
    /// Minor units.
    pub amount_minor: i64,
}

impl Intent {
    /// What it does to each wallet, in their order.
    pub fn legs(&self) -> Vec<(usize, i64)> {
        let own = [self.from.map(|from| (from, -self.amount_minor)), self.to.map(|to| (to, self.amount_minor))];
        let mut legs: Vec<(usize, i64)> = own.into_iter().flatten().collect();
        legs.sort_unstable();
        legs
    }
}

/// What the client of an operation was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// That it was done: it is there once.
    Done,
    /// That it was refused: it is not there.
    Refused,
    /// Nothing, or that it is not known: it is there once or not at all.
    Nothing,
}

#[derive(Debug)]
struct Entry {
    intent: Intent,
    told: Told,
    /// What histories have under its name.
    found: Vec<(usize, i64)>,
}

/// How far a wallet's history was read.
#[derive(Debug, Clone, Copy, Default)]
struct End {
    version: i64,
    balance_minor: i64,
}

/// What was asked for, and what was found of it.
#[derive(Debug)]
pub struct Asked {
    ends: Vec<End>,
    /// What was not compared yet, and what nobody was told of and was not there.
    open: HashMap<String, Entry>,
    /// What was compared and is settled: it never comes again.
    settled: HashSet<String>,
    sent_once: u64,
    lost: u64,
    lost_and_found: u64,
}

impl Asked {
    /// Nothing yet, of so many empty wallets.
    pub fn of(wallets: usize) -> Self {
        let (open, settled) = (HashMap::new(), HashSet::new());
        Self { ends: vec![End::default(); wallets], open, settled, sent_once: 0, lost: 0, lost_and_found: 0 }
    }

    /// Enters an operation, once it is known what its client is told in the end.
    pub fn enter(&mut self, intent: &Intent, told: Told) {
        self.sent_once += u64::from(!intent.has_key);
        self.lost += u64::from(told == Told::Nothing);
        let entry = Entry { intent: intent.clone(), told, found: Vec::new() };
        assert!(self.open.insert(intent.name.clone(), entry).is_none(), "{intent:?} was entered before");
    }

    /// The last version of this wallet that was read.
    pub fn read_to(&self, wallet: usize) -> i64 {
        self.ends[wallet].version
    }

    /// Reads on in the history of a wallet, oldest line first.
    pub fn read(&mut self, wallet: usize, lines: &[Value]) {
        let minor = |line: &Value, name: &str| line[name].as_str().unwrap().replace('.', "").parse::<i64>().unwrap();
        let end = &mut self.ends[wallet];
        for line in lines {
            let is_credit = line["direction"] == "CREDIT";
            let moved_minor = if is_credit { minor(line, "amount") } else { -minor(line, "amount") };
            *end = End { version: end.version + 1, balance_minor: end.balance_minor + moved_minor };
            let found = (line["version"].as_i64(), minor(line, "balance"));
            assert_eq!(found, (Some(end.version), end.balance_minor), "wallet {wallet}: {line} does not follow");
            let name = line["reason"].as_str().unwrap_or_else(|| panic!("wallet {wallet}: nobody asked for {line}"));
            assert!(!self.settled.contains(name), "wallet {wallet}: {name} was settled, and came again: {line}");
            let entry = self.open.get_mut(name);
            let entry = entry.unwrap_or_else(|| panic!("wallet {wallet}: nobody asked for {line}"));
            entry.found.push((wallet, moved_minor));
        }
    }

    /// Compares what was told with what was read; gives what was there although nobody was told of it. What is still
    /// not there may come late: its connection may have been lost before its commit was.
    pub fn settle(&mut self, round: u64) -> Vec<Intent> {
        let mut untold = Vec::new();
        let settled = &mut self.settled;
        self.open.retain(|name, entry| {
            entry.found.sort_unstable();
            let is_there = entry.is_there().unwrap_or_else(|wrong| panic!("round {round}: {wrong}"));
            if entry.told == Told::Nothing && !is_there {
                return true;
            }
            if entry.told == Told::Nothing {
                untold.push(entry.intent.clone());
            }
            settled.insert(name.clone());
            false
        });
        self.lost_and_found += u64::try_from(untold.len()).unwrap();
        untold
    }

    /// What happened, for people.
    pub fn summary(&self) -> String {
        let Self { sent_once, lost, lost_and_found, .. } = self;
        format!("{sent_once} sent without a key, {lost} of them never answered, {lost_and_found} of those found")
    }
}

impl Entry {
    /// Whether it is there, once and as a whole, or not at all; as its client was told.
    fn is_there(&self) -> Result<bool, String> {
        let (legs, times) = (self.intent.legs(), |leg| self.found.iter().filter(|found| **found == leg).count());
        let is_there = self.found == legs;
        match self.told {
            _ if !is_there && times(legs[0]) > 1 => Err(format!("applied {} times: {self:?}", times(legs[0]))),
            _ if !is_there && !self.found.is_empty() => Err(format!("there in part, or changed: {self:?}")),
            Told::Done if !is_there => Err(format!("acknowledged, and not there: {self:?}")),
            Told::Refused if is_there => Err(format!("refused, and there: {self:?}")),
            _ => Ok(is_there),
        }
    }
}
