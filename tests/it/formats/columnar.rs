use std::sync::Arc;

use arrow_array::builder::{Int64Builder, LargeListBuilder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{ArrayRef, Float64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema};

use super::{NESTED, arrow_file, arrow_stream, claims_batch, parquet_file};
use crate::support::Scratch;

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
        let outcome = scratch.run(&recipe, &input, &output, &["chunk.rows=250"]);
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
        let outcome = scratch.run(&recipe, &input, &output, &[]);
        assert!(outcome.expect(2).stderr.contains(says), "{field}: {}", outcome.stderr);
    }
    let strict = scratch.run("claims", &input, "out", &["unknown_fields=reject"]);
    strict.expect(0).conserved();
}

/// Values that text formats refuse are refused in columns of their type, too.
#[test]
fn columns_keep_to_the_rules_of_text() {
    let scratch = Scratch::new();
    let recipe = "name: mine\nrecord:\n  table: items\n  fields:\n    f: {type: float}\n    j: {type: json}\n";
    let recipe = scratch.write("mine.yaml", recipe);
    let floats = Float64Array::from(vec![1.5, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.5, 2.5, 3.5]);
    let texts = StringArray::from(vec!["{\"a\": [1]} ", "1", "1", "1", "null", "{", "1 2"]);
    let batch =
        RecordBatch::try_from_iter([("f", Arc::new(floats) as ArrayRef), ("j", Arc::new(texts) as ArrayRef)]).unwrap();
    for (name, bytes) in [
        ("parquet", parquet_file(&batch, 10)),
        ("arrow", arrow_file(&batch, 10)),
        ("csv", b"f,j\n1.5,\"{\"\"a\"\": [1]} \"\nNaN,1\ninf,1\n-Infinity,1\n-0.5,null\n2.5,{\n3.5,1 2\n".to_vec()),
    ] {
        let input = scratch.write("input", bytes);
        let outcome = scratch.run(&recipe, &input, name, &[]);
        outcome.expect(3).conserved();
        assert_eq!((outcome.rejects("out_of_range"), outcome.rejects("wrong_type")), (3, 2), "{name}");
        assert_eq!(scratch.rows(name, "items"), ["-0.5|∅", "1.5|{\"a\": [1]}"], "{name}");
    }
}
