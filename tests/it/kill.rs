use std::process::Child;
use std::time::{Duration, Instant};

use crate::support::{CLINICAL, Scratch, patients};

/// A small generator, so that a failure can be repeated from its seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub(crate) fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

#[test]
fn sixty_kills_at_random_moments_lose_and_double_nothing() {
    let scratch = Scratch::new();
    let seed = 0x5eed_2026_1121;
    println!("seed {seed}");
    let mut random = Random(seed);
    let input = scratch.write("p.ndjson", patients(6_000));
    let settings = ["--set", "protect=off", "--set", "chunk.rows=2000", "--set", "commit.interval=100ms"];
    let mut undisturbed = vec!["run", "clinical", &input, "--output", "expected"];
    undisturbed.extend(settings);
    scratch.forebay(&undisturbed).expect(0).conserved();
    let expected = scratch.tables("expected", &CLINICAL);
    let (mut kills, mut round) = (0, 0);
    while kills < 60 {
        round += 1;
        let output = format!("out{round}");
        let mut args = vec!["run", "clinical", &input, "--output", &output, "--progress", "none"];
        args.extend(settings);
        // Up to a dozen kills of one job, then it is let go to its end.
        for _ in 0..12 {
            let mut child = scratch.command(&args).spawn().unwrap();
            if wait(&mut child, Duration::from_millis(5 + random.below(400))).is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        let outcome = scratch.forebay(
            &args[..args.len()].iter().copied().filter(|a| *a != "--progress" && *a != "none").collect::<Vec<_>>(),
        );
        outcome.expect(0).conserved();
        assert_eq!(scratch.tables(&output, &CLINICAL), expected, "round {round}, {kills} kills");
        scratch.clean(&output, &CLINICAL);
    }
}

#[test]
fn an_interrupt_stops_cleanly_and_the_job_resumes() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(40_000));
    let args = ["run", "clinical", &input, "--output", "out", "--set", "chunk.rows=1000", "--progress", "none"];
    let mut child = scratch.command(&args).spawn().unwrap();
    // As soon as the catalog is there, the job is at work.
    let start = Instant::now();
    while !scratch.path("out/_forebay/catalog.db").exists() && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(5));
    }
    std::thread::sleep(Duration::from_millis(150));
    let pid = child.id().to_string();
    std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap();
    let status = wait(&mut child, Duration::from_secs(20)).expect("it did not stop");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    // It may have been done already on a fast machine.
    assert!(status == 0 || (status == 1 && said.contains("interrupted")), "{status}: {said}");
    let outcome = scratch.forebay(&args[..args.len() - 2]);
    outcome.expect(0).conserved();
    assert_eq!(outcome.records_in(), 40_000);
    assert_eq!(scratch.rows("out", "patients").len(), 40_000);
    scratch.clean("out", &CLINICAL);
}
