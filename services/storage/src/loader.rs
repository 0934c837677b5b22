use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_budget::Pool;
use forebay_catalog::{Catalog, CatalogError, File, Job, UnpublishedGroup};
use forebay_lake::{read_file, table_place};
use forebay_objects::Place;
use forebay_sink::{Batches, Commit, Loaded, PostgresSink, SinkError, SinkTarget, Source};
use forebay_types::{JobId, JobState, REJECTS_TABLE};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How often it looks for groups.
const TICK: Duration = Duration::from_millis(100);

/// The same after the catalog or a load has failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Jobs that are loaded at the same time.
const JOBS: u32 = 16;

/// Groups of a job that are listed at a time.
const PAGE: u32 = 16;

/// How long a sink may be away before its jobs fail. Nothing is lost then: they go on when they are run again.
const PATIENCE: Duration = Duration::from_mins(5);

/// First wait for a sink; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Wait for another writer that loads the same group.
const BUSY_WAIT: Duration = Duration::from_millis(500);

/// Longest wait between two tries at a sink.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// Loads committed groups into their jobs' sink: each after those that its job committed before, once, all tables of a
/// group at the same time as far as the budget and the connections reach. The files that the Delta log names are read
/// back for it, so that nothing is held for a sink that is slow or away.
///
/// Any number of writers may have one: a group that two of them load is in the sink once.
#[derive(Debug)]
pub struct Loader {
    loads: Arc<Loads>,
}

#[derive(Debug)]
struct Loads {
    catalog: Arc<Catalog>,
    sink: PostgresSink,
    pool: Pool,
    share: u64,
    changed: Arc<Notify>,
}

/// Why a job's groups were not loaded.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl Loader {
    /// A loader into one database. Each table that is loaded reserves `share` bytes of `pool`. Who waits for jobs to
    /// end is woken by `changed`.
    pub fn new(catalog: Arc<Catalog>, sink: PostgresSink, pool: Pool, share: u64, changed: Arc<Notify>) -> Self {
        Self { loads: Arc::new(Loads { catalog, sink, pool, share, changed }) }
    }

    /// Loads what is to be loaded, until it is told to stop. A load that is cut off by that is done again.
    pub async fn run(&self, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut active: HashSet<JobId> = HashSet::new();
        let mut wait = TICK;
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(ended) = tasks.join_next(), if !tasks.is_empty() => {
                    match ended {
                        Ok(job) => active.remove(&job),
                        // Its name went with it. Another task for a job that has one does no harm.
                        Err(_) => std::mem::take(&mut active).is_empty(),
                    };
                    continue;
                }
                () = tokio::time::sleep(wait) => {}
            }
            match self.loads.catalog.jobs_to_load(JOBS).await {
                Ok(jobs) => {
                    wait = TICK;
                    for job in jobs.into_iter().filter(|job| !active.contains(job)).collect::<Vec<_>>() {
                        active.insert(job);
                        let loads = Arc::clone(&self.loads);
                        tasks.spawn(async move {
                            loads.job(job).await;
                            job
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "failed to look for groups to load");
                    wait = AFTER_FAILURE;
                }
            }
        }
        tasks.shutdown().await;
    }
}

