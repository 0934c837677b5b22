//! Bytes a second that the decoders pass, by format, and rows a second that splitting into tables leaves.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_decode::{CsvHeader, Decoder, Dialect, Position};
use forebay_recipe::{Layout, Prepared, shipped};

const SIZE: usize = 16 << 20;
const FRAME: usize = 1 << 20;

/// One row an observation, with its parents' keys beside it: what `clinical` makes of nested records.
const FLAT: &str = "
name: flat
record:
  table: observations
  fields:
    observation_id: {type: string, required: true, min_length: 1}
    code: {type: string}
    display: {type: string}
    value: {type: float}
    unit: {type: string}
    effective: {type: timestamp}
    abnormal: {type: bool}
    note: {type: string}
    encounter_id: {type: string}
    patient_id: {type: string}
";

fn layout(name: &str, text: &str) -> Arc<Layout> {
    let public = BTreeMap::from([("protect".to_owned(), "off".to_owned())]);
    Prepared::new(name, text, &public).expect("the recipe is right").layout
}

fn shipped_layout(name: &str) -> Arc<Layout> {
    layout(name, shipped(name).expect("the recipe is shipped").1)
}

/// Members of an observation, without its braces.
fn observation(patient: usize, number: usize) -> String {
    let note = "seen \\\"today\\\", no change since the last visit; blood pressure taken twice, ".repeat(3);
    format!(
        r#""observation_id":"O{patient:09}-{number}","code":"8480-6","display":"Systolic blood pressure","value":{}.5,"unit":"mm[Hg]","effective":"2024-02-{:02}T08:30:00Z","abnormal":{},"note":"{note}""#,
        patient % 90 + number,
        patient % 28 + 1,
        number.is_multiple_of(2),
    )
}

/// A patient with encounters, each with observations.
fn patient(n: usize, encounters: usize, observations: usize) -> String {
    let encounters: Vec<String> = (0..encounters)
        .map(|e| {
            let inner: Vec<_> = (0..observations).map(|o| format!("{{{}}}", observation(n, e * 10 + o))).collect();
            format!(
                r#"{{"encounter_id":"E{n:09}-{e}","class":"AMB","start":"2024-01-02T07:00:00Z","end":"2024-01-02T08:00:00+01:00","npi":"1234567893","reason":"I10","observations":[{}]}}"#,
                inner.join(",")
            )
        })
        .collect();
    format!(
        r#"{{"patient_id":"P{n:09}","mrn":"{n:08}","name":"Mary Hernandez","birth_date":"1961-05-17","gender":"female","phone":"555-0100","email":"p{n}@example.org","address":{{"line":"{n} Oak St","city":"Springfield","state":"IL","zip":"62701"}},"encounters":[{}]}}"#,
        encounters.join(",")
    )
}

fn flat(n: usize, e: usize, o: usize) -> String {
    format!(r#"{{{},"encounter_id":"E{n:09}-{e}","patient_id":"P{n:09}"}}"#, observation(n, e * 10 + o))
}

const CLAIMS_HEADER: &str = "claim_id,line_no,patient_id,npi,provider_name,cpt,icd10,service_date,paid_date,billed_amount,\
                             allowed_amount,paid_amount,zip,payer,place_of_service";

fn claim(n: usize) -> String {
    format!(
        "C{n:010},{},P{:09},1234567893,\"Nguyen, Linda \"\"Lin\"\" MD\",99214,G47.33,2019-09-26,2019-10-02,{}.72,{}.10,{}.25,70629,SELFPAY,11",
        n % 3 + 1,
        n % 100_000,
        n % 900,
        n % 700,
        n % 400
    )
}

/// Records one after the other, up to the size of a bench's input.
fn fill(record: impl Fn(usize) -> String, between: &str) -> Vec<u8> {
    let mut text = String::with_capacity(SIZE + (1 << 16));
    for number in 0.. {
        if text.len() > SIZE {
            break;
        }
        if number > 0 {
            text.push_str(between);
        }
        text.push_str(&record(number));
    }
    text.into_bytes()
}

/// Decodes the whole input, frame by frame as a worker does. Returns rows of all tables, and fails on a reject.
fn decode(layout: &Arc<Layout>, dialect: &Dialect, data: &[u8]) -> u64 {
    // No byte order mark is looked for in the middle of an input.
    let mut decoder = Decoder::new(Arc::clone(layout), Position { record: 1, offset: 1 });
    let (mut at, mut rows, mut out) = (0, 0, Vec::new());
    while at < data.len() {
        let end = (at + FRAME).min(data.len());
        at += decoder.decode(dialect, &data[at..end], end == data.len(), &mut out).expect("the columns fit");
        for decoded in out.drain(..) {
            assert!(decoded.rejects.is_empty(), "{:?}", decoded.rejects);
            rows += decoded.batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
        }
    }
    decoder.finish(&mut out).expect("the columns fit");
    rows + out.iter().flat_map(|decoded| &decoded.batches).map(|batch| batch.num_rows() as u64).sum::<u64>()
}

fn formats(c: &mut Criterion) {
    let claims = shipped(CLAIMS).expect("the recipe is shipped");
    let claims_layout = shipped_layout(CLAIMS);
    let header = CsvHeader::new(&claims_layout, &claims.0.source.csv, Some(CLAIMS_HEADER.as_bytes()));
    let csv = Dialect::Csv(header.expect("the header fits"));
    let clinical = shipped_layout("clinical");
    let cases = [
        ("clinical NDJSON", &clinical, Dialect::Lines, fill(|n| patient(n, 1, 3), "\n")),
        ("clinical JSON array", &clinical, Dialect::JsonArray, fill(|n| patient(n, 1, 3), ",")),
        ("claims CSV", &claims_layout, csv, fill(claim, "\n")),
    ];
    let mut group = c.benchmark_group("decode");
    group.sample_size(20);
    for (name, layout, dialect, data) in cases {
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &data, |b, data| {
            b.iter(|| decode(layout, &dialect, black_box(data)));
        });
    }
    group.finish();
}

const CLAIMS: &str = "claims";

/// Splitting is part of decoding: a child's row is begun where its object begins, and its parents' keys are gathered by
/// row number when a batch is closed. So records with two levels of children are compared with the same observations
/// as flat records that carry the keys themselves, in rows a second.
fn splitting(c: &mut Criterion) {
    let (nested, flat_rows) = (shipped_layout("clinical"), layout("flat", FLAT));
    let cases = [
        ("three tables, 1 : 2 : 20", &nested, fill(|n| patient(n, 2, 10), "\n")),
        ("three tables, 1 : 1 : 3", &nested, fill(|n| patient(n, 1, 3), "\n")),
        ("the observations, flat", &flat_rows, fill(|n| flat(n / 20, n % 20 / 10, n % 10), "\n")),
    ];
    let mut group = c.benchmark_group("split");
    group.sample_size(20);
    for (name, layout, data) in cases {
        group.throughput(Throughput::Elements(decode(layout, &Dialect::Lines, &data)));
        group.bench_with_input(BenchmarkId::from_parameter(name), &data, |b, data| {
            b.iter(|| decode(layout, &Dialect::Lines, black_box(data)));
        });
    }
    group.finish();
}

criterion_group!(benches, formats, splitting);
criterion_main!(benches);
