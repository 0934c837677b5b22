//! The same records give the same rows in whatever format they come, and every rule of a recipe is kept.

use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use arrow_array::builder::{Int64Builder, LargeListBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Date32Array, Float64Array, Int32Array, RecordBatch, StringArray, StringViewArray};
use arrow_schema::{DataType, Field, Schema};

use crate::support::{CLINICAL, Scratch, claims, patient, patients};

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    // With a checksum, as the command-line tool writes it.
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The slices of a batch.
fn slices(batch: &RecordBatch, rows: usize) -> impl Iterator<Item = RecordBatch> {
    (0..batch.num_rows()).step_by(rows).map(move |at| batch.slice(at, rows.min(batch.num_rows() - at)))
}

/// A Parquet file with row groups of some rows.
pub(crate) fn parquet_file(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let mut writer = parquet::arrow::ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    for part in slices(batch, rows) {
        writer.write(&part).unwrap();
        writer.flush().unwrap();
    }
    writer.into_inner().unwrap()
}

/// An Arrow IPC file with batches of some rows.
pub(crate) fn arrow_file(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let mut writer = arrow_ipc::writer::FileWriter::try_new(Vec::new(), &batch.schema()).unwrap();
    for part in slices(batch, rows) {
        writer.write(&part).unwrap();
    }
    writer.into_inner().unwrap()
}

/// An Arrow IPC stream, compressed as Feather files are.
pub(crate) fn arrow_stream(batch: &RecordBatch, rows: usize) -> Vec<u8> {
    let options = arrow_ipc::writer::IpcWriteOptions::default()
        .try_with_compression(Some(arrow_ipc::CompressionType::LZ4_FRAME))
        .unwrap();
    let mut writer =
        arrow_ipc::writer::StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    for part in slices(batch, rows) {
        writer.write(&part).unwrap();
    }
    writer.into_inner().unwrap()
}

/// The claims of [`claims`], typed.
pub(crate) fn claims_batch(count: u64) -> RecordBatch {
    let text =
        |value: &dyn Fn(u64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values((0..count).map(value))) };
    let view = |value: &dyn Fn(u64) -> String| -> ArrayRef {
        Arc::new(StringViewArray::from_iter_values((0..count).map(value)))
    };
    let number = |value: &dyn Fn(u64) -> Option<String>| -> ArrayRef {
        Arc::new(Float64Array::from_iter((0..count).map(|n| value(n).map(|text| text.parse::<f64>().unwrap()))))
    };
    // Days from 1970-01-01 to the last of February and to the last of March 2024.
    let date = |before: i32| -> ArrayRef {
        Arc::new(Date32Array::from_iter_values((0..count).map(|n| before + (n % 28) as i32 + 1)))
    };
    let int =
        |value: &dyn Fn(u64) -> i32| -> ArrayRef { Arc::new(Int32Array::from_iter_values((0..count).map(value))) };
    RecordBatch::try_from_iter(vec![
        ("claim_id", text(&|n| format!("C{n:08}"))),
        ("line_no", int(&|n| (n % 3) as i32 + 1)),
        ("patient_id", view(&|n| format!("P{:06}", n % 1000))),
        ("npi", text(&|_| "1234567893".to_owned())),
        ("provider_name", view(&|n| format!("O'Brien, \"Ann\"{}MD", if n % 50 == 0 { "\n" } else { " " }))),
        ("cpt", text(&|_| "99213".to_owned())),
        ("icd10", text(&|_| "E11.9".to_owned())),
        ("service_date", date(19_782)),
        ("paid_date", date(19_813)),
        ("billed_amount", number(&|n| Some(format!("{}.50", n % 900)))),
        ("allowed_amount", number(&|n| Some(format!("{}.10", n % 700)))),
        ("paid_amount", number(&|n| (n % 7 != 0).then(|| format!("{}.25", n % 400)))),
        ("zip", text(&|n| format!("0{:04}", n % 9999))),
        ("payer", text(&|_| "AETNA".to_owned())),
        ("place_of_service", int(&|_| 11)),
    ])
    .unwrap()
}

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
        let outcome = scratch.forebay(&[
            "run",
            "clinical",
            &input,
            "--output",
            &output,
            "--set",
            "protect=off",
            "--set",
            "chunk.rows=500",
        ]);
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
    scratch.forebay(&["run", "clinical", &all, "--output", "one", "--set", "protect=off"]).expect(0).conserved();
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
    // What would be copied in the clear is refused while the recipe protects it.
    let refused = scratch.forebay(&["run", "clinical", "-", "--output", "protected"]);
    assert!(refused.expect(2).stderr.contains("protect=off"), "{}", refused.stderr);
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
        let outcome = scratch.forebay(&["run", "claims", &input, "--output", &output, "--set", "chunk.rows=600"]);
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

