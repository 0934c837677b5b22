//! What identifies a person is planted in every field of every record, and then looked for in every byte that anybody
//! wrote: tables, catalog, queue, logs, spans, metrics, staging, rejects, temporary files.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use arrow_array::Array;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::support::{CLINICAL, Scratch, rows_of};

/// What no file may hold. None of it is anywhere else, in any case.
const PLANTED: [&str; 6] = ["zyqvox", "77310773", "(773) 107-", "77310-1", "1957-03-1", "2023-11-2"];

/// A record whose every field holds something planted. Some are no patients.
fn planted(n: u64) -> String {
    let tag = ["al", "be", "ce", "do", "em", "fi", "go"][n as usize % 7];
    let (given, family) = (format!("Zyqvox{tag}"), format!("Zyqvoxworth{tag}"));
    let note = format!(
        "{given} {family} of {n} Zyqvoxfield Road, Zyqvoxville, came on 2023-11-2{}, MRN 77310773{n:04}, call (773) 107-{n:04} or \
         zyqvox{n}@zyqvox.example. {family}'s mother was here. BP 120/80.",
        n % 10
    );
    let name = match n % 23 {
        5 => format!("[\"{given}\"]"),
        9 => format!("{{\"zyqvoxpart\": \"{given}\"}}"),
        _ => format!("\"{given} {family}\""),
    };
    let birth = if n % 29 == 3 { format!("zyqvox{n}") } else { format!("1957-03-1{}", n % 10) };
    let end = if n % 31 == 7 { "" } else { "}" };
    format!(
        "{{\"patient_id\":\"P{n:04}\",\"mrn\":\"77310773{n:04}\",\"name\":{name},\"birth_date\":\"{birth}\",\
         \"phone\":\"(773) 107-{n:04}\",\"email\":\"zyqvox{n}@zyqvox.example\",\"zyqvoxfield\":\"Zyqvoxvalue\",\"address\":{{\"line\":\
         \"{n} Zyqvoxfield Road\",\"city\":\"Zyqvoxville\",\"state\":\"TX\",\"zip\":\"77310-1{:03}\"}},\"encounters\":\
         [{{\"encounter_id\":\"E{n}\",\"class\":\"AMB\",\"start\":\"2023-11-2{}T07:00:00Z\",\"observations\":\
         [{{\"observation_id\":\"O{n}\",\"effective\":\"2023-11-2{}T07:30:00Z\",\"note\":\"{note}\"}}]}}]{end}\n",
        n % 1000,
        n % 10,
        n % 10,
    )
}

/// Records that come through, records that are rejected, and records that can't even be read.
pub(crate) fn planted_records(count: u64) -> String {
    (0..count).map(planted).collect()
}

/// What of the planted a text or a file's bytes hold.
pub(crate) fn held(bytes: &[u8]) -> Option<&'static str> {
    let lower = bytes.to_ascii_lowercase();
    PLANTED.into_iter().find(|planted| memchr::memmem::find(&lower, planted.as_bytes()).is_some())
}

/// The same of a file, whatever it is packed with.
fn held_by_file(path: &Path) -> Option<&'static str> {
    // One that goes away meanwhile is in nobody's way.
    let bytes = std::fs::read(path).unwrap_or_default();
    if path.extension().is_some_and(|end| end == "parquet") {
        let file = std::fs::File::open(path).unwrap();
        // One that was cut off has no footer, and is searched as it is.
        if let Ok(reader) = ParquetRecordBatchReaderBuilder::try_new(file).and_then(|builder| builder.build()) {
            for batch in reader {
                for column in batch.unwrap().columns() {
                    // No column of ours has others inside.
                    let planted = column.to_data().buffers().iter().find_map(|buffer| held(buffer.as_slice()));
                    if planted.is_some() {
                        return planted;
                    }
                }
            }
        }
    }
    held(&bytes).or_else(|| held(&zstd::decode_all(bytes.as_slice()).ok()?))
}

/// Every file below a folder that holds something planted, but for those below `apart`.
pub(crate) fn leaks(folder: &Path, apart: &Path) -> Vec<(PathBuf, &'static str)> {
    let mut leaks = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path == apart {
        } else if path.is_dir() {
            leaks.extend(self::leaks(&path, apart));
        } else if let Some(planted) = held_by_file(&path) {
            leaks.push((path, planted));
        }
    }
    leaks
}

/// The output, more arguments, faults, and the exit status.
type Case<'a> = (&'a str, &'a [&'a str], &'a [(&'a str, &'a str)], i32);

#[test]
fn nothing_planted_is_written_by_one_process_whatever_happens_to_it() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("in")).unwrap();
    std::fs::create_dir(scratch.path("tmp")).unwrap();
    let input = scratch.write("in/p.ndjson", planted_records(400));
    assert!(leaks(&scratch.path(""), Path::new("")).len() == 1, "what is planted is not found");
    let cases: [Case<'_>; 6] = [
        ("plain", &[], &[], 3),
        ("piped", &[], &[], 3),
        ("limited", &["--set", "profile=limited"], &[], 3),
        ("panic", &["--set", "chunk.rows=50"], &[("FOREBAY_FAULT_PANIC_AT_RECORD", "130")], 3),
        ("abort", &["--set", "chunk.rows=50"], &[("FOREBAY_FAULT_ABORT_AT_RECORD", "130")], 3),
        ("fail", &["--set", "on_error=fail"], &[], 1),
    ];
    for (output, more, variables, status) in cases {
        let from = if output == "piped" { "-" } else { &input };
        let mut command = scratch.command(&["run", "clinical", from, "--output", output, "--job", output]);
        command.args(more).args(["--progress", "json", "--report", &format!("{output}.json")]);
        command.env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full").env("TMPDIR", scratch.path("tmp"));
        command.envs(variables.iter().copied());
        if output == "piped" {
            command.stdin(Stdio::from(std::fs::File::open(&input).unwrap()));
        }
        let ended = command.output().unwrap();
        scratch.write(&format!("{output}.said"), [ended.stdout.as_slice(), &ended.stderr].concat());
        assert_eq!(ended.status.code(), Some(status), "{output}: {}", String::from_utf8_lossy(&ended.stderr));
        for args in [&["rejects", output, "--json"][..], &["jobs"]] {
            let shown = scratch.command(&[args, &["--output", output]].concat()).output().unwrap();
            scratch.write(&format!("{output}-{}.said", args[0]), [shown.stdout, shown.stderr].concat());
        }
    }
    let limited = ["77310-1", "1957-03-1", "2023-11-2", "zyqvox"];
    // A limited data set keeps dates, cities and ZIP codes: its tables, and what is known of their files, may hold them.
    let found = leaks(&scratch.path(""), &scratch.path("in"));
    let (kept, leaks): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|(path, planted)| path.starts_with(scratch.path("limited")) && limited.contains(planted));
    assert_eq!(leaks, vec![], "written in the clear");
    assert!(!kept.is_empty());
    for (output, table) in ["plain", "piped", "panic", "abort"].iter().flat_map(|o| CLINICAL.map(|table| (o, table))) {
        let rows = rows_of(&scratch.path(output).join(table).display().to_string()).join("\n");
        assert!(rows.len() > 1_000, "{output}/{table} is nearly empty");
        assert_eq!(held(rows.as_bytes()), None, "{output}/{table}");
    }
    let texts = scratch.rows("limited", "observations").join("\n").to_lowercase();
    for gone in ["zyqvoxworth", "77310773", "(773) 107-", "@zyqvox", "zyqvoxfield"] {
        assert!(!texts.contains(gone), "{gone} is in the notes of a limited data set");
    }
}
