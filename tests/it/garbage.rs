//! Input of any shape ends in rejects or in a clear error: never in a panic, a hang, or memory beyond the budget.

use std::io::{Read, Write};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use crate::formats::{arrow_file, arrow_stream, claims_batch, gzip, parquet_file, zstd};
use crate::support::{CLINICAL, Outcome, Scratch, patient, patients};

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

#[test]
fn text_that_is_hardly_text_ends_in_rejects_or_a_clear_error() {
    let utf16 = |text: &str, big: bool| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit: u16| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    };
    let records = "{\"id\":\"a\"}\n{\"id\":\"b\"}\n";
    let header = "claim_id,line_no,paid_amount\n";
    check(vec![
        partly("empty", JSON, "", &[], 0),
        partly("only white space", JSON, " \n\n \t \r\n", &[], 0),
        partly("only a byte order mark", JSON, "\u{feff}", &[], 0),
        refused("an empty CSV", &["claims", "--format", "csv"], "", 2, "not even a CSV header"),
        refused("a CSV of white space", &["claims", "--format", "csv"], " \n \n", 2, "header"),
        refused("an empty Parquet file", &["typed.yaml", "--format", "parquet"], "", 2, "Parquet"),
        partly("an empty JSON array", &["typed.yaml", "--format", "json"], "", &[("not_a_record", 1)], 0),
        refused("an empty Arrow file", &["clinical", "--format", "arrow", "--set", "protect=off"], "", 2, "Arrow"),
        refused("NUL bytes", JSON, vec![0; 5000], 2, "NUL bytes"),
        partly("NUL bytes between records", JSON, "{\"id\":\"a\"}\n\0\0\n{\"id\":\"b\0\"}\n", &[("syntax", 2)], 1),
        refused("random bytes", JSON, noise(100_000), 2, "NUL bytes"),
        refused("UTF-16, little end first", JSON, utf16(records, false), 2, "iconv"),
        refused("UTF-16, big end first", CSV, utf16(header, true), 2, "iconv"),
        partly(
            "invalid UTF-8 in one record",
            JSON,
            b"{\"id\":\"a\"}\n{\"id\":\"\xff\xfe\"}\n{\"id\":\"\xc3\"}\n{\"id\":\"d\"}\n",
            &[("invalid_utf8", 2)],
            2,
        ),
        partly("an overlong UTF-8 form", JSON, b"{\"id\":\"\xc0\xaf\"}\n", &[("invalid_utf8", 1)], 0),
        partly("a surrogate in UTF-8", JSON, b"{\"id\":\"\xed\xa0\x80\"}\n", &[("invalid_utf8", 1)], 0),
        refused("a directory's listing", CSV, "total 0\n-rw-r--r-- 1 a b 0 x\n", 2, "none of its columns"),
        refused("HTML", CSV, "<html><body>Not found</body></html>\n", 2, "none of its columns"),
    ]);
}

