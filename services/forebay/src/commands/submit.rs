use std::collections::VecDeque;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use bytes::Bytes;
use forebay_api::{
    BoxStream, Caller, Gateway, InputFrame, ResumePoint, ServiceError, StreamedInput, SubmitEvent, SubmitRequest,
};
use forebay_gateway::arrow_frames;
use forebay_objects::Input;
use forebay_recipe::Prepared;
use forebay_types::JobState;
use futures::{StreamExt, TryStreamExt};
use tokio::sync::oneshot;

use crate::cli::SubmitArgs;
use crate::commands::run::{refuse_empty, runtime};
use crate::commands::server::Pauses;
use crate::commands::watch::{conclude, follow};
use crate::commands::{Usage, load_recipe, parse_settings, service_error};
use crate::report::Report;

/// What a Parquet file begins with.
const PARQUET: &[u8] = b"PAR1";

/// `forebay submit`
pub(crate) fn run(args: &SubmitArgs) -> anyhow::Result<ExitCode> {
    let runtime = runtime()?;
    let result = runtime.block_on(submit(args));
    runtime.shutdown_background();
    result
}

async fn submit(args: &SubmitArgs) -> anyhow::Result<ExitCode> {
    let Some(address) = &args.server.server else {
        return Err(Usage(
            "name the gateway: --server http://HOST:PORT (without one, forebay run works here)".to_owned(),
        )
        .into());
    };
    let gateway: Arc<dyn Gateway> = Arc::new(args.server.client(address)?);
    let sources = Sources::open(&args.inputs).await?;
    let (recipe, text) = load_recipe(&args.recipe)?;
    let settings = parse_settings(&args.job.settings)?;
    let prepared = Prepared::new(&args.recipe, &text, &settings).map_err(|error| Usage(error.to_string()))?;
    let mut request = SubmitRequest {
        key: args.job.job_key.clone(),
        recipe,
        settings,
        format: sources.format(&args.job.format),
        output: args.output.clone(),
        inputs: sources.remote.clone(),
        streams: sources.local.iter().map(Source::described).collect(),
        max_rejects: args.job.max_rejects,
    };
    let started = Instant::now();
    let mut pauses = Pauses::new();
    let key = loop {
        match send(&gateway, request.clone(), &sources, &mut pauses, args).await {
            Ok(Sent { job, ended }) => {
                if let Some(state) = ended {
                    eprintln!("job {job}: it had ended before ({}); nothing was written", state.as_str());
                }
                break job;
            }
            Err((job, error)) => {
                // A key that the gateway made up is this job's from now on.
                request.key = request.key.or(job);
                if sources.is_pipe() {
                    return Err(service_error(error).context("standard input can't be sent a second time"));
                }
                pauses.after(error).await.map_err(service_error)?;
            }
        }
    };
    if !args.wait {
        println!("job {key}: submitted; forebay watch {key} --server {address}");
        return Ok(ExitCode::SUCCESS);
    }
    let progress = follow(gateway.as_ref(), &key, args.job.progress).await?;
    let report = Report::new(&progress, started.elapsed().as_secs_f64(), None).with_profile(&prepared);
    if let Some(path) = &args.report {
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(path, text + "\n").with_context(|| format!("can't write {}", path.display()))?;
    }
    if progress.summary.state == JobState::Done {
        refuse_empty(&report, &args.inputs, args.job.allow_empty)?;
    }
    conclude(&report, &progress)
}

/// The inputs of a submission: all of them are sent, or the gateway reads all of them itself.
struct Sources {
    local: Vec<Source>,
    remote: Vec<String>,
}

/// An input that is sent.
#[derive(Clone)]
struct Source {
    input: Input,
    /// A Parquet file can only be read from anywhere in it: its rows are sent instead.
    is_parquet: bool,
}

impl Source {
    async fn open(input: &str) -> Result<Self, Usage> {
        let unreadable = |error: forebay_objects::StoreError| Usage(error.to_string());
        let input = Input::open(input).await.map_err(unreadable)?;
        let magic = PARQUET.len() as u64;
        let is_parquet = input.is_durable()
            && input.identity().size.is_some_and(|size| size > magic)
            && input.read(0, magic, Vec::new()).await.map_err(unreadable)? == PARQUET;
        Ok(Self { input, is_parquet })
    }

    /// What the gateway knows it by. How many bytes its rows are is not known before they are sent.
    fn described(&self) -> StreamedInput {
        let identity = self.input.identity();
        let name = identity.uri.rsplit('/').next().unwrap_or("-").to_owned();
        let size = identity.size.filter(|_| !self.is_parquet);
        StreamedInput { name, size, version: identity.version.clone() }
    }

