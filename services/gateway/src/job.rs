use std::collections::BTreeMap;
use std::time::Duration;

use forebay_api::{Caller, ErrorKind, RecipeSource, ServiceError, SubmitRequest};
use forebay_catalog::{Catalog, NewJob, OpenedJob};
use forebay_lake::{DeltaLog, rejects_place, rejects_schema, table_place};
use forebay_objects::{Input, Place};
use forebay_recipe::{FormatName, Prepared, Recipe, RecipeError, Step, shipped};
use forebay_sink::SinkTarget;
use forebay_steps::Steps;
use forebay_types::InputIdentity;

use crate::GatewayConfig;
use crate::error::Failure;

/// Settings that change which rows come out. The others may differ when a job is resumed.
const MEANINGFUL: &[&str] = &[
    "protect",
    "profile",
    "release_year",
    "identifiers",
    "dates",
    "on_error",
    "unknown_fields",
    "source.format",
    "source.record_limit",
    "sink",
];

/// When a tenant whose jobs are all running may ask again.
const QUOTA_RETRY: Duration = Duration::from_secs(5);

/// A job that was opened, checked whole.
pub(crate) struct Opened {
    pub(crate) opened: OpenedJob,
    pub(crate) prepared: Prepared,
    pub(crate) output: Place,
}

/// Checks everything that can be checked before anything runs, and puts the job into the catalog.
pub(crate) async fn open(
    catalog: &Catalog,
    config: &GatewayConfig,
    caller: &Caller,
    request: &SubmitRequest,
) -> Result<Opened, Failure> {
    let (name, text) = match &request.recipe {
        RecipeSource::Shipped(name) => (name.clone(), shipped(name)?.1.to_owned()),
        RecipeSource::Inline { name, text } => (name.clone(), text.clone()),
    };
    let mut settings = request.settings.clone();
    if request.format != FormatName::Auto.as_str() {
        settings.insert("source.format".to_owned(), request.format.clone());
    }
    let prepared = Prepared::new(&name, &text, &settings)?;
    config.reach.check_sources(&prepared.recipe)?;
    let steps = Steps::plan(&prepared.recipe, &prepared.layout).await.map_err(|error| {
        Failure::Recipe(RecipeError::Invalid { name: name.clone(), key: String::new(), message: error.to_string() })
    })?;
    let mut inputs = Vec::new();
    for input in &request.inputs {
        inputs.push(Input::open(input).await?.identity().clone());
    }
    if inputs.is_empty() {
        inputs.extend(request.streams.iter().map(|sent| Input::sent(&sent.name, sent.size, sent.version.clone())));
    }
    if inputs.is_empty() {
        inputs.push(Input::sent("-", None, None));
    }
    let sink = sink(config, prepared.tuning.sink.as_deref())?;
    let output = Place::open(&request.output)?;
    output.probe(config.writers).await?;
    let digest = digest(&text, &prepared.recipe, &settings);
    let key = request.key.clone().unwrap_or_else(|| derived_key(&prepared.recipe.name, &digest, &inputs));
    check_quota(catalog, caller, &key).await?;
    let opened = catalog
        .open_job(NewJob {
            tenant: caller.tenant().to_owned(),
            key,
            recipe_name: name,
            recipe: text,
            digest,
            output: output.uri().as_str().to_owned(),
            format: request.format.clone(),
            settings: serde_json::to_string(&settings).unwrap_or_default(),
            inputs,
            max_rejects: request.max_rejects,
            traceparent: forebay_telemetry::trace::traceparent(),
            sink,
        })
        .await?;
    // The tables are made before any row is read: one that does not fit is found at once, and one that gets no rows
    // can be read all the same.
    for (table, schema) in steps.tables() {
        DeltaLog::open(table_place(&output, table)?).await?.ensure(schema).await?;
    }
    DeltaLog::open(rejects_place(&output)?).await?.ensure(&rejects_schema()).await?;
    Ok(Opened { opened, prepared, output })
}

/// The sink that a job asks for. The password is the service's: a client can't have it used for another database.
fn sink(config: &GatewayConfig, asked: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(asked) = asked else { return Ok(None) };
    let asked: SinkTarget =
        asked.parse().map_err(|error: forebay_sink::SinkError| Failure::unusable(error.to_string()))?;
    match &config.sink {
        Some(ours) if ours.same_database(&asked) => Ok(Some(asked.to_string())),
        Some(ours) => Err(Failure::unusable(format!(
            "the job asks for the sink {}, and this service has {}: ask for that one, or change the setting sink_url",
            asked.database(),
            ours.database()
        ))),
        None => Err(Failure::unusable(format!(
            "the job asks for the sink {}, and none is set: add --sink, or the setting sink_url (FOREBAY_SINK_URL)",
            asked.database()
        ))),
    }
}

/// Refuses a new job of a tenant who has as many running as it may.
async fn check_quota(catalog: &Catalog, caller: &Caller, key: &str) -> Result<(), Failure> {
    let Some(most) = caller.limits().jobs else { return Ok(()) };
    let running = catalog.tenant_usage(caller.tenant()).await?.running_jobs;
    if running < u64::from(most) || catalog.job_by_key(caller.tenant(), key).await.is_ok() {
        return Ok(());
    }
    let message = format!("{running} jobs are running, and {most} are allowed: wait for one to end, or cancel one");
    let error = ServiceError::new(ErrorKind::QuotaExceeded, "JOBS_QUOTA", message);
    Err(ServiceError { retry_after: Some(QUOTA_RETRY), ..error }.into())
}

/// True if a setting changes which rows come out.
fn is_meaningful(recipe: &Recipe, key: &str) -> bool {
    let of_enricher = |step: &Step| match (step, key.split_once('.')) {
        (Step::Enrich(step), Some((name, setting))) => step.name() == name && step.enricher.is_meaningful(setting),
        (Step::Enrich(_), None) | (Step::Sql(_) | Step::Redact(_), _) => false,
    };
    MEANINGFUL.contains(&key) || recipe.steps.iter().any(of_enricher)
}

fn digest(text: &str, recipe: &Recipe, settings: &BTreeMap<String, String>) -> String {
    let mut whole = text.to_owned();
    for (key, value) in settings.iter().filter(|(key, _)| is_meaningful(recipe, key)) {
        whole.push_str(&format!("\n{key}={value}"));
    }
    format!("{:032x}", forebay_objects::checksum(whole.as_bytes()))
}

/// The key of a job that was given none: the same command on the same files is the same job.
fn derived_key(recipe: &str, digest: &str, inputs: &[InputIdentity]) -> String {
    let mut whole = digest.to_owned();
    let mut stream = false;
    for input in inputs {
        whole.push_str(&format!("\n{}\n{:?}\n{:?}", input.uri, input.size, input.version));
        stream |= input.version.is_none();
    }
    if stream {
        // Nobody can tell two streams apart.
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        whole.push_str(&now.to_string());
    }
    format!("{recipe}-{:012x}", forebay_objects::checksum(whole.as_bytes()) >> 80)
}
