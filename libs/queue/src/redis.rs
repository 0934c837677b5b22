mod link;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use apalis::prelude::WorkerBuilderExt;
use apalis_core::backend::ext::BackendExt;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_redis::{Config, RedisStorage};
use async_trait::async_trait;
use futures::StreamExt;
use redis::Script;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::link::Link;
use crate::supervisor::{Events, Handlers, Plain, Source, Supervisor};
use crate::wake::OnPushOrTick;
use crate::{JobQueue, QueueError, WorkHandler, WorkItem};

/// The prefix of all keys. Installations that share a server need a database of their own, because chunks are
/// numbered by the catalog.
const QUEUE: &str = "forebay:chunks";
/// Where a push is announced to workers of other processes.
const CHANNEL: &str = "forebay:chunks:pushed";
const GENERATION: &str = "forebay:chunks:generation";
/// Most messages that wait or are handled: all of them can be lost or come again, and should cost little then.
pub(crate) const WINDOW: usize = 2_000;
/// Most messages of one script, so that no script keeps the server for long. Lua can't unpack 8,000 of anything.
const PAGE: usize = 500;
/// A worker that shows no life for this often this long is dead, and its messages go to another: later than a stall
/// that a worker survives, and sooner than the 20 s in which a dead worker's chunks are to be at work again. A chunk
/// that it had claimed comes back by its lease in the catalog; whoever gets its message before then can't claim it.
const HEARTBEAT: Duration = Duration::from_secs(2);
const MISSED_HEARTBEATS: usize = 6;
/// Seconds after which the description of a worker is forgotten that could not clear up after itself.
const DESCRIBED: u64 = 3_600;
/// Time between two tries to hear of pushes. Without, a push is found by looking for it.
const DEAF: Duration = Duration::from_secs(1);

static PUSH: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/push.lua")));
static OUTSTANDING: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/outstanding.lua")));
static GENERATE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/generation.lua")));
static COLLECT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/collect.lua")));
static ENLIST: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/enlist.lua")));
static RETIRE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/retire.lua")));

/// The queue in a Redis server, for processes that share work.
///
/// The server needs no persistence, but `maxmemory-policy noeviction`, and clocks of its clients that agree within
/// some seconds: apalis tells dead workers by the time of day.
#[derive(Debug)]
pub struct RedisQueue {
    link: Link,
    pub(crate) config: Config,
    pushes: Arc<Notify>,
}

impl RedisQueue {
    /// The queue at `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS. Nothing is connected
    /// yet: services and Redis start in any order, and each call fails for itself while Redis is away, within 12 s.
    ///
    /// For TLS the process must have installed a default `rustls` crypto provider before the first call: with two
    /// providers in the program, `rustls` does not choose, and connecting would panic.
    ///
    /// # Errors
    /// The URL is none of Redis.
    pub fn open(url: &str) -> Result<Self, QueueError> {
        // One message a fetch: a worker that holds more shows no life and acknowledges nothing. Without results
        // nothing is acknowledged either. A lock costs a search of all that waits, and events a publication each.
        let config = Config::default()
            .queue(QUEUE)
            .batch_size(1)
            .lock_tasks(false)
            .persist_results(true)
            .emit_events(false)
            .heartbeat_interval(HEARTBEAT)
            .missed_heartbeats(MISSED_HEARTBEATS);
        Ok(Self { link: Link::new(url)?, config, pushes: Arc::new(Notify::new()) })
    }

    async fn push_page(&self, items: &[WorkItem]) -> Result<(), QueueError> {
        let config = &self.config;
        let mut push = PUSH.key(config.job_data_hash());
        push.key(config.active_jobs_list()).key(config.job_meta_hash());
        push.key(config.done_jobs_set()).key(config.dead_jobs_set()).arg(WINDOW).arg(CHANNEL);
        for item in items {
            push.arg(item.task_id()).arg(serde_json::to_vec(item).unwrap_or_default());
        }
        let added: i64 = self.link.ask(&push).await?;
        if added < 0 { Err(QueueError::Full { limit: WINDOW }) } else { Ok(()) }
    }

