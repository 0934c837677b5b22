use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use forebay_api::{
    AttemptHeader, AttemptItem, AttemptOutcome, AttemptReceipt, BoxStream, ErrorKind, Event, LogResult, Observer,
    ServiceError,
};
use forebay_budget::{Budget, Pool, Pressure};
use forebay_catalog::{Catalog, CatalogError, CommitResult, File, WrittenChunk};
use forebay_lake::{DeltaLog, Publication, table_place};
use forebay_objects::Place;
use forebay_runtime::{now, sleep};
use forebay_telemetry::trace;
use forebay_types::{ChunkId, GroupId, JobId};
use futures::StreamExt;
use tokio::sync::{Mutex, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::attempt::AttemptBuffer;
use crate::error::Failure;
use crate::group::{Group, GroupContext, file_prefix, remove_files};
use crate::leases::{IDLE, is_all_written};

/// How often the writer looks for groups that are old.
const TICK: Duration = Duration::from_millis(100);

/// How long what is known of a job is kept that nothing is written of.
const FORGET: Duration = Duration::from_secs(60);

/// How long a commit waits for a database that is away.
const COMMIT_PATIENCE: Duration = Duration::from_secs(30);

/// First wait for the database; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait between two tries at the database.
const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// Sizes of the storage writer, planned from the budget's capacity.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Unique name of this process, which renews its leases.
    pub owner: String,
    /// How long a group is held without a sign of life of its writer.
    pub lease: Duration,
    /// Decoded bytes of a row group.
    pub row_group_bytes: u64,
    /// Bytes, as written, at which a file is closed.
    pub file_bytes: u64,
    /// Bytes of an upload's part.
    pub part_bytes: usize,
    /// Longest time that a written chunk waits for its commit.
    pub commit_interval: Duration,
    /// Row groups encoded at a time.
    pub encoders: usize,
    /// Local folder for what the budget does not hold.
    pub spill: PathBuf,
    /// Who counts commits.
    pub observer: Observer,
}

/// The storage writer, in this process.
#[derive(Debug)]
pub struct Storage {
    /// What must not stop half-way when its caller goes away runs in a task of its own, which holds the writer.
    me: Weak<Self>,
    pub(crate) catalog: Arc<Catalog>,
    budget: Budget,
    held: Pool,
    encoding: Pool,
    encoders: Arc<Semaphore>,
    pub(crate) config: StorageConfig,
    pub(crate) jobs: Mutex<BTreeMap<JobId, Arc<JobWriter>>>,
}

/// What the writer knows of one job.
#[derive(Debug)]
pub(crate) struct JobWriter {
    id: JobId,
    /// The trace that it was submitted in.
    traceparent: Option<String>,
    output: Place,
    context: GroupContext,
    /// The group that takes attempts now.
    open: Mutex<Option<Group>>,
    /// Held while a group closes, and while groups are published.
    closing: Mutex<HashMap<String, DeltaLog>>,
    /// Groups that were given up while the catalog could not be told.
    given_up: Mutex<Vec<Group>>,
    /// When it was last asked for.
    used: std::sync::Mutex<Instant>,
}

impl JobWriter {
    fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = now();
    }

    /// True if nothing would be lost with it, and it was not asked for in a while.
    fn is_idle(&self) -> bool {
        let since = now() - *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let is_empty = self.open.try_lock().is_ok_and(|open| open.is_none())
            && self.given_up.try_lock().is_ok_and(|given_up| given_up.is_empty());
        since >= FORGET && is_empty
    }
}

impl Storage {
    /// A writer over a catalog. `held` is the budget of rows that wait, `encoding` that of encoding itself.
    pub fn new(catalog: Arc<Catalog>, budget: Budget, held: Pool, encoding: Pool, config: StorageConfig) -> Arc<Self> {
        let encoders = Arc::new(Semaphore::new(config.encoders));
        Arc::new_cyclic(|me| Self {
            me: Weak::clone(me),
            catalog,
            budget,
            held,
            encoding,
            encoders,
            config,
            jobs: Mutex::new(BTreeMap::new()),
        })
    }

