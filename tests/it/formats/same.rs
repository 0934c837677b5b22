use std::io::Write;
use std::process::Stdio;

use super::{arrow_file, arrow_stream, claims_batch, gzip, parquet_file, zstd};
use crate::support::{CLINICAL, Scratch, claims, patient, patients};

#[test]
fn patients_are_the_same_in_every_text_format() {
    let scratch = Scratch::new();
    let (count, ndjson) = (700, patients(700));
    let records: Vec<String> = (0..count).map(patient).collect();
    let values: Vec<serde_json::Value> = records.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
    let (first, second) = ndjson.split_at(ndjson.len() / 3);
    let bom = "\u{feff}";
    let mut expected = None;
    for (name, bytes) in [
        ("ndjson", ndjson.clone().into_bytes()),
        ("crlf", ndjson.replace('\n', "\r\n").into_bytes()),
        ("blank lines", ndjson.replace('\n', "\n\n \t\n").into_bytes()),
        ("no final newline", ndjson.trim_end().into()),
        ("byte order mark", format!("{bom}{ndjson}").into()),
        ("compact array", format!("[{}]", records.join(",")).into()),
        ("array with a line a record", format!("\n[\n{}\n]\n", records.join(",\n")).into()),
        ("array with a byte order mark", format!("{bom}[{}]", records.join(" , ")).into()),
        ("pretty array", serde_json::to_vec_pretty(&values).unwrap()),
        ("gzip", gzip(ndjson.as_bytes())),
        ("gzip of two members", [gzip(first.as_bytes()), gzip(second.as_bytes())].concat()),
        ("gzip of an array", gzip(&serde_json::to_vec_pretty(&values).unwrap())),
        ("gzip with a byte order mark", gzip(format!("{bom}{ndjson}").as_bytes())),
        ("zstd", zstd(ndjson.as_bytes())),
        ("zstd of two frames", [zstd(first.as_bytes()), zstd(second.as_bytes())].concat()),
    ] {
        let (input, output) = (scratch.write("input", bytes), format!("out {name}"));
        let outcome = scratch.run("clinical", &input, &output, &["protect=off", "chunk.rows=500"]);
        outcome.expect(0).conserved();
        assert_eq!(outcome.records_in(), count, "{name}");
        let tables = scratch.tables(&output, &CLINICAL);
        assert_eq!(tables["patients"].len() as u64, count, "{name}");
        assert_eq!(&tables, expected.get_or_insert_with(|| tables.clone()), "{name}");
        scratch.clean(&output, &CLINICAL);
    }
}

#[test]
fn standard_input_and_several_files_are_one_job() {
    let scratch = Scratch::new();
    let all = scratch.write("all.ndjson", patients(500));
    scratch.run("clinical", &all, "one", &["protect=off"]).expect(0).conserved();
    let expected = scratch.tables("one", &CLINICAL);

    let lines: Vec<String> = (0..500).map(patient).collect();
    let a = scratch.write("a.ndjson", lines[..100].join("\n"));
    let b = scratch.write("b.json", format!("[{}]", lines[100..250].join(",")));
    let c = scratch.write("c.ndjson.gz", gzip(lines[250..].join("\n").as_bytes()));
    let several = ["run", "clinical", &a, &b, &c, "--output", "several", "--set", "protect=off"];
    scratch.forebay(&several).expect(0).conserved();
    assert_eq!(scratch.tables("several", &CLINICAL), expected);

    for (name, bytes) in [("plain", patients(500).into_bytes()), ("packed", gzip(patients(500).as_bytes()))] {
        let mut command = scratch.command(&["run", "clinical", "-", "--output", name, "--set", "protect=off"]);
        command.args(["--report", "report.json", "--progress", "none"]).stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let writer = std::thread::spawn(move || input.write_all(&bytes).unwrap());
        let outcome = scratch.finish(child.wait_with_output().unwrap());
        writer.join().unwrap();
        outcome.expect(0).conserved();
        assert_eq!(scratch.tables(name, &CLINICAL), expected, "{name}");
        scratch.clean(name, &CLINICAL);
    }
}

#[test]
fn claims_are_the_same_in_every_format() {
    let scratch = Scratch::new();
    let (count, csv, batch) = (2_500, claims(2_500), claims_batch(2_500));
    let shuffled: Vec<usize> = (0..batch.num_columns()).rev().collect();
    let mut expected = None;
    for (name, bytes) in [
        ("csv", csv.clone().into_bytes()),
        // Newlines in quotes are part of the value, so only those outside change.
        ("crlf", csv.replace("\nMD", "\u{1}").replace('\n', "\r\n").replace('\u{1}', "\nMD").into_bytes()),
        ("no final newline", csv.trim_end().into()),
        ("byte order mark", format!("\u{feff}{csv}").into()),
        ("gzip", gzip(csv.as_bytes())),
        ("zstd", zstd(csv.as_bytes())),
        ("parquet", parquet_file(&batch, 1_000)),
        ("parquet in another order", parquet_file(&batch.project(&shuffled).unwrap(), 10_000)),
        ("arrow file", arrow_file(&batch, 700)),
        ("arrow stream", arrow_stream(&batch, 700)),
        ("arrow stream in gzip", gzip(&arrow_stream(&batch, 5_000))),
    ] {
        let (input, output) = (scratch.write("input", bytes), format!("out {name}"));
        let outcome = scratch.run("claims", &input, &output, &["chunk.rows=600"]);
        outcome.expect(0).conserved();
        assert_eq!(outcome.records_in(), count, "{name}");
        let rows = scratch.rows(&output, "claims");
        assert_eq!(&rows, expected.get_or_insert_with(|| rows.clone()), "{name}");
        scratch.clean(&output, &["claims"]);
    }
    let rows = expected.unwrap();
    assert_eq!(
        rows[50],
        "C00000050|3|P000050|1234567893|O'Brien, \"Ann\"\nMD|99213|E11.9|2024-03-23|2024-04-23|50.5|50.1|50.25|00050|AETNA|11"
    );
    assert!(rows[7].contains("|7.5|7.1|∅|00007"), "{}", rows[7]);
}