#[test]
fn broken_json_ends_in_rejects() {
    let deep = |open: &str, inner: &str, close: &str| open.repeat(100_000) + inner + &close.repeat(100_000);
    let digits = "9".repeat(10_000);
    let cases = vec![
        partly(
            "a known field nested 100,000 deep",
            JSON,
            format!("{{\"j\":{}}}\n{{}}\n", deep("[", "", "]")),
            &[("too_deep", 1)],
            1,
        ),
        partly(
            "an unknown field nested 100,000 deep",
            JSON,
            format!("{{\"x\":{}}}\n{{}}\n", deep("{\"a\":", "1", "}")),
            &[("too_deep", 1)],
            1,
        ),
        partly(
            "nested and never closed",
            JSON,
            format!("{{\"j\":{}\n{{}}\n", "[".repeat(100_000)),
            &[("too_deep", 1)],
            1,
        ),
        partly("arrays nested 100,000 deep", JSON, deep("[", "", "]"), &[("too_deep", 1)], 0),
        partly(
            "objects nested 100,000 deep in an array",
            JSON,
            format!("[{}]", deep("{\"j\":", "1", "}")),
            &[("too_deep", 1)],
            0,
        ),
        partly("100,000 opened arrays", JSON, "[".repeat(100_000), &[("too_deep", 1), ("truncated", 1)], 0),
        partly(
            "100,000 closed arrays",
            &["typed.yaml", "--format", "json"],
            "]".repeat(100_000),
            &[("not_a_record", 1)],
            0,
        ),
        partly(
            "numbers of 10,000 digits",
            JSON,
            format!(
                "{{\"n\":{digits}}}\n{{\"f\":{digits}}}\n{{\"d\":{digits}}}\n{{\"f\":0.{digits}}}\n{{\"j\":{digits}}}\n{{\"x\":{digits}}}\n"
            ),
            &[("out_of_range", 3)],
            3,
        ),
        partly(
            "huge exponents",
            JSON,
            "{\"f\":1e999}\n{\"f\":-1e99999999999999999999}\n{\"f\":1e-999}\n{\"n\":1e999999999999}\n{\"d\":1e999999999999}\n{\"j\":1e999999999}\n",
            &[("out_of_range", 2), ("wrong_type", 2)],
            2,
        ),
        partly(
            "duplicate keys",
            JSON,
            "{\"id\":\"a\",\"id\":\"b\"}\n{\"n\":1,\"\\u006e\":2}\n{\"id\":\"c\"}\n",
            &[("duplicate_key", 2)],
            1,
        ),
        partly(
            "wrong types",
            JSON,
            "{\"id\":1}\n{\"n\":\"x\"}\n{\"n\":1.5}\n{\"f\":true}\n{\"day\":20240101}\n{\"day\":\"2024-13-01\"}\n{\"at\":\"soon\"}\n{\"yes\":\"yes\"}\n{\"id\":{}}\n{\"id\":[]}\n{\"d\":\"x\"}\n",
            &[("wrong_type", 11)],
            0,
        ),
        partly("no objects", JSON, "{\"id\":\"a\"}\n1\n\"x\"\nnull\n[]\ntrue\n", &[("not_a_record", 5)], 1),
        partly("two objects on a line", JSON, "{\"id\":\"a\"}{\"id\":\"b\"}\n", &[("syntax", 1)], 0),
        partly(
            "lone surrogates",
            JSON,
            "{\"id\":\"\\ud800\"}\n{\"id\":\"\\udc00\"}\n{\"x\":\"\\ud800\\u0041\"}\n{\"id\":\"\\ud83d\\ude00\"}\n",
            &[("syntax", 3)],
            1,
        ),
        partly(
            "control characters in strings",
            JSON,
            "{\"id\":\"a\u{1}b\"}\n{\"x\":\"a\tb\"}\n{\"id\":\"a\\u0001b\"}\n",
            &[("syntax", 2)],
            1,
        ),
        partly("the last line cut off", JSON, "{\"id\":\"a\"}\n{\"id\":\"b", &[("truncated", 1)], 1),
        partly("an array that is not closed", JSON, "[{\"id\":\"a\"},{\"id\":\"b\"}", &[("truncated", 1)], 2),
        partly("an array cut off in an element", JSON, "[{\"id\":\"a\"},{\"id\":\"b", &[("truncated", 2)], 1),
        partly("an array closed too early", JSON, "[{\"id\":\"a\"}],{\"id\":\"b\"}]", &[("syntax", 1)], 1),
        partly("data after an array", JSON, "[{\"id\":\"a\"}]\n{\"id\":\"b\"}\n{\"id\":\"c\"}\n", &[("syntax", 1)], 1),
        partly("an array closed by a brace", JSON, "[{\"id\":\"a\"}}", &[("syntax", 1)], 1),
        partly("a comma at the end of an array", JSON, "[{\"id\":\"a\"},]", &[("not_a_record", 1)], 1),
        partly("commas alone", JSON, "[,,]", &[("not_a_record", 3)], 0),
        partly("no commas", JSON, "[{\"id\":\"a\"} {\"id\":\"b\"}]", &[("syntax", 1)], 0),
        partly("scalars in an array", JSON, "[1,\"a\",null,true,[],{\"id\":\"a\"}]", &[("not_a_record", 5)], 1),
        partly("an array of nothing", JSON, " [ ] ", &[], 0),
        partly("CSV called JSON", &["typed.yaml", "--format", "json"], "id,n\na,1\n", &[("not_a_record", 1)], 0),
        partly("CSV called NDJSON", &["typed.yaml", "--format", "ndjson"], "id,n\na,1\n", &[("syntax", 2)], 0),
        partly(
            "an array called NDJSON",
            &["typed.yaml", "--format", "ndjson"],
            "[{\"id\":\"a\"}]\n",
            &[("not_a_record", 1)],
            0,
        ),
        partly(
            "records of just over and just under the limit",
            JSON,
            format!(
                "{{\"id\":\"{}\"}}\n{{\"id\":\"{}\"}}\n{{\"id\":\"c\"}}\n",
                "x".repeat(10 << 20),
                "y".repeat((10 << 20) - 100)
            ),
            &[("too_large", 1)],
            2,
        ),
    ];
    check(cases);
}

