use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use forebay_budget::Budget;
use forebay_catalog::Catalog;
use forebay_enrichment::{CACHE_FILE, CacheLocation, Enrichment};
use forebay_gateway::{Gateway, Reach};
use forebay_lake::STATE_FOLDER;
use forebay_objects::{Place, Writers};
use forebay_queue::{JobQueue, SqliteQueue, WorkHandler};
use forebay_recipe::Prepared;
use forebay_seal::Keys;
use forebay_sink::SinkUrl;
use forebay_steps::Steps;
use forebay_storage::{Loader, Storage};
use forebay_transform::Transform;
use forebay_types::{JobId, REJECTS_TABLE};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::commands::Usage;
use crate::plan::Plan;
use crate::supervisor;
use crate::wiring::Wiring;

/// How long a start waits for a process that is just going away to let go of the output.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// What an embedded Forebay is started with.
#[derive(Clone, Debug)]
pub struct EmbeddedConfig {
    /// Where the tables are.
    pub output: String,
    /// Sizes.
    pub plan: Plan,
    /// Bytes at which a file is closed.
    pub file_bytes: u64,
    /// Longest wait for a commit.
    pub commit_interval: Duration,
    /// True if the process before this one died of something that was no clean stop, as its supervisor saw.
    pub crashed: bool,
    /// Database that the tables are loaded into besides.
    pub sink: Option<SinkUrl>,
    /// Keys that protected records are encrypted with while they wait.
    pub keys: Keys,
}

/// All services in one process, over SQLite and one output.
pub struct Embedded {
    /// The door.
    pub gateway: Arc<Gateway>,
    /// The truth.
    pub catalog: Arc<Catalog>,
    /// The ledger.
    pub budget: Budget,
    /// Keys to columns.
    pub enrichment: Arc<Enrichment>,
    transform: Arc<Transform>,
    stop: CancellationToken,
    intake: CancellationToken,
    tasks: JoinSet<()>,
    /// Held as long as the process works on this output.
    _lock: std::fs::File,
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

/// Where the catalog of an output is: with the tables, or, for a bucket, in the user's state folder.
pub(crate) fn state_folder(output: &Place) -> PathBuf {
    if let Some(directory) = output.directory() {
        return directory.join(STATE_FOLDER);
    }
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let home = std::env::var_os("HOME").map_or_else(std::env::temp_dir, PathBuf::from);
        home.join(".local/state")
    });
    let name = forebay_objects::checksum(output.uri().as_str().as_bytes());
    base.join("forebay").join(format!("{name:032x}"))
}

/// The catalog's URL in a state folder.
pub(crate) fn catalog_url(folder: &std::path::Path) -> String {
    format!("sqlite:{}", folder.join("catalog.db").display())
}

impl Embedded {
    /// Starts everything, after clearing up what an earlier process left.
    pub async fn start(config: EmbeddedConfig) -> anyhow::Result<Self> {
        let output = Place::open(&config.output).map_err(|error| Usage(error.to_string()))?;
        let folder = state_folder(&output);
        let spill = folder.join("tmp");
        std::fs::create_dir_all(&spill).with_context(|| format!("can't make {}", spill.display()))?;
        let lock = lock(&folder).await?;
        let catalog = Arc::new(patiently(async || Catalog::open(&catalog_url(&folder)).await).await?);
        let queue = Arc::new(patiently(async || SqliteQueue::open(folder.join("queue.db")).await).await?);
        // The catalog knows what is to be done; messages of a dead process are only in the way.
        queue.clear().await?;
        // Chunks whose messages these were would otherwise wait until the dispatcher takes them for lost.
        catalog.undispatch_stale(Duration::ZERO).await?;
        let mut wiring = Wiring::new(catalog, config.plan, supervisor::owner())?;
        wiring.sink = config.sink;
        wiring.keys = config.keys;
        let storage = wiring.storage(config.file_bytes, config.commit_interval, spill)?;
        let cache = CacheLocation::File(folder.join(CACHE_FILE));
        let enrichment = wiring.enrichment(cache, folder.clone()).await?;
        let transform = wiring.transform(
            Arc::clone(&storage) as Arc<dyn forebay_api::Storage>,
            Arc::clone(&enrichment) as Arc<dyn forebay_api::Enrichment>,
        )?;
        recover(&wiring.catalog, &storage, &transform, config.crashed).await?;
        let loader = wiring.loader()?;
        let backlog = wiring.plan.in_flight as u64 * 4;
        let gateway = wiring.gateway(Reach::Anywhere, Writers::One, backlog)?;
        let mut started = Self {
            gateway,
            catalog: Arc::clone(&wiring.catalog),
            budget: wiring.budget.clone(),
            enrichment,
            transform,
            stop: wiring.stop.clone(),
            intake: wiring.intake.clone(),
            tasks: JoinSet::new(),
            _lock: lock,
        };
        started.spawn(&wiring, queue, storage, loader);
        Ok(started)
    }

