use std::convert::Infallible;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use apalis_core::backend::codec::Codec;
use apalis_core::error::WorkerError;
use apalis_core::worker::context::WorkerContext;
use apalis_core::worker::event::Event;
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::{QueueError, VERSION, WorkHandler, WorkItem};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// A store that comes back is found within this time.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A worker that lived for so long was well.
const WELL: Duration = Duration::from_secs(10);

/// What a worker tells while it lives.
pub(crate) type Events = BoxStream<'static, Result<Event, WorkerError>>;

/// Where workers take their messages from.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// Makes a worker.
    async fn start(&self, worker: WorkerContext, concurrency: usize, handlers: Handlers) -> Result<Events, QueueError>;

    /// Clears up after a worker that has ended. May be called twice.
    async fn end(&self, worker: &str) -> Result<(), QueueError>;
}

/// Payloads as they are. What apalis can't decode ends its worker, and then the next one.
#[derive(Debug)]
pub(crate) struct Plain;

impl Codec<Vec<u8>> for Plain {
    type Error = Infallible;
    type Compact = Vec<u8>;

    fn encode(&self, payload: &Vec<u8>) -> Result<Vec<u8>, Infallible> {
        Ok(payload.clone())
    }

    fn decode(&self, payload: &Vec<u8>) -> Result<Vec<u8>, Infallible> {
        Ok(payload.clone())
    }
}

/// Keeps one apalis worker alive. Any error of its store ends a worker, and dropping it drops the handlers that it
/// polls; so handlers run as tasks of their own, and outlive it.
pub(crate) struct Supervisor {
    prefix: String,
    concurrency: usize,
    shutdown: CancellationToken,
    handlers: Handlers,
}

impl Supervisor {
    pub(crate) fn new(
        prefix: &str,
        concurrency: usize,
        handler: Arc<dyn WorkHandler>,
        shutdown: CancellationToken,
    ) -> Self {
        let slots = Arc::new(Semaphore::new(concurrency));
        let handlers = Handlers { handler, slots, tasks: TaskTracker::new() };
        Self { prefix: prefix.to_owned(), concurrency, shutdown, handlers }
    }

    /// Runs one worker after the other until shutdown, and waits for the handlers at work.
    pub(crate) async fn run(self, source: &impl Source) {
        let mut pause = FIRST_PAUSE;
        let mut last = None;
        while !self.shutdown.is_cancelled() {
            let started = Instant::now();
            let ended = self.work(source, &mut last).await;
            if self.shutdown.is_cancelled() {
                break;
            }
            if started.elapsed() > WELL {
                pause = FIRST_PAUSE;
            }
            let problem = ended.err().map_or("it ended by itself".to_owned(), |error| error.to_string());
            let now = jittered(pause);
            tracing::warn!(problem, pause = ?now, "a queue worker ended; starting another");
            let _elapsed = self.shutdown.run_until_cancelled(tokio::time::sleep(now)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.handlers.tasks.close();
        self.handlers.tasks.wait().await;
        if let Some(name) = last
            && let Err(error) = source.end(&name).await
        {
            tracing::debug!(%error, "the last queue worker stays registered for a while");
        }
    }

    /// The life of one worker, after its predecessor is cleared up after.
    async fn work(&self, source: &impl Source, last: &mut Option<String>) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(name) = last {
            source.end(name).await?;
        }
        let context = WorkerContext::new(last.insert(self.name()));
        let mut events = source.start(context.clone(), self.concurrency, self.handlers.clone()).await?;
        let mut stopping = false;
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => drop(event?),
                    None => return Ok(()),
                },
                // A worker cannot be stopped before its first event.
                () = self.shutdown.cancelled(), if !stopping && context.is_running() => {
                    stopping = true;
                    context.stop()?;
                }
            }
        }
    }

    /// A name that no worker had before: one that was used is refused for a while, and two workers of one name take
    /// each other's messages.
    fn name(&self) -> String {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        format!("{}-{}-{}-{}", self.prefix, host.trim(), std::process::id(), Uuid::new_v4().simple())
    }
}

/// Between half of a pause and all of it, so that many workers do not come back at one moment.
fn jittered(pause: Duration) -> Duration {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    pause / 2 + pause.mul_f64((random >> 32) as f64 / f64::from(u32::MAX) / 2.0)
}

/// What all workers of one supervisor share.
#[derive(Clone)]
pub(crate) struct Handlers {
    handler: Arc<dyn WorkHandler>,
    /// Handlers of a dead worker count until they end.
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Handlers {
    /// Handles a message. Always ends well for apalis: an error would mean another try, at once; a panic would
    /// leave the message at work for ever.
    pub(crate) async fn handle(self, message: Vec<u8>) {
        let Some(item) = understood(&message) else { return };
        let Ok(slot) = self.slots.acquire_owned().await else { return };
        let handler = self.handler;
        let task = self.tasks.spawn(async move {
            handler.handle(item).await;
            drop(slot);
        });
        if let Err(error) = task.await {
            tracing::error!(job = %item.job, chunk = %item.chunk, panicked = error.is_panic(), "a work handler died");
        }
    }
}

/// The message, if it has a form that this program knows. A newer program's is left for its workers: it is dropped
/// here and dispatched again later.
fn understood(message: &[u8]) -> Option<WorkItem> {
    let unreadable = |error: &serde_json::Error| tracing::warn!(%error, "dropped an unreadable message");
    let message: Value = serde_json::from_slice(message).inspect_err(unreadable).ok()?;
    let version = message.get("version").and_then(Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        tracing::warn!(?version, "dropped a message of an unknown form");
        return None;
    }
    serde_json::from_value(message).inspect_err(unreadable).ok()
}
