use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray};
use forebay_api::{CALLS_COLUMN, EnrichRequest, Enrichment as _, KeyBatch, REASON_COLUMN, SOURCE_COLUMN, ServiceError};
use forebay_budget::{Budget, Pool};
use forebay_enrichment::{CacheLocation, Enrichment, EnrichmentConfig, UpstreamRates};
use forebay_nppes::Npi;
use forebay_standin::{Registry, RegistryConfig};
use futures::stream::{self, StreamExt, TryStreamExt};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A registry that listens, and writes down who comes.
pub(crate) struct Upstream {
    pub(crate) registry: Arc<Registry>,
    address: SocketAddr,
    log: PathBuf,
    _folder: TempDir,
    _stop: tokio_util::sync::DropGuard,
}

impl Upstream {
    pub(crate) async fn start(config: RegistryConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let registry = Registry::new(RegistryConfig { log: Some(log.clone()), ..config }).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&registry).serve(listener, stop.clone()));
        Self { registry, address, log, _folder: folder, _stop: stop.drop_guard() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request: when it came in microseconds, its key, its status.
    pub(crate) fn requests(&self) -> Vec<(u64, String, u64)> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|line| {
                let npi = line["npi"].as_str().unwrap().to_owned();
                (line["t"].as_u64().unwrap(), npi, line["status"].as_u64().unwrap())
            })
            .collect()
    }

    /// Most requests in any one second.
    pub(crate) fn most_in_a_second(&self) -> usize {
        let times: Vec<u64> = self.requests().iter().map(|(t, ..)| *t).collect();
        let within =
            |(index, first): (usize, &u64)| times[index..].iter().take_while(|t| **t < first + 1_000_000).count();
        times.iter().enumerate().map(within).max().unwrap_or(0)
    }

    /// The keys that were asked for more than once.
    pub(crate) fn repeated(&self) -> usize {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (_, npi, _) in self.requests() {
            *counts.entry(npi).or_default() += 1;
        }
        counts.values().filter(|count| **count > 1).count()
    }
}

pub(crate) async fn service(cache: CacheLocation) -> Arc<Enrichment> {
    service_in(cache, &std::env::temp_dir()).await
}

/// Memory for reference files.
pub(crate) fn references(bytes: u64) -> Pool {
    Budget::new(bytes).pool("references", bytes).unwrap()
}

/// A service that has a rate of its own for an upstream.
pub(crate) async fn limited(upstream: &Upstream, rate: u32) -> Arc<Enrichment> {
    let rates = format!("{}={rate}", upstream.address).parse().unwrap();
    let (cache, folder) = (CacheLocation::Memory, std::env::temp_dir());
    Enrichment::open(EnrichmentConfig { cache, memory: 16 << 20, rates, references: references(0), folder })
        .await
        .unwrap()
}

pub(crate) async fn service_in(cache: CacheLocation, folder: &Path) -> Arc<Enrichment> {
    let config = EnrichmentConfig {
        cache,
        memory: 16 << 20,
        rates: UpstreamRates::default(),
        references: references(32 << 20),
        folder: folder.to_owned(),
    };
    Enrichment::open(config).await.unwrap()
}

pub(crate) fn npis(first: u32, count: u32) -> Vec<String> {
    (first..first + count).map(|payload| Npi::from_payload(payload).unwrap().to_string()).collect()
}

pub(crate) fn settings(url: &str, more: &[(&str, &str)]) -> BTreeMap<String, String> {
    let base = [("url", url), ("rate", "200"), ("timeout", "2s")];
    base.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// What became of keys.
#[derive(Debug)]
pub(crate) struct Answers(pub(crate) Vec<RecordBatch>);

pub(crate) async fn ask(
    service: &Enrichment,
    enricher: &str,
    settings: BTreeMap<String, String>,
    keys: &[String],
) -> Answers {
    ask_by(service, enricher, settings, keys, 1000).await
}

/// As [`ask`], with keys in a column, or in a struct of columns.
pub(crate) async fn ask_array(
    service: &Enrichment,
    enricher: &str,
    settings: BTreeMap<String, String>,
    keys: ArrayRef,
) -> Answers {
    let rows = keys.len();
    let answers = send(service, enricher, settings, vec![Ok(KeyBatch { keys })]).await;
    assert_eq!(answers.rows(), rows);
    answers
}

pub(crate) async fn ask_by(
    service: &Enrichment,
    enricher: &str,
    settings: BTreeMap<String, String>,
    keys: &[String],
    batch_keys: usize,
) -> Answers {
    let batch = |keys: &[String]| Ok(KeyBatch { keys: Arc::new(StringArray::from_iter_values(keys)) });
    let answers = send(service, enricher, settings, keys.chunks(batch_keys).map(batch).collect()).await;
    assert_eq!(answers.rows(), keys.len());
    answers
}

async fn send(
    service: &Enrichment,
    enricher: &str,
    settings: BTreeMap<String, String>,
    batches: Vec<Result<KeyBatch, ServiceError>>,
) -> Answers {
    let request = EnrichRequest { enricher: enricher.to_owned(), settings, columns: Vec::new() };
    let rows = service.enrich(request, stream::iter(batches).boxed()).await.unwrap();
    let rows: Vec<RecordBatch> =
        tokio::time::timeout(Duration::from_secs(60), rows.try_collect()).await.expect("answers in time").unwrap();
    Answers(rows)
}

impl Answers {
    pub(crate) fn rows(&self) -> usize {
        self.0.iter().map(RecordBatch::num_rows).sum()
    }

    pub(crate) fn column(&self, name: &str) -> Vec<Option<String>> {
        let column = |batch: &RecordBatch| {
            let column = batch.column_by_name(name).unwrap().as_string::<i32>();
            column.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        };
        self.0.iter().flat_map(column).collect()
    }

    pub(crate) fn calls(&self) -> i64 {
        let sum = |batch: &RecordBatch| {
            let calls = batch.column_by_name(CALLS_COLUMN).unwrap().as_primitive::<Int64Type>();
            calls.values().iter().sum::<i64>()
        };
        self.0.iter().map(sum).sum()
    }

    /// How many rows have a value in a column.
    pub(crate) fn count(&self, column: &str, value: Option<&str>) -> usize {
        self.column(column).iter().filter(|found| found.as_deref() == value).count()
    }

    pub(crate) fn source(&self, source: &str) -> usize {
        self.count(SOURCE_COLUMN, Some(source))
    }

    pub(crate) fn reason(&self, reason: Option<&str>) -> usize {
        self.count(REASON_COLUMN, reason)
    }
}
