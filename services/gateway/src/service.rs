use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use async_trait::async_trait;
use bytes::Bytes;
use forebay_api::{
    Accepted, BoxStream, Caller, JobProgress, JobSummary, RejectRow, ServiceError, SubmitEvent, SubmitRequest,
    TableRows,
};
use forebay_budget::{Budget, Pool};
use forebay_catalog::{Catalog, Job, JobProgressRow};
use forebay_lake::{LakeError, TableReader, rejects_place};
use forebay_objects::{Place, Staging, StoreError};
use forebay_types::{JobId, JobState};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::error::Failure;
use crate::framing::JobFraming;
use crate::job;

/// Shortest time between two events of a watched job.
const WATCH: Duration = Duration::from_millis(200);

/// Sizes of the gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Input bytes that a chunk aims at.
    pub chunk_bytes: u64,
    /// Chunks of a job that may wait for workers.
    pub backlog: u64,
    /// Folder of staged chunks below an output.
    pub staging_folder: String,
}

/// The gateway, in this process.
#[derive(Debug)]
pub struct Gateway {
    catalog: Arc<Catalog>,
    budget: Budget,
    intake: Pool,
    config: GatewayConfig,
    changed: Arc<Notify>,
    stop: CancellationToken,
}

impl Gateway {
    /// A gateway over a catalog. `intake` is the budget of raw bytes while chunks are cut.
    pub fn new(
        catalog: Arc<Catalog>,
        budget: Budget,
        intake: Pool,
        config: GatewayConfig,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        Self { catalog, budget, intake, config, changed, stop }
    }

    async fn progress_of(&self, key: &str) -> Result<JobProgress, Failure> {
        let job = self.catalog.job_by_key(key).await?;
        Ok(progress(self.catalog.progress(job.id).await?))
    }

