use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use forebay_api::Storage;
use forebay_catalog::{Catalog, CatalogError, ChunkRef};
use forebay_lake::staging_place;
use forebay_objects::{Place, Staging, StoreError};
use forebay_queue::{JobQueue, TraceParent, WorkItem};
use forebay_telemetry::trace;
use forebay_types::{JobId, JobState};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// Longest time between two looks at the outbox.
const TICK: Duration = Duration::from_millis(50);

/// The same while no job is running: a chunk that another gateway adds is dispatched by that one.
const IDLE: Duration = Duration::from_secs(1);

/// Time between two looks at what may wait a little: leases that have run out, messages that were lost, copies that
/// nobody needs any more, too many rejects. A fleet of gateways asks the database for these, and most often in vain.
const CHORES: Duration = Duration::from_millis(500);

/// How long after a flush a job that is not complete is flushed again.
const FLUSH_AGAIN: Duration = Duration::from_millis(300);

/// Messages in the queue at most: apalis stops at some thousands, and a queue that can be thrown away stays short.
const WINDOW: u64 = 1000;

/// Time until the next look after a failure: the queue or the catalog is away.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// How long a message may be under way before it is taken for lost.
const LOST: Duration = Duration::from_secs(60);

/// The same while the queue has no message at all. Not at once: a chunk whose message was dropped for a reason that
/// lasts would go round and round.
const LOST_FROM_EMPTY: Duration = Duration::from_secs(5);

/// Messages and objects that are cleaned up at a time.
const CLEAN: u32 = 200;

/// What the dispatcher needs.
pub struct Dispatch {
    /// The truth.
    pub catalog: Arc<Catalog>,
    /// Who wakes workers.
    pub queue: Arc<dyn JobQueue>,
    /// Who commits what is written when a job ends.
    pub storage: Arc<dyn Storage>,
    /// Wakes whoever waits for something to change.
    pub changed: Arc<Notify>,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

/// What a dispatcher remembers from one look to the next.
#[derive(Default)]
struct Seen {
    /// What the queue said last, so that its loss is noticed.
    generation: Option<String>,
    /// Jobs that were just flushed, and are not complete: another writer has a part of them.
    flushed: HashMap<JobId, Instant>,
    /// The traces of the jobs that were dispatched last, which never change.
    traces: BTreeMap<JobId, Option<TraceParent>>,
    /// When it last did what may wait.
    chores: Option<Instant>,
}

impl Seen {
    fn chores_are_due(&self) -> bool {
        self.chores.is_none_or(|since| forebay_runtime::now() - since >= CHORES)
    }
}

/// Moves chunks from the catalog's outbox to the queue, and ends jobs that have no more to do. Whatever it does can be
/// repeated, so it may be stopped anywhere.
#[derive(Debug)]
pub struct Dispatcher(Dispatch);

impl Dispatcher {
    /// A dispatcher.
    pub fn new(dispatch: Dispatch) -> Self {
        Self(dispatch)
    }

    /// Works until it is told to stop.
    pub async fn run(&self, stop: CancellationToken) {
        let mut seen = Seen::default();
        loop {
            let step = self.step(&mut seen).await.inspect_err(|error| {
                tracing::warn!(%error, "failed to dispatch");
            });
            let wait = match step {
                Ok(true) => TICK,
                Ok(false) => IDLE,
                Err(_) => AFTER_FAILURE,
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.0.changed.notified(), if step.is_ok() => {}
                () = forebay_runtime::sleep(wait) => {}
            }
        }
    }

    /// One look at everything. False if no job is running.
    async fn step(&self, seen: &mut Seen) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        let since = forebay_runtime::now();
        let chores = seen.chores_are_due();
        if chores {
            self.0.catalog.expire_leases().await?;
        }
        // Jobs whose chunks are all written end even while the queue is away.
        let dispatched = self.dispatch(seen, chores).await;
        if chores {
            self.clean_staging().await?;
        }
        let running = self.0.catalog.has_running_jobs().await?;
        if running && chores {
            self.stop_over_reject_limit().await?;
        }
        let ended = if running { self.end_jobs(seen).await } else { Ok(()) };
        dispatched?;
        ended?;
        if chores {
            seen.chores = Some(since);
        }
        Ok(running)
    }

