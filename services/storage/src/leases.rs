use std::time::Duration;

use forebay_api::ServiceError;
use forebay_catalog::Catalog;
use forebay_lake::STATE_FOLDER;
use forebay_objects::Place;
use forebay_types::{GroupId, JobId, REJECTS_TABLE};
use tokio_util::sync::CancellationToken;

use crate::Storage;
use crate::error::Failure;

/// So many looks for leases that have run out are made in the time of one.
const LOOKS: u32 = 3;

/// Jobs that are published at a time; the next look finds others.
const JOBS: u32 = 16;

/// How long nothing is written to a group before it is asked whether anything will be.
pub(crate) const IDLE: Duration = Duration::from_millis(300);

impl Storage {
    /// Clears up after writers that are gone, until it is told to stop: the leases of their groups run out.
    pub async fn take_over(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = forebay_runtime::sleep(self.config.lease / LOOKS) => {}
            }
            if let Err(failure) = self.clear_up_after_the_dead().await {
                tracing::warn!(error = %failure, "failed to clear up after a writer that is gone");
            }
            if let Err(error) = self.publish_what_has_ended().await {
                tracing::warn!(%error, "failed to look for what jobs had committed before they ended");
            }
        }
    }

    /// Commits and publishes whatever is complete, of all jobs: before the process stops.
    pub async fn commit_all(&self) -> Result<(), ServiceError> {
        let jobs: Vec<_> = self.jobs.lock().await.values().cloned().collect();
        let mut first = Ok(());
        for job in jobs {
            let closed = self.close(&job).await.map_err(ServiceError::from);
            first = first.and(closed);
        }
        first
    }

    async fn clear_up_after_the_dead(&self) -> Result<(), Failure> {
        for (group, job) in self.catalog.expire_groups().await? {
            tracing::info!(group.id = %group, "clearing up after a writer that is gone");
            self.clear_up(group, job).await?;
        }
        Ok(())
    }

    /// What was committed stays, also of a job that was cancelled or failed: its writer may have died before it could
    /// publish, and no flush comes any more.
    async fn publish_what_has_ended(&self) -> Result<(), Failure> {
        let mut after = None;
        loop {
            let jobs = self.catalog.ended_jobs_to_publish(after, JOBS).await?;
            let Some(last) = jobs.last() else { return Ok(()) };
            after = Some(*last);
            for job in jobs {
                // A table that can't be written to, which may be why the job failed, is no other job's.
                if let Err(error) = self.publish(job).await {
                    tracing::warn!(job.id = %job, %error, "failed to publish what a job had committed before it ended");
                }
            }
        }
    }

    async fn clear_up(&self, group: GroupId, job: JobId) -> Result<(), Failure> {
        let output = Place::open(&self.catalog.job(job).await?.output)?;
        let mut tables = output.folders().await?;
        tables.retain(|folder| folder != STATE_FOLDER);
        tables.push(REJECTS_TABLE.to_owned());
        self.recover(&[(group, job)], &tables).await.map_err(Failure::Caller)
    }
}

/// True if no more rows of a job will come: its input is framed, and no chunk waits or is at work.
pub(crate) async fn is_all_written(catalog: &Catalog, job: JobId) -> Result<bool, Failure> {
    Ok(catalog.job(job).await?.framed && catalog.backlog(job).await? == 0)
}