    async fn open(
        &self,
        request: SubmitRequest,
        frames: BoxStream<Result<Bytes, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, Failure> {
        let streamed = request.inputs.is_empty();
        let job::Opened { opened, prepared, output } = job::open(&self.catalog, &request).await?;
        let job = opened.job;
        let ended = (job.state != JobState::Running).then_some(job.state);
        let durable_bytes =
            if streamed { self.catalog.inputs(job.id).await?.first().map_or(0, |input| input.offset) } else { 0 };
        let accepted =
            SubmitEvent::Accepted(Accepted { job: job.key.clone(), resumed: opened.resumed, ended, durable_bytes });
        let (events, receiver) = mpsc::channel(8);
        // The channel is new and has room.
        drop(events.try_send(Ok(accepted)));
        if ended.is_none() && !job.framed {
            let chunk_bytes = prepared.tuning.chunk_bytes.map_or(self.config.chunk_bytes, |bytes| bytes.0);
            let framing = JobFraming {
                catalog: Arc::clone(&self.catalog),
                budget: self.budget.clone(),
                intake: self.intake.clone(),
                staging: Staging::new(output.child(&self.config.staging_folder)?),
                prepared,
                chunk_bytes: chunk_bytes.min(self.config.chunk_bytes),
                backlog: self.config.backlog,
                changed: Arc::clone(&self.changed),
                stop: self.stop.clone(),
                job,
            };
            let frames = streamed.then(|| frames.map_err(stream_error).boxed());
            self.spawn_framing(framing, frames, events);
        }
        Ok(ReceiverStream::new(receiver).boxed())
    }

    fn spawn_framing(
        &self,
        framing: JobFraming,
        frames: Option<BoxStream<Result<Bytes, StoreError>>>,
        events: mpsc::Sender<Result<SubmitEvent, ServiceError>>,
    ) {
        let (catalog, changed, id) = (Arc::clone(&self.catalog), Arc::clone(&self.changed), framing.job.id);
        tokio::spawn(async move {
            let result = framing.run(frames).await;
            let event = match result {
                Ok(()) => match catalog.progress(id).await {
                    Ok(row) => Ok(SubmitEvent::Complete { chunks: row.chunks.values().sum() }),
                    Err(error) => Err(Failure::from(error).into()),
                },
                Err(failure) => {
                    let error = ServiceError::from(failure);
                    if let Err(second) = catalog.end_job(id, JobState::Failed, Some(error.message.clone())).await {
                        tracing::warn!(error = %second, "failed to end a job that failed");
                    }
                    Err(error)
                }
            };
            changed.notify_waiters();
            // A client that is gone asks the catalog.
            drop(events.send(event).await);
        });
    }
}

fn stream_error(error: ServiceError) -> StoreError {
    StoreError::Unreadable { uri: "the client's stream".to_owned(), message: error.message }
}

fn progress(row: JobProgressRow) -> JobProgress {
    JobProgress {
        summary: summary(row.summary),
        records_in: row.records_in,
        rows_out: row.rows.into_iter().map(|(table, rows)| TableRows { table, rows }).collect(),
        rejects: row.rejects,
        bytes_in: row.bytes_framed,
        bytes_total: row.bytes_total,
        bytes_out: row.bytes_out,
        chunks: row.chunks,
        retries: row.retries,
    }
}

fn summary(row: forebay_catalog::JobSummary) -> JobSummary {
    JobSummary {
        job: row.key,
        recipe: row.recipe_name,
        state: row.state,
        error: row.error,
        created_at: row.created_at,
        ended_at: row.ended_at,
    }
}

#[async_trait]
impl forebay_api::Gateway for Gateway {
    async fn submit(
        &self,
        _caller: &Caller,
        request: SubmitRequest,
        frames: BoxStream<Result<Bytes, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, ServiceError> {
        self.open(request, frames).await.map_err(ServiceError::from)
    }

    async fn get_job(&self, _caller: &Caller, job: &str) -> Result<JobProgress, ServiceError> {
        self.progress_of(job).await.map_err(ServiceError::from)
    }

    async fn list_jobs(
        &self,
        _caller: &Caller,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<JobSummary>, ServiceError> {
        let jobs = self.catalog.list_jobs(limit, before).await.map_err(Failure::from)?;
        Ok(jobs.into_iter().map(summary).collect())
    }

    async fn watch_job(
        &self,
        _caller: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<JobProgress, ServiceError>>, ServiceError> {
        let id = self.catalog.job_by_key(job).await.map_err(Failure::from)?.id;
        let (catalog, changed) = (Arc::clone(&self.catalog), Arc::clone(&self.changed));
        let state = (catalog, changed, id, None::<JobProgress>);
        Ok(futures::stream::try_unfold(state, next_progress).boxed())
    }

    async fn cancel_job(&self, _caller: &Caller, job: &str) -> Result<(), ServiceError> {
        let id = self.catalog.job_by_key(job).await.map_err(Failure::from)?.id;
        self.catalog.end_job(id, JobState::Cancelled, None).await.map_err(Failure::from)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn rejects(
        &self,
        _caller: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError> {
        let row = self.catalog.job_by_key(job).await.map_err(Failure::from)?;
        list_rejects(&row).await
    }
}

/// The rejects of a job, from the table that they were committed to with everything else.
pub async fn list_rejects(job: &Job) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError> {
    let place = Place::open(&job.output).and_then(|output| rejects_place(&output)).map_err(Failure::from)?;
    let reader = match TableReader::open(place).await {
        Ok(reader) => reader,
        Err(LakeError::NoTable(_)) => return Ok(futures::stream::empty().boxed()),
        Err(error) => return Err(Failure::from(error).into()),
    };
    let key = job.key.clone();
    Ok(reader
        .batches()
        .map_err(|error| ServiceError::from(Failure::from(error)))
        .map_ok(move |batch| futures::stream::iter(reject_rows(&key, &batch).into_iter().map(Ok)))
        .try_flatten()
        .boxed())
}

/// The next change of a job's progress; after its end, nothing.
async fn next_progress(
    (catalog, changed, id, last): (Arc<Catalog>, Arc<Notify>, JobId, Option<JobProgress>),
) -> Result<Option<(JobProgress, (Arc<Catalog>, Arc<Notify>, JobId, Option<JobProgress>))>, ServiceError> {
    if last.as_ref().is_some_and(|last| last.summary.state != JobState::Running) {
        return Ok(None);
    }
    loop {
        let now = progress(catalog.progress(id).await.map_err(Failure::from)?);
        if last.as_ref() != Some(&now) {
            return Ok(Some((now.clone(), (catalog, changed, id, Some(now)))));
        }
        tokio::select! {
            () = changed.notified() => tokio::time::sleep(WATCH / 4).await,
            () = tokio::time::sleep(WATCH) => {}
        }
    }
}

fn reject_rows(job: &str, batch: &RecordBatch) -> Vec<RejectRow> {
    let columns: BTreeMap<&str, usize> =
        batch.schema_ref().fields().iter().enumerate().map(|(i, field)| (field.name().as_str(), i)).collect();
    let text = |name: &str, row: usize| -> String {
        columns.get(name).map_or(String::new(), |&i| batch.column(i).as_string::<i32>().value(row).to_owned())
    };
    let number = |name: &str, row: usize| -> u64 {
        columns.get(name).map_or(0, |&i| batch.column(i).as_primitive::<Int64Type>().value(row).max(0) as u64)
    };
    let raw = |row: usize| -> Option<Vec<u8>> {
        let column = batch.column(*columns.get("raw")?);
        let bytes = column.as_binary::<i32>();
        column.is_valid(row).then(|| bytes.value(row).to_vec())
    };
    (0..batch.num_rows())
        .filter(|&row| text("job", row) == job)
        .map(|row| RejectRow {
            input: text("input", row),
            record: number("record", row),
            offset: number("offset", row),
            length: number("length", row),
            reason: text("reason", row),
            path: text("path", row),
            message: text("message", row),
            raw: raw(row),
        })
        .collect()
}
