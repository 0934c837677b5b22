use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptOutcome, AttemptResult, Enrichment, Event, Observer, Storage};
use forebay_budget::{Budget, Pool, Pressure};
use forebay_catalog::{Catalog, Claim, ClaimOutcome, DeathVerdict};
use forebay_queue::{WorkHandler, WorkItem};
use forebay_seal::Keys;
use forebay_steps::StepContext;
use forebay_telemetry::trace;
use forebay_types::{ChunkId, JobId, JobState};
use futures::{FutureExt, StreamExt};
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::context::JobContext;
use crate::failure::Failure;
use crate::jobs::Jobs;
use crate::model::Models;
use crate::process::Attempt;
use crate::split::halves_of;

/// First wait after a transient failure; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);

/// Longest wait after a transient failure.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Tries at a chunk that fail in passing before the job is told to fail.
const TRIES: u32 = 12;

/// Batches on their way to the storage writer.
const ITEMS: usize = 2;

/// How the work on a chunk ended: by itself, or in a panic.
type Ended = Result<Result<(), Failure>, Box<dyn std::any::Any + Send>>;

/// Sizes of a transform worker.
#[derive(Clone, Debug)]
pub struct TransformConfig {
    /// Unique name of this process.
    pub owner: String,
    /// How long a claim is held without a sign of life.
    pub lease: Duration,
    /// Chunks decoded at the same time.
    pub workers: usize,
    /// Budget bytes that one chunk in work needs.
    pub chunk_memory: u64,
    /// Of these, bytes for the operators of SQL steps.
    pub sql_memory: usize,
    /// Who counts attempts.
    pub observer: Observer,
    /// Keys of staged copies, and of rejects of protected records.
    pub keys: Keys,
    /// Budget of models of language; none where nothing is set aside for them.
    pub models: Option<Pool>,
}

/// A transform worker: the handler of the queue's messages.
pub struct Transform {
    catalog: Arc<Catalog>,
    storage: Arc<dyn Storage>,
    enrichment: Arc<dyn Enrichment>,
    budget: Budget,
    chunks: Pool,
    /// Budget of one record that is larger than a frame: its attempt has all of it.
    large: Pool,
    models: Arc<Models>,
    broken: std::sync::OnceLock<String>,
    cpu: Arc<Semaphore>,
    config: TransformConfig,
    jobs: Jobs,
    at_work: AtomicUsize,
    /// Wakes whoever waits for something to change: chunks to be dispatched, a job to end.
    changed: Arc<Notify>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Transform {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transform").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Transform {
    /// A worker over a catalog and a storage writer. `chunks` is the budget of chunks in work, `large` that of one
    /// record larger than a frame.
    #[expect(clippy::too_many_arguments, reason = "each is a dependency, wired in one place")]
    pub fn new(
        catalog: Arc<Catalog>,
        storage: Arc<dyn Storage>,
        enrichment: Arc<dyn Enrichment>,
        budget: Budget,
        chunks: Pool,
        large: Pool,
        config: TransformConfig,
        changed: Arc<Notify>,
        stop: CancellationToken,
    ) -> Self {
        let cpu = Arc::new(Semaphore::new(config.workers));
        let (jobs, at_work) = (Jobs::default(), AtomicUsize::new(0));
        let (models, broken) = (Arc::new(Models::new(config.models.clone())), std::sync::OnceLock::new());
        Self {
            catalog,
            storage,
            enrichment,
            budget,
            chunks,
            large,
            models,
            broken,
            cpu,
            config,
            jobs,
            at_work,
            changed,
            stop,
        }
    }

    /// An error that could not be told the catalog, because it is the catalog that fails.
    pub fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }

    /// Chunks in work now.
    pub fn at_work(&self) -> usize {
        self.at_work.load(Ordering::Relaxed)
    }

    /// Settles a chunk that was at work when a worker died of something that was no clean stop: it is halved, or
    /// quarantined at the third death.
    pub async fn settle_death(&self, claim: &Claim) -> Result<DeathVerdict, forebay_api::ServiceError> {
        let verdict = self.death(claim).await;
        verdict.map_err(|failure| forebay_api::ServiceError::internal(failure.to_string()))
    }

    async fn death(&self, claim: &Claim) -> Result<DeathVerdict, Failure> {
        let job = self.job(claim.job).await?;
        let input = job.input(&self.catalog, claim.input).await?;
        let halves = halves_of(claim, &job, &input).await?;
        let verdict = self.catalog.record_death(claim.chunk, claim.attempt, halves).await?;
        tracing::warn!(chunk.id = %claim.chunk, deaths = claim.deaths + 1, ?verdict, "a worker died of a chunk");
        Ok(verdict)
    }

    async fn job(&self, id: JobId) -> Result<Arc<JobContext>, Failure> {
        tokio::select! {
            biased;
            job = self.jobs.get(id, &self.catalog, &self.config.keys, &self.models) => job,
            // A process that is told to stop does not wait for a model's room.
            () = self.stop.cancelled() => Err(Failure::Stale),
        }
    }

