use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use forebay_api::Observer;
use forebay_budget::{Budget, Pool, Reservation};
use forebay_catalog::Catalog;
use forebay_enrichment::{CacheLocation, Enrichment, EnrichmentConfig, UpstreamRates};
use forebay_gateway::{Dispatch, Dispatcher, Gateway, GatewayConfig, Reach};
use forebay_objects::Writers;
use forebay_queue::JobQueue;
use forebay_seal::Keys;
use forebay_sink::{PostgresSink, SinkUrl};
use forebay_storage::{Loader, Storage, StorageConfig};
use forebay_transform::{Transform, TransformConfig};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::leases::keep_leases;
use crate::plan::Plan;

/// How long a chunk, or a group of files, is held without a sign of life of its process.
const LEASE: Duration = Duration::from_secs(15);

/// What the services of one process share, and how each is made of it. One process or several: the wires are these.
#[derive(Debug)]
pub(crate) struct Wiring {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) budget: Budget,
    pub(crate) plan: Plan,
    /// Unique name of the process: leases are held in it.
    pub(crate) owner: String,
    /// Wakes whoever waits for something to change in this process.
    pub(crate) changed: Arc<Notify>,
    /// Told first: no more work is taken in.
    pub(crate) intake: CancellationToken,
    /// Told last: what is in work is handed back.
    pub(crate) stop: CancellationToken,
    /// How long leases last without a sign of life.
    pub(crate) lease: Duration,
    /// Who counts what the services do.
    pub(crate) observer: Observer,
    /// Keys that protected records are encrypted with while they wait.
    pub(crate) keys: Keys,
    /// Database that jobs may have their tables loaded into.
    pub(crate) sink: Option<SinkUrl>,
    /// The service's own limits to the pace of upstreams.
    pub(crate) upstream_rates: UpstreamRates,
    /// What is there all the time is reserved all the time, so that pressure tells how full the process is.
    _standing: Vec<Reservation>,
}

impl Wiring {
    pub(crate) fn new(catalog: Arc<Catalog>, plan: Plan, owner: String) -> anyhow::Result<Self> {
        let budget = Budget::new(plan.memory.0);
        let mut standing = Vec::new();
        for name in ["program", "uploads", "answers"] {
            let pool = budget.pool(name, plan.of(name))?;
            standing.push(pool.try_reserve(pool.capacity())?);
        }
        Ok(Self {
            catalog,
            budget,
            plan,
            owner,
            changed: Arc::new(Notify::new()),
            intake: CancellationToken::new(),
            stop: CancellationToken::new(),
            lease: LEASE,
            observer: Observer::default(),
            keys: Keys::none(),
            sink: None,
            upstream_rates: UpstreamRates::default(),
            _standing: standing,
        })
    }

    fn pool(&self, name: &'static str) -> anyhow::Result<Pool> {
        Ok(self.budget.pool(name, self.plan.of(name))?)
    }

    pub(crate) fn storage(
        &self,
        file_bytes: u64,
        commit_interval: Duration,
        spill: PathBuf,
    ) -> anyhow::Result<Arc<Storage>> {
        Ok(Storage::new(
            Arc::clone(&self.catalog),
            self.budget.clone(),
            self.pool("held")?,
            self.pool("encoding")?,
            StorageConfig {
                owner: self.owner.clone(),
                lease: self.lease,
                row_group_bytes: self.plan.row_group_bytes,
                file_bytes,
                part_bytes: self.plan.part_bytes as usize,
                commit_interval,
                encoders: self.plan.workers,
                spill,
                observer: self.observer.clone(),
            },
        ))
    }

    /// What loads committed groups into the sink, if there is one.
    pub(crate) fn loader(&self) -> anyhow::Result<Option<Loader>> {
        let Some(url) = self.sink.clone().filter(|_| self.plan.loads > 0) else { return Ok(None) };
        let sink = PostgresSink::new(url, self.plan.loads as usize);
        let (catalog, changed) = (Arc::clone(&self.catalog), Arc::clone(&self.changed));
        Ok(Some(Loader::new(catalog, sink, self.pool("loads")?, self.plan.load_memory, changed)))
    }

    /// The enrichment service of this process.
    pub(crate) async fn enrichment(&self, cache: CacheLocation, folder: PathBuf) -> anyhow::Result<Arc<Enrichment>> {
        let rates = self.upstream_rates.clone();
        let references = self.pool("references")?;
        let config = EnrichmentConfig { cache, memory: self.plan.of("answers"), rates, references, folder };
        Enrichment::open(config).await.map_err(crate::commands::service_error)
    }

    pub(crate) fn transform(
        &self,
        storage: Arc<dyn forebay_api::Storage>,
        enrichment: Arc<dyn forebay_api::Enrichment>,
    ) -> anyhow::Result<Arc<Transform>> {
        Ok(Arc::new(Transform::new(
            Arc::clone(&self.catalog),
            storage,
            enrichment,
            self.budget.clone(),
            self.pool("chunks")?,
            self.pool("large_records")?,
            TransformConfig {
                owner: self.owner.clone(),
                lease: self.lease,
                workers: self.plan.workers,
                chunk_memory: self.plan.chunk_memory,
                sql_memory: self.plan.sql_memory as usize,
                observer: self.observer.clone(),
                keys: self.keys.clone(),
                models: if self.plan.of("models") > 0 { Some(self.pool("models")?) } else { None },
            },
            Arc::clone(&self.changed),
            self.stop.clone(),
        )))
    }

    /// `backlog` is how many chunks of a job may wait for workers before its client is slowed down.
    pub(crate) fn gateway(&self, reach: Reach, writers: Writers, backlog: u64) -> anyhow::Result<Arc<Gateway>> {
        Ok(Arc::new(Gateway::new(
            Arc::clone(&self.catalog),
            self.budget.clone(),
            self.pool("intake")?,
            GatewayConfig {
                chunk_bytes: self.plan.chunk_bytes,
                backlog,
                reach,
                writers,
                observer: self.observer.clone(),
                keys: self.keys.clone(),
                sink: self.sink.as_ref().map(|url| url.target().clone()),
            },
            Arc::clone(&self.changed),
            self.intake.clone(),
        )))
    }

    pub(crate) fn dispatcher(&self, queue: Arc<dyn JobQueue>, storage: Arc<dyn forebay_api::Storage>) -> Dispatcher {
        Dispatcher::new(Dispatch {
            catalog: Arc::clone(&self.catalog),
            queue,
            storage,
            changed: Arc::clone(&self.changed),
        })
    }

    /// Renews the leases of whatever this process holds until `stop`.
    pub(crate) fn keep_leases(&self, stop: CancellationToken) -> impl Future<Output = ()> + Send + 'static {
        keep_leases(Arc::clone(&self.catalog), self.owner.clone(), self.lease, self.observer.clone(), stop)
    }
}
