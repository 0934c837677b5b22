//! A queue that loses, repeats, delays and reorders messages, and forgets everything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use forebay_queue::{JobQueue, QueueError, WorkHandler, WorkItem};
use forebay_runtime::simulation;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::world::Sim;

/// A message that was taken and not told to be handled comes again after so long.
const AGAIN: Duration = Duration::from_secs(3);

#[derive(Default)]
struct Messages {
    waiting: BTreeMap<(i64, u32), (WorkItem, Duration)>,
    generation: u64,
}

/// The queue. Clones are the same queue.
#[derive(Clone)]
pub(crate) struct Queue {
    sim: Sim,
    messages: Arc<Mutex<Messages>>,
}

impl Queue {
    pub(crate) fn new(sim: &Sim) -> Self {
        Self { sim: sim.clone(), messages: Arc::default() }
    }

    fn messages(&self) -> MutexGuard<'_, Messages> {
        self.messages.lock().unwrap()
    }

    async fn point(&self, what: &'static str) -> Result<(), QueueError> {
        simulation::point(what).await.map_err(|_| QueueError::Unusable("it fails now".to_owned()))
    }

    /// Forgets everything, and tells so.
    pub(crate) fn forget(&self) {
        let mut messages = self.messages();
        messages.waiting.clear();
        messages.generation += 1;
    }

    /// A message that is due, whichever.
    fn take(&self) -> Option<WorkItem> {
        let (now, mut messages) = (self.sim.time(), self.messages());
        let due: Vec<_> = messages.waiting.iter().filter(|(_, (_, at))| *at <= now).map(|(key, _)| *key).collect();
        if due.is_empty() {
            return None;
        }
        let chosen = due[self.sim.random(|random| random.below(due.len() as u64)) as usize];
        let (item, at) = messages.waiting.get_mut(&chosen)?;
        *at = now + AGAIN;
        Some(*item)
    }

    fn handled(&self, item: &WorkItem) {
        // Where its answer is lost, it comes again.
        if !self.sim.unlucky(self.sim.malice().messages) {
            self.messages().waiting.remove(&(item.chunk.0, item.epoch));
        }
    }
}

#[async_trait]
impl JobQueue for Queue {
    async fn push(&self, items: &[WorkItem]) -> Result<(), QueueError> {
        self.point("queue push").await?;
        for item in items {
            let share = self.sim.malice().messages;
            if self.sim.unlucky(share / 2.0) {
                self.sim.note("message lost");
                continue;
            }
            let delay = if self.sim.unlucky(share) { 4_000 } else { 20 };
            let at = self.sim.time() + self.sim.random(|random| random.millis(0, delay));
            self.messages().waiting.entry((item.chunk.0, item.epoch)).or_insert((*item, at));
        }
        self.point("queue pushed").await
    }

    async fn outstanding(&self) -> Result<u64, QueueError> {
        self.point("queue outstanding").await?;
        Ok(self.messages().waiting.len() as u64)
    }

    async fn generation(&self) -> Result<String, QueueError> {
        self.point("queue generation").await?;
        Ok(self.messages().generation.to_string())
    }

    async fn collect_finished(&self, _: u32) -> Result<u64, QueueError> {
        Ok(0)
    }

    async fn run(
        &self,
        _: &str,
        concurrency: usize,
        handler: Arc<dyn WorkHandler>,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError> {
        let mut handlers = JoinSet::new();
        while !shutdown.is_cancelled() {
            let wait = self.sim.random(|random| random.millis(5, 100));
            forebay_runtime::sleep(wait).await;
            while handlers.try_join_next().is_some() {}
            while handlers.len() < concurrency {
                let Some(item) = self.take() else { break };
                self.sim.note("message");
                let (queue, handler) = (self.clone(), Arc::clone(&handler));
                handlers.spawn(async move {
                    handler.handle(item).await;
                    queue.handled(&item);
                });
            }
        }
        handlers.join_all().await;
        Ok(())
    }
}
