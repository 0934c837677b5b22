use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::WorkerBuilderExt;
use apalis_core::backend::ext::poll_strategy::PollWith;
use apalis_core::error::WorkerError;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_sqlite::SqliteStorage;
use futures::StreamExt;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::wake::OnPushOrTick;
use crate::{VERSION, WorkHandler, WorkItem};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

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
    pub(crate) async fn run(self, backend: impl Fn() -> PollWith<SqliteStorage<Value>, OnPushOrTick>) {
        let mut pause = FIRST_PAUSE;
        while !self.shutdown.is_cancelled() {
            let started = Instant::now();
            let ended = self.work(backend()).await;
            if self.shutdown.is_cancelled() {
                break;
            }
            if started.elapsed() > LONGEST_PAUSE {
                pause = FIRST_PAUSE;
            }
            let problem = ended.err().map_or("it ended by itself".to_owned(), |error| error.to_string());
            tracing::warn!(problem, ?pause, "a queue worker ended; starting another");
            let _elapsed = self.shutdown.run_until_cancelled(tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.handlers.tasks.close();
        self.handlers.tasks.wait().await;
    }

    /// The life of one worker. Its name is its own: a name that was used before is refused for a while, and two
    /// workers with one name take each other's messages.
    async fn work(&self, backend: PollWith<SqliteStorage<Value>, OnPushOrTick>) -> Result<(), WorkerError> {
        let context = WorkerContext::new(&format!("{}-{}", self.prefix, Uuid::new_v4()));
        let handlers = self.handlers.clone();
        let worker = WorkerBuilder::new(context.clone())
            .backend(backend)
            .concurrency(self.concurrency)
            .build(move |message: Value| handlers.clone().handle(message));
        let mut events = std::pin::pin!(worker.stream());
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
}

/// What all workers of one supervisor share.
#[derive(Clone)]
struct Handlers {
    handler: Arc<dyn WorkHandler>,
    /// Handlers of a dead worker count until they end.
    slots: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Handlers {
    /// Handles a message. Always ends well for apalis: an error would mean another try, at once; a panic would
    /// leave the message at work for ever.
    async fn handle(self, message: Value) {
        let Some(item) = understood(message) else { return };
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
fn understood(message: Value) -> Option<WorkItem> {
    let version = message.get("version").and_then(Value::as_u64);
    if version != Some(u64::from(VERSION)) {
        tracing::warn!(?version, "dropped a message of an unknown form");
        return None;
    }
    serde_json::from_value(message).inspect_err(|error| tracing::warn!(%error, "dropped an unreadable message")).ok()
}
