//! Verdicts of fold, in a small language.
//!
//! A line opens an account or gives a command with what must come of it:
//!
//! ```text
//! wallet NAME POSTED [held N] [floor N|none] [ceiling N] [owner NAME] [closed] [in ASSET]
//! system NAME POSTED [in ASSET]
//! LEGS [key KEY[/REQUEST]] [owned NAME:OWNER] [in ASSET] [transfer] => VERDICT [| NAME POSTED ...]
//! ```
//!
//! Legs are separated by commas: `a > b 5` debits a and credits b with 5, `-a 5` only debits, `+a 5` only credits.

use florin_money::Asset;
use uuid::Uuid;

use super::*;
use crate::{AccountKind, Balance, HashForm, Kind, Limits, Precondition, TransactionId, transaction_hash};

const NOW_US: i64 = 1_000;

fn named(name: &str) -> Uuid {
    let mut bytes = [b' '; 16];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Uuid::from_bytes(bytes)
}

fn name_of(id: AccountId) -> String {
    String::from_utf8_lossy(id.0.as_bytes()).trim_end().to_owned()
}

fn asset(code: &str) -> Asset {
    match code {
        "EUR/3" => Asset::new("EUR", 3).unwrap(),
        _ => Asset::find_iso(code).unwrap(),
    }
}

fn number(text: &str) -> i128 {
    match text.split_once('^') {
        Some((base, power)) => base.parse::<i128>().unwrap().pow(power.parse().unwrap()),
        None => text.parse().unwrap(),
    }
}

/// The word after `name`, if the words have it.
fn option<'a>(words: &[&'a str], name: &str) -> Option<&'a str> {
    words.iter().position(|word| *word == name).map(|at| words[at + 1])
}

fn read_account(words: &[&str]) -> Account {
    let is_wallet = words[0] == "wallet";
    let posted = number(words[2]);
    let floor_minor = match option(words, "floor") {
        Some("none") => None,
        Some(floor) => Some(number(floor)),
        None => is_wallet.then_some(0),
    };
    let (debits, credits) = if (posted < 0) == is_wallet { (posted.abs(), 0) } else { (0, posted.abs()) };
    Account {
        id: AccountId(named(words[1])),
        asset: asset(option(words, "in").unwrap_or("EUR")),
        kind: if is_wallet { AccountKind::Wallet } else { AccountKind::System },
        owner_id: option(words, "owner").map(named),
        normal_side: if is_wallet { Side::Credit } else { Side::Debit },
        limits: Limits { floor_minor, ceiling_minor: option(words, "ceiling").map(number) },
        posted_debits_minor: debits,
        posted_credits_minor: credits,
        pending_debits_minor: option(words, "held").map_or(0, number),
        pending_credits_minor: 0,
        version: 0,
        created_at_us: 1,
        updated_at_us: 1,
        closed_at_us: words.contains(&"closed").then_some(1),
    }
}

fn read_legs(text: &str) -> Vec<Leg> {
    let leg = |name, side, amount| Leg { account_id: AccountId(named(name)), side, amount_minor: number(amount) };
    let mut legs = Vec::new();
    for item in text.split(',').filter(|item| !item.trim().is_empty()) {
        let words: Vec<_> = item.split_whitespace().collect();
        match words[..] {
            [from, ">", to, amount] => legs.extend([leg(from, Side::Debit, amount), leg(to, Side::Credit, amount)]),
            [name, amount] if name.starts_with('-') => legs.push(leg(&name[1..], Side::Debit, amount)),
            [name, amount] if name.starts_with('+') => legs.push(leg(&name[1..], Side::Credit, amount)),
            _ => panic!("no legs: {item}"),
        }
    }
    legs
}

fn read_key(text: &str) -> IdempotencyKey {
    let (key, request) = text.split_once('/').unwrap_or((text, "1"));
    IdempotencyKey {
        scope: named("scope"),
        resource: named("resource"),
        key: key.to_owned(),
        fingerprint: [request.parse().unwrap(); 32],
    }
}

fn read_command(text: &str, number: usize) -> Command {
    let options_at = [" key ", " owned ", " in ", " transfer"].iter().filter_map(|option| text.find(option)).min();
    let (legs, options) = text.split_at(options_at.unwrap_or(text.len()));
    let words: Vec<_> = options.split_whitespace().collect();
    let owned = option(&words, "owned").and_then(|owned| owned.split_once(':'));
    Command {
        transaction_id: TransactionId(Uuid::from_u128(u128::try_from(number).unwrap())),
        // Of anything to anything, unless it says otherwise.
        kind: if words.contains(&"transfer") { Kind::Transfer } else { Kind::Adjustment },
        asset: asset(option(&words, "in").unwrap_or("EUR")),
        legs: read_legs(legs),
        actor_id: named("actor"),
        reason: None,
        effective_at_us: None,
        idempotency: option(&words, "key").map(read_key),
        owners: owned
            .map(|(name, owner)| Precondition { account_id: AccountId(named(name)), owner_id: named(owner) })
            .into_iter()
            .collect(),
    }
}

