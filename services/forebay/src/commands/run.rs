use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use forebay_api::{BoxStream, Caller, Gateway as _, JobProgress, ServiceError, SubmitEvent, SubmitRequest};
use forebay_objects::Place;
use forebay_types::{ByteSize, JobState};
use futures::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::{FAILED, REJECTS, RunArgs};
use crate::commands::progress::{Here, Progress};
use crate::commands::{how_to_open, load_recipe, parse_settings, plan_for, service_error, sink};
use crate::embedded::{Embedded, EmbeddedConfig, state_folder};
use crate::keys;
use crate::report::Report;
use crate::supervisor::{self, Role};
use crate::trim;

/// How often progress is shown.
const TICK: Duration = Duration::from_millis(250);

/// Exit status of a job that was interrupted.
const INTERRUPTED: u8 = FAILED;

/// `forebay run`
pub(crate) fn start(args: RunArgs) -> anyhow::Result<ExitCode> {
    match supervisor::role()? {
        Role::Supervisor => {
            // A stream that a worker has read from can't be read again by the next one.
            let stream = args.inputs.iter().any(|input| input == "-");
            supervisor::supervise(!stream)
        }
        Role::Worker { died } => {
            let runtime = runtime()?;
            let output = args.output.clone();
            let result = runtime.block_on(run(args, died.is_some())).map_err(|error| name_full_disk(error, &output));
            // A blocking read of standard input would keep the process.
            runtime.shutdown_timeout(Duration::from_secs(1));
            result
        }
    }
}

/// The runtime of a worker. Its blocking threads are bounded: each has a stack, and caches of the allocator.
pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().max_blocking_threads(32).build()?)
}

/// A database only says that its disk is full, not where it is, and not what to do.
fn name_full_disk(error: anyhow::Error, output: &str) -> anyhow::Error {
    match Place::open(output) {
        Ok(place) if format!("{error:#}").contains("disk is full") => error.context(format!(
            "no space left at {} for the catalog: free some and run the same command again, it resumes",
            state_folder(&place).display()
        )),
        _ => error,
    }
}

/// Signals that ask a job to stop.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// From now on they do not end the process by themselves.
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

async fn run(args: RunArgs, crashed: bool) -> anyhow::Result<ExitCode> {
    let signals = Signals::listen()?;
    let (recipe, text) = load_recipe(&args.recipe)?;
    let mut settings = parse_settings(&args.job.settings)?;
    let sink = sink::asked(&mut settings, args.sink.as_ref())?;
    let request = SubmitRequest {
        key: args.job.job_key.clone(),
        recipe,
        settings: settings.clone(),
        format: args.job.format.clone(),
        output: args.output.clone(),
        inputs: args.inputs.clone(),
        streams: Vec::new(),
        max_rejects: args.job.max_rejects,
    };
    let (plan, prepared, steps) = plan_for(&args.recipe, &text, &settings, args.memory, &args.output).await?;
    trim::start(plan.memory.0, trim::OF_A_JOB);
    if let (Some(url), Some(target)) = (&sink, &prepared.tuning.sink) {
        sink::prepare(url, target, steps.tables()).await?;
    }
    let started = Instant::now();
    // Large, and done once: what waits should not carry it.
    let embedded = Box::pin(Embedded::start(EmbeddedConfig {
        output: args.output.clone(),
        plan: plan.clone(),
        file_bytes: prepared.tuning.file_bytes.0,
        commit_interval: prepared.tuning.commit_interval,
        crashed,
        sink,
        keys: keys::of_user()?,
    }))
    .await?;
    let ended = drive(&embedded, request, &args, signals).await;
    let result = match ended {
        Ok(Ended { key, interrupted, before, error }) => {
            let progress = embedded.gateway.get_job(&Caller::local(), &key).await.map_err(service_error)?;
            let report =
                Report::new(&progress, started.elapsed().as_secs_f64(), Some(plan.memory.0)).with_profile(&prepared);
            if let Some(path) = &args.report {
                let text = serde_json::to_string_pretty(&report)?;
                std::fs::write(path, text + "\n").with_context(|| format!("can't write {}", path.display()))?;
            }
            let tables: Vec<String> = steps.tables().iter().map(|(name, _)| name.clone()).collect();
            match error {
                Some(error) => Err(service_error(error)),
                None => conclude(&progress, &report, &tables, &args, interrupted, before),
            }
        }
        Err(error) => Err(error),
    };
    embedded.stop().await?;
    result
}

/// How the wait for a job ended.
struct Ended {
    key: String,
    interrupted: bool,
    /// The state that the job had ended in before, if it had.
    before: Option<JobState>,
    /// Why its input could not be read.
    error: Option<ServiceError>,
}

