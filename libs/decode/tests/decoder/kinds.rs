//! Records of several kinds, and fields found by path.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Float64Type};
use arrow_array::{Array, ArrayRef};
use forebay_decode::{Decoded, Decoder, Dialect, Position};
use forebay_recipe::{Layout, Prepared};
use forebay_types::Reason;

const RECIPE: &str = r#"
name: kinds
records:
  by: type
  other: ignore
  kinds:
    Box: {each: "items[keep=true].record"}
    Person:
      table: people
      key: id
      fields:
        id: {type: string, required: true}
        family: {type: string, path: "name[0].family"}
        names: {type: string, path: [name.given, name.family], join: "|"}
        mrn: {type: string, path: "number[type.coding.code=MR].value"}
        born: {type: date, path: [born.exact, born.about], partial: true}
        weight: {type: float, path: "measure[1].value", min: 0}
        raw: {type: json, path: measure}
        measure:
          type: list
          table: measures
          fields: {value: {type: float}, unit: {type: string, path: unit.text}}
    Note:
      table: notes
      fields:
        person: {type: string, path: who.reference, after: "/:", required: true}
        text: {type: string, path: "part[kind^=text/].data", encoding: base64, max_length: 20}
"#;

fn decode(other: &str, text: &str) -> Decoded {
    decode_with(&RECIPE.replace("other: ignore", other), text)
}

fn decode_with(recipe: &str, text: &str) -> Decoded {
    let prepared = Prepared::new("kinds", recipe, &BTreeMap::new()).unwrap();
    let mut decoder = Decoder::new(prepared.layout, Position { record: 1, offset: 0 });
    let mut out = Vec::new();
    decoder.decode(&Dialect::Lines, text.as_bytes(), true, &mut out).unwrap();
    decoder.finish(&mut out).unwrap();
    assert_eq!(out.len(), 1);
    out.remove(0)
}

fn column<'d>(decoded: &'d Decoded, table: usize, name: &str) -> &'d ArrayRef {
    decoded.batches[table].column_by_name(name).unwrap()
}