    fn spawn(&mut self, wiring: &Wiring, queue: Arc<SqliteQueue>, storage: Arc<Storage>, loader: Option<Loader>) {
        let (handler, stop) = (Arc::clone(&self.transform), self.intake.clone());
        let (worker, in_flight) = (Arc::clone(&queue), wiring.plan.in_flight);
        self.tasks.spawn(async move {
            if let Err(error) = worker.run("transform", in_flight, handler as Arc<dyn WorkHandler>, stop).await {
                tracing::error!(%error, "the queue's worker ended");
            }
        });
        self.tasks.spawn(wiring.keep_leases(self.intake.clone()));
        let (writer, stop) = (Arc::clone(&storage), self.stop.clone());
        self.tasks.spawn(async move { writer.run(stop).await });
        if let Some(loader) = loader {
            let stop = self.stop.clone();
            self.tasks.spawn(async move { loader.run(stop).await });
        }
        let dispatcher = wiring.dispatcher(queue, storage);
        let stop = self.stop.clone();
        self.tasks.spawn(async move { dispatcher.run(stop).await });
    }

    /// Chunks in work now.
    pub fn at_work(&self) -> usize {
        self.transform.at_work()
    }

    /// An error that no chunk or job can be told: the catalog itself can't be written, say.
    pub fn broken(&self) -> Option<String> {
        self.transform.broken()
    }

    /// Stops: chunks in work are handed back, what is written but not committed is done again next time.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.intake.cancel();
        while let Some(task) = self.tasks.join_next().await {
            task.map_err(|error| anyhow!("a task failed: {error}"))?;
        }
        Ok(())
    }
}

/// Finishes or takes back what a dead process left half done.
async fn recover(
    catalog: &Arc<Catalog>,
    storage: &Storage,
    transform: &Transform,
    crashed: bool,
) -> anyhow::Result<()> {
    let recovery = catalog.recover(crashed).await?;
    for (group, job) in &recovery.abandoned {
        storage.recover(&[(*group, *job)], &tables_of(catalog, *job).await?).await?;
    }
    if crashed && recovery.claimed.is_empty() {
        bail!("the process crashed while no chunk was at work; run with RUST_LOG=debug to see where");
    }
    for claim in &recovery.claimed {
        transform.settle_death(claim).await?;
    }
    // What was committed but not published becomes visible now.
    for job in catalog.list_jobs(None, 100, None).await? {
        if let Err(error) = storage.publish(job.id).await {
            // It may be another job's table that takes nothing any more. A job that goes on tries again at its end.
            tracing::warn!(job.id = %job.id, %error, "failed to publish what a job had committed");
        }
    }
    Ok(())
}

async fn tables_of(catalog: &Catalog, job: JobId) -> anyhow::Result<Vec<String>> {
    let job = catalog.job(job).await?;
    let settings = serde_json::from_str(&job.settings)?;
    let prepared = Prepared::new(&job.recipe_name, &job.recipe, &settings)?;
    let steps = Steps::plan(&prepared.recipe, &prepared.layout).await?;
    let mut tables: Vec<String> = steps.tables().iter().map(|(name, _)| name.clone()).collect();
    tables.push(REJECTS_TABLE.to_owned());
    Ok(tables)
}

/// Keeps two processes from working on one output.
async fn lock(folder: &std::path::Path) -> anyhow::Result<std::fs::File> {
    let path = folder.join("lock");
    let file = std::fs::File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("can't write {}", path.display()))?;
    let since = std::time::Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if since.elapsed() < LOCK_WAIT => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(std::fs::TryLockError::WouldBlock) => {
                bail!("another forebay is at work on {}: wait for it, or use another --output", folder.display())
            }
            Err(std::fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("can't lock {}", path.display()));
            }
        }
    }
}

/// Opens a database. A process that was killed lets go of its files one after the other, so that for a moment a
/// database may be locked although the output is not.
async fn patiently<T, E: std::fmt::Display>(open: impl AsyncFn() -> Result<T, E>) -> Result<T, E> {
    let since = std::time::Instant::now();
    loop {
        match open().await {
            Err(error) if error.to_string().contains("locked") && since.elapsed() < LOCK_WAIT => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            result => return result,
        }
    }
}