impl Loads {
    async fn job(self: &Arc<Self>, id: JobId) {
        match self.groups(id).await {
            Ok(()) => {}
            Err(Failure::Catalog(error)) => {
                tracing::warn!(job.id = %id, %error, "failed to load a group");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            Err(Failure::Sink(error)) => {
                tracing::warn!(job.id = %id, %error, "failed to load a group");
                if let Err(error) = self.catalog.end_job(id, JobState::Failed, Some(error.to_string())).await {
                    tracing::warn!(job.id = %id, %error, "failed to end a job that can't be loaded");
                    tokio::time::sleep(AFTER_FAILURE).await;
                }
            }
        }
        self.changed.notify_waiters();
    }

    async fn groups(self: &Arc<Self>, id: JobId) -> Result<(), Failure> {
        let job = self.catalog.job(id).await?;
        let target: SinkTarget = job.sink.as_deref().unwrap_or_default().parse()?;
        if !target.same_database(self.sink.target()) {
            let problem = format!("the job writes to {}", target.database());
            let remedy = "give this service that sink (setting sink_url), and submit the job again".to_owned();
            let target = self.sink.target().database();
            return Err(SinkError::Server { target, problem, remedy, transient: false }.into());
        }
        loop {
            let groups = self.catalog.groups_to_load(id, PAGE).await?;
            if groups.is_empty() {
                return Ok(());
            }
            for group in groups {
                self.patiently(&job, &target, &group).await?;
                self.catalog.mark_loaded(group.group).await?;
            }
        }
    }

    /// Loads a group. A sink that is away is waited for.
    async fn patiently(
        self: &Arc<Self>,
        job: &Job,
        target: &SinkTarget,
        group: &UnpublishedGroup,
    ) -> Result<(), Failure> {
        let mut since = Instant::now();
        let mut wait = FIRST_WAIT;
        loop {
            match self.group(job, target, group).await {
                // It will be there, however long the other one takes.
                Err(SinkError::Busy(_)) => {
                    since = Instant::now();
                    tokio::time::sleep(BUSY_WAIT).await;
                }
                Err(error) if error.is_transient() && since.elapsed() < PATIENCE => {
                    tracing::warn!(group.id = %group.group, %error, "failed to load a group, trying again");
                    tokio::time::sleep(wait).await;
                    wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                }
                result => return Ok(result?),
            }
        }
    }

    /// One try at a group: its tables at the same time.
    async fn group(
        self: &Arc<Self>,
        job: &Job,
        target: &SinkTarget,
        group: &UnpublishedGroup,
    ) -> Result<(), SinkError> {
        let output = Place::open(&job.output).map_err(|error| unreadable(&error))?;
        let commit = Commit { catalog: self.catalog.id().to_string(), job: job.id.0, place: group.commit_seq };
        let mut tables = JoinSet::new();
        for file in group.files.iter().filter(|file| file.table != REJECTS_TABLE && file.rows > 0) {
            let (loads, target, commit) = (Arc::clone(self), target.clone(), commit.clone());
            let (output, file) = (output.clone(), file.clone());
            tables.spawn(async move { loads.table(&target, &commit, &output, &file).await });
        }
        // All of them come to an end: a table that was left alone while it loads would be in the way of the next try.
        let mut failed = None;
        while let Some(loaded) = tables.join_next().await {
            match loaded {
                Ok(Ok(())) => {}
                // What lasts is what the job is told.
                Ok(Err(error)) if failed.as_ref().is_none_or(SinkError::is_transient) => failed = Some(error),
                Ok(Err(_)) => {}
                Err(error) => failed = Some(unreadable(&error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn table(&self, target: &SinkTarget, commit: &Commit, output: &Place, file: &File) -> Result<(), SinkError> {
        let reserved = self.pool.reserve(self.share).await.map_err(|error| unreadable(&error))?;
        let place = table_place(output, &file.table).map_err(|error| unreadable(&error))?;
        let path = file.path.clone();
        let source: Box<Source> = Box::new(move || {
            let (place, path) = (place.clone(), path.clone());
            Box::pin(async move {
                let batches = read_file(&place, &path).await.map_err(|error| unreadable(&error))?;
                Ok(batches.map_err(|error| unreadable(&error)).boxed() as Batches)
            })
        });
        let loaded = self.sink.load(target, commit, &file.table, file.rows, &*source).await?;
        if loaded == Loaded::AlreadyThere {
            tracing::info!(table = %file.table, commit.place, "group was loaded before");
        }
        drop(reserved);
        Ok(())
    }
}

/// A file that was committed is there: whatever keeps us from it may pass.
fn unreadable(error: &dyn std::error::Error) -> SinkError {
    SinkError::Source { message: error.to_string(), transient: true }
}
