//! The metrics of all services, in OpenMetrics names and base units. A process exposes those that it has touched.

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry, Unit};

const PREFIX: &str = "forebay";

/// From a millisecond, which a call inside a machine takes, to minutes, which a chunk may.
fn seconds() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0])
}

macro_rules! labels {
    ($($(#[doc = $doc:literal])* $name:ident { $($(#[doc = $field_doc:literal])* $field:ident),* })*) => {
        $($(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
        pub struct $name {
            $($(#[doc = $field_doc])* pub $field: &'static str,)*
        })*
    };
}

labels! {
    /// What became of something.
    ByOutcome {
        /// `read`, `written` or `rejected`.
        outcome
    }
    /// Why something was refused.
    ByReason {
        /// A stable code.
        reason
    }
    /// Where bytes went.
    ByFlow {
        /// `received`, `staged` or `written`.
        flow
    }
    /// A step of the work on a chunk.
    ByStage {
        /// As in a job's report.
        stage
    }
    /// How something ended.
    ByResult {
        /// A word such as `committed`, `failed`, `hit` or `miss`.
        result
    }
    /// A part of the budget.
    ByPool {
        /// As in the plan.
        pool
    }
    /// A queue.
    ByQueue {
        /// Its name.
        queue
    }
    /// A gRPC service.
    ByService {
        /// Its full name.
        service
    }
    /// A gRPC method.
    ByMethod {
        /// The service's full name.
        service,
        /// The method's name.
        method
    }
    /// A gRPC method and how its calls ended.
    ByCode {
        /// The service's full name.
        service,
        /// The method's name.
        method,
        /// The status code's name, such as `OK`.
        code
    }
}

/// What one metric means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name, as it is scraped.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts.
    pub help: &'static str,
}

/// A registry under construction, with what it holds written down.
struct Builder {
    registry: Registry,
    descriptions: Vec<Description>,
}

impl Builder {
    fn add<M: Metric + Clone>(&mut self, of: Entry, kind: &'static str, suffix: &str, metric: M) -> M {
        let unit = of.unit.as_ref().map_or_else(String::new, |unit| format!("_{}", unit.as_str()));
        let name = format!("{PREFIX}_{}{unit}{suffix}", of.name);
        self.descriptions.push(Description { name, kind, labels: of.labels, help: of.help });
        match of.unit {
            Some(unit) => self.registry.register_with_unit(of.name, of.help, unit, metric.clone()),
            None => self.registry.register(of.name, of.help, metric.clone()),
        }
        metric
    }

    fn counter<M: Metric + Clone + Default>(&mut self, of: Entry) -> M {
        self.add(of, "counter", "_total", M::default())
    }

    fn gauge<M: Metric + Clone + Default>(&mut self, of: Entry) -> M {
        self.add(of, "gauge", "", M::default())
    }

    fn seconds<M: Metric + Clone>(&mut self, of: Entry, metric: M) -> M {
        self.add(Entry { unit: Some(Unit::Seconds), ..of }, "histogram", "", metric)
    }
}

struct Entry {
    name: &'static str,
    unit: Option<Unit>,
    labels: &'static [&'static str],
    help: &'static str,
}

const fn plain(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, unit: None, labels, help }
}

const fn bytes(name: &'static str, labels: &'static [&'static str], help: &'static str) -> Entry {
    Entry { name, unit: Some(Unit::Bytes), labels, help }
}

type Seconds<L> = Family<L, Histogram, fn() -> Histogram>;

macro_rules! metrics {
    ($($field:ident: $kind:ty = |$builder:ident| $make:expr, $help:literal;)*) => {
        /// The metrics of a process. Clones share their values.
        #[derive(Clone)]
        pub struct Metrics {
            registry: Arc<Registry>,
            descriptions: Arc<[Description]>,
            $(#[doc = $help] pub $field: $kind,)*
        }

        impl Default for Metrics {
            fn default() -> Self {
                let mut builder = Builder { registry: Registry::with_prefix(PREFIX), descriptions: Vec::new() };
                $(let $field: $kind = {
                    const HELP: &str = $help;
                    let $builder = (&mut builder, HELP);
                    $make
                };)*
                let descriptions = builder.descriptions.into();
                Self { registry: Arc::new(builder.registry), descriptions, $($field,)* }
            }
        }
    };
}

metrics! {
    records: Family<ByOutcome, Counter> = |b| b.0.counter(plain("records", &["outcome"], b.1)),
        "Records of committed chunks: read, written, rejected";
    rejects: Family<ByReason, Counter> = |b| b.0.counter(plain("rejects", &["reason"], b.1)),
        "Rejected records of committed chunks, by reason code";
    flow_bytes: Family<ByFlow, Counter> = |b| b.0.counter(bytes("flow", &["flow"], b.1)),
        "Bytes received from clients, staged, and written to tables";
    stage_seconds: Seconds<ByStage> =
        |b| b.0.seconds(plain("stage", &["stage"], b.1), Family::new_with_constructor(seconds as fn() -> Histogram)),
        "Time that a chunk spent in a stage";
    attempts: Family<ByResult, Counter> = |b| b.0.counter(plain("attempts", &["result"], b.1)),
        "Attempts at chunks, by how they ended";
    chunks_in_flight: Gauge = |b| b.0.gauge(plain("chunks_in_flight", &[], b.1)),
        "Chunks in work in this process";
    leases: Gauge = |b| b.0.gauge(plain("leases", &[], b.1)),
        "Leases that this process holds";
    leases_lost: Counter = |b| b.0.counter(plain("leases_lost", &[], b.1)),
        "Attempts that were not the newest any more when they ended: their leases ran out, or their job ended";
    queue_depth: Family<ByQueue, Gauge> = |b| b.0.gauge(plain("queue_depth", &["queue"], b.1)),
        "Chunks that wait for a worker";
    budget_limit_bytes: Family<ByPool, Gauge> = |b| b.0.gauge(bytes("budget_limit", &["pool"], b.1)),
        "What a pool of the budget may hold";
    budget_used_bytes: Family<ByPool, Gauge> = |b| b.0.gauge(bytes("budget_used", &["pool"], b.1)),
        "What is reserved in a pool of the budget";
    resident_memory_bytes: Gauge = |b| b.0.gauge(bytes("resident_memory", &[], b.1)),
        "Resident memory of this process";
    staged_bytes: Gauge = |b| b.0.gauge(bytes("staged", &[], b.1)),
        "Bytes in staging";
    commits: Family<ByResult, Counter> = |b| b.0.counter(plain("commits", &["result"], b.1)),
        "Commit groups, by how they ended";
    delta_commits: Family<ByResult, Counter> = |b| b.0.counter(plain("delta_commits", &["result"], b.1)),
        "Commits to Delta logs, by how they ended";
    delta_commit_seconds: Histogram = |b| b.0.seconds(plain("delta_commit", &[], b.1), seconds()),
        "Time that a commit to a Delta log took";
    enrichment_keys: Family<ByResult, Counter> = |b| b.0.counter(plain("enrichment_keys", &["result"], b.1)),
        "Keys looked up, by where the answer came from";
    enrichment_upstream: Family<ByResult, Counter> = |b| b.0.counter(plain("enrichment_upstream", &["result"], b.1)),
        "Requests sent to upstream APIs";
    connections: Gauge = |b| b.0.gauge(plain("connections", &[], b.1)),
        "Open gRPC connections";
    connections_refused: Family<ByReason, Counter> =
        |b| b.0.counter(plain("connections_refused", &["reason"], b.1)),
        "Connections closed before their first call could be read, by reason";
    calls_refused: Family<ByReason, Counter> = |b| b.0.counter(plain("calls_refused", &["reason"], b.1)),
        "gRPC calls refused before their body was read, by reason";
    calls_in_flight: Family<ByService, Gauge> = |b| b.0.gauge(plain("grpc_calls_in_flight", &["service"], b.1)),
        "gRPC calls in work";
    calls: Family<ByCode, Counter> = |b| b.0.counter(plain("grpc_calls", &["service", "method", "code"], b.1)),
        "gRPC calls that ended, by status code";
    call_seconds: Seconds<ByMethod> =
        |b| b.0.seconds(plain("grpc_call", &["service", "method"], b.1), Family::new_with_constructor(seconds as fn() -> Histogram)),
        "Time from the headers of a gRPC call to the end of its answer";
}

impl Metrics {
    /// What there is, in the order of the documentation.
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// The values now, as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing into a string cannot fail; a metric that failed to encode would end the text early, without its EOF.
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be encoded in full");
        }
        text
    }

    /// The table of `docs/operations.md`.
    pub fn table(&self) -> String {
        let mut table = String::from("| metric | type | labels | |\n|---|---|---|---|\n");
        for Description { name, kind, labels, help } in self.descriptions() {
            let labels = labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
            table.push_str(&format!("| `{name}` | {kind} | {labels} | {help} |\n"));
        }
        table
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_lists_every_metric() {
        let documentation = include_str!("../../../docs/operations.md");
        let table = Metrics::default().table();
        assert!(documentation.contains(&table), "put this into docs/operations.md:\n{table}");
    }

    #[test]
    fn names_and_labels_are_scraped_as_they_are_described() {
        let metrics = Metrics::default();
        metrics.records.get_or_create(&ByOutcome { outcome: "read" }).inc_by(3);
        metrics.delta_commit_seconds.observe(0.2);
        metrics.budget_used_bytes.get_or_create(&ByPool { pool: "held" }).set(7);
        let call = ByMethod { service: "s", method: "m" };
        metrics.call_seconds.get_or_create(&call).observe(0.002);
        let text = metrics.encode();
        for line in [
            "forebay_records_total{outcome=\"read\"} 3",
            "forebay_delta_commit_seconds_count 1",
            "forebay_budget_used_bytes{pool=\"held\"} 7",
            "forebay_grpc_call_seconds_bucket{le=\"0.005\",service=\"s\",method=\"m\"} 1",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        for described in metrics.descriptions() {
            let name = described.name.trim_end_matches("_total");
            let shown = text.contains(&format!("# TYPE {name} {}", described.kind));
            assert!(shown || !described.labels.is_empty(), "{described:?}\n{text}");
        }
    }
}