#[test]
fn broken_csv_ends_in_rejects_or_a_clear_error() {
    let header = "claim_id,line_no,paid_amount\n";
    let wide = |extra: usize| -> String {
        let names: Vec<String> = (0..extra).map(|n| format!("c{n}")).collect();
        format!("claim_id,line_no,{}\nC1,1,{}\n", names.join(","), vec!["x"; extra].join(","))
    };
    check(vec![
        partly("a header alone", CSV, header, &[], 0),
        partly("a header alone, without a newline", CSV, header.trim_end(), &[], 0),
        refused("CR line ends", CSV, header.replace('\n', "\r") + "C1,1,2\rC2,2,3\r", 2, "CR alone"),
        refused(
            "a required column missing",
            CSV,
            "claim_id,paid_amount\nC1,2\n",
            2,
            "required columns are missing: line_no",
        ),
        refused("a column twice", CSV, "claim_id,line_no,claim_id\nC1,2,3\n", 2, "two columns are called 'claim_id'"),
        refused("no known column", CSV, "alpha,beta\n1,2\n", 2, "none of its columns"),
        refused("no header at all", CSV, "C1,1,P1,1,x,1,1,2024-01-01\n", 2, "header"),
        refused("another delimiter", CSV, "claim_id;line_no\nC1;1\n", 2, "none of its columns"),
        refused("an unclosed quote in the header", CSV, "\"claim_id,line_no\nC1,1\n", 2, "header"),
        refused("a header without an end", CSV, "claim_id,line_no,".repeat(1 << 20), 2, "no end of the CSV header"),
        refused("nested tables", &["clinical"], "patient_id\nP1\n", 2, "can't hold lists"),
        partly("ragged rows", CSV, format!("{header}C1,1\nC2,1,2,3\nC3,1,2\n\nC4\n"), &[("not_a_record", 3)], 1),
        partly("an unclosed quote", CSV, format!("{header}C1,1,2\nC2,\"1,2\nC3,1,2\n"), &[("truncated", 1)], 1),
        partly(
            "an unclosed quote before a megabyte",
            CSV,
            format!("{header}C1,\"{}", "1,2\n".repeat(1 << 18)),
            &[("truncated", 1)],
            0,
        ),
        partly(
            "wrong types",
            CSV,
            format!(
                "{header}C1,x,2\nC2,1,abc\n,1,1\nC4,99999999999,1\nC5,0,1\nC6,1,nan\nC7,1,1e999\nC8,1,-inf\nC9,0x10,1\n"
            ),
            &[("invalid", 1), ("missing_field", 1), ("out_of_range", 4), ("wrong_type", 3)],
            0,
        ),
        partly(
            "invalid UTF-8 in one row",
            CSV,
            [header.as_bytes(), b"C1,1,2\n\xff\xfe,1,2\n\"C\n\xff\",1,2\nC4,1,2\n"].concat(),
            &[("invalid_utf8", 2)],
            2,
        ),
        refused("invalid UTF-8 in the header", CSV, b"claim_id,line_no,\xff\nC1,1,2\n".to_vec(), 2, "not UTF-8"),
        partly("330 columns", CSV, wide(328), &[], 1),
        partly("20,000 columns", CSV, wide(19_998), &[], 1),
        partly("330 columns and a row of 331", CSV, wide(328) + &"1,".repeat(330) + "x\n", &[("not_a_record", 1)], 1),
        partly(
            "a row over the limit",
            CSV,
            format!("{header}C1,1,2\n{},1,2\nC3,1,2\n", "x".repeat((10 << 20) + 1)),
            &[("too_large", 1)],
            2,
        ),
        partly(
            "one long quoted field over the limit",
            CSV,
            format!("{header}\"{}\",1,2\nC2,1,2\n", "x\n".repeat(6 << 20)),
            &[("too_large", 1)],
            1,
        ),
    ]);
}

