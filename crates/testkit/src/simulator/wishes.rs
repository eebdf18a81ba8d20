//! What clients of a simulation want, and how they ask: once, again, all at once, and with keys that are not theirs.

use florin_app::{Bulk, port::new_id};
use florin_ledger::{Kind, TransactionId};

use super::{
    book::{Intent, Standing},
    bulks::{Entry, WantedBulk},
    world::World,
};
use crate::keyed::once;

impl World {
    /// Somebody wants something new.
    pub(super) fn want(&mut self) -> Result<(), String> {
        let has_key = self.random.chance(850);
        if self.draw(has_key, None) { self.ask(self.book.intents.len() - 1) } else { Ok(()) }
    }

    /// Somebody wants many things in one request.
    pub(super) fn want_many(&mut self) -> Result<(), String> {
        let (first, bulk) = (self.book.intents.len(), self.book.bulks.len());
        let has_keys = self.random.chance(700);
        for _ in 0..1 + self.random.below(5) {
            self.draw(has_keys, Some(bulk));
        }
        let intents = first..self.book.intents.len();
        if intents.is_empty() {
            return Ok(());
        }
        let name = self.random.chance(500).then(|| format!("bulk-{bulk}"));
        let has_companion = name.is_some();
        let keyed = self.random.chance(500);
        self.book.bulks.push(WantedBulk { intents, atomic: self.random.chance(500), has_keys, name, keyed });
        self.ask_many(bulk, has_companion)
    }

    /// A new intent; none while no wallet is open.
    fn draw(&mut self, has_key: bool, bulk: Option<usize>) -> bool {
        let all = self.book.wallets.iter().enumerate();
        let open: Vec<usize> = all.filter(|(_, wallet)| wallet.is_open).map(|(place, _)| place).collect();
        if open.is_empty() {
            return false;
        }
        let (wallet, to) = (open[self.random.index(open.len())], open[self.random.index(open.len())]);
        let kind = match self.random.below(10) {
            0..4 => Kind::Deposit,
            4..7 => Kind::Withdraw,
            _ if wallet != to => Kind::Transfer,
            _ => Kind::Deposit,
        };
        let key = has_key.then_some(self.book.keys);
        self.book.keys += usize::from(has_key);
        let amount_minor = i128::from(1 + self.random.below(100));
        let to = (kind == Kind::Transfer).then_some(to);
        self.book.intents.push(Intent { kind, wallet, to, amount_minor, key, answer: None, is_made: false, bulk });
        true
    }

    /// Somebody asks again, whether the answer is known or not.
    pub(super) fn ask_again(&mut self) -> Result<(), String> {
        let intent = self.random.index(self.book.intents.len());
        match self.book.intents.get(intent) {
            Some(Intent { bulk: Some(bulk), .. }) => match &self.book.bulks[*bulk] {
                WantedBulk { name: None, has_keys: false, .. } => Ok(()),
                wanted => self.ask_many(*bulk, wanted.name.is_some()),
            },
            Some(wanted) if wanted.key.is_some() => self.ask(intent),
            _ => Ok(()),
        }
    }

    /// Somebody uses a key again for something else.
    pub(super) fn misuse_a_key(&mut self) -> Result<(), String> {
        let Some(other) = self.book.intents.get(self.random.index(self.book.intents.len())) else { return Ok(()) };
        let (wallet, key) = (other.wallet, other.key);
        if key.is_none() {
            return Ok(());
        }
        let (kind, amount_minor) = (Kind::Deposit, 1000);
        let wanted = Intent { kind, wallet, to: None, amount_minor, key, answer: None, is_made: false, bulk: None };
        self.book.intents.push(wanted);
        self.ask(self.book.intents.len() - 1)
    }

    fn ask(&mut self, intent: usize) -> Result<(), String> {
        let node = self.random.index(self.machine.count());
        let transaction_id = TransactionId(new_id(&*self.clock, &self.ids));
        let command = self.book.command(intent, u16::try_from(node).unwrap_or_default(), transaction_id)?;
        let submitted = self.machine.node_mut(node).queue.submit(command);
        let (request, taken) = (self.book.attempts.len(), submitted.is_ok());
        let wanted = self.book.intents[intent].short();
        self.faults.note(|| format!("request {request} to node {node}, taken {taken}: intent {intent}, {wanted}"));
        self.book.enter(intent, transaction_id, submitted);
        Ok(())
    }

    fn ask_many(&mut self, bulk: usize, has_companion: bool) -> Result<(), String> {
        let node = self.random.index(self.machine.count());
        let number = u16::try_from(node).unwrap_or_default();
        let (mut commands, mut transactions) = (Vec::new(), Vec::new());
        for intent in self.book.bulks[bulk].intents.clone() {
            let transaction_id = TransactionId(new_id(&*self.clock, &self.ids));
            commands.push(self.book.command(intent, number, transaction_id)?);
            transactions.push(transaction_id);
        }
        let wanted = &self.book.bulks[bulk];
        let mut bulk_of_commands = Bulk::of(commands, wanted.atomic);
        match wanted.name.as_ref().filter(|_| has_companion) {
            Some(name) if wanted.keyed => bulk_of_commands.keyed = Some(once(name).0),
            Some(name) => bulk_of_commands.companion = Some(Box::new(Entry(name.clone()))),
            None => {}
        }
        let submitted = self.machine.node_mut(node).queue.submit_bulk(bulk_of_commands);
        let (request, taken) = (self.book.attempts.len(), submitted.is_ok());
        let wanted = &self.book.bulks[bulk];
        self.faults.note(|| format!("request {request} to node {node}, taken {taken}: bulk {bulk} {wanted:?}"));
        self.book.enter_bulk(bulk, &transactions, has_companion, submitted);
        Ok(())
    }

    /// Faults have stopped: everything is answered, and every key answers the same again.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        self.open_all()?;
        self.drain()?;
        let before = self.book.attempts.len();
        for intent in 0..self.book.intents.len() {
            let wanted = &self.book.intents[intent];
            if wanted.key.is_some() && wanted.bulk.is_none() {
                self.insist(|world| world.ask(intent))?;
            }
        }
        for bulk in 0..self.book.bulks.len() {
            if self.book.bulks[bulk].name.is_some() {
                self.insist(|world| world.ask_many(bulk, true))?;
            }
            // Its companion left it out if it was decided before: the keys tell what was.
            if self.book.bulks[bulk].has_keys {
                self.insist(|world| world.ask_many(bulk, false))?;
            }
        }
        self.drain()?;
        let unknown = |place: &usize| self.book.attempts[*place].standing == Standing::Unknown;
        let place = (before..self.book.attempts.len()).find(unknown);
        place.map_or(Ok(()), |place| Err(format!("request {place}: all is calm, and it has no answer")))
    }

    /// Asks, and when the queue is full asks again once it is empty.
    fn insist(&mut self, ask: impl Fn(&mut Self) -> Result<(), String>) -> Result<(), String> {
        ask(self)?;
        if self.book.attempts.last().is_some_and(|attempt| attempt.standing == Standing::Refused) {
            self.drain()?;
            ask(self)?;
        }
        Ok(())
    }
}