fn texts(decoded: &Decoded, table: usize, name: &str) -> Vec<Option<String>> {
    column(decoded, table, name).as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn paths_lead_through_lists_conditions_and_alternatives() {
    let decoded = decode(
        "other: reject",
        r#"{"type":"Person","id":"a","name":[{"given":["Ann","B\u00e9a"],"family":"Lee"},{"family":"Poe","given":[null]}],"number":[{"type":{"coding":[{"code":"X"}]},"value":"1"},{"type":{"coding":[{"code":"Y"},{"code":"MR"}]},"value":"2"},{"type":{"coding":{"code":"MR"}},"value":"3"}],"born":{"about":"1980-03"},"measure":[{"value":1},{"value":2.5,"unit":{"text":"kg"}}]}
{"name":{"family":"Ray"},"measure":[],"born":{"exact":"1999-12-31","about":"x"},"id":"b","type":"Person"}
{"type":"Person","id":"c","name":null,"number":7,"born":{"exact":null,"about":"2001"}}
"#,
    );
    assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
    assert_eq!(texts(&decoded, 0, "family"), [some("Lee"), some("Ray"), None]);
    assert_eq!(texts(&decoded, 0, "names"), [some("Ann|B\u{e9}a|Lee|Poe"), some("Ray"), None]);
    assert_eq!(texts(&decoded, 0, "mrn"), [some("2"), None, None]);
    assert_eq!(texts(&decoded, 0, "raw")[0].as_deref(), Some(r#"{"value":1}"#));
    let born = column(&decoded, 0, "born").as_primitive::<Date32Type>();
    assert_eq!([born.value(0), born.value(1), born.value(2)], [3712, 10_956, 11_323]);
    let weight = column(&decoded, 0, "weight").as_primitive::<Float64Type>();
    assert!(weight.value(0) == 2.5 && weight.is_null(1) && weight.is_null(2));
    assert_eq!(texts(&decoded, 1, "unit"), [None, some("kg")]);
    assert_eq!(texts(&decoded, 1, "id"), [some("a"), some("a")]);
    assert_eq!(decoded.parents[1].values(), &[0, 0]);
}

#[test]
fn an_element_by_its_number_ends_neither_a_condition_nor_the_lists_round_it() {
    let recipe = r#"
name: numbers
record:
  table: t
  fields:
    mrn: {type: string, path: "identifier[type.coding[0].code=MR].value", join: "|"}
    contacts: {type: string, path: "contact.telecom[0].value", join: "|"}
    later: {type: string, path: "contact.telecom[1].value", join: "|"}
"#;
    let decoded = decode_with(
        recipe,
        r#"{"identifier":[{"type":{"coding":[{"code":"X"},{"code":"Y"}]},"value":"1"},{"type":{"coding":[{"code":"MR"},{"code":"Y"}]},"value":"2"}],"contact":[{"telecom":[{"value":"a"},{"value":"b"}]},{"telecom":[null,{"value":"c"}]},{"telecom":[{"value":"d"}]}]}"#,
    );
    assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
    assert_eq!(texts(&decoded, 0, "mrn"), [some("2")]);
    assert_eq!(texts(&decoded, 0, "contacts"), [some("a|d")]);
    assert_eq!(texts(&decoded, 0, "later"), [some("b|c")]);
}

#[test]
fn kinds_go_to_their_tables_and_others_are_counted_or_rejected() {
    let lines = r#"{"type":"Note","who":{"reference":"urn:uuid:a"},"part":[{"kind":"image/png","data":"!"},{"kind":"text/plain; charset=utf-8","data":"Q2Fm\nw6k="}]}
{"type":"Claim","id":[{}]}
{"type":"Person","id":"a"}
{"who":{"reference":"Person/b"},"type":"N\u006fte","part":{"kind":"text/html","data":""}}
"#;
    let lines = lines.replace('\n', "~").replace("}~", "}\n").replace("m~w", "m\\nw");
    let decoded = decode("other: ignore", &lines);
    assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
    assert_eq!((decoded.records, decoded.ignored), (4, 1));
    assert_eq!(texts(&decoded, 2, "person"), [some("a"), some("b")]);
    assert_eq!(texts(&decoded, 2, "text"), [some("Caf\u{e9}"), some("")]);
    assert_eq!(texts(&decoded, 0, "id"), [some("a")]);
    let decoded = decode("other: reject", &lines);
    let [reject] = decoded.rejects.as_slice() else { panic!("{:?}", decoded.rejects) };
    assert_eq!((reject.reason, reject.record, reject.path.as_str()), (Reason::UnknownKind, 2, "type"));
    assert!(reject.message.contains("Box, Person, Note") && !reject.message.contains("Claim"), "{}", reject.message);
}

#[test]
fn records_inside_a_record_are_rows_of_their_own_and_all_or_none() {
    let good = r#"{"type":"Box","items":[{"keep":true,"record":{"type":"Person","id":"a"}},{"keep":false,"record":3},{"record":{"type":"Note"}},{"keep":true,"record":{"type":"Note","who":{"reference":"a"}}},{"keep":true,"record":{"type":"Claim"}}]}"#;
    let wrong = r#"{"type":"Box","items":[{"keep":true,"record":{"type":"Person","id":"b"}},{"keep":true,"record":{"type":"Person","id":"c","measure":[{"value":"x"}]}}]}"#;
    let nested = r#"{"items":{"keep":true,"record":{"type":"Box","items":[{"keep":true,"record":{"type":"Person","id":"d"}}]}},"type":"Box"}"#;
    let decoded = decode("other: ignore", &[good, wrong, nested].join("\n"));
    assert_eq!((decoded.records, decoded.ignored), (3, 0));
    assert_eq!(texts(&decoded, 0, "id"), [some("a"), some("d")]);
    assert_eq!(texts(&decoded, 2, "person"), [some("a")]);
    // Rows of one record say so; those of another do not.
    assert_eq!(decoded.parents[0].value(0), decoded.parents[2].value(0));
    assert_ne!(decoded.parents[0].value(0), decoded.parents[0].value(1));
    let [reject] = decoded.rejects.as_slice() else { panic!("{:?}", decoded.rejects) };
    assert_eq!((reject.reason, reject.path.as_str()), (Reason::WrongType, "record[1].measure[0].value"));
}

#[test]
fn what_is_wrong_is_told_with_the_field_and_never_with_the_value() {
    for (line, reason, path) in [
        (r#"{"id":"a"}"#, Reason::MissingField, "type"),
        (r#"{"type":3}"#, Reason::MissingField, "type"),
        (r#"{}"#, Reason::MissingField, "type"),
        (r#"{"type":"Person","id":"a","type":"Person"}"#, Reason::DuplicateKey, "type"),
        (r#"{"type":"Person","id":"a","name":[],"name":[]}"#, Reason::DuplicateKey, "name"),
        (r#"{"type":"Person","id":"a","name":[{"family":42}]}"#, Reason::WrongType, "family"),
        (r#"{"type":"Person","id":"a","name":{"given":[42]}}"#, Reason::WrongType, "names"),
        (r#"{"type":"Person","id":"a","born":{"exact":"2042-13"}}"#, Reason::WrongType, "born"),
        (r#"{"type":"Person","id":"a","measure":[{},{"value":-1}]}"#, Reason::Invalid, "weight"),
        (r#"{"type":"Note","who":[]}"#, Reason::MissingField, "person"),
        (r#"{"type":"Note","who":{"reference":"x"},"part":{"kind":"text/x","data":"42"}}"#, Reason::Invalid, "text"),
        (
            r#"{"type":"Note","who":{"reference":"x"},"part":{"kind":"text/x","data":"/w=="}}"#,
            Reason::InvalidUtf8,
            "text",
        ),
        (
            r#"{"type":"Note","who":{"reference":"x"},"part":{"kind":"text/x","data":"NDI0MjQyNDI0MjQyNDI0MjQyNDI0Mg=="}}"#,
            Reason::Invalid,
            "text",
        ),
        (r#"{"type":"Box","items":{"keep":true,"record":"42"}}"#, Reason::WrongType, "record[0]"),
        (r#"{"type":"Box","items":[],"items":[{"keep":true}]}"#, Reason::DuplicateKey, "items"),
        (r#"{"type":"Box","items":[],"type":"Person"}"#, Reason::DuplicateKey, "type"),
        (r#"{"type":"Box","items":[3,{"keep":true,"record":{},"record":{}}]}"#, Reason::DuplicateKey, "record"),
        (r#"{"type":"Claim","x":[42"#, Reason::Truncated, ""),
        (r#"{"type":"Person","id":"a","number":[{"type":42,}]}"#, Reason::Syntax, "number"),
        (r#"{"type":"Person","id":"a"} 42"#, Reason::Syntax, ""),
    ] {
        let decoded = decode("other: ignore", line);
        let [reject] = decoded.rejects.as_slice() else { panic!("{line}: {:?}", decoded.rejects) };
        assert_eq!((reject.reason, reject.path.as_str()), (reason, path), "{line}: {}", reject.message);
        assert!(!reject.message.contains("42") || reason == Reason::Syntax, "{line}: {}", reject.message);
        assert!(decoded.batches.iter().all(|batch| batch.num_rows() == 0), "{line}");
    }
}

#[test]
fn deep_and_long_records_end() {
    let deep = format!(r#"{{"type":"Person","id":"a","name":{}{}}}"#, "[".repeat(5000), "]".repeat(5000));
    assert_eq!(decode("other: ignore", &deep).rejects[0].reason, Reason::TooDeep);
    let boxes = r#"{"type":"Box","items":{"keep":true,"record":"#.repeat(100) + "3" + &"}}".repeat(100);
    assert_eq!(decode("other: ignore", &boxes).rejects[0].reason, Reason::TooDeep);
    // A condition is asked of each element once: time is linear in their number.
    let numbers = r#"{"type":{"coding":[{"code":"X"}]},"value":"1"},"#.repeat(50_000);
    let long = format!(r#"{{"type":"Person","id":"a","number":[{numbers}{{}}]}}"#);
    assert_eq!(texts(&decode("other: ignore", &long), 0, "mrn"), [None]);
}

#[test]
fn formats_without_paths_refuse_such_recipes() {
    let layout: Arc<Layout> = Prepared::new("kinds", RECIPE, &BTreeMap::new()).unwrap().layout;
    assert!(layout.fields().unwrap_err().contains("several kinds"));
    let one = "name: one\nrecord: {table: t, fields: {o: {type: object, fields: {a: {type: string, path: b.c}}}}}";
    let layout = Prepared::new("one", one, &BTreeMap::new()).unwrap().layout;
    assert!(layout.fields().unwrap_err().contains("by path"));
}
