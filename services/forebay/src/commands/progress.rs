use std::io::IsTerminal;
use std::time::{Duration, Instant};

use forebay_api::{Constraint, JobProgress};
use forebay_budget::{Budget, Pressure};
use forebay_enrichment::Enrichment;
use forebay_types::{ByteSize, ChunkState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::ProgressKind;

/// Time between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

/// What is known of a job's process, if it is this one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Here<'a> {
    pub(crate) budget: &'a Budget,
    /// Chunks in work.
    pub(crate) at_work: usize,
    /// What is looked up.
    pub(crate) enrichment: &'a Enrichment,
}

impl Here<'_> {
    /// What was looked up so far: keys by where their answers came from.
    fn enrichment(&self) -> Value {
        let stats = self.enrichment.stats();
        json!({
            "keys": stats.keys, "memory": stats.memory, "store": stats.store, "reference": stats.reference,
            "shared": stats.shared, "upstream": stats.upstream, "stale": stats.stale, "invalid": stats.invalid,
            "failed": stats.failed, "calls": stats.calls, "waiting": stats.waiting, "rate": self.enrichment.rate(),
        })
    }

    /// What waits for an upstream, and how long at this rate.
    fn waits(&self) -> String {
        let (stats, rate) = (self.enrichment.stats(), self.enrichment.rate());
        if stats.waiting == 0 {
            return String::new();
        }
        let time = if rate > 0.0 { format!(", {:.0}s", stats.waiting as f64 / rate) } else { String::new() };
        format!("  {} calls, {} keys wait at {rate:.1}/s{time}", stats.calls, stats.waiting)
    }

    fn pressure(&self) -> &'static str {
        match self.budget.pressure() {
            Pressure::Normal => "normal",
            Pressure::High => "high",
            Pressure::Critical => "critical",
        }
    }
}

/// Shows how a job goes.
pub(crate) struct Progress {
    kind: ProgressKind,
    bar: Option<ProgressBar>,
    started: Instant,
    line: Option<Instant>,
    /// What was committed when this run began, so that speeds are this run's.
    first: Option<(u64, u64)>,
}

impl Progress {
    pub(crate) fn new(kind: ProgressKind) -> Self {
        let kind = match kind {
            ProgressKind::Auto if std::io::stderr().is_terminal() => ProgressKind::Auto,
            ProgressKind::Auto => ProgressKind::Plain,
            other => other,
        };
        let bar = (kind == ProgressKind::Auto).then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(8));
            let style = ProgressStyle::with_template("{bar:28} {percent:>3}%  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { kind, bar, started: Instant::now(), line: None, first: None }
    }

    pub(crate) fn update(&mut self, progress: &JobProgress, here: Option<Here<'_>>) {
        let rows: u64 = progress.rows_out.iter().map(|table| table.rows).sum();
        let (first_rows, first_bytes) = *self.first.get_or_insert((rows, progress.bytes_in));
        let seconds = self.started.elapsed().as_secs_f64().max(0.001);
        let rows_per_second = (rows - first_rows) as f64 / seconds;
        let bytes_per_second = progress.bytes_in.saturating_sub(first_bytes) as f64 / seconds;
        let eta = progress
            .bytes_total
            .filter(|_| bytes_per_second > 0.0)
            .map(|total| Duration::from_secs_f64(total.saturating_sub(progress.bytes_in) as f64 / bytes_per_second));
        let rejects: u64 = progress.rejects.values().sum();
        let speed = Speed { rows: rows_per_second, bytes: bytes_per_second, eta };
        let due = self.line.is_none_or(|last| last.elapsed() >= LINE);
        match self.kind {
            ProgressKind::Auto => {
                let Some(bar) = &self.bar else { return };
                bar.set_length(progress.bytes_total.unwrap_or(progress.bytes_in));
                bar.set_position(progress.bytes_in);
                bar.set_message(describe(&speed, rejects, progress, here));
            }
            ProgressKind::Plain if due => {
                let percent = progress.bytes_total.filter(|total| *total > 0);
                let percent =
                    percent.map_or(String::new(), |total| format!("{:>3}%  ", progress.bytes_in * 100 / total));
                eprintln!("{percent}{}", describe(&speed, rejects, progress, here));
                self.line = Some(Instant::now());
            }
            ProgressKind::Json if due => {
                let mut line = json!({
                    "job": progress.summary.job, "state": progress.summary.state.as_str(),
                    "records_in": progress.records_in, "rows": rows, "rejects": rejects,
                    "bytes_in": progress.bytes_in, "bytes_total": progress.bytes_total,
                    "bytes_out": progress.bytes_out, "rows_per_second": rows_per_second,
                    "bytes_per_second": bytes_per_second, "eta_seconds": eta.map(|eta| eta.as_secs_f64()),
                    "chunks": progress.chunks, "waiting_for": progress.constraint.map(Constraint::as_str),
                });
                if let (Some(here), Some(line)) = (here, line.as_object_mut()) {
                    line.insert("budget_bytes".to_owned(), here.budget.limit().into());
                    line.insert("budget_used".to_owned(), here.budget.used().into());
                    line.insert("pressure".to_owned(), here.pressure().into());
                    line.insert("in_flight".to_owned(), here.at_work.into());
                    line.insert("enrichment".to_owned(), here.enrichment());
                }
                eprintln!("{line}");
                self.line = Some(Instant::now());
            }
            ProgressKind::Plain | ProgressKind::Json | ProgressKind::None => {}
        }
    }

    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How fast a job goes.
struct Speed {
    rows: f64,
    bytes: f64,
    eta: Option<Duration>,
}

fn describe(speed: &Speed, rejects: u64, progress: &JobProgress, here: Option<Here<'_>>) -> String {
    let eta = speed.eta.map_or(String::new(), |eta| format!("  eta {}s", eta.as_secs()));
    let place = match here {
        Some(here) => {
            let pressure = match here.pressure() {
                "normal" => String::new(),
                pressure => format!(" ({pressure})"),
            };
            let (used, limit) = (ByteSize(here.budget.used()), ByteSize(here.budget.limit()));
            format!("  budget {used} of {limit}{pressure}  {} in work{}", here.at_work, here.waits())
        }
        None => {
            let waiting = progress.chunks.get(ChunkState::Staged.as_str()).copied().unwrap_or(0);
            let constraint =
                progress.constraint.map_or(String::new(), |constraint| format!("  limited by {}", constraint.as_str()));
            format!("  {waiting} chunks waiting{constraint}")
        }
    };
    format!("{:.0} rows/s  {}/s{place}  {rejects} rejects{eta}", speed.rows, ByteSize(speed.bytes as u64))
}