#[test]
fn broken_compression_is_called_that() {
    let text = patients(3_000);
    let (gz, zst) = (gzip(text.as_bytes()), zstd(text.as_bytes()));
    let cut = |bytes: &[u8], left: usize| bytes[..left].to_vec();
    let flipped = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        bytes
    };
    check(vec![
        refused("gzip cut in the middle", PUBLIC, cut(&gz, gz.len() / 2), 1, "gzip data is broken or cut off"),
        refused("gzip without its checksum", PUBLIC, cut(&gz, gz.len() - 4), 1, "gzip data is broken or cut off"),
        refused("the start of a gzip header", PUBLIC, cut(&gz, 5), 1, "gzip data is broken or cut off"),
        refused("two bytes of gzip", PUBLIC, cut(&gz, 2), 1, "gzip data is broken or cut off"),
        refused("garbage behind a gzip header", PUBLIC, [&gz[..10], &[0xff; 1000]].concat(), 1, "gzip data is broken"),
        refused("a gzip header that is garbage", PUBLIC, [&gz[..2], &[b'x'; 1000]].concat(), 1, "gzip data is broken"),
        refused("garbage behind gzip", PUBLIC, [&gz[..], b"garbage"].concat(), 1, "gzip data is broken"),
        refused("gzip with a flipped byte", PUBLIC, flipped(&gz), 1, "gzip data is broken"),
        refused("a second member that is cut", PUBLIC, [&gz[..], &gz[..100]].concat(), 1, "gzip data is broken"),
        refused("zstd cut in the middle", PUBLIC, cut(&zst, zst.len() / 2), 1, "zstd data is broken or cut off"),
        refused("zstd cut at its end", PUBLIC, cut(&zst, zst.len() - 1), 1, "zstd data is broken or cut off"),
        refused("four bytes of zstd", PUBLIC, cut(&zst, 4), 1, "zstd data is broken or cut off"),
        refused("garbage behind a zstd header", PUBLIC, [&zst[..4], &[0xff; 1000]].concat(), 1, "zstd data is broken"),
        refused("garbage behind zstd", PUBLIC, [&zst[..], b"garbage"].concat(), 1, "zstd data is broken"),
        refused("gzip of zeros", PUBLIC, gzip(&vec![0; 64 << 20]), 2, "NUL bytes"),
        partly("gzip of nothing", PUBLIC, gzip(b""), &[], 0),
        refused("gzip in gzip", PUBLIC, gzip(&gz), 2, ""),
        refused(
            "Parquet in gzip",
            CSV,
            gzip(&parquet_file(&claims_batch(10), 10)),
            2,
            "Parquet can't be read from a stream",
        ),
        refused("gzip for a recipe that protects", &["clinical"], gz.clone(), 2, "--set protect=off"),
    ]);
}

#[test]
fn broken_columnar_files_are_called_that() {
    let batch = claims_batch(2_000);
    let (parquet, file, stream) = (parquet_file(&batch, 500), arrow_file(&batch, 500), arrow_stream(&batch, 500));
    let cut = |bytes: &[u8], left: usize| bytes[..left].to_vec();
    check(vec![
        refused("Parquet without its footer", CSV, cut(&parquet, parquet.len() / 2), 2, "no readable Parquet file"),
        refused("Parquet without its last byte", CSV, cut(&parquet, parquet.len() - 1), 2, "no readable Parquet file"),
        refused("four bytes of Parquet", CSV, "PAR1", 2, "no readable Parquet file"),
        refused(
            "Parquet's magic and zeros",
            CSV,
            [b"PAR1".to_vec(), vec![0; 100]].concat(),
            2,
            "no readable Parquet file",
        ),
        refused(
            "a footer of 2 GiB",
            CSV,
            [b"PAR1".to_vec(), vec![255; 100], b"\xff\xff\xff\x7fPAR1".to_vec()].concat(),
            2,
            "no readable Parquet",
        ),
        refused("Parquet of something else", JSON, parquet.clone(), 2, "none of its columns"),
        refused("an Arrow file cut in the middle", CSV, cut(&file, file.len() / 2), 2, "cut off"),
        refused("an Arrow file without its footer", CSV, cut(&file, file.len() - 10), 2, "Arrow"),
        refused("an Arrow file's magic", CSV, "ARROW1\0\0", 2, "no readable Arrow data"),
        refused(
            "an Arrow file's magic and zeros",
            CSV,
            [b"ARROW1\0\0".to_vec(), vec![0; 100]].concat(),
            2,
            "no readable Arrow",
        ),
        refused("an Arrow stream cut in the middle", CSV, cut(&stream, stream.len() / 2), 2, "cut off"),
        refused("four bytes of Arrow", CSV, [255; 4], 2, "no readable Arrow data"),
        refused(
            "a message of 2 GiB",
            CSV,
            [vec![255; 4], vec![0xf0, 255, 255, 0x7f], vec![0; 100]].concat(),
            2,
            "Arrow",
        ),
        refused("Arrow of something else", JSON, stream.clone(), 2, "none of its columns"),
    ]);
}

