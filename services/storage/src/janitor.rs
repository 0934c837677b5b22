use std::collections::BTreeSet;
use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use forebay_api::ServiceError;
use forebay_catalog::{Catalog, CatalogError};
use forebay_lake::{DeltaLog, STATE_FOLDER, staging_place, table_place};
use forebay_objects::{PROBE_PREFIX, Place, Staging};
use forebay_types::{GroupId, JobId, JobState, REJECTS_TABLE};
use futures::{StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use crate::error::Failure;
use crate::group::{file_prefix, group_of};

/// How often it sweeps.
const EVERY: Duration = Duration::from_mins(10);

/// What is younger is left alone, whatever the catalog says.
const AGE: Duration = Duration::from_hours(1);

/// Most objects, or outputs, looked at together.
const PAGE: usize = 500;

/// Deletes what dead processes left in the folders of tables: uploads that were begun, and files of groups that will
/// never be committed; and what is staged of jobs that were cancelled.
///
/// Of tables, only what carries this catalog's name is touched, is an hour old, and belongs to a group that the catalog
/// has given up or never had; and never a file that a table's log names. Of staging, only this catalog's folder. So any
/// number of writers may have one at the same time. What a writer itself gives up it deletes at once: this is for what
/// was cut off even in that.
///
/// Some stores (MinIO) list uploads only of the very object that is asked for. There uploads are found when their
/// group is recovered, and not here.
#[derive(Debug)]
pub struct Janitor {
    catalog: Arc<Catalog>,
    age: Duration,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Uploads, or local files, that were begun and not finished.
    pub unfinished: u64,
    /// Whole files that no table has.
    pub files: u64,
}

impl AddAssign for Swept {
    fn add_assign(&mut self, other: Self) {
        self.unfinished += other.unfinished;
        self.files += other.files;
    }
}

impl Janitor {
    /// A janitor for the outputs of a catalog.
    pub fn new(catalog: Arc<Catalog>) -> Self {
        Self { catalog, age: AGE }
    }

    /// Sweeps all outputs, now and every ten minutes, until it is told to stop. What it fails at it leaves for the
    /// next time.
    pub async fn run(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.sweep_all() => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = forebay_runtime::sleep(EVERY) => {}
            }
        }
    }

    async fn sweep_all(&self) {
        let mut after: Option<String> = None;
        loop {
            let outputs = match self.catalog.outputs(after.as_deref(), PAGE as u32).await {
                Ok(outputs) => outputs,
                Err(error) => {
                    tracing::warn!(%error, "failed to look for what dead writers left");
                    return;
                }
            };
            for output in &outputs {
                match self.sweep_uri(output).await {
                    Ok(swept) if swept == Swept::default() => {}
                    Ok(Swept { unfinished, files }) => {
                        tracing::info!(output, unfinished, files, "deleted what dead writers left");
                    }
                    Err(error) => tracing::warn!(output, %error, "failed to delete what dead writers left"),
                }
            }
            after = outputs.into_iter().last();
            if after.is_none() {
                return;
            }
        }
    }

    async fn sweep_uri(&self, output: &str) -> Result<Swept, ServiceError> {
        match Place::open_if_there(output).map_err(|error| ServiceError::from(Failure::from(error)))? {
            Some(output) => self.sweep(&output).await,
            None => Ok(Swept::default()),
        }
    }

    /// Sweeps one output.
    pub async fn sweep(&self, output: &Place) -> Result<Swept, ServiceError> {
        self.sweep_tables(output).await.map_err(ServiceError::from)
    }

    async fn sweep_tables(&self, output: &Place) -> Result<Swept, Failure> {
        let mut swept = Swept::default();
        self.delete_probes(&output.child(STATE_FOLDER)?).await?;
        self.delete_copies(&staging_place(output, self.catalog.id())?).await?;
        let mut tables = output.folders().await?;
        tables.retain(|folder| folder != STATE_FOLDER);
        tables.push(REJECTS_TABLE.to_owned());
        for table in tables {
            let place = table_place(output, &table)?;
            swept.unfinished += self.discard_unfinished(&place).await?;
            swept.files += self.delete_orphans(&place).await?;
        }
        Ok(swept)
    }

    /// Deletes what was left of looking what a store can do.
    async fn delete_probes(&self, state: &Place) -> Result<(), Failure> {
        let mut probes = state.objects(PROBE_PREFIX);
        while let Some(probe) = probes.try_next().await? {
            if self.is_old(probe.written) {
                state.remove(&probe.object).await?;
            }
        }
        Ok(())
    }

    /// Deletes what is staged of jobs that were cancelled. The catalog's own list of copies lacks those whose gateway
    /// died, or was told of the cancellation, before it could add their chunk.
    async fn delete_copies(&self, staging: &Place) -> Result<(), Failure> {
        for folder in staging.folders().await? {
            let Ok(job) = folder.parse().map(JobId) else { continue };
            let is_cancelled = match self.catalog.job_state(job).await {
                Ok(state) => state == JobState::Cancelled,
                Err(CatalogError::NotFound(_)) => false,
                Err(error) => return Err(error.into()),
            };
            if is_cancelled {
                Staging::new(staging.clone()).remove_job(job).await?;
            }
        }
        Ok(())
    }

    fn is_old(&self, since: SystemTime) -> bool {
        // A time in the future is that of another clock, and not old.
        forebay_runtime::system_now().duration_since(since).is_ok_and(|age| age >= self.age)
    }

    async fn discard_unfinished(&self, table: &Place) -> Result<u64, Failure> {
        let prefix = file_prefix(&self.catalog);
        let (mut discarded, mut after) = (0, None);
        loop {
            let page = table.unfinished(&format!("{prefix}-"), after.as_ref()).await?;
            let old = page.iter().filter(|unfinished| self.is_old(unfinished.since));
            let old: Vec<_> = old.filter_map(|found| Some((group_of(&prefix, &found.object)?, found))).collect();
            let live = self.live(old.iter().map(|(group, _)| *group)).await?;
            for (_, unfinished) in old.iter().filter(|(group, _)| !live.contains(group)) {
                table.discard(unfinished).await?;
                discarded += 1;
            }
            after = page.into_iter().last();
            if after.is_none() {
                return Ok(discarded);
            }
        }
    }

    async fn delete_orphans(&self, table: &Place) -> Result<u64, Failure> {
        let prefix = file_prefix(&self.catalog);
        let mut pages = table
            .objects(&format!("{prefix}-"))
            .try_filter(|stored| futures::future::ready(self.is_old(stored.written)))
            .try_chunks(PAGE)
            .map_err(|error| error.1)
            .boxed();
        let mut deleted = 0;
        while let Some(page) = pages.next().await {
            let page: Vec<(GroupId, String)> = page?
                .into_iter()
                .filter_map(|stored| Some((group_of(&prefix, &stored.object)?, stored.object)))
                .collect();
            let live = self.live(page.iter().map(|(group, _)| *group)).await?;
            let mut orphans: Vec<String> =
                page.into_iter().filter(|(group, _)| !live.contains(group)).map(|(_, name)| name).collect();
            if orphans.is_empty() {
                continue;
            }
            // The catalog alone would say so, but should it ever have forgotten what it once committed, the table
            // still knows.
            let named = named(table).await?;
            orphans.retain(|orphan| !named.contains(orphan));
            for orphan in &orphans {
                table.clear(orphan).await?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }

    async fn live(&self, groups: impl Iterator<Item = GroupId>) -> Result<BTreeSet<GroupId>, Failure> {
        Ok(self.catalog.live_groups(&groups.collect()).await?)
    }
}

/// The files that a table's log names.
async fn named(table: &Place) -> Result<BTreeSet<String>, Failure> {
    let log = DeltaLog::open(table.clone()).await?;
    if log.version().is_none() {
        return Ok(BTreeSet::new());
    }
    // As many as the table has, and only where there are orphans.
    Ok(log.files().await?.into_iter().map(|(name, _)| name).collect())
}

#[cfg(test)]
mod tests;