fn write_verdict(verdict: &Verdict) -> String {
    let text = match &verdict.outcome {
        Outcome::Applied(_) => "applied".to_owned(),
        Outcome::Rejected(Rejection::AccountNotFound { account_id }) => format!("no {}", name_of(*account_id)),
        Outcome::Rejected(Rejection::AccountClosed { account_id }) => format!("closed {}", name_of(*account_id)),
        Outcome::Rejected(Rejection::AssetMismatch { account_id }) => format!("other asset {}", name_of(*account_id)),
        Outcome::Rejected(Rejection::CeilingExceeded { account_id }) => format!("ceiling {}", name_of(*account_id)),
        Outcome::Rejected(Rejection::Malformed { reason }) => format!("malformed: {reason}"),
        Outcome::Rejected(Rejection::IdempotencyKeyReused) => "key reused".to_owned(),
        Outcome::Rejected(Rejection::BatchRefused { item }) => format!("because of {item}"),
        Outcome::Rejected(Rejection::InsufficientFunds {
            account_id,
            posted_minor,
            available_minor,
            required_minor,
        }) => format!("short {}: {posted_minor}/{available_minor} for {required_minor}", name_of(*account_id)),
    };
    if verdict.replayed { format!("again {text}") } else { text }
}

/// What came of the only new transaction of a batch.
fn applied_in(folded: &Folded, at: usize) -> &Applied {
    let Outcome::Applied(applied) = &folded.verdicts[folded.applied[at]].outcome else { panic!("{folded:?}") };
    applied
}

/// Folds, and keeps the answers as facts of what comes next.
pub(super) fn fold_on(batch: Batch<'_>, facts: &mut Facts, recorded_at_us: i64) -> Folded {
    let folded = fold(batch, facts, recorded_at_us);
    let answers = folded.answers_of(batch.commands);
    facts
        .answered
        .extend(answers.map(|(key, outcome)| ((key.scope, key.key.clone()), (key.fingerprint, outcome.clone()))));
    folded
}

/// Runs a script command by command, checking each line; then as one batch, which must come to the same.
fn play(script: &str) -> Facts {
    let mut facts = Facts::default();
    let mut commands = Vec::new();
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<_> = line.split_whitespace().collect();
        match line.split_once("=>") {
            None => {
                let account = read_account(&words);
                facts.accounts.insert(account.id, account);
            }
            Some((command, expected)) => commands.push((line, read_command(command, commands.len() + 1), expected)),
        }
    }
    let mut at_once = facts.clone();
    let mut verdicts = Vec::new();
    for (line, command, expected) in &commands {
        let (verdict, figures) = expected.split_once('|').unwrap_or((expected, ""));
        verdicts.extend(fold_on(Batch::each(std::slice::from_ref(command)), &mut facts, NOW_US).verdicts);
        assert_eq!(write_verdict(&verdicts[verdicts.len() - 1]), verdict.trim(), "{line}");
        for pair in figures.split_whitespace().collect::<Vec<_>>().chunks(2) {
            let posted = facts.accounts[&AccountId(named(pair[0]))].balance().posted_minor;
            assert_eq!(posted, number(pair[1]), "{} after {line}", pair[0]);
        }
    }
    let batch: Vec<_> = commands.into_iter().map(|(_, command, _)| command).collect();
    assert_eq!(fold_on(Batch::each(&batch), &mut at_once, NOW_US).verdicts, verdicts);
    assert_eq!(at_once.accounts, facts.accounts);
    assert_eq!(at_once.answered, facts.answered);
    facts
}

#[test]
fn money_moves_between_accounts() {
    play(
        "system bank 0
         wallet ann 0
         wallet bob 0
         bank > ann 100                  => applied | bank 100 ann 100
         ann > bob 30                    => applied | ann 70 bob 30
         ann > bank 70                   => applied | bank 30 ann 0
         bank > ann 5, bank > bob 5      => applied | bank 40 ann 5 bob 35
         -ann 5, -bob 5, +bank 10        => applied | bank 30 ann 0 bob 30
         bob > bob 30                    => applied | bob 30",
    );
}