    /// Ends what is done.
    async fn end_jobs(&self, seen: &mut Seen) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (mut after, mut failed) = (None, None);
        seen.flushed.retain(|_, since| forebay_runtime::now() - *since < FLUSH_AGAIN);
        loop {
            let jobs = self.0.catalog.written_jobs(after, CLEAN).await?;
            let Some(last) = jobs.last() else { break };
            after = Some(*last);
            for job in jobs.into_iter().filter(|job| !seen.flushed.contains_key(job)).collect::<Vec<_>>() {
                // One job's trouble is not the others'.
                if let Err(error) = self.end(job, seen).await {
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Jobs that it fails.
    async fn stop_over_reject_limit(&self) -> Result<Vec<JobId>, Box<dyn std::error::Error + Send + Sync>> {
        let failed = self.0.catalog.fail_over_reject_limit().await?;
        if !failed.is_empty() {
            self.0.changed.notify_waiters();
        }
        Ok(failed)
    }

    /// Refills the queue, and with the chores also with what it may have lost.
    async fn dispatch(&self, seen: &mut Seen, chores: bool) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (catalog, queue) = (&self.0.catalog, &self.0.queue);
        let now = queue.generation().await?;
        let outstanding = queue.outstanding().await?;
        let lost = match &seen.generation {
            Some(before) if *before != now => {
                tracing::warn!("the queue may have lost messages: dispatching again what was under way");
                Duration::ZERO
            }
            _ if outstanding == 0 => LOST_FROM_EMPTY,
            _ => LOST,
        };
        if chores || lost == Duration::ZERO {
            catalog.undispatch_stale(lost).await?;
        }
        seen.generation = Some(now);
        let room = WINDOW.saturating_sub(outstanding);
        if room > 0 {
            let chunks = catalog.dispatchable(room.min(100) as u32).await?;
            if !chunks.is_empty() {
                let items = self.messages(&chunks, &mut seen.traces).await?;
                // Marked afterwards: a crash in between pushes them again, and the queue knows their ids.
                queue.push(&items).await?;
                catalog.mark_dispatched(&chunks).await?;
            }
        }
        queue.collect_finished(CLEAN).await?;
        Ok(())
    }

    /// The messages for chunks, each in the trace that its job was submitted in.
    async fn messages(
        &self,
        chunks: &[ChunkRef],
        traces: &mut BTreeMap<JobId, Option<TraceParent>>,
    ) -> Result<Vec<WorkItem>, CatalogError> {
        // So many jobs as have chunks here: a hundred at most.
        traces.retain(|job, _| chunks.iter().any(|chunk| chunk.job == *job));
        let mut messages = Vec::with_capacity(chunks.len());
        for ChunkRef { job, chunk, epoch } in chunks.iter().copied() {
            let trace = match traces.get(&job) {
                Some(trace) => *trace,
                None => {
                    let text = self.0.catalog.job(job).await?.traceparent;
                    *traces.entry(job).or_insert(text.and_then(|text| text.parse().ok()))
                }
            };
            messages.push(WorkItem::new(job, chunk, epoch).with_traceparent(trace));
        }
        Ok(messages)
    }

    /// Ends a job whose input is framed and whose chunks are all written.
    async fn end(&self, job: JobId, seen: &mut Seen) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let catalog = &self.0.catalog;
        let row = catalog.job(job).await?;
        let span = tracing::info_span!("end", job.id = %job);
        if let Some(traceparent) = &row.traceparent {
            trace::follow(&span, traceparent);
        }
        if let Err(error) = self.0.storage.flush(job).instrument(span).await {
            if error.kind == forebay_api::ErrorKind::FailedPrecondition {
                catalog.end_job(job, JobState::Failed, Some(error.message.clone())).await?;
                self.0.changed.notify_waiters();
            }
            return Err(error.into());
        }
        seen.flushed.insert(job, forebay_runtime::now());
        // The last commit may have brought too many rejects.
        if catalog.job_complete(job).await? && !self.stop_over_reject_limit().await?.contains(&job) {
            self.clean_staging().await?;
            self.staging(&row.output)?.remove_job(job).await?;
            catalog.end_job(job, JobState::Done, None).await?;
            self.0.changed.notify_waiters();
        }
        Ok(())
    }

    fn staging(&self, output: &str) -> Result<Staging, StoreError> {
        Ok(Staging::new(staging_place(&Place::open(output)?, self.0.catalog.id())?))
    }

    /// Deletes staged copies that no chunk will read again.
    async fn clean_staging(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        loop {
            let keys = self.0.catalog.staged_keys_to_delete(CLEAN).await?;
            if keys.is_empty() {
                return Ok(());
            }
            let mut places = BTreeMap::new();
            for staged in &keys {
                let place = match places.entry(staged.job) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => new.insert(self.staging(&self.0.catalog.job(staged.job).await?.output)?),
                };
                place.remove(&staged.key).await?;
            }
            self.0.catalog.forget_staged(&keys).await?;
        }
    }
}

#[cfg(test)]
mod tests;
