use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use async_trait::async_trait;
use forebay_api::{
    Accepted, BoxStream, Caller, Constraint, ErrorKind, InputFrame, JobProgress, JobSummary, Observer, RejectRow,
    ServiceError, SubmitEvent, SubmitRequest, TableRows,
};
use forebay_budget::{Budget, Pool};
use forebay_catalog::{Catalog, Job, JobProgressRow};
use forebay_lake::{LakeError, TableReader, rejects_place, staging_place};
use forebay_objects::{Place, Staging, Writers};
use forebay_recipe::Prepared;
use forebay_seal::Keys;
use forebay_sink::SinkTarget;
use forebay_types::{ChunkState, JobId, JobState};
use futures::{StreamExt, TryStreamExt};
use tokio::sync::{Notify, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::error::Failure;
use crate::framing::JobFraming;
use crate::job;
use crate::reach::Reach;
use crate::sent::{SentFrames, resume_point};
use crate::waits::Waits;

/// Time between two events of a watched job, unless it ends before.
const WATCH: Duration = Duration::from_millis(200);

/// The stage that workers spend waiting for the storage writer in.
const WAIT_FOR_STORAGE: &str = "wait_for_storage";

/// Sizes of the gateway.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Input bytes that a chunk aims at.
    pub chunk_bytes: u64,
    /// Chunks of a job that may wait for workers.
    pub backlog: u64,
    /// Where jobs may read and write.
    pub reach: Reach,
    /// Who commits to the tables of its jobs.
    pub writers: Writers,
    /// Who counts bytes.
    pub observer: Observer,
    /// Keys that protected records are encrypted with while they wait.
    pub keys: Keys,
    /// The database that jobs may have their tables loaded into.
    pub sink: Option<SinkTarget>,
}

