use std::collections::BTreeMap;

use forebay_api::JobProgress;
use forebay_recipe::Prepared;
use forebay_types::RECORDS_IGNORED;
use serde::Serialize;

/// A job's report, as `--report` writes it.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Idempotency key.
    pub job: String,
    /// `done`, `failed`, `cancelled` or `running` (interrupted; it resumes).
    pub state: String,
    /// Records read: written, rejected and ignored ones.
    pub records_in: u64,
    /// Of these, records of kinds that the recipe leaves out; left out where there were none.
    #[serde(skip_serializing_if = "is_zero")]
    pub records_ignored: u64,
    /// Rows by table.
    pub rows_out: BTreeMap<String, u64>,
    /// Rejects by reason.
    pub rejects: BTreeMap<String, u64>,
    /// Input bytes, decompressed.
    pub bytes_in: u64,
    /// Bytes of Parquet files.
    pub bytes_out: u64,
    /// Wall time of this run.
    pub seconds: f64,
    /// Seconds by stage, summed over workers.
    pub stages: BTreeMap<String, f64>,
    /// Largest resident size of the process; null for a job that other processes did.
    pub peak_rss_bytes: Option<u64>,
    /// The budget of the process; null as above.
    pub budget_bytes: Option<u64>,
    /// Enrichment, over all steps.
    pub enrichment: Enrichment,
    /// De-duplication: none of the recipes that there are does it.
    pub dedup: Dedup,
    /// Chunks, not counting those that were split.
    pub chunks: u64,
    /// Attempts beyond each chunk's first.
    pub retries: u64,
    /// What the recipe did to identifiers: `safe-harbor`, `limited` or `public`; left out where the recipe names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<&'static str>,
    /// Why the job failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Counts of the enrichment.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Enrichment {
    /// Keys that were looked up: the unique ones of each chunk.
    pub keys: u64,
    /// Of these, known without a call of their own: to a cache, a file, or whoever else was asking.
    pub cache_hits: u64,
    /// Requests that were sent upstream, repeats among them.
    pub upstream_calls: u64,
    /// Keys without an answer; those that can't be right among them.
    pub failed: u64,
    /// Keys by where their answers came from.
    pub by_source: BTreeMap<String, u64>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Before the names of what the enrichment counts.
const ENRICHMENT: &str = "enrichment.";

impl Enrichment {
    fn new(counts: &BTreeMap<String, u64>) -> Self {
        let count = |name: &str| counts.get(&format!("{ENRICHMENT}{name}")).copied().unwrap_or(0);
        let sum = |names: &[&str]| names.iter().map(|name| count(name)).sum();
        let sources = counts.iter().filter_map(|(name, n)| Some((name.strip_prefix(ENRICHMENT)?, *n)));
        Self {
            keys: count("keys"),
            cache_hits: sum(&["memory", "store", "reference", "shared", "stale"]),
            upstream_calls: count("calls"),
            failed: sum(&["none", "invalid"]),
            by_source: sources
                .filter(|(name, _)| !matches!(*name, "keys" | "calls"))
                .map(|(name, n)| (name.to_owned(), n))
                .collect(),
        }
    }
}

/// Counts of the de-duplication.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Dedup {
    /// Rows looked at.
    pub seen: u64,
    /// Rows left out.
    pub dropped: u64,
}

impl Report {
    /// The report of a job as it stands. `budget` is this process' own, if it does the job.
    pub fn new(progress: &JobProgress, seconds: f64, budget: Option<u64>) -> Self {
        let chunks = progress.chunks.iter().filter(|(state, _)| *state != "split").map(|(_, n)| n).sum();
        Self {
            job: progress.summary.job.clone(),
            state: progress.summary.state.as_str().to_owned(),
            records_in: progress.records_in,
            records_ignored: progress.counts.get(RECORDS_IGNORED).copied().unwrap_or(0),
            rows_out: progress.rows_out.iter().map(|table| (table.table.clone(), table.rows)).collect(),
            rejects: progress.rejects.clone(),
            bytes_in: progress.bytes_in,
            bytes_out: progress.bytes_out,
            seconds,
            stages: progress.stages.iter().map(|(stage, micros)| (stage.clone(), *micros as f64 / 1e6)).collect(),
            peak_rss_bytes: budget.map(|_| forebay_budget::memory::peak_resident()),
            budget_bytes: budget,
            enrichment: Enrichment::new(&progress.counts),
            dedup: Dedup::default(),
            chunks,
            retries: progress.retries,
            profile: None,
            error: progress.summary.error.clone(),
        }
    }

    /// Adds the profile that wrote the tables, if the recipe names any identifier.
    #[must_use]
    pub fn with_profile(self, prepared: &Prepared) -> Self {
        let layout = &prepared.layout;
        let names_any = layout.tables.iter().flat_map(|table| &table.columns).any(|column| column.identifies.is_some());
        let profile = (layout.protected || names_any).then(|| prepared.recipe.profile().as_str());
        Self { profile, ..self }
    }

    /// Rejects in all.
    pub fn rejected(&self) -> u64 {
        self.rejects.values().sum()
    }
}