#[test]
fn a_floor_holds_to_the_last_cent() {
    play(
        "system bank 0
         wallet ann 100
         wallet bob 0 floor -50
         wallet cat 0 floor none
         wallet dan 100 held 40
         ann > bank 101                  => short ann: 100/100 for 101 | ann 100 bank 0
         ann > bank 60, ann > bob 41     => short ann: 100/100 for 101 | ann 100 bank 0 bob 0
         ann > bank 60, ann > bob 40     => applied | ann 0 bob 40
         ann > bank 1                    => short ann: 0/0 for 1
         bob > bank 91                   => short bob: 40/40 for 91
         bob > bank 90                   => applied | bob -50
         cat > bank 1000                 => applied | cat -1000
         dan > bank 61                   => short dan: 100/60 for 61
         dan > bank 60                   => applied | dan 40
         dan > bank 1                    => short dan: 40/0 for 1",
    );
}

#[test]
fn an_account_past_its_limit_may_come_back() {
    play(
        "system bank 0
         wallet low -100
         wallet high 100 ceiling 50
         bank > low 30                   => applied | low -70
         low > bank 1                    => short low: -70/-70 for 1
         high > bank 20                  => applied | high 80
         bank > high 1                   => ceiling high | high 80",
    );
}

#[test]
fn a_ceiling_caps_what_is_posted() {
    play(
        "system bank 0
         wallet ann 0 ceiling 50 held 10
         bank > ann 51                   => ceiling ann | ann 0 bank 0
         bank > ann 50                   => applied | ann 50
         bank > ann 1                    => ceiling ann
         ann > bank 1, bank > ann 1      => applied | ann 50
         bank > ann 1, ann > bank 1      => ceiling ann | ann 50",
    );
}

#[test]
fn each_leg_of_a_command_keeps_the_limits() {
    play(
        "system bank 0
         wallet ann 0
         -ann 5, +ann 5                  => short ann: 0/0 for 5
         +ann 5, -ann 5                  => applied | ann 0",
    );
}

#[test]
fn figures_stay_within_thirty_eight_digits() {
    play(
        "system bank 0
         wallet ann 0
         bank > ann 10^38                => ceiling bank | bank 0 ann 0
         bank > ann 10^37                => applied | ann 10^37
         ann > bank 10^38                => short ann: 10000000000000000000000000000000000000/\
         10000000000000000000000000000000000000 for 100000000000000000000000000000000000000
         -bank 10^38, -bank 10^38, +ann 10^38, +ann 10^38 => malformed: amounts are too large",
    );
}

#[test]
fn a_malformed_command_is_refused() {
    play(
        "system bank 0
         wallet ann 100
                                  => malformed: fewer than two legs
         -ann 5                   => malformed: fewer than two legs
         -ann 5, +bank 4          => malformed: debits differ from credits
         -ann 5, -bank 5          => malformed: debits differ from credits
         ann > bank 0             => malformed: an amount is not above zero
         ann > bank -5            => malformed: an amount is not above zero
         ann > bank 5, ann > ghost 0 => malformed: an amount is not above zero | ann 100 bank 0",
    );
}

#[test]
fn accounts_must_exist_be_open_and_hold_the_asset() {
    play(
        "system bank 0
         wallet ann 100
         wallet old 100 closed
         wallet yen 100 in JPY
         wallet odd 100 in EUR/3
         ann > ghost 5            => no ghost
         ghost > ann 5            => no ghost
         ann > old 5              => closed old
         old > ann 5              => closed old
         ann > yen 5              => other asset yen
         ann > odd 5              => other asset odd
         yen > bank 5 in JPY      => other asset bank
         ann > bank 5 in JPY      => other asset ann
         ann > bank 5 transfer    => no bank
         ann > bank 500, ann > ghost 1 => no ghost | ann 100 bank 0 old 100 yen 100",
    );
}

#[test]
fn somebody_elses_wallet_reads_like_none() {
    play(
        "system bank 0
         wallet ann 100 owner eve
         wallet bob 0 owner mia
         wallet old 0 owner mia closed
         ann > bank 5 owned ann:mia     => no ann | ann 100
         ghost > bank 5 owned ghost:mia => no ghost
         old > bank 5 owned old:eve     => no old
         bank > bob 5 owned bank:mia    => no bank
         ann > ghost 5 owned ann:mia    => no ann
         ann > bank 5 owned bob:eve     => no bob
         ann > bank 500 owned ann:mia   => no ann
         ann > bob 5 owned ann:eve      => applied | ann 95 bob 5",
    );
}