    async fn work(&self, chunk: ChunkId) -> Result<(), Failure> {
        // Under critical pressure chunks start one at a time.
        while self.budget.pressure() == Pressure::Critical && self.at_work() > 0 && !self.stop.is_cancelled() {
            forebay_runtime::sleep(Duration::from_millis(20)).await;
        }
        // Memory comes before the claim: a chunk that waits for it has no lease to lose.
        let reserved =
            self.chunks.reserve(self.config.chunk_memory).await.map_err(|error| Failure::Fatal(error.to_string()))?;
        let claim = loop {
            if self.stop.is_cancelled() {
                return Ok(());
            }
            match self.catalog.claim(chunk, &self.config.owner, self.config.lease).await? {
                ClaimOutcome::Claimed(claim) => break *claim,
                ClaimOutcome::Gone => return Ok(()),
                ClaimOutcome::Busy => forebay_runtime::sleep(Duration::from_millis(20)).await,
            }
        };
        self.at_work.fetch_add(1, Ordering::Relaxed);
        self.config.observer.tell(Event::AttemptBegan);
        let result = if claim.is_presumed_deadly() {
            // Whoever had it is gone without a witness. It is settled like a death that was seen, and not tried.
            Ok(self.death(&claim).await.map(|_| ()))
        } else {
            tokio::select! {
                biased;
                result = AssertUnwindSafe(self.attempt(&claim)).catch_unwind() => result,
                // A clean stop hands the chunk back.
                () = self.stop.cancelled() => Ok(Err(Failure::Stale)),
            }
        };
        self.at_work.fetch_sub(1, Ordering::Relaxed);
        drop(reserved);
        let ended = Event::AttemptEnded { result: self.result(&claim, &result) };
        self.config.observer.tell(ended);
        let settled = self.settle(&claim, result).await;
        if settled.is_err() {
            // This process renews its leases as long as it lives: nobody else would ever get the chunk.
            self.catalog.release_later(claim.chunk, claim.attempt);
        }
        settled
    }

    /// How an attempt ended, for whoever counts.
    fn result(&self, claim: &Claim, result: &Ended) -> AttemptResult {
        match result {
            Ok(_) if claim.is_presumed_deadly() => AttemptResult::Died,
            Ok(Ok(())) => AttemptResult::Written,
            Ok(Err(Failure::Stale)) if self.stop.is_cancelled() => AttemptResult::HandedBack,
            Ok(Err(Failure::Stale)) => AttemptResult::Stale,
            Ok(Err(Failure::Transient(_) | Failure::NoRoom(_))) if claim.failures + 1 < TRIES => AttemptResult::Retried,
            Ok(Err(Failure::Transient(_) | Failure::NoRoom(_) | Failure::Fatal(_))) => AttemptResult::Failed,
            Err(_) => AttemptResult::Died,
        }
    }

    async fn attempt(&self, claim: &Claim) -> Result<(), Failure> {
        let job = self.job(claim.job).await?;
        let input = job.input(&self.catalog, claim.input).await?;
        let (sender, receiver) = mpsc::channel(ITEMS);
        let attempt = Attempt {
            job,
            input,
            claim: claim.clone(),
            cpu: Arc::clone(&self.cpu),
            large: self.large.clone(),
            models: Arc::clone(&self.models),
            steps: StepContext {
                memory: self.config.sql_memory,
                enrichment: Arc::clone(&self.enrichment),
                cpu: Arc::clone(&self.cpu),
            },
            items: sender,
            outcome: AttemptOutcome { stages: BTreeMap::new(), ..AttemptOutcome::default() },
            collected: Vec::new(),
        };
        let header =
            AttemptHeader { job: claim.job, chunk: claim.chunk, attempt: claim.attempt, commit_now: claim.deaths > 0 };
        let written = self.storage.write_attempt(header, ReceiverStream::new(receiver).boxed());
        let (processed, written) = tokio::join!(attempt.run(), written);
        match (processed, written) {
            // What the chunk itself has to say comes first; that the writer stopped listening is no news.
            (Err(failure @ (Failure::Fatal(_) | Failure::Transient(_) | Failure::NoRoom(_))), _) => Err(failure),
            (_, Err(error)) => Err(error.into()),
            (Err(Failure::Stale), Ok(_)) => Err(Failure::Stale),
            (Ok(()), Ok(_)) => Ok(()),
        }
    }

    async fn settle(&self, claim: &Claim, result: Ended) -> Result<(), Failure> {
        match result {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Stale)) => {
                self.catalog.release(claim.chunk, claim.attempt, None).await?;
            }
            Ok(Err(Failure::Transient(message) | Failure::NoRoom(message))) if claim.failures + 1 < TRIES => {
                let wait = FIRST_WAIT.saturating_mul(1 << claim.failures.min(10)).min(LONGEST_WAIT);
                tracing::warn!(chunk.id = %claim.chunk, attempt = claim.attempt, error = %message, "attempt failed");
                self.catalog.release(claim.chunk, claim.attempt, Some(wait)).await?;
            }
            Ok(Err(Failure::Transient(message) | Failure::NoRoom(message) | Failure::Fatal(message))) => {
                self.catalog.release(claim.chunk, claim.attempt, None).await?;
                self.catalog.end_job(claim.job, JobState::Failed, Some(message)).await?;
            }
            Err(_) => {
                self.death(claim).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl WorkHandler for Transform {
    async fn handle(&self, item: WorkItem) {
        let span = tracing::info_span!("chunk", job.id = %item.job, chunk.id = %item.chunk);
        if let Some(traceparent) = item.traceparent {
            trace::follow(&span, &traceparent.to_string());
        }
        if let Err(failure) = self.work(item.chunk).instrument(span).await {
            // The chunk is released with the next renewal of leases, or was never claimed: it is dispatched again.
            tracing::warn!(chunk.id = %item.chunk, error = %failure, "failed to work on a chunk");
            if matches!(failure, Failure::Fatal(_)) {
                // The first one is the cause.
                drop(self.broken.set(failure.to_string()));
            }
        }
        self.changed.notify_waiters();
    }
}
