use forebay_api::{AttemptResult, Event, LogResult, Observer};
use forebay_telemetry::{ByFlow, ByOutcome, ByReason, ByResult, ByStage, Metrics};
use forebay_types::Reason;

/// Counts what the services of a process do.
pub(super) fn observer(metrics: &Metrics) -> Observer {
    let metrics = metrics.clone();
    Observer::new(move |event| count(&metrics, event))
}

fn count(metrics: &Metrics, event: Event<'_>) {
    let flow = |flow, bytes| {
        metrics.flow_bytes.get_or_create(&ByFlow { flow }).inc_by(bytes);
    };
    let commit = |result| {
        metrics.commits.get_or_create(&ByResult { result }).inc();
    };
    match event {
        Event::Received { bytes } => flow("received", bytes),
        Event::Staged { bytes } => flow("staged", bytes),
        Event::AttemptBegan => {
            metrics.chunks_in_flight.inc();
        }
        Event::AttemptEnded { result } => {
            metrics.chunks_in_flight.dec();
            metrics.attempts.get_or_create(&ByResult { result: attempt(result) }).inc();
            if result == AttemptResult::Stale {
                metrics.leases_lost.inc();
            }
        }
        Event::Leases { held } => {
            metrics.leases.set(i64::try_from(held).unwrap_or(i64::MAX));
        }
        Event::AttemptWritten { stages } => {
            for (stage, micros) in stages.iter().filter_map(|(stage, micros)| Some((known(stage)?, micros))) {
                metrics.stage_seconds.get_or_create(&ByStage { stage }).observe(*micros as f64 / 1e6);
            }
        }
        Event::GroupCommitted { records_in, rows, rejects, bytes } => {
            commit("committed");
            flow("written", bytes);
            let rejected = rejects.values().sum();
            for (outcome, n) in [("read", records_in), ("written", rows), ("rejected", rejected)] {
                metrics.records.get_or_create(&ByOutcome { outcome }).inc_by(n);
            }
            for (reason, n) in rejects.iter().filter_map(|(code, n)| Some((Reason::parse(code)?.code(), n))) {
                metrics.rejects.get_or_create(&ByReason { reason }).inc_by(*n);
            }
        }
        Event::GroupGivenUp { lost } => commit(if lost { "lost" } else { "failed" }),
        Event::LogCommitted { result, took } => {
            metrics.delta_commits.get_or_create(&ByResult { result: log(result) }).inc();
            metrics.delta_commit_seconds.observe(took.as_secs_f64());
        }
    }
}

const fn attempt(result: AttemptResult) -> &'static str {
    match result {
        AttemptResult::Written => "written",
        AttemptResult::HandedBack => "handed_back",
        AttemptResult::Stale => "stale",
        AttemptResult::Retried => "retried",
        AttemptResult::Failed => "failed",
        AttemptResult::Died => "died",
    }
}

const fn log(result: LogResult) -> &'static str {
    match result {
        LogResult::Published => "published",
        LogResult::AlreadyThere => "already_there",
        LogResult::Failed => "failed",
    }
}

/// The stages of a report. What else another version's worker may send is left out, so that series stay few.
fn known(stage: &str) -> Option<&'static str> {
    ["read", "decode", "steps", "wait_for_storage"].into_iter().find(|known| *known == stage)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    #[test]
    fn each_event_is_counted_where_the_documentation_says() {
        let metrics = Metrics::default();
        let observer = observer(&metrics);
        let rejects = BTreeMap::from([("syntax".to_owned(), 2)]);
        let stages = BTreeMap::from([("decode".to_owned(), 3_000), ("of another version".to_owned(), 1)]);
        for event in [
            Event::Received { bytes: 5 },
            Event::Staged { bytes: 6 },
            Event::AttemptBegan,
            Event::AttemptBegan,
            Event::AttemptEnded { result: AttemptResult::Stale },
            Event::Leases { held: 3 },
            Event::AttemptWritten { stages: &stages },
            Event::GroupCommitted { records_in: 9, rows: 7, rejects: &rejects, bytes: 8 },
            Event::GroupGivenUp { lost: true },
            Event::LogCommitted { result: LogResult::Published, took: Duration::from_millis(2) },
        ] {
            observer.tell(event);
        }
        let text = metrics.encode();
        for line in [
            "forebay_flow_bytes_total{flow=\"received\"} 5",
            "forebay_flow_bytes_total{flow=\"staged\"} 6",
            "forebay_flow_bytes_total{flow=\"written\"} 8",
            "forebay_chunks_in_flight 1",
            "forebay_attempts_total{result=\"stale\"} 1",
            "forebay_leases_lost_total 1",
            "forebay_leases 3",
            "forebay_stage_seconds_count{stage=\"decode\"} 1",
            "forebay_records_total{outcome=\"read\"} 9",
            "forebay_records_total{outcome=\"written\"} 7",
            "forebay_records_total{outcome=\"rejected\"} 2",
            "forebay_rejects_total{reason=\"syntax\"} 2",
            "forebay_commits_total{result=\"committed\"} 1",
            "forebay_commits_total{result=\"lost\"} 1",
            "forebay_delta_commits_total{result=\"published\"} 1",
            "forebay_delta_commit_seconds_count 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(!text.contains("another version"), "{text}");
    }
}
