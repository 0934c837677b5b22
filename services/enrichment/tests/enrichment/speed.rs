//! How fast it is, beside what there is to compare it with. Ignored: figures need an optimised build and a quiet machine.
//!
//! `cargo test --release -p forebay-enrichment --test enrichment speed -- --ignored --nocapture`

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_api::{EnrichRequest, Enrichment as _, KeyBatch};
use forebay_enrichment::{CacheLocation, Enrichment, EnrichmentConfig, UpstreamRates};
use forebay_standin::RegistryConfig;
use forebay_testing::redis::Redis;
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::support::{Upstream, ask, ask_by, npis, references, settings};

/// Keys of an MGET, callers at a time, and for how long each is measured.
const BATCH: usize = 10;
const CALLERS: usize = 50;
const TIME: Duration = Duration::from_secs(2);

/// What was measured: keys a second, and microseconds of this side's processor a key, which other programs on the
/// machine change less.
#[derive(Clone, Copy)]
struct Speed {
    keys: f64,
    processor: f64,
}

/// Seconds of the processor that this process has had, and those of its children that have ended.
fn processor() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks: Vec<f64> = fields.split(' ').skip(11).take(4).map(|field| field.parse().unwrap()).collect();
    ((ticks[0] + ticks[1]) / 100.0, (ticks[2] + ticks[3]) / 100.0)
}

/// `redis-benchmark`, for the values of these keys.
fn redis_benchmark(redis: &Redis, keys: &[String]) -> Speed {
    let (_, before) = processor();
    let (port, callers) = (redis.port().to_string(), CALLERS.to_string());
    let mut command = Command::new("redis-benchmark");
    command.args(["-p", &port, "-c", &callers, "-n", "200000", "--csv", "MGET"]).args(keys);
    let output = command.output().expect("redis-benchmark is installed with the server");
    let text = String::from_utf8(output.stdout).unwrap();
    // "name","requests a second",...
    let line = text.lines().last().unwrap();
    let requests: f64 =
        line.rsplit_once("MGET").unwrap_or(("", line)).1.split("\",\"").nth(1).unwrap().parse().unwrap();
    let asked = 200_000.0 * keys.len() as f64;
    Speed { keys: requests * keys.len() as f64, processor: (processor().1 - before) * 1e6 / asked }
}

/// The service, whose own memory holds nothing, for callers that ask for batches one after the other.
async fn ours(service: &Arc<Enrichment>, url: &str, keys: &[String], batch: usize, callers: usize) -> Speed {
    let (started, (before, _)) = (Instant::now(), processor());
    let asked = (0..callers).map(|caller| {
        let (service, settings) = (Arc::clone(service), settings(url, &[]));
        let mut keys = keys.to_vec();
        let turn = caller * keys.len() / callers;
        keys.rotate_left(turn);
        tokio::spawn(async move {
            let mut asked = 0;
            while started.elapsed() < TIME {
                asked += ask_by(&service, "nppes", settings.clone(), &keys, batch).await.rows();
            }
            asked
        })
    });
    let asked: usize = futures::future::join_all(asked).await.into_iter().map(|asked| asked.unwrap()).sum();
    let time = started.elapsed().as_secs_f64();
    Speed { keys: asked as f64 / time, processor: (processor().0 - before) * 1e6 / asked as f64 }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a check: see the module"]
async fn the_redis_level_beside_redis_benchmark() {
    let redis = Redis::start();
    let upstream = Upstream::start(RegistryConfig::default()).await;
    let config = EnrichmentConfig {
        cache: CacheLocation::Redis(redis.url()),
        memory: 0,
        rates: UpstreamRates::default(),
        references: references(0),
        folder: std::env::temp_dir(),
    };
    let service = Enrichment::open(config).await.unwrap();
    let keys = npis(100_000_000, 2_000);
    let fast = [("rate", "5000"), ("concurrency", "20")];
    ask(&service, "nppes", settings(&upstream.url(), &fast), &keys).await;
    let names: Vec<String> =
        redis.command("SCAN 0 COUNT 50").lines().filter(|l| l.contains(":answer:")).map(str::to_owned).collect();
    let mut ratios = Vec::new();
    for _ in 0..5 {
        let theirs = redis_benchmark(&redis, &names[..BATCH]);
        let small = ours(&service, &upstream.url(), &keys, BATCH, CALLERS).await;
        let large = ours(&service, &upstream.url(), &keys, 1_000, 4).await;
        println!(
            "redis-benchmark {:.0} keys/s, {:.2} us; ours in batches of {BATCH} {:.0} ({:.0}%), {:.2} us; of 1000 {:.0} \
             ({:.0}%), {:.2} us",
            theirs.keys,
            theirs.processor,
            small.keys,
            100.0 * small.keys / theirs.keys,
            small.processor,
            large.keys,
            100.0 * large.keys / theirs.keys,
            large.processor
        );
        ratios.push(small.keys / theirs.keys);
    }
    assert!(service.stats().store > 0 && service.stats().memory == 0);
    ratios.sort_by(f64::total_cmp);
    assert!(ratios[2] >= 0.5, "the median is {:.0}%", 100.0 * ratios[2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a check: see the module"]
async fn keys_that_the_process_knows() {
    let upstream = Upstream::start(RegistryConfig::default()).await;
    let config = EnrichmentConfig {
        cache: CacheLocation::Memory,
        memory: 64 << 20,
        rates: UpstreamRates::default(),
        references: references(0),
        folder: std::env::temp_dir(),
    };
    let service = Enrichment::open(config).await.unwrap();
    let keys = npis(100_000_000, 50_000);
    let fast = [("rate", "20000"), ("concurrency", "40")];
    ask_by(&service, "nppes", settings(&upstream.url(), &fast), &keys, 8_192).await;
    // In another order than they came in.
    let mixed: Vec<&String> = (0..keys.len()).map(|n| &keys[n * 7_919 % keys.len()]).collect();
    let batches: Vec<KeyBatch> = mixed
        .chunks(8_192)
        .map(|keys| KeyBatch { keys: Arc::new(arrow_array::StringArray::from_iter_values(keys)) })
        .collect();
    let columns = ["org_name", "status", "primary_taxonomy_code", "city", "state"].map(str::to_owned).to_vec();
    for _ in 0..5 {
        let (before, mut rows) = (processor().0, 0);
        for _ in 0..20 {
            let settings = settings(&upstream.url(), &fast);
            let request = EnrichRequest { enricher: "nppes".to_owned(), settings, columns: columns.clone() };
            let batches = stream::iter(batches.clone().into_iter().map(Ok)).boxed();
            let answers: Vec<_> = service.enrich(request, batches).await.unwrap().try_collect().await.unwrap();
            rows += answers.iter().map(|answer: &arrow_array::RecordBatch| answer.num_rows()).sum::<usize>();
        }
        println!(
            "{rows} keys that are known, {:.3} us of the processor each",
            (processor().0 - before) * 1e6 / rows as f64
        );
    }
    assert_eq!(service.stats().calls, 50_000);
}