#[test]
fn columnar_files_with_flipped_bytes_never_crash_a_job() {
    let scratch = Scratch::new();
    let batch = claims_batch(300);
    let files = [parquet_file(&batch, 100), arrow_file(&batch, 100), arrow_stream(&batch, 100)];
    let mut random = Random(20_261_121);
    for (kind, whole) in files.iter().enumerate() {
        for round in 0..24 {
            let mut bytes = whole.clone();
            // Some rounds aim at the metadata: a footer, or the first messages.
            let (from, to) = match (round % 3, kind) {
                (0, 0) => (whole.len() * 3 / 4, whole.len()),
                (0, _) => (8, 1_500),
                _ => (8, whole.len()),
            };
            let mut flipped = Vec::new();
            for _ in 0..=round % 4 {
                let at = from + random.below(to - from);
                bytes[at] ^= 1 << random.below(8);
                flipped.push(at);
            }
            let (input, output) = (scratch.write("input", &bytes), format!("out-{kind}-{round}"));
            println!("kind {kind}, round {round}: flipped {flipped:?}");
            let outcome = job(&scratch, &["run", "claims", &input, "--output", &output, "--memory", "256MiB"]);
            if outcome.report.is_some() {
                assert!(outcome.peak() < PEAK, "{} MiB", outcome.peak() >> 20);
            }
        }
    }
}

/// Every flip of a compressed stream's bits is found by its checksum, so it is never silently other data.
#[test]
fn compressed_text_with_flipped_bytes_never_comes_through_changed() {
    let scratch = Scratch::new();
    let text = patients(300);
    scratch.write("whole.ndjson", &text);
    scratch
        .forebay(&["run", "clinical", "whole.ndjson", "--output", "whole", "--set", "protect=off"])
        .expect(0)
        .conserved();
    let expected = scratch.tables("whole", &CLINICAL);
    let mut random = Random(7);
    let whole = gzip(text.as_bytes());
    for round in 0..12 {
        let mut bytes = whole.clone();
        let at = 2 + random.below(whole.len() - 2);
        bytes[at] ^= 1 << random.below(8);
        let (input, output) = (scratch.write("input", &bytes), format!("out-{round}"));
        let outcome = job(&scratch, &["run", "clinical", &input, "--output", &output, "--set", "protect=off"]);
        // A flip in the header's time or name changes nothing.
        if matches!(outcome.status, 0 | 3) {
            assert_eq!(scratch.tables(&output, &CLINICAL), expected, "flipped byte {at}");
        }
    }
}