    /// Runs to its end, whether its caller waits or not: a group that is taken out of its place to be changed or
    /// closed would be lost in between, and with it the chunks that are in it.
    async fn undisturbed<T, F>(&self, work: impl FnOnce(Arc<Self>) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Failure>> + Send + 'static,
        T: Send + 'static,
    {
        let me = self.me.upgrade().ok_or_else(|| Failure::Internal("the writer is gone".to_owned()))?;
        tokio::spawn(work(me).in_current_span()).await?
    }

    async fn job(&self, id: JobId) -> Result<Arc<JobWriter>, Failure> {
        let mut jobs = self.jobs.lock().await;
        if let Some(job) = jobs.get(&id) {
            job.touch();
            return Ok(Arc::clone(job));
        }
        let row = self.catalog.job(id).await?;
        let output = Place::open(&row.output)?;
        let context = GroupContext {
            output: output.clone(),
            prefix: file_prefix(&self.catalog),
            row_group_bytes: self.config.row_group_bytes,
            part_bytes: self.config.part_bytes,
            encoders: Arc::clone(&self.encoders),
            encoding: self.encoding.clone(),
        };
        let job = Arc::new(JobWriter {
            id,
            traceparent: row.traceparent,
            output,
            context,
            open: Mutex::new(None),
            closing: Mutex::new(HashMap::new()),
            given_up: Mutex::new(Vec::new()),
            used: std::sync::Mutex::new(now()),
        });
        jobs.insert(id, Arc::clone(&job));
        Ok(job)
    }

    /// Deletes the files of groups that a dead process left open, and publishes what it had committed.
    pub async fn recover(&self, abandoned: &[(GroupId, JobId)], tables: &[String]) -> Result<(), ServiceError> {
        for (group, job) in abandoned {
            let writer = self.job(*job).await.map_err(ServiceError::from)?;
            remove_files(&writer.output, &writer.context.prefix, *group, tables).await.map_err(ServiceError::from)?;
            self.catalog.forget_group(*group).await.map_err(|error| ServiceError::from(Failure::from(error)))?;
        }
        Ok(())
    }

    /// Publishes groups of a job's output that are committed and not yet visible.
    pub async fn publish(&self, job: JobId) -> Result<(), ServiceError> {
        let job = self.job(job).await.map_err(ServiceError::from)?;
        let mut logs = job.closing.lock().await;
        self.publish_committed(&job, &mut logs).await.map_err(ServiceError::from)
    }

    /// Closes groups that have been open for long, and encodes early under pressure, until it is told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = sleep(TICK) => {}
            }
            let jobs: Vec<_> = {
                let mut jobs = self.jobs.lock().await;
                // Whoever has one in hand keeps it; a second one of the same job does no harm.
                jobs.retain(|_, job| Arc::strong_count(job) > 1 || !job.is_idle());
                jobs.values().cloned().collect()
            };
            for job in jobs {
                if let Err(failure) = self.tick(&job).await {
                    // Its chunks go back to waiting; who writes them next gets the error if it lasts.
                    tracing::warn!(job.id = %job.id, error = %failure, "failed to commit a group");
                }
            }
        }
    }

    async fn tick(&self, job: &JobWriter) -> Result<(), Failure> {
        loop {
            let Some(group) = job.given_up.lock().await.pop() else { break };
            self.give_up(job, group).await?;
        }
        let (due, idle) = {
            let mut open = job.open.lock().await;
            let Some(group) = open.as_mut() else { return Ok(()) };
            if self.budget.pressure() == Pressure::Critical {
                group.flush_pending();
            }
            (now() - group.opened >= self.config.commit_interval, now() - group.added >= IDLE)
        };
        // At the end of a job each of its writers finds out by itself.
        if due || (idle && is_all_written(&self.catalog, job.id).await?) { self.close(job).await } else { Ok(()) }
    }

    async fn write(
        &self,
        header: AttemptHeader,
        mut items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, Failure> {
        let mut buffer = AttemptBuffer::default();
        let mut done: Option<AttemptOutcome> = None;
        while let Some(item) = items.next().await {
            match item? {
                AttemptItem::Batch { table, batch } => {
                    buffer.push(&table, batch, &self.held, &self.config.spill).await?;
                }
                AttemptItem::Done(outcome) => {
                    done = Some(outcome);
                    break;
                }
            }
        }
        let Some(outcome) = done else {
            return Err(Failure::Caller(ServiceError::new(
                ErrorKind::Cancelled,
                "ATTEMPT_INCOMPLETE",
                format!("the stream of chunk {} ended before the attempt was complete", header.chunk),
            )));
        };
        self.undisturbed(|me| async move {
            let job = me.job(header.job).await?;
            let (receipt, close) = me.enter(&job, &header, buffer, outcome).await?;
            if close {
                me.close(&job).await?;
            }
            Ok(receipt)
        })
        .await
    }

    /// Moves a complete attempt into the open group: first in the catalog, which tells whether the attempt is still
    /// the newest, then in memory. A crash in between loses the group, and with it the mark. A failure in between
    /// leaves a mark that the group does not know of: the catalog then refuses the group's commit, and all its chunks
    /// are done again.
    async fn enter(
        &self,
        job: &JobWriter,
        header: &AttemptHeader,
        buffer: AttemptBuffer,
        outcome: AttemptOutcome,
    ) -> Result<(AttemptReceipt, bool), Failure> {
        let mut open = job.open.lock().await;
        let mut group = match open.take() {
            Some(group) => group,
            None => {
                let id = self.catalog.open_group(job.id, &self.config.owner, self.config.lease).await?;
                Group::new(id, job.context.clone())
            }
        };
        let rows: BTreeMap<String, u64> = buffer
            .tables
            .iter()
            .filter(|(name, _)| !name.starts_with('_'))
            .map(|(name, held)| (name.clone(), held.rows))
            .collect();
        let written = WrittenChunk {
            records_in: outcome.records_in,
            rejects: outcome.rejects,
            rows: rows.clone(),
            stages: outcome.stages,
            counts: outcome.counts,
        };
        let marked = self.catalog.mark_written(header.chunk, header.attempt, group.id, &written).await;
        let added = match marked {
            Ok(true) => {
                self.config.observer.tell(Event::AttemptWritten { stages: &written.stages });
                group.count(&written);
                group.add(header, buffer)
            }
            Ok(false) => Err(Failure::Caller(ServiceError::new(
                ErrorKind::FailedPrecondition,
                "ATTEMPT_STALE",
                format!("attempt {} at chunk {} is not the newest any more", header.attempt, header.chunk),
            ))),
            Err(error) => Err(error.into()),
        };
        let receipt = AttemptReceipt { group: group.id, rows };
        let most = job.output.largest_object(self.config.part_bytes as u64);
        let close = header.commit_now || group.largest() >= self.config.file_bytes.min(most);
        *open = Some(group);
        added.map(|()| (receipt, close))
    }

    /// Closes, commits and publishes the open group of a job.
    pub(crate) async fn close(&self, job: &JobWriter) -> Result<(), Failure> {
        // Of the job's trace, whichever of its chunks, or nothing but the time, closes the group.
        let span = tracing::info_span!("commit", job.id = %job.id);
        if let Some(traceparent) = &job.traceparent {
            trace::follow(&span, traceparent);
        }
        Box::pin(self.close_open(job)).instrument(span).await
    }

    async fn close_open(&self, job: &JobWriter) -> Result<(), Failure> {
        // Taken in this order, so that a group is closed when the one before it is.
        let mut logs = job.closing.lock().await;
        let Some(mut group) = job.open.lock().await.take() else { return Ok(()) };
        let committed = match group.finish().await {
            Ok(files) => self.commit(group.id, &files, group.chunks()).await.inspect(|_| group.bytes = sum(&files)),
            Err(failure) => Err(failure),
        };
        self.config.observer.tell(match &committed {
            Ok(CommitResult::Committed) => group.committed(),
            Ok(CommitResult::Lost(_)) => Event::GroupGivenUp { lost: true },
            Err(_) => Event::GroupGivenUp { lost: false },
        });
        match committed {
            Ok(CommitResult::Committed) => self.publish_committed(job, &mut logs).await,
            Ok(CommitResult::Lost(chunks)) => {
                tracing::info!(group.id = %group.id, lost = chunks.len(), "group lost chunks to newer attempts");
                self.give_up(job, group).await
            }
            Err(failure) => {
                // The first error is the one to show.
                if let Err(second) = self.give_up(job, group).await {
                    tracing::warn!(error = %second, "failed to clean up after a group that failed");
                }
                Err(failure)
            }
        }
    }

    /// Commits a group. What is written waits for a database that is away for a moment: to do it again costs more.
    async fn commit(&self, group: GroupId, files: &[File], chunks: &[(ChunkId, u32)]) -> Result<CommitResult, Failure> {
        let since = now();
        let mut wait = FIRST_WAIT;
        loop {
            match self.catalog.commit_group(group, files, chunks).await {
                // Another writer took this one for dead, and has given the group up.
                Err(CatalogError::NotFound(_)) => {
                    return Ok(CommitResult::Lost(chunks.iter().map(|(chunk, _)| *chunk).collect()));
                }
                Err(error) if error.is_transient() && now() - since < COMMIT_PATIENCE => {
                    tracing::warn!(group.id = %group, %error, "failed to commit a group, trying again");
                    sleep(wait).await;
                    wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                }
                result => return Ok(result?),
            }
        }
    }

    async fn give_up(&self, job: &JobWriter, group: Group) -> Result<(), Failure> {
        let id = group.id;
        match self.catalog.abandon_group(id).await {
            // Not found: another writer took this one for dead, and has given the group up.
            Ok(_) | Err(CatalogError::NotFound(_)) => {}
            Err(error) => {
                // If the commit went through although its answer was lost, this refuses, and the files stay.
                if error.is_transient() {
                    job.given_up.lock().await.push(group);
                }
                return Err(error.into());
            }
        }
        group.abandon().await?;
        self.catalog.forget_group(id).await?;
        Ok(())
    }

    /// Puts a job's committed groups into the Delta logs, each after those committed before it, whichever writer has
    /// written them. Repeating it is harmless, and so is another writer that does the same: each commit carries
    /// the group's place in that order as the application's transaction, and the log refuses a lower one.
    async fn publish_committed(&self, job: &JobWriter, logs: &mut HashMap<String, DeltaLog>) -> Result<(), Failure> {
        let application = format!("forebay/{}/{}", self.catalog.id(), job.id);
        loop {
            let groups = self.catalog.unpublished_groups(job.id, 16).await?;
            if groups.is_empty() {
                return Ok(());
            }
            for group in groups {
                for file in &group.files {
                    if !logs.contains_key(&file.table) {
                        let log = DeltaLog::open(table_place(&job.output, &file.table)?).await?;
                        logs.insert(file.table.clone(), log);
                    }
                    if let Some(log) = logs.get_mut(&file.table) {
                        let since = now();
                        let published =
                            log.publish(&application, group.commit_seq, std::slice::from_ref(&file.add)).await;
                        let result = match &published {
                            Ok(Publication::Published(_)) => LogResult::Published,
                            Ok(Publication::AlreadyThere) => LogResult::AlreadyThere,
                            Err(_) => LogResult::Failed,
                        };
                        self.config.observer.tell(Event::LogCommitted { result, took: now() - since });
                        if published? == Publication::AlreadyThere {
                            tracing::info!(table = %file.table, group.id = %group.group, "group was published before");
                        }
                    }
                }
                self.catalog.mark_published(group.group).await?;
            }
        }
    }
}

fn sum(files: &[File]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

#[async_trait]
impl forebay_api::Storage for Storage {
    async fn write_attempt(
        &self,
        header: AttemptHeader,
        items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        self.write(header, items).await.map_err(ServiceError::from)
    }

    async fn flush(&self, job: JobId) -> Result<(), ServiceError> {
        let flushed = self.undisturbed(|me| async move {
            let writer = me.job(job).await?;
            me.close(&writer).await?;
            // Also what an earlier try had committed without publishing it.
            let mut logs = writer.closing.lock().await;
            me.publish_committed(&writer, &mut logs).await
        });
        flushed.await.map_err(ServiceError::from)
    }
}
