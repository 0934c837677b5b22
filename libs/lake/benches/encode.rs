//! Bytes a second, decoded, that become Parquet: what is chosen for a table, and the encoding of a row group.

use std::hint::black_box;
use std::sync::Arc;

use arrow_array::{
    ArrayRef, Date32Array, Decimal128Array, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use forebay_lake::{Encoding, Pages, encode};

const ROWS: usize = 8192;
const BATCHES: usize = 16;

/// A number that looks random and is the same each time. Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom
/// Number Generators", 2014.
fn mix(row: usize) -> u64 {
    let mut z = (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn texts(from: usize, text: impl Fn(usize) -> String) -> ArrayRef {
    Arc::new(StringArray::from_iter_values((from..from + ROWS).map(text)))
}

fn numbers(from: usize) -> impl Iterator<Item = usize> {
    from..from + ROWS
}

fn prose(row: usize) -> String {
    const WORDS: [&str; 16] = [
        "patient", "seen", "today", "no", "change", "since", "the", "last", "visit", "blood", "pressure", "taken",
        "twice", "stable", "advised", "rest",
    ];
    let words: Vec<&str> = (0..40).map(|word| WORDS[(mix(row * 40 + word) % 16) as usize]).collect();
    words.join(" ")
}

/// A kind of column, from a row on.
fn column(kind: &str, from: usize) -> ArrayRef {
    match kind {
        "ids" => texts(from, |row| format!("C{row:010}")),
        "random ids" => texts(from, |row| format!("{:016x}", mix(row))),
        "names" => texts(from, |row| format!("Nguyen-{}, Linda {}", mix(row) % 50_000, row % 7)),
        "codes" => texts(from, |row| format!("G{:02}.{}", mix(row) % 40, row % 4)),
        "prose" => texts(from, prose),
        "decimals" => {
            let cents = numbers(from).map(|row| i128::from(mix(row) % 100_000));
            let array = Decimal128Array::from_iter_values(cents).with_precision_and_scale(18, 2);
            Arc::new(array.expect("two digits after the point"))
        }
        "floats" => {
            Arc::new(Float64Array::from_iter_values(numbers(from).map(|row| (mix(row) % 100_000) as f64 / 100.0)))
        }
        "timestamps" => {
            let micros =
                numbers(from).map(|row| 1_700_000_000_000_000 + row as i64 * 7_000_000 + (mix(row) % 1000) as i64);
            Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
        }
        "dates" => Arc::new(Date32Array::from_iter_values(numbers(from).map(|row| 19_000 + (mix(row) % 700) as i32))),
        other => unreachable!("no column is called {other}"),
    }
}

const KINDS: [&str; 9] = ["ids", "random ids", "names", "codes", "prose", "decimals", "floats", "timestamps", "dates"];

fn batches(kinds: &[&str]) -> Vec<RecordBatch> {
    (0..BATCHES)
        .map(|batch| RecordBatch::try_from_iter(kinds.iter().map(|kind| (*kind, column(kind, batch * ROWS)))))
        .collect::<Result<_, _>>()
        .expect("columns of one length")
}

fn bytes(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.get_array_memory_size() as u64).sum()
}

fn encoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("encode");
    group.sample_size(10);
    for kinds in std::iter::once(&KINDS[..]).chain(KINDS.chunks(1)) {
        let name = if let [kind] = kinds { kind } else { "all of them" };
        let batches = batches(kinds);
        group.throughput(Throughput::Bytes(bytes(&batches)));
        group.bench_with_input(BenchmarkId::from_parameter(name), &batches, |b, batches| {
            b.iter(|| {
                let encoding = Encoding::choose(black_box(&batches[0])).expect("every type is one of ours");
                encode(&encoding, batches.clone(), &Pages::Memory).expect("memory is enough").bytes
            });
        });
    }
    group.finish();
    let batches = batches(&KINDS);
    c.bench_function("choose", |b| b.iter(|| Encoding::choose(black_box(&batches[0]))));
}

criterion_group!(benches, encoding);
criterion_main!(benches);