#[test]
fn a_line_of_1_gib_is_one_reject_and_stays_within_the_budget() {
    let scratch = Scratch::new();
    let write = |out: &mut dyn Write| {
        let block = vec![b'x'; 1 << 20];
        out.write_all(b"{\"patient_id\":\"P1\"}\n{\"patient_id\":\"").unwrap();
        for _ in 0..1024 {
            out.write_all(&block).unwrap();
        }
        out.write_all(b"\"}\n{\"patient_id\":\"P3\"}\n").unwrap();
    };
    let plain = std::fs::File::create(scratch.path("plain")).unwrap();
    write(&mut std::io::BufWriter::new(&plain));
    let packed = std::fs::File::create(scratch.path("packed")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(&packed, flate2::Compression::fast());
    write(&mut encoder);
    encoder.finish().unwrap();
    for input in ["plain", "packed"] {
        let output = format!("out-{input}");
        let outcome = job(
            &scratch,
            &["run", "clinical", input, "--output", &output, "--memory", "256MiB", "--set", "protect=off"],
        );
        outcome.expect(3);
        assert_eq!((outcome.records_in(), outcome.rejects("too_large")), (3, 1), "{input}");
        assert_eq!(scratch.rows(&output, "patients").len(), 2, "{input}");
        assert!(outcome.peak() < PEAK, "{input}: {} MiB", outcome.peak() >> 20);
        scratch.clean(&output, &CLINICAL);
    }
    // The same without an end, as an array, and as CSV.
    for (name, start) in [("array", "[{\"patient_id\":\""), ("quoted.csv", "claim_id,line_no\n\"")] {
        let mut file = std::fs::File::create(scratch.path(name)).unwrap();
        file.write_all(start.as_bytes()).unwrap();
        // What a hole in a file reads as: zeros.
        file.set_len(1 << 30).unwrap();
        let (recipe, output) = (if name == "array" { "clinical" } else { "claims" }, format!("out-{name}"));
        let outcome = job(&scratch, &["run", recipe, name, "--output", &output, "--memory", "256MiB"]);
        match outcome.status {
            2 => assert!(outcome.stderr.contains("NUL bytes"), "{}", outcome.stderr),
            _ => assert!(outcome.expect(3).rejects("too_large") == 1 && outcome.peak() < PEAK, "{:?}", outcome.report),
        }
    }
}

#[test]
fn what_is_no_file_is_refused_with_its_name() {
    let scratch = Scratch::new();
    let file = scratch.write("file", patients(1));
    std::fs::create_dir(scratch.path("folder")).unwrap();
    std::os::unix::fs::symlink("loop", scratch.path("loop")).unwrap();
    let below = format!("{file}/below");
    let public = "protect=off";
    for (input, output, ends, says) in [
        ("folder", "out", 2, "is a directory"),
        ("missing", "out", 2, "can't read missing"),
        (&below, "out", 2, "Not a directory"),
        ("loop", "out", 2, "symbolic links"),
        ("", "out", 2, "can't read"),
        ("http://example.org/x", "out", 2, "s3://"),
        ("file", below.as_str(), 2, "Not a directory"),
        ("file", "/dev/full", 2, "/dev/full"),
        ("file", "/proc/forebay", 2, "/proc/forebay"),
        ("/dev/null", "nothing", 0, "0 records in"),
    ] {
        let outcome = job(&scratch, &["run", "clinical", input, "--output", output, "--set", public]);
        let said = format!("{input} {output}: {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
        assert_eq!(outcome.status, ends, "{said}");
        assert!(outcome.stderr.contains(says) || outcome.stdout.contains(says), "{said}");
    }
    // What may not be read. The administrator may read everything.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(scratch.path("file"), std::fs::Permissions::from_mode(0o000)).unwrap();
    if std::fs::File::open(scratch.path("file")).is_ok() {
        println!("skipped: this user can read a file without permissions");
        return;
    }
    let outcome = job(&scratch, &["run", "clinical", "file", "--output", "out"]);
    assert!(outcome.expect(2).stderr.contains("Permission denied"), "{}", outcome.stderr);
}

/// A file system of a few megabytes, gone at the end.
struct SmallDisk {
    folder: std::path::PathBuf,
}

impl SmallDisk {
    fn mount(folder: std::path::PathBuf, size: &str) -> Option<Self> {
        std::fs::create_dir(&folder).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self { folder })
    }

    fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        assert!(Command::new("mount").args(["-o", &options]).arg(&self.folder).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind that its next run could not do without.
        drop(Command::new("umount").arg("-l").arg(&self.folder).status());
    }
}

#[test]
fn a_full_disk_fails_the_job_and_the_same_command_finishes_it_when_there_is_room() {
    let scratch = Scratch::new();
    let notes = |n: u64| patient(n).replace("lorem ipsum ", &hex(n));
    let text: String = (0..20_000).map(|n| notes(n) + "\n").collect();
    let input = scratch.write("p.ndjson", text);
    let whole = ["run", "clinical", &input, "--output", "whole", "--set", "protect=off"];
    job(&scratch, &whole).expect(0);
    for size in ["400k", "3m"] {
        let name = format!("disk-{size}");
        let Some(disk) = SmallDisk::mount(scratch.path(&name), size) else {
            println!("skipped: this user can't mount a file system");
            return;
        };
        let output = format!("{name}/out");
        let args = [
            "run",
            "clinical",
            &input,
            "--output",
            &output,
            "--job",
            "full",
            "--set",
            "protect=off",
            "--set",
            "file.bytes=256KiB",
            "--set",
            "chunk.rows=2000",
        ];
        let failed = job(&scratch, &args);
        assert!(
            failed.expect(1).stderr.to_lowercase().contains("space") || failed.stderr.contains("full"),
            "{}",
            failed.stderr
        );
        disk.grow("200m");
        job(&scratch, &args).expect(0);
        assert_eq!(scratch.tables(&output, &CLINICAL), scratch.tables("whole", &CLINICAL), "{size}");
        scratch.clean(&output, &CLINICAL);
    }
}

/// JSON values that are valid, as `y_` in JSONTestSuite, or for which RFC 8259 leaves the choice and a column of
/// type `json` keeps them as they came.
const VALID: &[&str] = &[
    "[]",
    "{}",
    "[ ]",
    "{ }",
    "[[]   ]",
    "[\"\"]",
    "[null]",
    "[false]",
    "[true, false, null]",
    "null",
    "true",
    "0",
    "-0",
    "-1",
    "[123]",
    "[-123]",
    "[123.456]",
    "[1e3]",
    "[1E22]",
    "[0e+1]",
    "[0e1]",
    "[1E-2]",
    "[1E+2]",
    "[123e45]",
    "[123.456e78]",
    "[-0.000000000000000000000000000000000000000000000000000000000000000000000000000001]",
    "[ 4]",
    "[1,2]",
    "[\"\\u0060\\u012a\\u12AB\"]",
    "[\"\\uD801\\udc37\"]",
    "[\"\\ud83d\\ude39\\ud83d\\udc8d\"]",
    "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
    "[\"\\\\u0000\"]",
    "[\"\\\"\"]",
    "[\"a/*b*/c/*d//e\"]",
    "[\"\\\\a\"]",
    "[\"\\\\n\"]",
    "[\"\\u0012\"]",
    "[\"\\uFFFF\"]",
    "[\"asd\"]",
    "[ \"asd\"]",
    "[\"\\uDBFF\\uDFFF\"]",
    "[\"new\\u00A0line\"]",
    "[\"\u{10ffff}\"]",
    "[\"\u{ffff}\"]",
    "[\"\\u0000\"]",
    "[\"\\u002c\"]",
    "[\"π\"]",
    "[\"asd \"]",
    "\" \"",
    "[\"\\uD834\\uDd1e\"]",
    "[\"\u{2028}\"]",
    "[\"\u{2029}\"]",
    "[\"\\u0821\"]",
    "[\"\\u0123\"]",
    "[\"\u{7f}\"]",
    "[\"€𝄞\"]",
    "[\"aa\u{7f}\"]",
    "{\"a\":[]}",
    "{\"\":0}",
    "{\"foo\\u0000bar\": 42}",
    "{\"min\": -1.0e+28, \"max\": 1.0e+28}",
    "{\"asd\":\"sdf\", \"dfg\":\"fgh\"}",
    "{\"a\":\"b\",\"a\":\"c\"}",
    "[1e999999]",
    "[123123e100000]",
    "[-1e-9999999]",
    "{\"x\":[{\"id\": \"aaa\"}], \"id\": \"bbb\"}",
    "\t[]",
    "[2] ",
    "\"]\"",
    "\"}\"",
    "[\"{\",\"[\"]",
    "[\"\\\\\\\\\"]",
    "[\"\\\\\\\"\"]",
];

/// What is no JSON value, as `n_` in JSONTestSuite.
const INVALID: &[&str] = &[
    "",
    " ",
    "[1 true]",
    "[\"\": 1]",
    "[\"\"],",
    "[,1]",
    "[1,,2]",
    "[\"x\",,]",
    "[\"x\"]]",
    "[\"\",]",
    "[\"x\"",
    "[x",
    "[3[4]]",
    "[1:2]",
    "[,]",
    "[-]",
    "[   , \"\"]",
    "[\"a\",4,1,",
    "[1,]",
    "[1,,]",
    "[\"\u{b}a\"\\f]",
    "[*]",
    "[\"\"",
    "[1,",
    "[{}",
    "[fals]",
    "[nul]",
    "[tru]",
    "[-01]",
    "[++1234]",
    "[+1]",
    "[+Inf]",
    "[-1.0.]",
    "[-2.]",
    "[-NaN]",
    "[.-1]",
    "[.2e-3]",
    "[0.1.2]",
    "[0.3e+]",
    "[0.3e]",
    "[0.e1]",
    "[0E+]",
    "[0E]",
    "[0e+]",
    "[0e]",
    "[1.0e+]",
    "[1.0e-]",
    "[1.0e]",
    "[1 000.0]",
    "[1eE2]",
    "[2.e+3]",
    "[2.e-3]",
    "[2.e3]",
    "[9.e+]",
    "[Inf]",
    "[NaN]",
    "[１]",
    "[1+2]",
    "[0x1]",
    "[0x42]",
    "[Infinity]",
    "[-Infinity]",
    "[-foo]",
    "[- 1]",
    "[-012]",
    "[-.123]",
    "[-1x]",
    "[1ea]",
    "[1.]",
    "[.123]",
    "[1.2a-3]",
    "[1.8011670033376514H-308]",
    "[012]",
    "01",
    "[\"x\", truth]",
    "{[: \"x\"}",
    "{\"x\", null}",
    "{\"x\"::\"b\"}",
    "{\"a\" b}",
    "{:\"b\"}",
    "{\"a\" \"b\"}",
    "{\"a\":",
    "{\"a\"",
    "{1:1}",
    "{9999E9999:1}",
    "{null:null,null:null}",
    "{\"id\":0,,,,,}",
    "{'a':0}",
    "{\"id\":0,}",
    "{\"a\":\"b\"}/**/",
    "{\"a\":\"b\"}//",
    "{\"a\":\"b\"}#",
    "{\"a\":\"b\",,\"c\":\"d\"}",
    "{a: \"b\"}",
    "{\"a\":\"a",
    "{ \"foo\" : \"bar\", \"a\" }",
    "[\"\\uD800\\\"]",
    "[\"\\uD800\\u\"]",
    "[\"\\uD800\\u1\"]",
    "[\"\\uD800\\u1x\"]",
    "[é]",
    "[\"\\x00\"]",
    "[\"\\\\\\\"]",
    "[\"\\\u{9}\"]",
    "[\"\\🌀\"]",
    "[\"\\\"]",
    "[\"\\u00A\"]",
    "[\"\\uD834\\uDd\"]",
    "[\"\\uD800\\uD800\\x\"]",
    "[\"\\a\"]",
    "[\"\\uqqqq\"]",
    "[\\u0020\"asd\"]",
    "[\\n]",
    "\"",
    "['single quote']",
    "abc",
    "[\"\\",
    "[\"a\u{1f}a\"]",
    "[\"\t\"]",
    "\"\\UA66D\"",
    "\"\"x",
    "<.>",
    "[<null>]",
    "[1]x",
    "[1]]",
    "aå",
    "[True]",
    "1]",
    "{\"x\": true,",
    "[][]",
    "]",
    "{}}",
    "{\"\":",
    "{\"a\":/*comment*/\"b\"}",
    "{\"a\": true} \"x\"",
    "['",
    "[,",
    "[{",
    "[\"a",
    "[\"a\"",
    "{",
    "{]",
    "{,",
    "{[",
    "{\"a",
    "{'a'",
    "[\"\\{[\"\\{[\"\\{",
    "é",
    "*",
    "{\"a\":\"b\"}#{}",
    "[\\u000A\"\"]",
    "[1",
    "[ false, nul",
    "[ true, fals",
    "[ false, tru",
    "{\"asd\":\"asd\"",
    "[\u{2060}]",
    "\u{feff}",
    "\u{feff}{}",
    "\u{c}[]",
    "TRUE",
    "nulll",
    "--1",
    "\u{a0}1",
    "[\"\\ud800\"]",
    "[\"\\udfff\\ud800\"]",
];

#[test]
fn json_values_are_told_from_what_only_looks_like_them() {
    let scratch = Scratch::new();
    let recipe = scratch.write("json.yaml", "name: json\nrecord:\n  table: items\n  fields:\n    j: {type: json}\n");
    let lines = |field: &str, values: &[&str]| -> String {
        values.iter().map(|value| format!("{{\"{field}\":{value}}}\n")).collect()
    };
    // As the value of a column, and as that of a field that the recipe does not name: both are read to their end.
    for field in ["j", "unknown"] {
        let good = scratch.write("good.ndjson", lines(field, VALID));
        let output = format!("good-{field}");
        let outcome = job(&scratch, &["run", &recipe, &good, "--output", &output]);
        let rejects = scratch.rows(&output, "_forebay/rejects");
        assert_eq!((outcome.records_in(), rejects), (VALID.len() as u64, Vec::new()));
        let bad = scratch.write("bad.ndjson", lines(field, INVALID));
        let output = format!("bad-{field}");
        let outcome = job(&scratch, &["run", &recipe, &bad, "--output", &output]);
        outcome.expect(3);
        assert_eq!(outcome.records_in(), INVALID.len() as u64);
        let kept = scratch.rows(&output, "items");
        assert!(
            kept.is_empty() && outcome.rejects("syntax") + outcome.rejects("truncated") == INVALID.len() as u64,
            "{kept:?} {:?}",
            outcome.report
        );
    }
    let mut expected: Vec<String> =
        VALID.iter().map(|value| if *value == "null" { "∅" } else { value.trim() }.to_owned()).collect();
    expected.sort();
    assert_eq!(scratch.rows("good-j", "items"), expected);
    // The same values as elements of an array whose records are cut by counting brackets.
    let records: Vec<String> = VALID.iter().map(|value| format!("{{\"j\":{value}}}")).collect();
    let array = scratch.write("good.json", format!("[{}]", records.join(" ,\n")));
    let outcome = job(&scratch, &["run", &recipe, &array, "--output", "array"]);
    assert_eq!(outcome.expect(0).records_in(), VALID.len() as u64);
    assert_eq!(scratch.rows("array", "items"), expected);
}

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
