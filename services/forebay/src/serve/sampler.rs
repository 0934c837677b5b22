use std::sync::Arc;
use std::time::Duration;

use forebay_budget::memory;
use forebay_enrichment::{Enrichment, Snapshot};
use forebay_telemetry::{ByPool, ByQueue, ByResult, Metrics};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

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

/// Counts what an enrichment service has done since the last look.
pub(super) fn enrichment(
    service: Arc<Enrichment>,
    metrics: &Metrics,
    stop: CancellationToken,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) {
    let metrics = metrics.clone();
    tasks.spawn(async move {
        let mut before = Snapshot::default();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
            let now = service.stats();
            for (result, now, before) in [
                ("memory", now.memory, before.memory),
                ("store", now.store, before.store),
                ("reference", now.reference, before.reference),
                ("shared", now.shared, before.shared),
                ("upstream", now.upstream, before.upstream),
                ("stale", now.stale, before.stale),
                ("invalid", now.invalid, before.invalid),
                ("none", now.failed, before.failed),
            ] {
                metrics.enrichment_keys.get_or_create(&ByResult { result }).inc_by(now - before);
            }
            metrics.enrichment_upstream.get_or_create(&ByResult { result: "sent" }).inc_by(now.calls - before.calls);
            before = now;
        }
    });
}
