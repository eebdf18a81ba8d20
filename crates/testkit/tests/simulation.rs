//! The simulator: seeds hold, repeat themselves, and find defects that were put in on purpose.

#![expect(clippy::panic, reason = "a test that cannot go on stops")]

use std::sync::atomic::{AtomicU64, Ordering};

use florin_testkit::simulator::{Lie, Simulator, Tally, Violation};

/// Seeds without the variable.
const SEEDS: u64 = 300;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text}")))
}

#[test]
fn seeds_hold() {
    let count = number("FLORIN_TEST_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let first = number("FLORIN_TEST_SEED").unwrap_or_else(|| u64::from(std::process::id()) * 1_000_000);
    println!("{count} seeds from {first}: cargo xtask simulate --seeds {count} --seed {first}");
    let simulator = Simulator::new();
    let next = AtomicU64::new(first);
    // Each seed runs on one thread; many seeds run beside each other.
    let lives = || {
        let mut all = Tally::default();
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= first + count {
                return Ok(all);
            }
            all = all.plus(simulator.run(seed, None)?);
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let tallies = std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(lives)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<Result<Tally, Violation>>>()
    });
    let mut all = Tally::default();
    for tally in tallies {
        all = all.plus(tally.unwrap_or_else(|violation| panic!("{violation}")));
    }
    println!("{all:#?}");
}

#[test]
fn a_seed_repeats_itself() {
    let simulator = Simulator::new();
    for seed in 0..30 {
        assert_eq!(simulator.record(seed, None), simulator.record(seed, None), "seed {seed}");
    }
}

#[test]
fn every_fault_happens() {
    let simulator = Simulator::new();
    let all = (0..200).map(|seed| simulator.run(seed, None).unwrap()).fold(Tally::default(), Tally::plus);
    let injected = all.injected;
    let counts = [injected.failures, injected.retries, injected.unknown, injected.kills, injected.torn, injected.jumps];
    assert!(counts.iter().all(|count| *count >= 5), "{all:?}");
    assert!(all.applied > 1000 && all.refused > 100 && all.replayed > 1000, "{all:?}");
}

#[test]
fn lies_of_the_engine_are_found() {
    let simulator = Simulator::new();
    let lies =
        [Lie::CommitForgotten, Lie::KeysForgotten, Lie::BalanceForgotten, Lie::UnknownTakenForDone, Lie::BatchNotFound];
    for lie in lies {
        let found = (0..300).find_map(|seed| simulator.run(seed, Some(lie)).err());
        println!("{lie:?}: {}", found.unwrap_or_else(|| panic!("{lie:?} was not found")).text);
    }
}