#[test]
fn a_key_has_one_effect() {
    play(
        "system bank 0
         wallet ann 0
         bank > ann 10 key a            => applied | ann 10
         bank > ann 10 key a            => again applied | ann 10
         bank > ann 11 key a/2          => key reused | ann 10
         bank > ann 10 key a            => again applied | ann 10
         bank > ann 10 key b            => applied | ann 20
         bank > ann 10                  => applied | ann 30
         bank > ann 10                  => applied | ann 40",
    );
}

#[test]
fn a_refusal_is_an_answer_too() {
    play(
        "system bank 0
         wallet ann 0
         ann > bank 10 key a            => short ann: 0/0 for 10
         bank > ann 100                 => applied
         ann > bank 10 key a            => again short ann: 0/0 for 10 | ann 100
         ann > bank 11 key a/2          => key reused
         ann > bank 10 key b            => applied | ann 90
         -ann 1 key c                   => malformed: fewer than two legs
         -ann 1 key c                   => again malformed: fewer than two legs
         ann > ghost 1 key d            => no ghost
         ann > ghost 1 key d            => again no ghost",
    );
}

#[test]
fn the_same_key_in_another_scope_is_another_key() {
    let mut facts = play("system bank 0\n wallet ann 0\n bank > ann 10 key a => applied | ann 10");
    let mut command = read_command("bank > ann 10 key a", 2);
    command.idempotency.as_mut().unwrap().scope = named("elsewhere");
    let folded = fold_on(Batch::each(&[command]), &mut facts, NOW_US);
    assert_eq!(write_verdict(&folded.verdicts[0]), "applied");
}

