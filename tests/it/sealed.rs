//! Protected records that have to wait somewhere wait encrypted.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forebay_testing::s3::files_below;

use crate::kill::{Random, wait};
use crate::support::{CLINICAL, Outcome, Scratch, patient, patients};

/// What is in no patient of another test, in every protected field of these.
pub(crate) const CANARY: &str = "Zebrafinch";

/// Patients whose protected fields all hold the canary.
pub(crate) fn marked(count: u64) -> String {
    let mark = |n: u64| {
        let line = patient(n).replace("\"name\":\"Ana ", "\"name\":\"Zebrafinch ").replace("lorem ipsum", CANARY);
        line.replace(" Oak St", " Zebrafinch St").replace("\"phone\":\"555-", "\"phone\":\"Zebrafinch-") + "\n"
    };
    (0..count).map(mark).collect()
}

fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).unwrap()
}

/// Starts a command and feeds its standard input, which is left open if `open`.
fn feed(command: &mut Command, text: &str, open: bool) -> (Child, Option<std::process::ChildStdin>) {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A process that was refused does not read.
    drop(stdin.write_all(text.as_bytes()).and_then(|()| stdin.flush()));
    (child, open.then_some(stdin))
}

fn piped(scratch: &Scratch, args: &[&str], text: &str) -> Outcome {
    let mut command = scratch.command(&[args, &["--report", "report.json", "--progress", "none"]].concat());
    let (child, _) = feed(&mut command, text, false);
    scratch.finish(child.wait_with_output().unwrap())
}

/// Files below a folder that hold the canary, plain or compressed.
pub(crate) fn found(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(self::found(path));
            continue;
        }
        // One that goes away meanwhile is in nobody's way.
        let bytes = std::fs::read(&path).unwrap_or_default();
        let plain = zstd::decode_all(bytes.as_slice()).unwrap_or_default();
        let holds = |bytes: &[u8]| bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
        if holds(&bytes) || holds(&plain) {
            found.push(path);
        }
    }
    found
}

fn staged(scratch: &Scratch, output: &str) -> Vec<PathBuf> {
    files_below(&scratch.path(output).join("_forebay/staging"))
}

#[test]
fn streams_and_compressed_inputs_of_protected_records_come_through_and_wait_encrypted() {
    let scratch = Scratch::new();
    let text = marked(3_000);
    let input = scratch.write("p.ndjson", &text);
    scratch.forebay(&["run", "clinical", &input, "--output", "plain"]).expect(0).conserved();
    let expected = scratch.tables("plain", &CLINICAL);
    piped(&scratch, &["run", "clinical", "-", "--output", "pipe", "--set", "chunk.rows=500"], &text)
        .expect(0)
        .conserved();
    let packed = scratch.write("p.ndjson.zst", zstd(&text));
    assert_eq!(found(scratch.path("")).len(), 2, "what holds the canary, plain and compressed, is not found");
    scratch.forebay(&["run", "clinical", &packed, "--output", "packed"]).expect(0).conserved();
    for output in ["pipe", "packed"] {
        assert_eq!(scratch.tables(output, &CLINICAL), expected, "{output}");
        scratch.clean(output, &CLINICAL);
        assert_eq!(found(scratch.path(output)), Vec::<PathBuf>::new());
    }
    // The key is the user's own, and with none of the outputs.
    assert!(scratch.path("config/forebay/key").exists());
}

#[test]
fn what_waits_while_a_stream_is_open_is_encrypted() {
    let scratch = Scratch::new();
    let args = ["run", "clinical", "-", "--output", "out", "--job", "one", "--set", "chunk.rows=200"];
    // Nothing is committed before its end, and what was copied for chunks that wait stays so long.
    let mut command = scratch.command(&[&args[..], &["--set", "commit.interval=1h", "--progress", "none"]].concat());
    let text = marked(4_000);
    let (mut child, stdin) = feed(&mut command, &text, true);
    let since = std::time::Instant::now();
    while staged(&scratch, "out").len() < 5 && since.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
    }
    let copies = staged(&scratch, "out");
    assert!(copies.len() >= 5, "{copies:?}");
    assert!(copies.iter().all(|copy| copy.extension().is_some_and(|end| end == "sealed")), "{copies:?}");
    assert_eq!(found(scratch.path("out")), Vec::<PathBuf>::new());
    child.kill().unwrap();
    child.wait().unwrap();
    drop(stdin);
    assert_eq!(found(scratch.path("out")), Vec::<PathBuf>::new());
    // A copy that somebody changed meanwhile is not read. All are changed, because the last ones may be of no chunk yet.
    for copy in staged(&scratch, "out") {
        let mut bytes = std::fs::read(&copy).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&copy, bytes).unwrap();
    }
    let failed = piped(&scratch, &args, &text);
    failed.expect(1);
    assert!(failed.stderr.contains("can't be decrypted"), "{}", failed.stderr);
}