/// The gateway, in this process.
#[derive(Debug)]
pub struct Gateway {
    pub(crate) catalog: Arc<Catalog>,
    budget: Budget,
    intake: Pool,
    config: GatewayConfig,
    changed: Arc<Notify>,
    stop: CancellationToken,
    /// Jobs that are framed here now, and what each waits for.
    pub(crate) framings: Arc<Mutex<HashMap<JobId, Waits>>>,
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
        Self { catalog, budget, intake, config, changed, stop, framings: Arc::default() }
    }

    async fn open(
        &self,
        caller: &Caller,
        request: SubmitRequest,
        frames: BoxStream<Result<InputFrame, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, Failure> {
        let request = self.config.reach.check(caller, request)?;
        let sent = request.inputs.is_empty();
        let job::Opened { opened, prepared, output } = job::open(&self.catalog, &self.config, caller, &request).await?;
        let job = opened.job;
        let ended = (job.state != JobState::Running).then_some(job.state);
        let inputs = if sent { self.catalog.inputs(job.id).await? } else { Vec::new() };
        let resume = inputs.iter().map(resume_point).collect();
        let accepted = Accepted { job: job.key.clone(), resumed: opened.resumed, ended, resume };
        let (events, receiver) = mpsc::channel(8);
        // The channel is new and has room.
        drop(events.try_send(Ok(SubmitEvent::Accepted(accepted))));
        if ended.is_none() && !job.framed {
            let frames = sent.then(|| SentFrames::new(frames));
            let quota = caller.limits().staged_bytes;
            self.spawn_framing(self.framing(job, prepared, &output, quota, events.clone())?, frames, events);
        }
        Ok(ReceiverStream::new(receiver).boxed())
    }

    fn watch(&self, job: JobId) -> Watch {
        Watch {
            catalog: Arc::clone(&self.catalog),
            changed: Arc::clone(&self.changed),
            framings: Arc::clone(&self.framings),
            job,
        }
    }

    pub(crate) fn framing(
        &self,
        job: Job,
        prepared: Prepared,
        output: &Place,
        quota: Option<u64>,
        events: mpsc::Sender<Result<SubmitEvent, ServiceError>>,
    ) -> Result<JobFraming, Failure> {
        let chunk_bytes = prepared.tuning.chunk_bytes.map_or(self.config.chunk_bytes, |bytes| bytes.0);
        Ok(JobFraming {
            catalog: Arc::clone(&self.catalog),
            budget: self.budget.clone(),
            intake: self.intake.clone(),
            staging: Staging::new(staging_place(output, self.catalog.id())?).with_keys(self.config.keys.clone()),
            keys: self.config.keys.clone(),
            // Whoever sends an encrypted input could have its content written in the clear.
            input_keys: match self.config.reach {
                Reach::Anywhere => self.config.keys.clone(),
                Reach::Served { .. } => Keys::none(),
            },
            prepared,
            chunk_bytes: chunk_bytes.min(self.config.chunk_bytes),
            backlog: self.config.backlog,
            changed: Arc::clone(&self.changed),
            stop: self.stop.clone(),
            quota,
            waits: Waits::default(),
            observer: self.config.observer.clone(),
            events,
            job,
        })
    }

    pub(crate) fn spawn_framing(
        &self,
        framing: JobFraming,
        frames: Option<SentFrames>,
        events: mpsc::Sender<Result<SubmitEvent, ServiceError>>,
    ) {
        let (catalog, changed, id) = (Arc::clone(&self.catalog), Arc::clone(&self.changed), framing.job.id);
        let framings = Arc::clone(&self.framings);
        framings.lock().unwrap_or_else(PoisonError::into_inner).insert(id, framing.waits.clone());
        tokio::spawn(async move {
            let result = framing.run(frames).await;
            {
                let mut framings = framings.lock().unwrap_or_else(PoisonError::into_inner);
                // A client that came back has another one by now.
                if framings.get(&id).is_some_and(|waits| waits.is(&framing.waits)) {
                    framings.remove(&id);
                }
            }
            drop(framing);
            let event = match result {
                Ok(()) => match catalog.progress(id).await {
                    Ok(row) => Ok(SubmitEvent::Complete { chunks: row.chunks.values().sum() }),
                    Err(error) => Err(Failure::from(error).into()),
                },
                Err(failure) if failure.is_interruption() => {
                    tracing::info!(job.id = %id, error = %failure, "the input of a job was interrupted");
                    Err(why_it_ended(&catalog, id).await.unwrap_or_else(|| failure.interrupted()))
                }
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

/// What a client is told whose job ended before its input did: there is no use in sending it again.
async fn why_it_ended(catalog: &Catalog, id: JobId) -> Option<ServiceError> {
    let job = catalog.job(id).await.ok()?;
    let (reason, message) = match job.state {
        JobState::Failed => ("JOB_FAILED", job.error.unwrap_or_else(|| format!("job '{}' has failed", job.key))),
        JobState::Cancelled => ("JOB_CANCELLED", format!("job '{}' was cancelled", job.key)),
        JobState::Running | JobState::Done => return None,
    };
    Some(ServiceError::new(ErrorKind::FailedPrecondition, reason, message))
}

fn progress(row: JobProgressRow, framing: Option<&Waits>) -> JobProgress {
    let constraint = constraint(&row, framing);
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
        stages: row.stages,
        counts: row.counts,
        constraint,
    }
}

/// What a job waits for: what its framing says, or, when there is nothing left to frame, whoever holds its chunks.
fn constraint(row: &JobProgressRow, framing: Option<&Waits>) -> Option<Constraint> {
    if row.summary.state != JobState::Running {
        return None;
    }
    let waits = match framing {
        Some(framing) => framing.get(),
        None => (row.chunks.get(ChunkState::Staged.as_str()).copied().unwrap_or(0) > 0).then_some(Constraint::Workers),
    };
    let total: u64 = row.stages.values().sum();
    let storage = row.stages.get(WAIT_FOR_STORAGE).copied().unwrap_or(0);
    match waits {
        // The workers are slow because they wait themselves.
        Some(Constraint::Workers) if storage * 2 > total => Some(Constraint::ObjectStore),
        waits => waits,
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
        caller: &Caller,
        request: SubmitRequest,
        frames: BoxStream<Result<InputFrame, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, ServiceError> {
        self.open(caller, request, frames).await.map_err(ServiceError::from)
    }

    async fn get_job(&self, caller: &Caller, job: &str) -> Result<JobProgress, ServiceError> {
        let id = self.catalog.job_by_key(caller.tenant(), job).await.map_err(Failure::from)?.id;
        let watch = self.watch(id);
        watch.progress().await.map_err(ServiceError::from)
    }

    async fn list_jobs(
        &self,
        caller: &Caller,
        limit: u32,
        before: Option<i64>,
    ) -> Result<Vec<JobSummary>, ServiceError> {
        let jobs = self.catalog.list_jobs(Some(caller.tenant()), limit, before).await.map_err(Failure::from)?;
        Ok(jobs.into_iter().map(summary).collect())
    }

    async fn watch_job(
        &self,
        caller: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<JobProgress, ServiceError>>, ServiceError> {
        let id = self.catalog.job_by_key(caller.tenant(), job).await.map_err(Failure::from)?.id;
        Ok(futures::stream::try_unfold((self.watch(id), None), next_progress).boxed())
    }

    async fn cancel_job(&self, caller: &Caller, job: &str) -> Result<(), ServiceError> {
        let id = self.catalog.job_by_key(caller.tenant(), job).await.map_err(Failure::from)?.id;
        self.catalog.end_job(id, JobState::Cancelled, None).await.map_err(Failure::from)?;
        self.changed.notify_waiters();
        Ok(())
    }

    async fn rejects(
        &self,
        caller: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError> {
        let row = self.catalog.job_by_key(caller.tenant(), job).await.map_err(Failure::from)?;
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

/// A job that somebody watches.
struct Watch {
    catalog: Arc<Catalog>,
    changed: Arc<Notify>,
    framings: Arc<Mutex<HashMap<JobId, Waits>>>,
    job: JobId,
}

impl Watch {
    async fn progress(&self) -> Result<JobProgress, Failure> {
        let row = self.catalog.progress(self.job).await?;
        let framing = self.framings.lock().unwrap_or_else(PoisonError::into_inner).get(&self.job).cloned();
        Ok(progress(row, framing.as_ref()))
    }

    /// Waits until the next look is due, or the job has ended. What makes a job's progress is dear, and chunks change
    /// it many times a second.
    async fn pause(&self) -> Result<(), Failure> {
        let mut due = std::pin::pin!(tokio::time::sleep(WATCH));
        loop {
            tokio::select! {
                () = &mut due => return Ok(()),
                () = self.changed.notified() => {}
            }
            if self.catalog.job_state(self.job).await? != JobState::Running {
                return Ok(());
            }
            tokio::time::sleep(WATCH / 8).await;
        }
    }
}

/// The next change of a job's progress; after its end, nothing.
async fn next_progress(
    (watch, last): (Watch, Option<JobProgress>),
) -> Result<Option<(JobProgress, (Watch, Option<JobProgress>))>, ServiceError> {
    if last.as_ref().is_some_and(|last| last.summary.state != JobState::Running) {
        return Ok(None);
    }
    loop {
        let now = watch.progress().await?;
        if last.as_ref() != Some(&now) {
            return Ok(Some((now.clone(), (watch, Some(now)))));
        }
        watch.pause().await?;
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