#[test]
fn legs_carry_the_balance_and_version_after_them() {
    let mut facts = play("system bank 0\n wallet ann 10 held 4");
    let folded =
        fold_on(Batch::each(&[read_command("bank > ann 5, bank > ann 7, ann > bank 2", 1)]), &mut facts, NOW_US);
    let applied = applied_in(&folded, 0);
    let legs: Vec<_> = applied.legs.iter().filter(|posted| name_of(posted.leg.account_id) == "ann").collect();
    let after = |posted_minor| Balance { posted_minor, pending_minor: 4, available_minor: posted_minor - 4 };
    assert_eq!(legs.iter().map(|posted| posted.balance).collect::<Vec<_>>(), [after(15), after(22), after(20)]);
    assert_eq!(legs.iter().map(|posted| posted.version).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(applied.leg_of(AccountId(named("ann"))), Some(legs[2]));
    assert_eq!(facts.accounts[&AccountId(named("ann"))].version, 3);
}

#[test]
fn a_batch_says_what_must_be_written() {
    let mut facts = play("system bank 0\n wallet ann 0\n wallet bob 0\n wallet idle 0");
    let script =
        ["bob > bank 1 key a", "bank > bob 5 key b", "bank > bob 5 key b", "bank > bob 5 key a/2", "bank > ann 1"];
    let batch: Vec<_> = script.iter().enumerate().map(|(at, line)| read_command(line, at)).collect();
    let folded = fold_on(Batch::each(&batch), &mut facts, NOW_US);
    assert_eq!(folded.applied, [1, 4]);
    assert_eq!(folded.answered, [0, 1]);
    let keys: Vec<_> = folded.answers_of(&batch).map(|(key, outcome)| (key.key.as_str(), outcome)).collect();
    assert_eq!(keys, [("a", &folded.verdicts[0].outcome), ("b", &folded.verdicts[1].outcome)]);
    assert_eq!(folded.changed.iter().map(|id| name_of(*id)).collect::<Vec<_>>(), ["ann", "bank", "bob"]);
    assert_eq!(folded.verdicts.len(), batch.len());
    assert_eq!(facts.answered.len(), 2);
}

#[test]
fn an_applied_command_carries_its_hash_and_time() {
    let mut facts = play("system bank 0\n wallet ann 0");
    let command = Command { effective_at_us: Some(3), ..read_command("bank > ann 5 key a", 1) };
    let folded = fold_on(Batch::each(std::slice::from_ref(&command)), &mut facts, NOW_US);
    let applied = applied_in(&folded, 0);
    let record = TransactionRecord::of_command(&command, NOW_US, &applied.legs);
    assert_eq!((applied.recorded_at_us, applied.hash), (NOW_US, transaction_hash(&record, HashForm::CURRENT)));
    assert_eq!(record.effective_at_us, 3);
}

#[test]
fn every_transaction_of_a_batch_has_its_own_hash_and_is_in_the_tree() {
    for count in [1, 3, WORTH_SHARING - 1, WORTH_SHARING, WORTH_SHARING + 1, WORTH_SHARING * 2 + 1] {
        let mut facts = play("system bank 0\n wallet ann 0");
        let mut batch: Vec<_> = (0..count).map(|at| read_command(&format!("bank > ann 5 key k{at}"), at)).collect();
        batch.push(batch[count / 2].clone());
        let folded = fold_on(Batch::each(&batch), &mut facts, NOW_US);
        assert_eq!(folded.applied.len(), count);
        let hash_of = |(command, applied): (&Command, &Applied)| {
            transaction_hash(&TransactionRecord::of_command(command, NOW_US, &applied.legs), HashForm::CURRENT)
        };
        let hashes: Vec<Hash> = folded.applied_of(&batch).map(hash_of).collect();
        assert!(folded.applied_of(&batch).map(|(_, applied)| applied.hash).eq(hashes.iter().copied()), "{count}");
        assert_eq!(folded.merkle_root, merkle_root(&hashes, HashForm::CURRENT), "{count}");
        assert_eq!(folded.verdicts[count].outcome, folded.verdicts[count / 2].outcome);
    }
}

#[test]
fn an_accounts_time_never_steps_back() {
    let mut facts = play("system bank 0\n wallet ann 0\n bank > ann 5 => applied");
    let ann = AccountId(named("ann"));
    assert_eq!(facts.accounts[&ann].updated_at_us, NOW_US);
    let folded = fold_on(Batch::each(&[read_command("bank > ann 5", 2)]), &mut facts, NOW_US - 500);
    assert_eq!(folded.applied.len(), 1);
    assert_eq!(facts.accounts[&ann].updated_at_us, NOW_US);
}

/// Runs commands as one batch with atomic ranges; each line's verdict, and the figures of every account after it.
fn play_whole(accounts: &str, script: &str, atomic: &[Range<usize>]) -> Facts {
    let mut facts = play(accounts);
    let lines: Vec<_> = script.lines().filter_map(|line| line.split_once("=>")).collect();
    let batch: Vec<_> = lines.iter().enumerate().map(|(at, (line, _))| read_command(line.trim(), at)).collect();
    let folded = fold_on(Batch { commands: &batch, atomic }, &mut facts, NOW_US);
    for ((line, expected), verdict) in lines.iter().zip(&folded.verdicts) {
        assert_eq!(write_verdict(verdict), expected.trim(), "{line}");
    }
    assert_eq!(folded.verdicts.len(), lines.len());
    facts
}

#[test]
fn a_range_is_applied_whole_or_not_at_all() {
    let accounts = "system bank 0\n wallet ann 0\n wallet bob 0";
    let script = "bank > ann 10  => applied
                  bank > ann 5   => because of 1
                  ann > bob 16   => short ann: 15/15 for 16
                  bank > bob 7   => because of 1
                  ann > bob 10   => applied
                  bob > ann 4    => applied
                  ann > bob 5    => short ann: 4/4 for 5";
    let facts = play_whole(accounts, script, &[1..4, 4..6]);
    let left = |name| facts.accounts[&AccountId(named(name))].balance().posted_minor;
    assert_eq!((left("bank"), left("ann"), left("bob")), (10, 4, 6));
    assert_eq!(facts.accounts[&AccountId(named("ann"))].version, 3);
}

#[test]
fn a_refused_range_answers_its_keys_and_keeps_earlier_answers() {
    let accounts = "system bank 0\n wallet ann 0\n bank > ann 5 key old => applied";
    let script = "bank > ann 5 key new  => because of 3
                  bank > ann 5 key new  => again because of 3
                  bank > ann 5 key old  => again applied
                  ann > bank 50 key bad => short ann: 10/10 for 50
                  bank > ann 6 key old/2 => key reused
                  bank > ann 5 key new  => again because of 3";
    let facts = play_whole(accounts, script, std::slice::from_ref(&(0..5)));
    assert_eq!(facts.accounts[&AccountId(named("ann"))].balance().posted_minor, 5);
    assert_eq!(facts.answered.len(), 3);
}

#[test]
fn ranges_past_the_end_or_out_of_order_harm_nobody() {
    let script = "bank > ann 5 => applied\n ann > bank 6 => short ann: 5/5 for 6\n bank > ann 1 => applied";
    for atomic in [[7..9_usize, 9..10], [2..99, 3..4], [2..2, 0..1], [0..1, 0..1]] {
        play_whole("system bank 0\n wallet ann 0", script, &atomic);
    }
}
