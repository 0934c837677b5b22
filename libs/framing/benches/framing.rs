//! Bytes a second that the framer passes, by framing and length of record.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_framing::{Framer, Framing, Targets, elements, rows};

const SIZE: usize = 32 << 20;
const FRAME: usize = 1 << 20;
const TARGETS: Targets = Targets { records: 50_000, bytes: 32 << 20, record_limit: 10 << 20 };

fn fill(record: impl Fn(usize) -> String, first: &str, between: &str, last: &str) -> Vec<u8> {
    let mut text = String::with_capacity(SIZE + (1 << 16));
    text.push_str(first);
    for number in 0.. {
        if text.len() > SIZE {
            break;
        }
        if number > 0 {
            text.push_str(between);
        }
        text.push_str(&record(number));
    }
    text.push_str(last);
    text.into_bytes()
}

fn object(number: usize, items: usize) -> String {
    let item =
        r#"{"code":"I10","start":"2019-08-18T19:00:00Z","note":"seen \"today\", [stable]\nno change","value":7.25}"#;
    let items = vec![item; items].join(",");
    format!(r#"{{"id":"P{number:09}","name":"Mary Hernandez","address":{{"city":"Springfield"}},"items":[{items}]}}"#)
}

fn row(number: usize) -> String {
    format!("C{number:010},2,P000195409,\"Nguyen, Linda \"\"Lin\"\" MD\",99214,G47.33,2019-09-26,49.72,,70629,SELFPAY")
}

fn framers(c: &mut Criterion) {
    let csv = Framing::Csv { delimiter: b',', quote: b'"' };
    let cases = [
        ("lines of 50 bytes", Framing::Lines, fill(|i| format!("{i:049}"), "", "\n", "\n")),
        ("lines of 1.6 KB", Framing::Lines, fill(|i| object(i, 15), "", "\n", "\n")),
        ("csv, some quoted", csv.clone(), fill(row, "", "\n", "\n")),
        ("csv, all quoted", csv, fill(|i| format!("\"{i:09}\",\"a\",\"b,c\",\"2019-09-26\",\"\""), "", "\r\n", "\r\n")),
        ("array of 0.2 KB", Framing::JsonArray, fill(|i| object(i, 1), "[", ",", "]")),
        ("array of 1.6 KB", Framing::JsonArray, fill(|i| object(i, 15), "[", ",", "]")),
        ("array of numbers", Framing::JsonArray, fill(|i| i.to_string(), "[", ", ", "]")),
    ];
    let mut group = c.benchmark_group("framer");
    group.sample_size(10);
    for (name, framing, data) in cases {
        group.throughput(Throughput::Bytes(data.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(name), &data, |b, data| {
            let mut cuts = Vec::new();
            b.iter(|| {
                cuts.clear();
                let mut framer = Framer::new(framing.clone(), TARGETS);
                for frame in black_box(data).chunks(FRAME) {
                    framer.push(frame, &mut cuts);
                }
                framer.finish(&mut cuts);
                cuts.len()
            });
        });
    }
    group.finish();
}

fn decoders(c: &mut Criterion) {
    let mut group = c.benchmark_group("decoder");
    group.sample_size(10);
    let data = fill(|i| object(i, 15), "", ",", "");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("elements", |b| b.iter(|| elements(black_box(&data)).count()));
    let data = fill(row, "", "\n", "\n");
    group.throughput(Throughput::Bytes(data.len() as u64));
    group.bench_function("rows", |b| b.iter(|| rows(black_box(&data), b',', b'"').count()));
    group.finish();
}

criterion_group!(benches, framers, decoders);
criterion_main!(benches);
