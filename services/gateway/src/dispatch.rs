use std::sync::Arc;
use std::time::Duration;

use forebay_api::Storage;
use forebay_catalog::Catalog;
use forebay_objects::{Place, Staging};
use forebay_queue::{JobQueue, WorkItem};
use forebay_types::{JobId, JobState};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Longest time between two looks at the outbox.
const TICK: Duration = Duration::from_millis(50);

/// Messages in the queue at most: apalis stops at some thousands, and a queue that can be thrown away stays short.
const WINDOW: u64 = 1000;

/// How long a message may be under way before it is taken for lost.
const LOST: Duration = Duration::from_secs(60);

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
    /// Folder of staged chunks below an output.
    pub staging_folder: String,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
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
        loop {
            if let Err(error) = self.step().await {
                tracing::warn!(%error, "failed to dispatch");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.changed.notified() => {}
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    async fn step(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let (catalog, queue) = (&self.0.catalog, &self.0.queue);
        catalog.expire_leases().await?;
        catalog.undispatch_stale(LOST).await?;
        let room = WINDOW.saturating_sub(queue.outstanding().await?);
        if room > 0 {
            let chunks = catalog.dispatchable(room.min(100) as u32).await?;
            if !chunks.is_empty() {
                let items: Vec<WorkItem> =
                    chunks.iter().map(|chunk| WorkItem::new(chunk.job, chunk.chunk, chunk.epoch)).collect();
                // Marked afterwards: a crash in between pushes them again, and the queue knows their ids.
                queue.push(&items).await?;
                catalog.mark_dispatched(&chunks).await?;
            }
        }
        queue.collect_finished(CLEAN).await?;
        self.clean_staging().await?;
        let mut after = None;
        loop {
            let jobs = catalog.running_jobs(after, CLEAN).await?;
            let Some(last) = jobs.last() else { return Ok(()) };
            after = Some(*last);
            for job in jobs {
                self.end_if_done(job).await?;
            }
        }
    }

    /// Ends a job whose input is framed and whose chunks are all written.
    async fn end_if_done(&self, job: JobId) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let catalog = &self.0.catalog;
        if !catalog.job(job).await?.framed || catalog.backlog(job).await? > 0 {
            return Ok(());
        }
        if let Err(error) = self.0.storage.flush(job).await {
            if error.kind == forebay_api::ErrorKind::FailedPrecondition {
                catalog.end_job(job, JobState::Failed, Some(error.message.clone())).await?;
                self.0.changed.notify_waiters();
            }
            return Err(error.into());
        }
        if catalog.job_complete(job).await? {
            self.clean_staging().await?;
            let output = catalog.job(job).await?.output;
            Staging::new(Place::open(&output)?.child(&self.0.staging_folder)?).remove_job(job).await?;
            catalog.end_job(job, JobState::Done, None).await?;
            self.0.changed.notify_waiters();
        }
        Ok(())
    }

    /// Deletes staged copies that no chunk will read again.
    async fn clean_staging(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        loop {
            let keys = self.0.catalog.staged_keys_to_delete(CLEAN).await?;
            if keys.is_empty() {
                return Ok(());
            }
            for staged in &keys {
                let output = self.0.catalog.job(staged.job).await?.output;
                Staging::new(Place::open(&output)?.child(&self.0.staging_folder)?).remove(&staged.key).await?;
            }
            self.0.catalog.forget_staged(&keys).await?;
        }
    }
}
