use std::sync::Arc;
use std::time::Duration;

use forebay_budget::memory;
use forebay_telemetry::{ByPool, ByQueue, Metrics};
use tokio::task::JoinSet;

use crate::wiring::Wiring;

/// How often what is not counted as it happens is looked at.
const EVERY: Duration = Duration::from_secs(5);

/// Keeps the gauges of a process up to date: its budget, its memory, and how much waits for workers.
pub(super) fn start(wiring: &Wiring, metrics: &Metrics, tasks: &mut JoinSet<anyhow::Result<()>>) {
    let (catalog, budget, stop) = (Arc::clone(&wiring.catalog), wiring.budget.clone(), wiring.stop.clone());
    let metrics = metrics.clone();
    tasks.spawn(async move {
        loop {
            let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
            for pool in budget.usage() {
                let label = ByPool { pool: pool.name };
                metrics.budget_limit_bytes.get_or_create(&label).set(gauge(pool.capacity));
                metrics.budget_used_bytes.get_or_create(&label).set(gauge(pool.used));
            }
            metrics.resident_memory_bytes.set(gauge(memory::resident()));
            match catalog.queue_depth().await {
                Ok(depth) => {
                    metrics.staged_bytes.set(gauge(depth.staged_bytes));
                    for (queue, chunks) in
                        [("waiting", depth.waiting), ("at_work", depth.at_work), ("written", depth.written)]
                    {
                        metrics.queue_depth.get_or_create(&ByQueue { queue }).set(gauge(chunks));
                    }
                }
                Err(error) => tracing::debug!(%error, "failed to count chunks"),
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    });
}
