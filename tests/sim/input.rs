//! What a client submits, and what must come of it.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use forebay_catalog::{Catalog, CatalogError, Conflict, Cursor, NewChunk, NewJob};
use forebay_lake::{DeltaLog, rejects_place, rejects_schema, staging_place, table_place};
use forebay_objects::{Content, Input, InputInfo, Place, Staging, checksum};
use forebay_recipe::Prepared;
use forebay_steps::Steps;
use forebay_types::{ChunkSource, JobState};

use object_store::ObjectStore;

use crate::world::{Random, Sim};

/// Where all tables are.
pub(crate) const OUTPUT: &str = "memory://sim/out";

const RECIPE: &str = "
name: orders
description: Orders with their lines
record:
  table: orders
  key: id
  fields:
    id: {type: string, required: true}
    n: {type: int, required: true}
    lines:
      type: list
      table: lines
      key: line
      fields:
        line: {type: string, required: true}
";

struct Chunk {
    raw: Bytes,
    start: u64,
    first_record: u64,
    records: u64,
}

/// A job, chunk by chunk.
pub(crate) struct Plan {
    pub(crate) key: String,
    pub(crate) records: u64,
    chunks: Vec<Chunk>,
    /// Ids of the orders and lines that must arrive.
    pub(crate) orders: BTreeSet<String>,
    pub(crate) lines: BTreeSet<String>,
    /// Numbers of the records that must be rejected, from 1.
    pub(crate) bad: BTreeSet<u64>,
    /// Lines of each order.
    pub(crate) lines_of: Vec<u64>,
    /// When its client thinks better of it.
    pub(crate) cancelled_at: Option<Duration>,
}

impl Plan {
    pub(crate) fn new(key: &str, random: &mut Random) -> Self {
        let mut plan = Self {
            key: key.to_owned(),
            records: 0,
            chunks: Vec::new(),
            orders: BTreeSet::new(),
            lines: BTreeSet::new(),
            bad: BTreeSet::new(),
            lines_of: Vec::new(),
            cancelled_at: (random.below(6) == 0).then(|| random.millis(200, 6_000)),
        };
        let mut offset = 0;
        for _ in 0..random.within(3, 9) {
            let (first_record, mut raw) = (plan.records, String::new());
            for _ in 0..random.within(1, 5) {
                raw.push_str(&plan.record(random));
            }
            let start = offset;
            offset += raw.len() as u64;
            plan.chunks.push(Chunk { raw: raw.into(), start, first_record, records: plan.records - first_record });
        }
        plan
    }

    fn record(&mut self, random: &mut Random) -> String {
        self.records += 1;
        let id = format!("{}-{}", self.key, self.records);
        if random.below(8) == 0 {
            self.bad.insert(self.records);
            self.lines_of.push(0);
            return format!("{{\"id\":\"{id}\",\"n\":\"many\"}}\n");
        }
        let lines: Vec<String> = (0..random.below(3)).map(|line| format!("{id}-{line}")).collect();
        self.lines_of.push(lines.len() as u64);
        let texts: Vec<String> = lines.iter().map(|line| format!("{{\"line\":\"{line}\"}}")).collect();
        let text = format!("{{\"id\":\"{id}\",\"n\":{},\"lines\":[{}]}}\n", self.records, texts.join(","));
        self.lines.extend(lines);
        self.orders.insert(id);
        text
    }

    fn job(&self) -> NewJob {
        NewJob {
            tenant: "local".to_owned(),
            key: self.key.clone(),
            recipe_name: "orders.yaml".to_owned(),
            recipe: RECIPE.to_owned(),
            digest: "d".to_owned(),
            output: OUTPUT.to_owned(),
            format: "ndjson".to_owned(),
            settings: "{}".to_owned(),
            inputs: vec![Input::sent("orders", None, None)],
            max_rejects: None,
            sink: None,
            traceparent: None,
        }
    }
}

