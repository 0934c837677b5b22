use std::process::ExitCode;

use forebay_api::{Caller, Gateway, JobProgress};
use forebay_types::{ByteSize, JobState};
use futures::StreamExt;

use crate::cli::{CancelArgs, FAILED, ProgressKind, REJECTS, WatchArgs};
use crate::commands::progress::Progress;
use crate::commands::run::runtime;
use crate::commands::server::Pauses;
use crate::commands::service_error;
use crate::report::Report;

/// `forebay watch`
pub(crate) fn run(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let gateway = args.keeper.gateway().await?;
        let kind = if args.json { ProgressKind::Json } else { ProgressKind::Auto };
        let progress = follow(gateway.as_ref(), &args.job, kind).await?;
        let report = Report::new(&progress, seconds(&progress), None);
        if args.json {
            println!("{}", serde_json::to_string(&report)?);
            return Ok(exit_status(&report, &progress));
        }
        conclude(&report, &progress)
    })
}

/// `forebay cancel`
pub(crate) fn cancel(args: &CancelArgs) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let gateway = args.keeper.gateway().await?;
        gateway.cancel_job(&Caller::local(), &args.job).await.map_err(service_error)?;
        println!("job {}: cancelled; what was committed stays", args.job);
        Ok(ExitCode::SUCCESS)
    })
}

/// Shows a job's progress until its end. A gateway that goes away in between is asked again.
pub(crate) async fn follow(gateway: &dyn Gateway, job: &str, kind: ProgressKind) -> anyhow::Result<JobProgress> {
    let mut shown = Progress::new(kind);
    let mut pauses = Pauses::new();
    let mut last: Option<JobProgress> = None;
    loop {
        let error = match gateway.watch_job(&Caller::local(), job).await {
            Ok(mut updates) => loop {
                match updates.next().await {
                    Some(Ok(progress)) => {
                        pauses.forget();
                        shown.update(&progress, None);
                        last = Some(progress);
                    }
                    Some(Err(error)) => break Some(error),
                    None => break None,
                }
            },
            Err(error) => Some(error),
        };
        match (error, &last) {
            (None, Some(progress)) if progress.summary.state != JobState::Running => {
                shown.finish();
                return Ok(progress.clone());
            }
            // A stream that ends early was cut.
            (None, _) => tokio::time::sleep(super::server::FIRST_PAUSE).await,
            (Some(error), _) => pauses.after(error).await.map_err(|error| {
                shown.finish();
                service_error(error)
            })?,
        }
    }
}

fn seconds(progress: &JobProgress) -> f64 {
    let ended = progress.summary.ended_at.unwrap_or(progress.summary.created_at);
    (ended - progress.summary.created_at) as f64 / 1e6
}

/// Says how a job ended that other processes did.
pub(crate) fn conclude(report: &Report, progress: &JobProgress) -> anyhow::Result<ExitCode> {
    if progress.summary.state == JobState::Failed {
        let error = progress.summary.error.clone().unwrap_or_else(|| "no reason was kept".to_owned());
        anyhow::bail!("job {} failed: {error}", report.job);
    }
    let width = report.rows_out.keys().map(String::len).max().unwrap_or(0);
    for (table, rows) in &report.rows_out {
        println!("{table:<width$}  {rows:>12} rows");
    }
    println!(
        "job {}: {}, {} records in, {} rejected, in {:.2} s ({} in, {} out)",
        report.job,
        report.state,
        report.records_in,
        report.rejected(),
        report.seconds,
        ByteSize(report.bytes_in),
        ByteSize(report.bytes_out),
    );
    Ok(exit_status(report, progress))
}

fn exit_status(report: &Report, progress: &JobProgress) -> ExitCode {
    match progress.summary.state {
        JobState::Done if report.rejected() > 0 => ExitCode::from(REJECTS),
        JobState::Done => ExitCode::SUCCESS,
        JobState::Running | JobState::Failed | JobState::Cancelled => ExitCode::from(FAILED),
    }
}
