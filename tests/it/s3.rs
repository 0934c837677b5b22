use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use forebay_testing::faults::{Fault, FaultProxy, Kind};
use forebay_testing::s3::{S3Server, files_below};

use crate::garbage::{bounded, hex};
use crate::support::{CLINICAL, Outcome, Scratch, claims, patients, rows_of};

/// A store in this process, with what a client of it needs.
struct Store {
    scratch: Scratch,
    server: S3Server,
    /// Faults before the store, for a client that goes through it.
    proxy: FaultProxy,
}

impl Store {
    fn start() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.endpoint());
        Self { scratch: Scratch::new(), server, proxy }
    }

    fn bucket(&self) -> PathBuf {
        self.server.bucket()
    }

    fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        self.server.put(key, bytes);
    }

    fn at(&self, endpoint: &str, args: &[&str]) -> Command {
        let mut command = self.scratch.command(args);
        command.envs(S3Server::variables(endpoint)).env("XDG_STATE_HOME", self.scratch.path("state"));
        if args.first() == Some(&"run") {
            command.args(["--report", "report.json", "--progress", "none"]);
        }
        command
    }

    fn command(&self, args: &[&str]) -> Command {
        self.at(self.server.endpoint(), args)
    }

    /// A command that reaches the store through its faults, and waits two seconds for an answer.
    fn command_through_faults(&self, args: &[&str]) -> Command {
        let mut command = self.at(&self.proxy.endpoint(), args);
        command.env("AWS_TIMEOUT", "2s");
        command
    }

    fn forebay(&self, args: &[&str]) -> Outcome {
        self.scratch.finish(bounded(&mut self.command(args)))
    }

    fn through_faults(&self, args: &[&str]) -> Outcome {
        self.scratch.finish(bounded(&mut self.command_through_faults(args)))
    }

    /// Rows of a table in the bucket, read from the folder behind it.
    fn rows(&self, output: &str, table: &str) -> Vec<String> {
        rows_of(&self.bucket().join(output).join(table).display().to_string())
    }

    /// How often an operation was asked for.
    fn count(&self, operation: &str) -> usize {
        self.server.count(operation)
    }

    /// Files of the bucket below a folder that are in staging, or left from looking what the store can do, and
    /// uploads that were not ended.
    fn left_over(&self, output: &str) -> Vec<PathBuf> {
        let mut left = files_below(&self.bucket().join(output).join("_forebay"));
        left.retain(|file| !file.starts_with(self.bucket().join(output).join("_forebay/rejects")));
        left.extend(self.server.upload_files());
        left
    }

    /// Asserts that an output holds what a folder does, and nothing else.
    fn same_as(&self, local: &str, output: &str) {
        for table in CLINICAL {
            assert_eq!(self.rows(output, table), self.scratch.rows(local, table), "{table}");
            let folder = self.bucket().join(output).join(table);
            let there = files_below(&folder).len() - files_below(&folder.join("_delta_log")).len();
            let visible = crate::support::files_of(&folder.display().to_string()).len();
            assert_eq!(there, visible, "files of {table} that its log does not name");
        }
        assert_eq!(self.left_over(output), Vec::<PathBuf>::new());
    }
}

