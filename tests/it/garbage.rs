//! Input of any shape ends in rejects or in a clear error: never in a panic, a hang, or memory beyond the budget.

mod columnar;
mod compressed;
mod csv;
mod files;
mod json;
mod json_values;
mod text;

use std::io::Read;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::support::{Outcome, Scratch};

/// Longest that any command here may take.
const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Peak memory allowed at `--memory 256MiB`.
const PEAK: u64 = 300 << 20;

/// A column of every type that text has to be read into.
const TYPED: &str = "
name: typed
record:
  table: items
  fields:
    id: {type: string}
    n: {type: int}
    f: {type: float}
    d: {type: decimal, precision: 38, scale: 2}
    j: {type: json}
    day: {type: date}
    at: {type: timestamp}
    yes: {type: bool}
";

/// Runs a command to its end, which must come within the time limit.
pub(crate) fn bounded(command: &mut Command) -> Output {
    fn drain(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<Vec<u8>> {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            bytes
        })
    }
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let (stdout, stderr) = (drain(child.stdout.take().unwrap()), drain(child.stderr.take().unwrap()));
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if started.elapsed() > TIME_LIMIT => {
                child.kill().unwrap();
                panic!("not ended after {TIME_LIMIT:?}: {command:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    Output { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

/// Runs a job, and checks what holds for every one: it ended in time, by itself, and without a panic; one that is
/// done has lost nothing.
fn job(scratch: &Scratch, args: &[&str]) -> Outcome {
    let mut command = scratch.command(args);
    command.args(["--report", "report.json", "--progress", "none"]);
    let outcome = scratch.finish(bounded(&mut command));
    let said = format!("{args:?} ended with {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
    assert!((0..=3).contains(&outcome.status), "{said}");
    assert!(!outcome.stderr.contains("panicked at"), "{said}");
    assert!(!outcome.stderr.contains("the worker died"), "{said}");
    if matches!(outcome.status, 0 | 3) {
        outcome.conserved();
    } else {
        assert!(outcome.stderr.lines().any(|line| line.starts_with("forebay: ")), "{said}");
    }
    outcome
}

/// One input that is not what it should be, and how the job ends.
struct Case {
    name: &'static str,
    bytes: Vec<u8>,
    args: Vec<&'static str>,
    ends: i32,
    says: &'static str,
    /// Rejects by reason, and the records that come through.
    rejects: Vec<(&'static str, u64)>,
    kept: u64,
}

/// Input that no job can be run over.
fn refused(
    name: &'static str,
    args: &[&'static str],
    bytes: impl Into<Vec<u8>>,
    ends: i32,
    says: &'static str,
) -> Case {
    Case { name, bytes: bytes.into(), args: args.to_vec(), ends, says, rejects: Vec::new(), kept: 0 }
}

/// Input that some records of can't be read.
fn partly(
    name: &'static str,
    args: &[&'static str],
    bytes: impl Into<Vec<u8>>,
    rejects: &[(&'static str, u64)],
    kept: u64,
) -> Case {
    let (rejects, ends) = (rejects.to_vec(), if rejects.is_empty() { 0 } else { 3 });
    Case { name, bytes: bytes.into(), args: args.to_vec(), ends, says: "records in", rejects, kept }
}

fn check(cases: Vec<Case>) {
    let scratch = Scratch::new();
    scratch.write("typed.yaml", TYPED);
    for (index, case) in cases.into_iter().enumerate() {
        let (name, output) = (case.name, format!("out-{index}"));
        let input = scratch.write("input", &case.bytes);
        let args =
            [&["run", case.args[0], &input, "--output", &output, "--memory", "256MiB"], &case.args[1..]].concat();
        let outcome = job(&scratch, &args);
        let said = format!("{name}: {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
        assert_eq!(outcome.status, case.ends, "{said}");
        assert!(outcome.stdout.contains(case.says) || outcome.stderr.contains(case.says), "{said}");
        if let Some(report) = outcome.report.as_ref().filter(|_| matches!(case.ends, 0 | 3)) {
            let counted: Vec<(&str, u64)> = report["rejects"]
                .as_object()
                .unwrap()
                .iter()
                .map(|(reason, n)| (reason.as_str(), n.as_u64().unwrap()))
                .collect();
            assert_eq!(counted, case.rejects, "{name}");
            let rejected: u64 = counted.iter().map(|(_, n)| n).sum();
            assert_eq!(outcome.records_in() - rejected, case.kept, "{name}");
            assert!(outcome.peak() < PEAK, "{name}: {} MiB", outcome.peak() >> 20);
        }
    }
}

const JSON: &[&str] = &["typed.yaml"];
const CSV: &[&str] = &["claims"];
const PUBLIC: &[&str] = &["clinical", "--set", "protect=off"];

/// Numbers that look random, and are the same each time. Source: Marsaglia, "Xorshift RNGs", 2003.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Bytes without a meaning.
fn noise(length: usize) -> Vec<u8> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // None of the magic numbers that a format is recognised by.
    std::iter::once(b'~').chain(std::iter::repeat_with(|| random.next() as u8)).take(length).collect()
}

/// Text that hardly compresses.
pub(crate) fn hex(seed: u64) -> String {
    let mut random = Random(seed * 2 + 1);
    for _ in 0..8 {
        random.next();
    }
    (0..4).map(|_| format!("{:016x}", random.next())).collect()
}
