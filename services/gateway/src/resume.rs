use std::collections::{BTreeMap, HashMap};
use std::sync::PoisonError;
use std::time::Duration;

use forebay_catalog::Job;
use forebay_objects::{Input, Place};
use forebay_recipe::Prepared;
use forebay_types::JobId;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::Gateway;
use crate::error::Failure;

/// How long nobody cuts a job's input before this gateway takes it over.
const ORPHANED: Duration = Duration::from_secs(15);

/// Jobs looked at together.
const PAGE: u32 = 200;

impl Gateway {
    /// Goes on with jobs whose inputs a gateway reads itself, if that gateway is gone, until it is told to stop. Two
    /// that take over the same job do no harm: the catalog lets one of them cut the next chunk.
    pub async fn resume_inputs(&self, stop: CancellationToken) {
        let mut seen = HashMap::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ORPHANED) => {}
            }
            match self.look_for_orphans(&seen).await {
                Ok(now) => seen = now,
                Err(error) => tracing::warn!(%error, "failed to look for jobs that nobody frames"),
            }
        }
    }

    /// Takes over jobs that are where they were the last time. Gives where the others are.
    async fn look_for_orphans(&self, seen: &HashMap<JobId, u64>) -> Result<HashMap<JobId, u64>, Failure> {
        let mut now = HashMap::new();
        let mut after = None;
        loop {
            let jobs = self.catalog.running_jobs(after, PAGE).await?;
            let Some(last) = jobs.last() else { return Ok(now) };
            after = Some(*last);
            for id in jobs {
                let job = self.catalog.job(id).await?;
                let is_here = self.framings.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&id);
                if job.framed || is_here {
                    continue;
                }
                let inputs = self.catalog.inputs(id).await?;
                if inputs.iter().any(|input| Input::is_sent(&input.identity)) {
                    continue;
                }
                let at: u64 = inputs.iter().map(|input| input.offset).sum();
                if seen.get(&id) == Some(&at) {
                    self.take_over(job)?;
                } else {
                    now.insert(id, at);
                }
            }
        }
    }

    fn take_over(&self, job: Job) -> Result<(), Failure> {
        tracing::info!(job.id = %job.id, "going on with a job that nobody frames");
        let settings: BTreeMap<String, String> =
            serde_json::from_str(&job.settings).map_err(|error| Failure::unusable(error.to_string()))?;
        let prepared = Prepared::new(&job.recipe_name, &job.recipe, &settings)?;
        let output = Place::open(&job.output)?;
        // Nobody listens, and what is read where it is, is not staged.
        let (events, _) = mpsc::channel(1);
        self.spawn_framing(self.framing(job, prepared, &output, None, events.clone())?, None, events);
        Ok(())
    }
}