#[test]
fn kills_at_random_moments_lose_and_double_nothing_that_waits_encrypted() {
    let scratch = Scratch::new();
    let mut random = Random(0x5ea1_2026_1121);
    let text = marked(4_000);
    let packed = scratch.write("p.ndjson.zst", zstd(&text));
    let input = scratch.write("p.ndjson", &text);
    scratch.forebay(&["run", "clinical", &input, "--output", "plain"]).expect(0).conserved();
    let expected = scratch.tables("plain", &CLINICAL);
    let args =
        ["run", "clinical", &packed, "--output", "out", "--set", "chunk.rows=500", "--set", "commit.interval=100ms"];
    let mut kills = 0;
    for _ in 0..12 {
        let mut child = scratch.command(&[&args[..], &["--progress", "none"]].concat()).spawn().unwrap();
        if wait(&mut child, Duration::from_millis(50 + random.below(500))).is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found(scratch.path("out")), Vec::<PathBuf>::new());
        kills += 1;
    }
    println!("{kills} kills");
    scratch.forebay(&args).expect(0).conserved();
    assert_eq!(scratch.tables("out", &CLINICAL), expected);
    scratch.clean("out", &CLINICAL);
}

#[test]
fn without_the_key_what_waits_is_neither_made_nor_read() {
    let scratch = Scratch::new();
    let text = marked(2_000);
    let args = ["run", "clinical", "-", "--output", "out", "--job", "one"];
    let mut command = scratch.command(&args);
    let (child, _) = feed(command.env_remove("XDG_CONFIG_HOME").env_remove("HOME"), &text, false);
    let refused = scratch.finish(child.wait_with_output().unwrap());
    refused.expect(2);
    assert!(
        refused.stderr.contains("FOREBAY_KEY_FILE") && refused.stderr.contains("protect=off"),
        "{}",
        refused.stderr
    );
    // A file that is read where it is needs no key.
    let input = scratch.write("p.ndjson", &text);
    let mut command = scratch.command(&["run", "clinical", &input, "--output", "file", "--report", "report.json"]);
    let output = command.env_remove("XDG_CONFIG_HOME").env_remove("HOME").output().unwrap();
    scratch.finish(output).expect(0).conserved();
    for (name, value) in [("FOREBAY_KEY_FILE", "nowhere"), ("FOREBAY_KEYS", "s3cret")] {
        let mut command = scratch.command(&args);
        let wrong = scratch.finish(command.env(name, value).output().unwrap());
        wrong.expect(2);
        assert!(!wrong.stderr.contains("s3cret"), "{}", wrong.stderr);
    }
}

#[test]
fn rejects_of_protected_records_are_kept_encrypted_and_come_through_once_when_mended() {
    let scratch = Scratch::new();
    let mut text = marked(300);
    for n in [20, 40] {
        let line = marked(n + 1).lines().last().unwrap().replacen("-05-17", "-17-05", 1);
        text.push_str(&(line + "\n"));
    }
    let input = scratch.write("p.ndjson", &text);
    let keys = |newest: &str, more: &[&str]| scratch.write("keys", [&[newest], more].concat().join("\n"));
    let (old, new) = ("01".repeat(32), "02".repeat(32));
    let run = |file: &str, args: &[&str]| {
        let mut command = scratch.command(args);
        scratch.finish(command.env("FOREBAY_KEY_FILE", file).output().unwrap())
    };
    let file = keys(&old, &[]);
    run(&file, &["run", "clinical", &input, "--output", "out", "--job", "one"]).expect(3);
    assert_eq!(found(scratch.path("out")), Vec::<PathBuf>::new());
    // Shown to whoever has the key, and asks for it.
    let listed = run(&file, &["rejects", "one", "--output", "out", "--json"]);
    assert!(!listed.expect(0).stdout.contains(CANARY) && listed.stdout.lines().count() == 2, "{}", listed.stdout);
    let raw = run(&file, &["rejects", "one", "--output", "out", "--raw"]);
    assert_eq!(raw.expect(0).stdout, text.lines().skip(300).map(|line| line.to_owned() + "\n").collect::<String>());
    let file = keys(&new, &[]);
    let foreign = run(&file, &["rejects", "one", "--output", "out", "--raw"]);
    assert!(foreign.stdout.is_empty() && foreign.stderr.contains("2 records can't be shown"), "{}", foreign.stderr);
    let refused = run(&file, &["rejects", "one", "--output", "out", "--replay"]);
    assert!(refused.expect(2).stderr.contains("FOREBAY_KEY_FILE"), "{}", refused.stderr);
    // The new key before the old one: what the old one has encrypted comes through.
    let file = keys(&new, &[&old]);
    let again = run(&file, &["rejects", "one", "--output", "out", "--replay", "--report", "report.json"]);
    again.expect(3).conserved();
    assert_eq!(
        (again.records_in(), again.rejects("wrong_type") + again.rejects("bad_date")),
        (2, 2),
        "{:?}",
        again.report
    );
    assert_eq!(found(scratch.path("out")), Vec::<PathBuf>::new());
    let file = keys(&new, &[]);
    let newest = run(&file, &["rejects", "one/replay-1", "--output", "out", "--raw"]);
    assert_eq!(newest.expect(0).stdout.lines().count(), 2, "{}", newest.stderr);
    let mended = scratch.write("mended.ndjson", patients(2));
    let last =
        run(&file, &["rejects", "one", "--output", "out", "--replay", "--from", &mended, "--report", "report.json"]);
    last.expect(0).conserved();
}
