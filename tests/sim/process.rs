//! A process: its tasks, and nothing that outlives them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::world::Sim;

/// What all tasks of a process run on. Without timers and IO of its own: whoever waits for the real ones panics.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) runtime: Runtime,
    /// It is stopped since then, and until then, and knows nothing of it.
    pub(crate) paused_since: Duration,
    pub(crate) paused_until: Duration,
    is_idle: Arc<AtomicBool>,
    root: Arc<Mutex<Option<Waker>>>,
}

impl Process {
    pub(crate) fn new(name: String) -> Self {
        let is_idle = Arc::new(AtomicBool::new(false));
        let root = Arc::new(Mutex::new(None::<Waker>));
        let (idle, waiting) = (Arc::clone(&is_idle), Arc::clone(&root));
        let runtime = Builder::new_current_thread()
            .on_thread_park(move || {
                idle.store(true, Ordering::Relaxed);
                let waker = waiting.lock().unwrap().take();
                if let Some(waker) = waker {
                    waker.wake();
                }
            })
            .build()
            .unwrap();
        Self { name, runtime, paused_since: Duration::ZERO, paused_until: Duration::ZERO, is_idle, root }
    }

    /// Runs its tasks until all of them wait.
    pub(crate) fn run(&self) {
        self.is_idle.store(false, Ordering::Relaxed);
        self.runtime.block_on(std::future::poll_fn(|cx| {
            if self.is_idle.load(Ordering::Relaxed) {
                return Poll::Ready(());
            }
            *self.root.lock().unwrap() = Some(cx.waker().clone());
            Poll::Pending
        }));
    }

    /// When it gave its last sign of life.
    pub(crate) fn last_sign(&self, now: Duration) -> Duration {
        if self.paused_until > now { self.paused_since } else { now }
    }

    pub(crate) fn can_run(&self, sim: &Sim) -> bool {
        self.paused_until <= sim.time()
    }
}