    fn frames(&self, from: u64) -> BoxStream<Result<Bytes, forebay_objects::StoreError>> {
        // Of rows, the gateway asks for all, and reads over those that it has.
        if self.is_parquet { arrow_frames(self.input.clone()) } else { self.input.frames(from) }
    }
}

impl Sources {
    async fn open(inputs: &[String]) -> anyhow::Result<Self> {
        let (remote, local): (Vec<_>, Vec<_>) = inputs.iter().cloned().partition(|input| input.starts_with("s3://"));
        if !remote.is_empty() && !local.is_empty() {
            return Err(Usage("files and objects in buckets can't be mixed in one job: submit two".to_owned()).into());
        }
        let mut opened = Vec::new();
        for input in &local {
            opened.push(Source::open(input).await?);
        }
        Ok(Self { local: opened, remote })
    }

    /// True if a part of it can be read only once.
    fn is_pipe(&self) -> bool {
        self.local.iter().any(|source| !source.input.is_durable())
    }

    /// The format that is asked for, of what is sent.
    fn format(&self, asked: &str) -> String {
        let is_rows = asked == "parquet" && self.local.iter().any(|source| source.is_parquet);
        if is_rows { "arrow".to_owned() } else { asked.to_owned() }
    }

    /// The frames that are still wanted.
    fn frames(&self, wanted: &[ResumePoint]) -> BoxStream<Result<InputFrame, ServiceError>> {
        let mut inputs: VecDeque<(u32, u64, Source)> = VecDeque::new();
        for (index, input) in self.local.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            match wanted.iter().find(|point| point.input == index) {
                Some(point) if point.complete => {}
                Some(point) => inputs.push_back((index, point.offset, input.clone())),
                None => inputs.push_back((index, 0, input.clone())),
            }
        }
        futures::stream::iter(inputs)
            .flat_map(|(index, from, input)| {
                let mut at = from;
                input.frames(from).map(move |data| {
                    let data: Bytes =
                        data.map_err(|error| ServiceError::invalid("INPUT_UNREADABLE", error.to_string()))?;
                    let offset = at;
                    at += data.len() as u64;
                    Ok(InputFrame { input: index, offset, data })
                })
            })
            .boxed()
    }
}

/// How a submission that came through ended.
struct Sent {
    job: String,
    ended: Option<JobState>,
}

/// Submits once. The error comes with the job's key, as far as it is known.
async fn send(
    gateway: &Arc<dyn Gateway>,
    request: SubmitRequest,
    sources: &Sources,
    pauses: &mut Pauses,
    args: &SubmitArgs,
) -> Result<Sent, (Option<String>, ServiceError)> {
    let (wanted, told) = oneshot::channel::<Vec<ResumePoint>>();
    let frames = {
        let sources = Sources { local: sources.local.clone(), remote: Vec::new() };
        // What to send is known only when the gateway has answered; a gateway that does not answer gets nothing.
        let frames = async move {
            Ok::<_, ServiceError>(match told.await {
                Ok(wanted) => sources.frames(&wanted),
                Err(_) => futures::stream::empty().boxed(),
            })
        };
        futures::stream::once(frames).try_flatten().boxed()
    };
    let mut events = gateway.submit(&Caller::local(), request, frames).await.map_err(|error| (None, error))?;
    let mut wanted = Some(wanted);
    let mut job = None;
    while let Some(event) = events.next().await {
        match event.map_err(|error| (job.clone(), error))? {
            SubmitEvent::Accepted(accepted) => {
                job = Some(accepted.job.clone());
                if accepted.ended.is_some() {
                    return Ok(Sent { job: accepted.job, ended: accepted.ended });
                }
                if let Some(wanted) = wanted.take() {
                    // A stream that is gone says so by itself.
                    drop(wanted.send(accepted.resume));
                }
            }
            SubmitEvent::ChunkDurable { input, durable_bytes, records, .. } => {
                pauses.forget();
                if args.job.progress == crate::cli::ProgressKind::Json {
                    let line = serde_json::json!({"input": input, "durable_bytes": durable_bytes, "records": records});
                    eprintln!("{line}");
                }
            }
            SubmitEvent::Complete { .. } => {
                return Ok(Sent { job: job.unwrap_or_default(), ended: None });
            }
        }
    }
    // Framed by somebody else, or already framed: the stream ends without more to say.
    match job {
        Some(job) => Ok(Sent { job, ended: None }),
        None => Err((None, ServiceError::internal("the gateway ended the call without an answer"))),
    }
}