const NESTED: &str = "
name: nested
record:
  table: items
  key: id
  fields:
    id: {type: string, required: true}
    place:
      type: object
      fields:
        city: {type: string, max_length: 8}
        zip: {type: string}
    parts:
      type: list
      table: parts
      fields:
        name: {type: string, required: true}
        n: {type: int32, min: 0}
";

/// Records with a struct and a list of structs, some of them null, empty or wrong: as JSON lines, and as a batch.
fn nested(count: i64, large: bool) -> (String, RecordBatch) {
    let place_fields = vec![Field::new("city", DataType::Utf8, true), Field::new("zip", DataType::Utf8, true)];
    let part_fields = vec![Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
    let mut ids = StringBuilder::new();
    let mut places = StructBuilder::from_fields(place_fields, 0);
    let mut small = ListBuilder::new(StructBuilder::from_fields(part_fields.clone(), 0));
    let mut wide = LargeListBuilder::new(StructBuilder::from_fields(part_fields, 0));
    let mut text = String::new();
    for id in 0..count {
        ids.append_value(format!("I{id}"));
        let city = if id % 11 == 10 { "a city of a long name" } else { "Ulm" };
        let there = id % 5 != 4;
        places.field_builder::<StringBuilder>(0).unwrap().append_value(city);
        places.field_builder::<StringBuilder>(1).unwrap().append_option((id % 2 == 0).then_some("89073"));
        places.append(there);
        let place = match (there, id % 2 == 0) {
            (false, _) => "null".to_owned(),
            (true, true) => format!(r#"{{"city":"{city}","zip":"89073"}}"#),
            (true, false) => format!(r#"{{"city":"{city}"}}"#),
        };
        let mut parts = Vec::new();
        for part in 0..id % 4 {
            let n = if id % 13 == 12 { -1 } else { id * 10 + part };
            let name = (id % 17 != 16).then(|| format!("part {part}"));
            let fill = |parts: &mut StructBuilder| {
                parts.field_builder::<StringBuilder>(0).unwrap().append_option(name.as_deref());
                parts.field_builder::<Int64Builder>(1).unwrap().append_value(n);
                parts.append(true);
            };
            fill(small.values());
            fill(wide.values());
            let name = name.map_or("null".to_owned(), |name| format!("\"{name}\""));
            parts.push(format!(r#"{{"name":{name},"n":{n}}}"#));
        }
        let listed = id % 7 != 4;
        small.append(listed || !parts.is_empty());
        wide.append(listed || !parts.is_empty());
        let parts = if listed || !parts.is_empty() { format!("[{}]", parts.join(",")) } else { "null".to_owned() };
        text.push_str(&format!("{{\"id\":\"I{id}\",\"place\":{place},\"parts\":{parts}}}\n"));
    }
    let parts: ArrayRef = if large { Arc::new(wide.finish()) } else { Arc::new(small.finish()) };
    let columns: Vec<(&str, ArrayRef)> =
        vec![("id", Arc::new(ids.finish())), ("place", Arc::new(places.finish())), ("parts", parts)];
    let fields: Vec<Field> =
        columns.iter().map(|(name, array)| Field::new(*name, array.data_type().clone(), true)).collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    (text, RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap())
}

#[test]
fn nested_columnar_files_give_the_tables_and_rejects_of_the_same_json() {
    let scratch = Scratch::new();
    let recipe = scratch.write("nested.yaml", NESTED);
    let (text, batch) = nested(1_000, false);
    let (_, large) = nested(1_000, true);
    let mut expected = None;
    for (name, bytes) in [
        ("ndjson", text.into_bytes()),
        ("parquet", parquet_file(&batch, 300)),
        ("parquet of large lists", parquet_file(&large, 300)),
        ("arrow", arrow_file(&batch, 300)),
        ("arrow of large lists", arrow_stream(&large, 1_000)),
    ] {
        let (input, output) = (scratch.write("input", bytes), format!("out {name}"));
        let outcome = scratch.forebay(&["run", &recipe, &input, "--output", &output, "--set", "chunk.rows=250"]);
        outcome.expect(3).conserved();
        let tables = scratch.tables(&output, &["items", "parts"]);
        let result = (tables, outcome.rejects("invalid"), outcome.rejects("missing_field"));
        assert!(result.1 > 100 && result.2 > 30, "{name}: {:?}", outcome.report);
        assert_eq!(&result, expected.get_or_insert_with(|| result.clone()), "{name}");
        scratch.clean(&output, &["items", "parts"]);
    }
    let tables = expected.unwrap().0;
    assert!(tables["items"].contains(&"I1|Ulm|∅".to_owned()) && tables["items"].contains(&"I4|∅|∅".to_owned()));
    assert!(tables["parts"].contains(&"part 1|31|I3".to_owned()), "{:?}", &tables["parts"][..9]);
}

#[test]
fn columnar_types_that_do_not_fit_are_refused_by_name() {
    let scratch = Scratch::new();
    let batch = claims_batch(10);
    let input = scratch.write("claims.parquet", parquet_file(&batch, 10));
    for (number, (field, says)) in [
        ("billed_amount: {type: int}", "billed_amount"),
        ("service_date: {type: bool}", "service_date"),
        ("line_no: {type: string}", "line_no"),
        ("zip: {type: list, table: zips, fields: {a: {type: int}}}", "not a list of structs"),
        ("zip: {type: object, fields: {a: {type: int}}}", "not a struct"),
        ("nope: {type: string, required: true}", "nope: a required column is missing"),
    ]
    .into_iter()
    .enumerate()
    {
        let output = format!("out-{number}");
        let text = format!(
            "name: mine\nrecord:\n  table: items\n  key: claim_id\n  fields:\n    claim_id: {{type: string}}\n    {field}\n"
        );
        let recipe = scratch.write("mine.yaml", text);
        let outcome = scratch.forebay(&["run", &recipe, &input, "--output", &output]);
        assert!(outcome.expect(2).stderr.contains(says), "{field}: {}", outcome.stderr);
    }
    let strict = scratch.forebay(&["run", "claims", &input, "--output", "out", "--set", "unknown_fields=reject"]);
    strict.expect(0).conserved();
}

/// Runs one column of a type over JSON values, and gives what became of each: the row, or the reason. `absent` is no
/// value at all.
fn column(scratch: &Scratch, number: usize, spec: &str, values: &[&str]) -> Vec<String> {
    let recipe = format!("name: one\nrecord:\n  table: items\n  fields:\n    row: {{type: int}}\n    v: {spec}\n");
    let recipe = scratch.write("one.yaml", recipe);
    let lines: String = values
        .iter()
        .enumerate()
        .map(|(row, value)| match *value {
            "absent" => format!("{{\"row\":{row}}}\n"),
            value => format!("{{\"row\":{row},\"v\":{value}}}\n"),
        })
        .collect();
    let (input, output) = (scratch.write("one.ndjson", lines), format!("column-{number}"));
    let outcome = scratch.forebay(&["run", &recipe, &input, "--output", &output, "--job", "one"]);
    assert!(matches!(outcome.status, 0 | 3), "{spec}: {}{}", outcome.stdout, outcome.stderr);
    outcome.conserved();
    assert_eq!(outcome.records_in(), values.len() as u64, "{spec}");
    let mut found = vec![String::new(); values.len()];
    for row in scratch.rows(&output, "items") {
        let (number, value) = row.split_once('|').unwrap();
        found[number.parse::<usize>().unwrap()] = value.to_owned();
    }
    let rejects = scratch.forebay(&["rejects", "one", "--output", &output, "--json"]);
    for line in rejects.expect(0).stdout.lines() {
        let reject: serde_json::Value = serde_json::from_str(line).unwrap();
        let place = &mut found[reject["record"].as_u64().unwrap() as usize - 1];
        assert!(place.is_empty() && reject["path"] == "v", "{spec}: {reject}");
        *place = format!("!{}", reject["reason"].as_str().unwrap());
    }
    found
}

#[test]
fn every_rule_of_a_column_is_kept() {
    let scratch = Scratch::new();
    let columns: &[(&str, &[(&str, &str)])] = &[
        (
            "{type: string}",
            &[
                ("\"a\"", "a"),
                ("\"\"", ""),
                ("null", "∅"),
                ("absent", "∅"),
                ("1", "!wrong_type"),
                ("{}", "!wrong_type"),
            ],
        ),
        (
            "{type: string, required: true}",
            &[("\"a\"", "a"), ("\"\"", ""), ("null", "!missing_field"), ("absent", "!missing_field")],
        ),
        (
            "{type: string, min_length: 2, max_length: 3}",
            &[
                ("\"a\"", "!invalid"),
                ("\"aé\"", "aé"),
                ("\"日本語\"", "日本語"),
                ("\"abcd\"", "!invalid"),
                ("null", "∅"),
            ],
        ),
        (
            "{type: string, pattern: \"[A-Z][0-9]{2}|x\"}",
            &[
                ("\"A12\"", "A12"),
                ("\"x\"", "x"),
                ("\"A123\"", "!invalid"),
                ("\"xA12\"", "!invalid"),
                ("\"A12\\n\"", "!invalid"),
                ("\"\"", "!invalid"),
            ],
        ),
        (
            "{type: string, values: [b, a, \"1\"]}",
            &[
                ("\"a\"", "a"),
                ("\"b\"", "b"),
                ("\"1\"", "1"),
                ("\"c\"", "!invalid"),
                ("\"A\"", "!invalid"),
                ("\"\"", "!invalid"),
                ("null", "∅"),
            ],
        ),
        (
            "{type: int}",
            &[
                ("0", "0"),
                ("-0", "0"),
                ("1.0", "1"),
                ("1e3", "1000"),
                ("1.5", "!wrong_type"),
                ("\"1\"", "!wrong_type"),
                ("9223372036854775807", "9223372036854775807"),
                ("-9223372036854775808", "-9223372036854775808"),
                ("9223372036854775808", "!out_of_range"),
                ("1e300", "!out_of_range"),
                ("true", "!wrong_type"),
            ],
        ),
        (
            "{type: int, min: -5, max: 10}",
            &[("-5", "-5"), ("10", "10"), ("-6", "!invalid"), ("11", "!invalid"), ("1e1", "10"), ("1e2", "!invalid")],
        ),
        (
            "{type: int32}",
            &[("2147483647", "2147483647"), ("2147483648", "!out_of_range"), ("-2147483649", "!out_of_range")],
        ),
        (
            "{type: float}",
            &[("1", "1.0"), ("-0.5", "-0.5"), ("1e308", "1e308"), ("1e309", "!out_of_range"), ("\"1\"", "!wrong_type")],
        ),
        (
            "{type: float, min: 0, max: 0.5}",
            &[("0", "0.0"), ("0.5", "0.5"), ("0.50001", "!invalid"), ("-1e-9", "!invalid")],
        ),
        (
            "{type: decimal, precision: 5, scale: 2}",
            &[
                ("123.45", "123.45"),
                ("\"-0.1\"", "-0.10"),
                ("999.99", "999.99"),
                ("1000", "!out_of_range"),
                ("1.234", "!out_of_range"),
                ("1.2300", "1.23"),
                ("\"x\"", "!wrong_type"),
                ("\"\"", "!wrong_type"),
                ("true", "!wrong_type"),
                ("0", "0.00"),
            ],
        ),
        (
            "{type: decimal, precision: 38, scale: 0}",
            &[
                ("99999999999999999999999999999999999999", "99999999999999999999999999999999999999"),
                ("100000000000000000000000000000000000000", "!out_of_range"),
            ],
        ),
        (
            "{type: decimal, precision: 10, scale: 2, min: 1, max: 2}",
            &[("1", "1.00"), ("\"2.00\"", "2.00"), ("2.01", "!invalid"), ("0.99", "!invalid")],
        ),
        (
            "{type: bool}",
            &[("true", "true"), ("false", "false"), ("\"true\"", "!wrong_type"), ("1", "!wrong_type"), ("null", "∅")],
        ),
        (
            "{type: date}",
            &[
                ("\"2024-02-29\"", "2024-02-29"),
                ("\"2023-02-29\"", "!wrong_type"),
                ("\"2024-2-9\"", "!wrong_type"),
                ("\"0001-01-01\"", "0001-01-01"),
                ("\"9999-12-31\"", "9999-12-31"),
                ("20240229", "!wrong_type"),
            ],
        ),
        (
            "{type: date, format: \"%m/%d/%Y\"}",
            &[
                ("\"02/29/2024\"", "2024-02-29"),
                ("\"2/9/2024\"", "2024-02-09"),
                ("\"29/02/2024\"", "!wrong_type"),
                ("\"2024-02-29\"", "!wrong_type"),
            ],
        ),
        (
            "{type: date, format: \"%d.%m.%Y\"}",
            &[
                ("\"29.02.2024\"", "2024-02-29"),
                ("\"9.2.2024\"", "2024-02-09"),
                ("\"02.29.2024\"", "!wrong_type"),
                ("\"1.1.24\"", "!wrong_type"),
            ],
        ),
        (
            "{type: date, format: \"%Y%m%d\"}",
            &[("\"20240229\"", "2024-02-29"), ("\"2024022\"", "!wrong_type"), ("\"20240230\"", "!wrong_type")],
        ),
        (
            "{type: date, min: \"2020-01-01\", max: \"2020-12-31\"}",
            &[
                ("\"2020-01-01\"", "2020-01-01"),
                ("\"2020-12-31\"", "2020-12-31"),
                ("\"2019-12-31\"", "!invalid"),
                ("\"2021-01-01\"", "!invalid"),
            ],
        ),
        (
            "{type: timestamp}",
            &[
                ("\"2024-02-29T23:59:59.5Z\"", "2024-02-29T23:59:59.500Z"),
                ("\"2024-03-01T01:00:00+02:00\"", "2024-02-29T23:00:00Z"),
                ("\"2024-03-01 01:00\"", "2024-03-01T01:00:00Z"),
                ("\"2024-03-01\"", "2024-03-01T00:00:00Z"),
                ("\"2024-03-01T25:00:00Z\"", "!wrong_type"),
                ("\"\"", "!wrong_type"),
                ("1709251200", "!wrong_type"),
            ],
        ),
        (
            "{type: timestamp, min: \"2024-01-01\"}",
            &[("\"2024-01-01T00:00:00Z\"", "2024-01-01T00:00:00Z"), ("\"2024-01-01T00:00:00+01:00\"", "!invalid")],
        ),
        (
            "{type: json}",
            &[("{\"a\": [1, {}]}", "{\"a\": [1, {}]}"), ("\"x\"", "\"x\""), ("null", "∅"), ("1e999", "1e999")],
        ),
        ("{type: string, protected: true}", &[("\"secret\"", "∅"), ("null", "∅"), ("{\"any\":1}", "∅")]),
    ];
    for (number, (spec, cases)) in columns.iter().enumerate() {
        let values: Vec<&str> = cases.iter().map(|(value, _)| *value).collect();
        let expected: Vec<&str> = cases.iter().map(|(_, result)| *result).collect();
        assert_eq!(column(&scratch, number, spec, &values), expected, "{spec} over {values:?}");
    }
}

#[test]
fn unknown_fields_are_ignored_rejected_or_kept_as_the_recipe_says() {
    let scratch = Scratch::new();
    let recipe = scratch.write("nested.yaml", NESTED);
    let input = scratch.write(
        "x.ndjson",
        "{\"id\":\"a\",\"extra\":{\"k\": [1]},\"more\":\"é\\n\",\"parts\":[{\"name\":\"p\",\"size\":2},{\"name\":\"q\"}],\"place\":{\"lat\":1.50}}\n{\"id\":\"b\"}\n",
    );
    let run = |policy: &str| {
        let setting = format!("unknown_fields={policy}");
        let outcome = scratch.forebay(&["run", &recipe, &input, "--output", policy, "--set", &setting]);
        outcome.conserved();
        (outcome, scratch.tables(policy, &["items", "parts"]))
    };
    let (outcome, tables) = run("ignore");
    outcome.expect(0);
    assert_eq!(tables["items"], ["a|∅|∅", "b|∅|∅"]);
    assert_eq!(tables["parts"], ["p|∅|a", "q|∅|a"]);
    let (outcome, tables) = run("reject");
    outcome.expect(3);
    assert_eq!((outcome.rejects("unknown_field"), tables["items"].clone()), (1, vec!["b|∅|∅".to_owned()]));
    let (outcome, tables) = run("keep");
    outcome.expect(0);
    let kept: Vec<&str> = tables["items"][0].splitn(4, '|').collect();
    let kept: serde_json::Value = serde_json::from_str(kept[3]).unwrap();
    assert_eq!((&kept["extra"], &kept["more"]), (&serde_json::json!({"k": [1]}), &serde_json::json!("é\n")));
    assert!(kept.to_string().contains("1.5"), "{kept}");
    assert_eq!(tables["items"][1], "b|∅|∅|∅");
    assert_eq!(tables["parts"], ["p|∅|{\"size\":2}|a", "q|∅|∅|a"]);
}

#[test]
fn csv_comes_with_other_delimiters_nulls_renamed_columns_and_without_a_header() {
    let scratch = Scratch::new();
    let recipe = |csv: &str| {
        format!(
            "name: mine\nsource:\n  format: csv\n  csv: {csv}\nrecord:\n  table: items\n  fields:\n    \
             id: {{type: string, required: true, column: item}}\n    n: {{type: int}}\n    ok: {{type: bool}}\n    note: {{type: string}}\n"
        )
    };
    for (name, csv, input, expected) in [
        ("plain", "{}", "id,n,ok,note\na,1,true,x\nb,,F,\"\"\n", ["a|1|true|x", "b|∅|false|"]),
        ("crlf", "{}", "id,n,ok,note\r\na,1,true,x\r\nb,,0,\"\"\r\n", ["a|1|true|x", "b|∅|false|"]),
        ("by column names", "{}", "note,item,n,ok\nx,a,1,T\n\"\",b,,f\n", ["a|1|true|x", "b|∅|false|"]),
        ("fewer and other columns", "{}", "junk,id\n\"a,\nb\",a\n,b\n", ["a|∅|∅|∅", "b|∅|∅|∅"]),
        (
            "tabs",
            "{delimiter: \"\\t\"}",
            "id\tn\tok\tnote\na\t1\ttrue\tx,y\nb\t\tfalse\t\n",
            ["a|1|true|x,y", "b|∅|false|∅"],
        ),
        (
            "other quotes",
            "{delimiter: \";\", quote: \"'\"}",
            "id;n;ok;note\na;1;1;'x;''\"'\nb;2;0;\"\n",
            ["a|1|true|x;'\"", "b|2|false|\""],
        ),
        ("nulls", "{nulls: [NA, \"-\"]}", "id,n,ok,note\na,NA,-,\"NA\"\nb,-,NA,NA\n", ["a|∅|∅|NA", "b|∅|∅|∅"]),
        ("no header", "{header: false}", "a,1,true,x\nb,2,false,\n", ["a|1|true|x", "b|2|false|∅"]),
        (
            "no header, byte order mark",
            "{header: false}",
            "\u{feff}a,1,true,x\nb,2,false,\n",
            ["a|1|true|x", "b|2|false|∅"],
        ),
        ("quoted header", "{}", "\"id\",\"n\" , ok,note\na,1,true,x\nb,2,false,\n", ["a|1|true|x", "b|2|false|∅"]),
    ] {
        let (recipe, input) = (scratch.write("mine.yaml", recipe(csv)), scratch.write("x.csv", input));
        let outcome = scratch.forebay(&["run", &recipe, &input, "--output", name]);
        outcome.expect(0).conserved();
        assert_eq!(scratch.rows(name, "items"), expected, "{name}");
    }
    // A null in a required column is a reject, however it is written.
    let (recipe, input) =
        (scratch.write("mine.yaml", recipe("{nulls: [NA]}")), scratch.write("x.csv", "id,n\nNA,1\n,2\n\"\",3\nc,4\n"));
    let outcome = scratch.forebay(&["run", &recipe, &input, "--output", "required"]);
    outcome.expect(3).conserved();
    assert_eq!((outcome.rejects("missing_field"), scratch.rows("required", "items").len()), (2, 2));
}