/// Makes the tables, which is done before there are chunks.
pub(crate) async fn make_tables(store: Arc<dyn ObjectStore>) {
    forebay_objects::simulation::bring("setup", store);
    let output = Place::open("memory://setup/out").unwrap();
    let prepared = Prepared::new("orders.yaml", RECIPE, &BTreeMap::new()).unwrap();
    let steps = Steps::plan(&prepared.recipe, &prepared.layout).await.unwrap();
    for (table, schema) in steps.tables() {
        DeltaLog::open(table_place(&output, table).unwrap()).await.unwrap().ensure(schema).await.unwrap();
    }
    DeltaLog::open(rejects_place(&output).unwrap()).await.unwrap().ensure(&rejects_schema()).await.unwrap();
}

/// What became of a submission.
#[derive(Default)]
pub(crate) struct Submission {
    pub(crate) done: AtomicBool,
    pub(crate) reopened: AtomicU64,
    pub(crate) cancelled: AtomicBool,
}

/// Submits a job, again whenever something fails, until it is done.
pub(crate) async fn client(sim: Sim, catalog: Arc<Catalog>, plan: Arc<Plan>, submission: Arc<Submission>) {
    loop {
        match submit(&sim, &catalog, &plan, &submission).await {
            Ok(()) => {
                submission.done.store(true, Ordering::Relaxed);
                return;
            }
            Err(error) => sim.note_failure("submission failed", &error),
        }
        forebay_runtime::sleep(Duration::from_millis(300)).await;
    }
}

/// Cancels a job at its time, unless it is done by then.
pub(crate) async fn cancel(sim: Sim, catalog: Arc<Catalog>, plan: Arc<Plan>, submission: Arc<Submission>) {
    let Some(at) = plan.cancelled_at else { return };
    forebay_runtime::sleep(at.saturating_sub(sim.time())).await;
    loop {
        let ended = match catalog.job_by_key("local", &plan.key).await {
            Ok(job) => catalog.end_job(job.id, JobState::Cancelled, None).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(_) => {
                submission.cancelled.store(true, Ordering::Relaxed);
                return sim.note("cancelled");
            }
            Err(CatalogError::Conflict(Conflict::JobState { state: JobState::Done, .. })) => return,
            // One that has failed is submitted again.
            Err(error) => sim.note_failure("cancelling failed", &error),
        }
        forebay_runtime::sleep(Duration::from_millis(100)).await;
    }
}

async fn submit(
    sim: &Sim,
    catalog: &Catalog,
    plan: &Plan,
    submission: &Submission,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let job = catalog.open_job(plan.job()).await?.job;
    if !job.framed && job.state == JobState::Running {
        let staging = Staging::new(staging_place(&Place::open(OUTPUT)?, catalog.id())?);
        let cursor = catalog.inputs(job.id).await?.remove(0);
        for chunk in plan.chunks.iter().filter(|chunk| chunk.first_record >= cursor.records) {
            let (start, end) = (chunk.start, chunk.start + chunk.raw.len() as u64);
            let sum = checksum(&chunk.raw);
            let key = format!("{}/0-{start}-{sum:032x}.zst", job.id);
            staging.put(&key, chunk.raw.clone()).await?;
            let new = NewChunk {
                input: 0,
                source: ChunkSource::Staged { key, start, end, skip: 0 },
                first_record: chunk.first_record,
                records: chunk.records,
                checksum: Some(sum),
                bytes: end - start,
            };
            let records = chunk.first_record + chunk.records;
            let info = InputInfo { content: Content::Ndjson, compression: None, sealed: false };
            let cursor = Cursor {
                input: 0,
                offset: end,
                records,
                complete: records == plan.records,
                header: None,
                info: Some(serde_json::to_string(&info)?),
            };
            catalog.add_chunks(job.id, &[new], cursor).await?;
            let pause = sim.random(|random| random.millis(0, 200));
            forebay_runtime::sleep(pause).await;
        }
        catalog.finish_input(job.id).await?;
    }
    loop {
        forebay_runtime::sleep(Duration::from_millis(700)).await;
        let job = catalog.job(job.id).await?;
        match job.state {
            JobState::Done => return Ok(()),
            JobState::Cancelled if plan.cancelled_at.is_some() => return Ok(()),
            JobState::Running => {}
            JobState::Failed | JobState::Cancelled => {
                submission.reopened.fetch_add(1, Ordering::Relaxed);
                return Err(job.error.unwrap_or_default().into());
            }
        }
    }
}