#[test]
fn a_bucket_gives_and_takes_what_a_folder_does() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(1_500));
    store.put("in/p.ndjson", patients(1_500));
    store.put("in/c.csv.gz", crate::formats::gzip(claims(500).as_bytes()));
    store
        .scratch
        .forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"])
        .expect(0)
        .conserved();
    let run = [
        "run",
        "clinical",
        "s3://bucket/in/p.ndjson",
        "--output",
        "s3://bucket/out",
        "--set",
        "protect=off",
        "--set",
        "chunk.rows=900",
    ];
    let outcome = store.forebay(&run);
    outcome.expect(0).conserved();
    assert!(outcome.stdout.contains("s3://bucket/out/"), "{}", outcome.stdout);
    for table in CLINICAL {
        assert_eq!(store.rows("out", table), store.scratch.rows("local", table), "{table}");
    }
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());

    let again = store.forebay(&run);
    assert!(again.expect(0).stdout.contains("already complete"), "{}", again.stdout);
    assert_eq!(store.rows("out", "patients").len(), 1_500);

    // Compressed input is copied to staging in the bucket, and leaves it again.
    store.forebay(&["run", "claims", "s3://bucket/in/c.csv.gz", "--output", "s3://bucket/out"]).expect(0).conserved();
    assert_eq!(store.rows("out", "claims").len(), 500);
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());

    // The other way round, and the commands that look at tables.
    store
        .forebay(&["run", "clinical", "s3://bucket/in/p.ndjson", "--output", "down", "--set", "protect=off"])
        .expect(0)
        .conserved();
    assert_eq!(store.scratch.tables("down", &CLINICAL), store.scratch.tables("local", &CLINICAL));
    assert!(
        store.forebay(&["head", "s3://bucket/out/patients", "-n", "2"]).expect(0).stdout.contains("2 of 1500 rows")
    );
    assert!(store.forebay(&["jobs", "--output", "s3://bucket/out"]).expect(0).stdout.contains("done"));

    // An object that is another one now is other input.
    store.put("in/p.ndjson", patients(1_501));
    let changed = store.forebay(&[&run[..], &["--job", "named"]].concat());
    changed.expect(0).conserved();
    store.put("in/p.ndjson", patients(1_502));
    let changed = store.forebay(&[&run[..], &["--job", "named"]].concat());
    assert!(changed.expect(2).stderr.contains("named"), "{}", changed.stderr);
}

#[test]
fn large_files_go_up_in_parts_and_rejects_go_with_them() {
    let store = Store::start();
    let mut text = large(16_000);
    text.push_str("{\"patient_id\":7}\n");
    store.put("in/p.ndjson", text);
    let outcome = store.forebay(&[
        "run",
        "clinical",
        "s3://bucket/in/p.ndjson",
        "--output",
        "s3://bucket/out",
        "--set",
        "protect=off",
        "--memory",
        "256MiB",
    ]);
    outcome.expect(3).conserved();
    assert!(outcome.peak() < 300 << 20, "{} MiB", outcome.peak() >> 20);
    assert_eq!((store.rows("out", "observations").len(), store.rows("out", "_forebay/rejects").len()), (16_000, 1));
    assert!(store.count("UploadPart") >= 2, "{} parts", store.count("UploadPart"));
    assert_eq!(store.count("CreateMultipartUpload"), store.count("CompleteMultipartUpload"));
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());
}

