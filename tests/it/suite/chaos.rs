//! Faults by a seeded schedule, while jobs run: rows are conserved, none is there twice, nothing is left behind.
//!
//! `FOREBAY_CHAOS_SEED` and `FOREBAY_CHAOS_FAULTS` choose another schedule or a longer one; `just chaos` does.

use std::process::Child;
use std::time::Duration;

use forebay_testing::faults::Fault as StoreFault;

use super::{Fleet, Suite, send};
use crate::support::{CLINICAL, patients};

/// Faults of the run that is part of every test run.
const FAULTS: u64 = 24;
const SEED: u64 = 7;

/// Each job has so many patients.
const PATIENTS: u64 = 6_000;

/// What goes wrong.
#[derive(Debug)]
enum Fault {
    /// A service's process, with its worker, dies.
    Kill(usize),
    /// Only the worker of a supervised service dies.
    KillWorker(usize),
    /// A service is asleep for longer than its leases last.
    Sleep(usize),
    KillRedis,
    EmptyRedis,
    KillPostgres,
    /// A share of the store's answers is 500, 503, late or cut.
    Store(u64),
    /// The connections to the first storage writer are cut.
    CutStorage,
    CutPostgres,
    CutRedis,
}

/// A small generator of numbers, the same for the same seed. Source: Steele et al., SplitMix64.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

fn schedule(seed: u64, faults: u64, suite: &Suite) -> Vec<(Duration, Fault)> {
    let mut numbers = Numbers(seed);
    let (transforms, all) = (suite.of("transform"), suite.services.len());
    (0..faults)
        .map(|_| {
            let pause = Duration::from_millis(200 + numbers.next(1300));
            let fault = match numbers.next(16) {
                0..=4 => Fault::Kill(numbers.next(all as u64) as usize),
                5 | 6 => Fault::KillWorker(transforms[numbers.next(transforms.len() as u64) as usize]),
                7 => Fault::Sleep(numbers.next(all as u64) as usize),
                8 => Fault::KillRedis,
                9 => Fault::EmptyRedis,
                10 => Fault::KillPostgres,
                11 | 12 => Fault::Store(10 + numbers.next(30)),
                13 => Fault::CutStorage,
                14 => Fault::CutPostgres,
                _ => Fault::CutRedis,
            };
            (pause, fault)
        })
        .collect()
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().unwrap())
}

#[test]
fn faults_by_a_schedule_lose_nothing_and_double_nothing() {
    let (seed, faults) = (number("FOREBAY_CHAOS_SEED", SEED), number("FOREBAY_CHAOS_FAULTS", FAULTS));
    println!("FOREBAY_CHAOS_SEED={seed} FOREBAY_CHAOS_FAULTS={faults}");
    let fleet = Fleet { gateways: 1, transforms: 2, storages: 2 };
    // Leases of three seconds, so that what sleeps for longer is taken for dead within the test's time.
    let mut suite = Suite::start_with(fleet, &[("FOREBAY_LEASE", "3s"), ("AWS_TIMEOUT", "3s")]);
    let input = suite.scratch.write("p.ndjson", patients(PATIENTS));
    suite.scratch.run("clinical", &input, "alone", &["protect=off"]).expect(0).conserved();
    let mut jobs = Jobs { submitted: 0, running: Vec::new() };
    for (n, (pause, fault)) in schedule(seed, faults, &suite).into_iter().enumerate() {
        jobs.keep_two_running(&suite, &input);
        std::thread::sleep(pause);
        println!("fault {n}: {fault:?}");
        inflict(&mut suite, &fault);
    }
    suite.wait_ready();
    let submitted = jobs.submitted;
    for (name, client) in jobs.running {
        check(&suite, &name, client);
    }
    println!("{submitted} jobs came through {faults} faults");
    for n in 0..submitted {
        suite.clean(&format!("j{n}"), &CLINICAL);
    }
}

/// Jobs under way.
struct Jobs {
    submitted: usize,
    running: Vec<(String, Child)>,
}

impl Jobs {
    fn keep_two_running(&mut self, suite: &Suite, input: &str) {
        let mut still = Vec::new();
        for (name, mut client) in self.running.drain(..) {
            if client.try_wait().unwrap().is_some() { check(suite, &name, client) } else { still.push((name, client)) }
        }
        self.running = still;
        while self.running.len() < 2 {
            let name = format!("j{}", self.submitted);
            let args = ["--job", &name, "--set", "protect=off", "--set", "chunk.rows=1500"];
            let client = suite.submission("clinical", input, &name, &args).spawn().unwrap();
            self.running.push((name.clone(), client));
            self.submitted += 1;
        }
    }
}

fn check(suite: &Suite, name: &str, client: Child) {
    let outcome = suite.finish(client.wait_with_output().unwrap(), name);
    assert_eq!(outcome.status, 0, "{name}: {}{}\n{}", outcome.stdout, outcome.stderr, suite.logs());
    outcome.conserved_elsewhere();
    assert_eq!(outcome.records_in(), PATIENTS);
    for table in CLINICAL {
        assert!(suite.rows(name, table) == suite.scratch.rows("alone", table), "{name}: the rows of {table} differ");
    }
}

fn inflict(suite: &mut Suite, fault: &Fault) {
    match fault {
        Fault::Kill(index) => {
            suite.services[*index].kill();
            suite.restart(*index);
        }
        Fault::KillWorker(index) => {
            if let Some(worker) = suite.services[*index].worker() {
                send("KILL", worker);
            }
        }
        Fault::Sleep(index) => {
            let pids: Vec<u32> = suite.services[*index].pids();
            pids.iter().for_each(|pid| send("STOP", *pid));
            std::thread::sleep(Duration::from_secs(5));
            pids.iter().for_each(|pid| send("CONT", *pid));
        }
        Fault::KillRedis => {
            suite.redis.kill();
            std::thread::sleep(Duration::from_millis(300));
            suite.redis.start_again();
        }
        Fault::EmptyRedis => {
            suite.redis.command("FLUSHALL");
        }
        Fault::KillPostgres => {
            suite.postgres.kill();
            suite.postgres.start_again();
        }
        Fault::Store(percent) => {
            let faults = [StoreFault::INTERNAL, StoreFault::SLOW_DOWN, StoreFault::CutBefore, StoreFault::CutAfter];
            suite.store.often(*percent, *percent, &faults);
            std::thread::sleep(Duration::from_millis(500));
            suite.store.pass();
        }
        Fault::CutStorage => suite.wires.storages[0].cut(),
        Fault::CutPostgres => suite.wires.postgres.cut(),
        Fault::CutRedis => suite.wires.redis.cut(),
    }
}