/// Submits the job and waits for its end, or for a signal.
async fn drive(
    embedded: &Embedded,
    request: SubmitRequest,
    args: &RunArgs,
    mut signals: Signals,
) -> anyhow::Result<Ended> {
    let mut events = embedded
        .gateway
        .submit(&Caller::local(), request, futures::stream::empty().boxed())
        .await
        .map_err(service_error)?;
    let accepted = match events.next().await {
        Some(Ok(SubmitEvent::Accepted(accepted))) => accepted,
        Some(Err(error)) => return Err(service_error(error)),
        Some(Ok(_)) | None => anyhow::bail!("the job was not accepted"),
    };
    let key = accepted.job;
    if accepted.ended.is_some() {
        return Ok(Ended { key, interrupted: false, before: accepted.ended, error: None });
    }
    let mut progress = Progress::new(args.job.progress);
    let mut updates = embedded.gateway.watch_job(&Caller::local(), &key).await.map_err(service_error)?;
    let mut latest: Option<JobProgress> = None;
    let mut framing = true;
    loop {
        tokio::select! {
            event = events.next(), if framing => match event {
                Some(Ok(_)) => {}
                Some(Err(error)) => {
                    progress.finish();
                    return Ok(Ended { key, interrupted: false, before: None, error: Some(error) });
                }
                None => framing = false,
            },
            update = updates.next() => match update {
                Some(update) => latest = Some(update.map_err(service_error)?),
                None => {
                    progress.finish();
                    // A job that failed of its input ends before the reason is told.
                    let failed = latest.as_ref().is_some_and(|latest| latest.summary.state == JobState::Failed);
                    let error = if framing && failed { last_word(&mut events).await } else { None };
                    return Ok(Ended { key, interrupted: false, before: None, error });
                }
            },
            () = tokio::time::sleep(TICK) => {
                if let Some(error) = embedded.broken() {
                    progress.finish();
                    anyhow::bail!(error);
                }
            }
            () = signals.next() => break,
        }
        if let Some(latest) = &latest {
            let (budget, at_work, enrichment) = (&embedded.budget, embedded.at_work(), embedded.enrichment.as_ref());
            progress.update(latest, Some(Here { budget, at_work, enrichment }));
        }
    }
    progress.finish();
    // A second signal does not wait for anything.
    tokio::spawn(async move {
        signals.next().await;
        std::process::exit(130);
    });
    Ok(Ended { key, interrupted: true, before: None, error: None })
}

/// Why an input could not be read, if that is why its job failed.
async fn last_word(events: &mut BoxStream<Result<SubmitEvent, ServiceError>>) -> Option<ServiceError> {
    let error = async {
        loop {
            match events.next().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Some(error),
                None => return None,
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(1), error).await.ok().flatten()
}

/// Says how the job ended, where the tables are, and how to open them.
fn conclude(
    progress: &JobProgress,
    report: &Report,
    tables: &[String],
    args: &RunArgs,
    interrupted: bool,
    before: Option<JobState>,
) -> anyhow::Result<ExitCode> {
    let key = &report.job;
    if interrupted && progress.summary.state == JobState::Running {
        println!("job {key}: interrupted; run the same command again and it goes on from the last commit");
        return Ok(ExitCode::from(INTERRUPTED));
    }
    match progress.summary.state {
        JobState::Done => {}
        JobState::Cancelled => {
            println!("job {key}: cancelled; what was committed stays");
            return Ok(ExitCode::from(FAILED));
        }
        JobState::Failed | JobState::Running => {
            let error = progress.summary.error.clone().unwrap_or_else(|| "no reason was kept".to_owned());
            anyhow::bail!("job {key} failed: {error}");
        }
    }
    refuse_empty(report, &args.inputs, args.job.allow_empty)?;
    if before == Some(JobState::Done) {
        println!("job {key}: already complete; nothing was written");
    }
    summarise(report, tables, args, before)?;
    if let Some(most) = args.job.max_rejects.filter(|most| report.rejected() > *most) {
        super::complain(&format!("{} records were rejected, more than --max-rejects {most}", report.rejected()));
        return Ok(ExitCode::from(FAILED));
    }
    Ok(if report.rejected() > 0 { ExitCode::from(REJECTS) } else { ExitCode::SUCCESS })
}

/// Inputs without a record are almost always a mistake of whatever made them.
pub(crate) fn refuse_empty(report: &Report, inputs: &[String], allowed: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        report.records_in > 0 || allowed,
        "{} no records, so nothing was written: mend what makes the input, or add --allow-empty if that is right",
        none_in(inputs)
    );
    Ok(())
}

/// The inputs, and a verb to go on with.
fn none_in(inputs: &[String]) -> String {
    match inputs {
        [] => "the input holds".to_owned(),
        [one] => format!("{one} holds"),
        [first, .., last] => format!("the {} inputs from {first} to {last} hold", inputs.len()),
    }
}

/// Prints what a job that is done has written, and how to open it.
fn summarise(report: &Report, tables: &[String], args: &RunArgs, before: Option<JobState>) -> anyhow::Result<()> {
    let key = &report.job;
    let place = Place::open(&args.output)?;
    let width = tables.iter().map(String::len).max().unwrap_or(0);
    for table in tables {
        println!("{table:<width$}  {:>12} rows", report.rows_out.get(table).copied().unwrap_or(0));
    }
    if before.is_none() {
        println!(
            "job {key}: {} records in, {} rejected, in {:.2} s ({} in, {} out, peak memory {} of {})",
            report.records_in,
            report.rejected(),
            report.seconds,
            ByteSize(report.bytes_in),
            ByteSize(report.bytes_out),
            ByteSize(report.peak_rss_bytes.unwrap_or(0)),
            ByteSize(report.budget_bytes.unwrap_or(0)),
        );
    }
    if report.records_ignored > 0 {
        println!("left out: {} records of kinds that the recipe does not name", report.records_ignored);
    }
    if report.rejected() > 0 {
        println!("rejects: forebay rejects {key} --output {}", args.output);
    }
    if let Some(table) = tables.last() {
        println!("open: {}", how_to_open(&place, table));
    }
    Ok(())
}