#[test]
fn a_job_into_a_bucket_that_is_killed_goes_on() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(6_000));
    store
        .scratch
        .forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"])
        .expect(0)
        .conserved();
    let run = [
        "run",
        "clinical",
        &local,
        "--output",
        "s3://bucket/out",
        "--set",
        "protect=off",
        "--set",
        "chunk.rows=1000",
        "--set",
        "file.bytes=64KiB",
    ];
    for wait in [150, 400, 700, 1_000] {
        let mut child = store.command(&run).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        // Its worker dies with it.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    store.forebay(&run).expect(0);
    for table in CLINICAL {
        assert_eq!(store.rows("out", table), store.scratch.rows("local", table), "{table}");
    }
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_in_bounded_time() {
    let store = Store::start();
    store.put("in/p.ndjson", patients(5));
    let input = "s3://bucket/in/p.ndjson";
    for (args, ends, says) in [
        (["run", "clinical", "s3://bucket/in/nope.ndjson", "--output", "out"], 2, "there is no such object"),
        (["run", "clinical", "s3://nobucket/in/p.ndjson", "--output", "out"], 2, "s3://nobucket/in/p.ndjson"),
        (["run", "clinical", input, "--output", "s3://nobucket/out"], 1, "s3://nobucket/out"),
        (["run", "clinical", "s3://", "--output", "out"], 2, "s3://"),
        (["run", "clinical", input, "--output", "s3://"], 2, "s3://"),
    ] {
        let outcome = store.forebay(&args);
        let said = format!("{args:?}: {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
        assert!(
            outcome.status == ends && outcome.stderr.contains(says) && !outcome.stderr.contains("panicked"),
            "{said}"
        );
    }
    let local = store.scratch.write("p.ndjson", patients(5));
    // Nothing listens at the port of a listener that is gone.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // One that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();
    std::thread::scope(|scope| {
        for (number, (key, value)) in [
            ("AWS_ENDPOINT_URL", format!("http://{nobody}")),
            ("AWS_ENDPOINT_URL", format!("http://{silent_at}")),
            ("AWS_ENDPOINT_URL", "http://no-such-host.invalid".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()),
        ]
        .into_iter()
        .enumerate()
        {
            for (input, output) in [(input, format!("elsewhere-{number}")), (&local, format!("s3://bucket/{number}"))] {
                let (store, value) = (&store, value.clone());
                scope.spawn(move || {
                    let args = ["run", "clinical", input, "--output", &output];
                    let started = Instant::now();
                    let mut command = store.scratch.command(&args);
                    command
                        .envs(store.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))))
                        .args(["--progress", "none"])
                        .env("XDG_STATE_HOME", store.scratch.path(&format!("state-{number}")))
                        .env(key, &value);
                    let output = bounded(&mut command);
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let took = started.elapsed();
                    assert!(matches!(output.status.code(), Some(1 | 2)), "{key}={value} {args:?}: {said}");
                    assert!(said.contains("s3://bucket/") && !said.contains("panicked"), "{key}={value}: {said}");
                    assert!(took < Duration::from_secs(60), "{key}={value} {args:?} took {took:?}");
                });
            }
        }
    });
}

/// Patients with notes that do not compress, so that every file of observations goes up in parts.
fn large(count: u64) -> String {
    (0..count)
        .map(|n| {
            let note: String = (0..24).map(|part| hex(n * 24 + part)).collect();
            format!(
                "{{\"patient_id\":\"P{n:06}\",\"encounters\":[{{\"encounter_id\":\"E{n}\",\"observations\":[{{\"observation_id\":\"O{n}\",\"note\":\"{note}\"}}]}}]}}\n"
            )
        })
        .collect()
}

/// Files close when the job ends, and not because a machine is slow.
const LATE: &str = "commit.interval=10m";

/// A run of the clinical recipe from a local file to the bucket, with more settings.
fn run<'a>(input: &'a str, settings: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["run", "clinical", input, "--output", "s3://bucket/out", "--set", "protect=off"];
    settings.iter().for_each(|setting| args.extend(["--set", setting]));
    args
}

#[test]
fn a_third_of_bad_answers_costs_only_time() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(1_500));
    store.scratch.forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"]).expect(0);
    let seed = 20_261_121;
    println!("seed {seed}");
    store.proxy.often(seed, 30, &[Fault::INTERNAL, Fault::SLOW_DOWN, Fault::CutBefore, Fault::CutAfter]);
    let settings = ["chunk.rows=2000", "commit.interval=200ms"];
    store.through_faults(&run(&local, &settings)).expect(0).conserved();
    let met = store.proxy.met();
    println!("{} faults", met.len());
    assert!(met.len() > 20, "{met:?}");
    store.same_as("local", "out");
}

