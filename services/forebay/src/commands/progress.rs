use std::io::IsTerminal;
use std::time::{Duration, Instant};

use forebay_api::JobProgress;
use forebay_budget::{Budget, Pressure};
use forebay_types::ByteSize;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use crate::cli::ProgressKind;

/// Time between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(2);

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

    pub(crate) fn update(&mut self, progress: &JobProgress, budget: &Budget, at_work: usize) {
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
        let pressure = match budget.pressure() {
            Pressure::Normal => "normal",
            Pressure::High => "high",
            Pressure::Critical => "critical",
        };
        let due = self.line.is_none_or(|last| last.elapsed() >= LINE);
        match self.kind {
            ProgressKind::Auto => {
                let Some(bar) = &self.bar else { return };
                bar.set_length(progress.bytes_total.unwrap_or(progress.bytes_in));
                bar.set_position(progress.bytes_in);
                bar.set_message(describe(rows_per_second, bytes_per_second, eta, budget, at_work, rejects, pressure));
            }
            ProgressKind::Plain if due => {
                let percent = progress.bytes_total.filter(|total| *total > 0);
                let percent =
                    percent.map_or(String::new(), |total| format!("{:>3}%  ", progress.bytes_in * 100 / total));
                let line = describe(rows_per_second, bytes_per_second, eta, budget, at_work, rejects, pressure);
                eprintln!("{percent}{line}");
                self.line = Some(Instant::now());
            }
            ProgressKind::Json if due => {
                eprintln!(
                    "{}",
                    json!({
                        "job": progress.summary.job, "state": progress.summary.state.as_str(),
                        "records_in": progress.records_in, "rows": rows, "rejects": rejects,
                        "bytes_in": progress.bytes_in, "bytes_total": progress.bytes_total,
                        "bytes_out": progress.bytes_out, "rows_per_second": rows_per_second,
                        "bytes_per_second": bytes_per_second, "eta_seconds": eta.map(|eta| eta.as_secs_f64()),
                        "budget_bytes": budget.limit(), "budget_used": budget.used(), "pressure": pressure,
                        "in_flight": at_work, "chunks": progress.chunks,
                    })
                );
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

fn describe(
    rows: f64,
    bytes: f64,
    eta: Option<Duration>,
    budget: &Budget,
    at_work: usize,
    rejects: u64,
    pressure: &str,
) -> String {
    let eta = eta.map_or(String::new(), |eta| format!("  eta {}s", eta.as_secs()));
    let pressure = if pressure == "normal" { String::new() } else { format!(" ({pressure})") };
    format!(
        "{rows:.0} rows/s  {}/s  budget {} of {}{pressure}  {at_work} in work  {rejects} rejects{eta}",
        ByteSize(bytes as u64),
        ByteSize(budget.used()),
        ByteSize(budget.limit()),
    )
}