    /// Wakes this process's workers whenever messages are pushed anywhere.
    async fn hear_pushes(&self) {
        loop {
            match self.link.subscribe(CHANNEL).await {
                Ok(mut channel) => {
                    let mut messages = channel.on_message();
                    self.pushes.notify_waiters();
                    while messages.next().await.is_some() {
                        self.pushes.notify_waiters();
                    }
                }
                Err(error) => tracing::debug!(%error, "not told of pushes"),
            }
            tokio::time::sleep(DEAF).await;
        }
    }
}

#[async_trait]
impl JobQueue for RedisQueue {
    /// Refuses what would make more than 2,000 messages wait.
    async fn push(&self, items: &[WorkItem]) -> Result<(), QueueError> {
        if items.len() > WINDOW {
            return Err(QueueError::Full { limit: WINDOW });
        }
        for page in items.chunks(PAGE) {
            self.push_page(page).await?;
        }
        Ok(())
    }

    async fn outstanding(&self) -> Result<u64, QueueError> {
        let config = &self.config;
        let mut outstanding = OUTSTANDING.key(config.job_data_hash());
        outstanding.key(config.done_jobs_set()).key(config.dead_jobs_set());
        let count: i64 = self.link.ask(&outstanding).await?;
        Ok(u64::try_from(count).unwrap_or(0))
    }

    async fn generation(&self) -> Result<String, QueueError> {
        let mut generate = GENERATE.key(GENERATION);
        generate.arg(Uuid::new_v4().simple().to_string());
        self.link.ask(&generate).await
    }

    async fn collect_finished(&self, limit: u32) -> Result<u64, QueueError> {
        let config = &self.config;
        let limit = u64::from(limit);
        let mut collected = 0;
        while collected < limit {
            let slice = (limit - collected).min(PAGE as u64);
            let mut collect = COLLECT.key(config.job_data_hash());
            collect.key(config.job_meta_hash()).key(config.done_jobs_set()).key(config.dead_jobs_set()).arg(slice);
            let some: u64 = self.link.ask(&collect).await?;
            collected += some;
            if some < slice {
                break;
            }
        }
        Ok(collected)
    }

    async fn run(
        &self,
        worker_name_prefix: &str,
        concurrency: usize,
        handler: Arc<dyn WorkHandler>,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError> {
        tokio::select! {
            () = Supervisor::new(worker_name_prefix, concurrency, handler, shutdown).run(self) => {}
            () = self.hear_pushes() => {}
        }
        Ok(())
    }
}

#[async_trait]
impl Source for RedisQueue {
    async fn start(&self, worker: WorkerContext, concurrency: usize, handlers: Handlers) -> Result<Events, QueueError> {
        let config = &self.config;
        let mut enlist = ENLIST.key(config.worker_metadata_key(&worker));
        enlist.key(config.active_jobs_list()).key(config.job_data_hash()).key(config.job_meta_hash());
        let dropped: u64 = self.link.ask(enlist.arg(DESCRIBED).arg(WINDOW)).await?;
        if dropped > 0 {
            tracing::warn!(
                dropped,
                "dropped messages that Redis had lost in part; is its maxmemory-policy noeviction?"
            );
        }
        // A connection of its own: a worker ends at its first error, and what comes after it starts anew.
        let storage = RedisStorage::<Vec<u8>, _>::new(self.link.connect().await?).with_config(config.clone());
        let backend = storage.with_codec(Plain).poll_with_strategy(OnPushOrTick::new(Arc::clone(&self.pushes)));
        let worker = WorkerBuilder::new(worker)
            .backend(backend)
            .concurrency(concurrency)
            .build(move |message: Vec<u8>| handlers.clone().handle(message));
        Ok(worker.stream().boxed())
    }

    async fn end(&self, worker: &str) -> Result<(), QueueError> {
        let (config, worker) = (&self.config, WorkerContext::new(worker));
        let mut retire = RETIRE.key(config.workers_set());
        retire.key(config.inflight_set_for(&worker)).key(config.active_jobs_list());
        retire.key(config.worker_metadata_key(&worker)).arg(worker.name()).arg(CHANNEL);
        let again: u64 = self.link.ask(&retire).await?;
        if again > 0 {
            tracing::info!(again, "messages of a worker that ended wait again");
        }
        Ok(())
    }
}