#[test]
fn answers_that_are_lost_lose_and_double_nothing() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", large(9_000));
    store.scratch.forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"]).expect(0);
    for fault in [Fault::CutAfter, Fault::HangAfter] {
        store.proxy.once(Kind::Create, "patients/_delta_log/00000000000000000000.json", 1, fault);
        store.proxy.once(Kind::Create, "observations/_delta_log/00000000000000000001.json", 1, fault);
        store.proxy.once(Kind::Complete, "observations", 1, fault);
        store.proxy.once(Kind::Part, "observations", 2, fault);
        let before = store.proxy.met().len();
        store.through_faults(&run(&local, &[LATE])).expect(0).conserved();
        assert_eq!(store.proxy.met().len() - before, 4, "{:?}", store.proxy.met());
        store.same_as("local", "out");
        // Another output, as good as new.
        std::fs::remove_dir_all(store.bucket().join("out")).unwrap();
        std::fs::remove_dir_all(store.scratch.path("state")).unwrap();
    }
}

#[test]
fn a_store_that_hangs_is_given_up_in_time_and_asked_again() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(1_500));
    store.scratch.forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"]).expect(0);
    store.proxy.once(Kind::Put, "patients/part-", 1, Fault::Hang);
    store.proxy.once(Kind::Create, "encounters/_delta_log/00000000000000000001.json", 1, Fault::Hang);
    store.proxy.once(Kind::List, "_delta_log", 3, Fault::Hang);
    let started = Instant::now();
    store.through_faults(&run(&local, &[])).expect(0).conserved();
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    assert_eq!(store.proxy.met().len(), 3);
    store.same_as("local", "out");
}

fn kill(mut child: Child) {
    // Its worker dies with it.
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_upload_that_was_cut_off_by_a_kill_is_given_up_by_the_next_start() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", large(9_000));
    store.scratch.forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"]).expect(0);
    // In the middle, at the end, and where the store has begun an upload that the writer never heard of.
    let moments = [(Kind::Part, Fault::Hang), (Kind::Complete, Fault::Hang), (Kind::Begin, Fault::HangAfter)];
    for (kills, (kind, fault)) in (1..).zip(moments) {
        store.proxy.once(kind, "observations", 1, fault);
        let mut command = store.command_through_faults(&run(&local, &[LATE]));
        let child = command.env("AWS_TIMEOUT", "60s").spawn().unwrap();
        assert!(store.proxy.wait_met(kills, Duration::from_secs(30)), "{kind:?}");
        kill(child);
        assert!(!store.server.uploads().is_empty(), "{kind:?}");
    }
    store.through_faults(&run(&local, &[LATE])).expect(0);
    store.same_as("local", "out");
    assert_eq!(store.server.uploads(), Vec::<String>::new());
}

#[test]
fn what_a_store_forbids_fails_at_once_and_says_so() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(50));
    for (kind, path, status, code, says) in [
        (Kind::Create, "probe", 403, "AccessDenied", "access is denied"),
        (Kind::Put, "patients/part-", 403, "AccessDenied", "access is denied"),
        (Kind::Put, "patients/part-", 400, "ExpiredToken", "new credentials"),
    ] {
        let before = store.proxy.met().len();
        store.proxy.once(kind, path, 1, Fault::Answer(status, code));
        let outcome = store.through_faults(&run(&local, &[]));
        assert!(outcome.expect(1).stderr.contains(says), "{}", outcome.stderr);
        assert_eq!(store.proxy.met().len() - before, 1);
    }
    // With the right back, the same command goes on.
    store.through_faults(&run(&local, &[])).expect(0).conserved();
    assert_eq!(store.rows("out", "patients").len(), 50);
}

#[test]
fn a_store_without_conditional_puts_is_for_one_process_which_says_so() {
    let store = Store::start();
    store.server.ignore_conditions();
    let local = store.scratch.write("p.ndjson", patients(500));
    store.scratch.forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"]).expect(0);
    let outcome = store.forebay(&run(&local, &["commit.interval=100ms"]));
    outcome.expect(0).conserved();
    assert!(outcome.stderr.contains("ignores If-None-Match"), "{}", outcome.stderr);
    store.same_as("local", "out");
}
