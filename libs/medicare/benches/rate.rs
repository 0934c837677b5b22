//! Rates out of tables in memory.

#![expect(clippy::unwrap_used, reason = "a bench that can't go on says why")]

#[path = "../tests/rates/files.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod files;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_medicare::{Query, Setting};

fn rates(c: &mut Criterion) {
    let tables = files::tables();
    let zips = ["99501", "93001", "94102", "95110", "951120001", "00001"];
    let queries: Vec<Query<'_>> = (0..10_000)
        .map(|n| Query {
            code: files::SERVICES[n % 4][0],
            modifier: "",
            zip: zips[n % zips.len()],
            setting: Setting::PlaceOfService("11"),
            date: jiff::civil::date(2025, 10, 15),
            qp: false,
        })
        .collect();
    let mut group = c.benchmark_group("medicare");
    group.throughput(Throughput::Elements(queries.len() as u64));
    group.bench_function("rate", |b| {
        b.iter(|| queries.iter().filter(|query| tables.rate(black_box(query)).is_ok()).count());
    });
    group.finish();
}

criterion_group!(benches, rates);
criterion_main!(benches);
