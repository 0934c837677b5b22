//! A seeded simulation of the chunk protocol. The services are the real ones, and so are Parquet, the Delta log and
//! the catalog's SQL; time, queue, store and the calls between processes are stand-ins that delay, lose, repeat and
//! fail. Processes die, and sleep for longer than their leases, at any call. Afterwards nothing may be missing,
//! double, or left over.
//!
//! One thread runs one world, and the seed decides everything: the same seed gives the same run.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

mod audit;
mod cluster;
mod faults;
mod input;
mod process;
mod queue;
mod remote;
mod start;
mod store;
mod traps;
mod watch;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use cluster::{Ground, Outcome, run};

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} must be a number, and is '{text}'")))
}

/// Seeds of one run of the tests: as many as fit in a minute on two cores.
const SEEDS: u64 = 1000;

#[test]
fn whatever_happens_each_record_arrives_once() {
    if let Some(seed) = number("FOREBAY_SIM_SEED") {
        let outcome = run(&Ground::new(), seed, true);
        println!("seed {seed}: {outcome:?}");
        assert_eq!(outcome.problems, Vec::<String>::new());
        return;
    }
    let seeds = number("FOREBAY_SIM_SEEDS").unwrap_or(SEEDS);
    let first = number("FOREBAY_SIM_FIRST").unwrap_or(1);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let (next, since) = (AtomicU64::new(first), Instant::now());
    let mut totals = [0; 8];
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let core = cores.get(worker).copied();
                let next = &next;
                scope.spawn(move || {
                    // A world and its catalog's thread take turns: on one core they hand over without waking another.
                    if let Some(core) = core {
                        core_affinity::set_for_current(core);
                    }
                    let (ground, mut outcomes) = (Ground::new(), Vec::new());
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= first + seeds {
                            return outcomes;
                        }
                        outcomes.push((seed, run(&ground, seed, false)));
                    }
                })
            })
            .collect();
        for worker in workers {
            for (seed, outcome) in worker.join().unwrap() {
                let Outcome { faults, crashes, pauses, failed_calls, retries, commits, reopened, .. } = outcome;
                let counts = [1, faults, crashes, pauses, failed_calls, retries, commits, reopened];
                totals.iter_mut().zip(counts).for_each(|(total, n)| *total += n);
                failures.extend(outcome.problems.into_iter().map(|problem| (seed, problem)));
            }
        }
    });
    let [seeds, faults, crashes, pauses, failed_calls, retries, commits, reopened] = totals;
    println!(
        "{seeds} seeds in {:.1} s: {faults} faults ({crashes} crashes, {pauses} pauses), {failed_calls} calls failed, \
         {retries} attempts repeated, {commits} commits, {reopened} jobs submitted again",
        since.elapsed().as_secs_f64()
    );
    failures.sort();
    for (seed, problem) in failures.iter().take(20) {
        println!("seed {seed}: {problem}\n  replay it: FOREBAY_SIM_SEED={seed} just sim");
    }
    assert!(failures.is_empty(), "{} problems; the first: seed {}", failures.len(), failures[0].0);
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    // Also after other seeds on the same ground.
    let ground = Ground::new();
    for seed in 1..=8 {
        let [one, other] = [&ground, &Ground::new()].map(|ground| run(ground, seed, false));
        assert!(one.events > 100, "{one:?}");
        assert_eq!((one.trace, one.events), (other.trace, other.events), "seed {seed}");
    }
}
