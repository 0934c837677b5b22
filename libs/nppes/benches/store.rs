//! Look-ups in a store of 200,000 providers: one by one, and in the batches of a chunk.

#![expect(clippy::unwrap_used, reason = "a bench that can't go on says why")]

#[path = "../tests/store/registry.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod registry;

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use forebay_nppes::{Answer, Npi, Sources, Store, load};

const PROVIDERS: u32 = 200_000;

fn look_ups(c: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let (file, path) = (folder.path().join("npidata_pfile.csv"), folder.path().join("store"));
    std::fs::write(&file, registry::file(0..PROVIDERS)).unwrap();
    load(&path, &Sources { full: Some(file), ..Sources::default() }, 64 << 20).unwrap();
    let store = Store::open(&path).unwrap();
    let keys: Vec<Npi> = (0..10_000u32).map(|n| registry::npi(n.wrapping_mul(2_654_435_761) % PROVIDERS)).collect();
    let mut group = c.benchmark_group("store");
    group.throughput(Throughput::Elements(keys.len() as u64));
    group.bench_function("one by one", |b| {
        b.iter(|| keys.iter().filter(|key| black_box(store.get(**key).unwrap()).is_some()).count());
    });
    group.bench_function("in batches of 1,000", |b| {
        b.iter(|| keys.chunks(1_000).map(|keys| black_box(store.get_many(keys).unwrap()).len()).sum::<usize>());
    });
    group.finish();
}

fn answers(c: &mut Criterion) {
    let npi = Npi::parse("1234567893").unwrap();
    let body = br#"{"result_count":1,"results":[{"created_epoch":"1389230978000","enumeration_type":"NPI-1","number":"1234567893",
        "addresses":[{"address_purpose":"MAILING","city":"OAKTON"},{"address_purpose":"LOCATION","address_1":"1 MAIN ST",
        "city":"ELMVILLE","state":"NH","postal_code":"030011234","country_code":"US"}],"practiceLocations":[],
        "basic":{"first_name":"ALEX","last_name":"SAMPLE","status":"A","enumeration_date":"2014-01-08"},
        "taxonomies":[{"code":"207R00000X","desc":"Internal Medicine","state":null,"primary":true}],"other_names":[]}]}"#;
    let mut group = c.benchmark_group("answer");
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.bench_function("of the API", |b| b.iter(|| Answer::parse(npi, black_box(body))));
    group.finish();
}

criterion_group!(benches, look_ups, answers);
criterion_main!(benches);
