//! One module a command. What they print is their result: to standard output; progress and errors to standard error.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

pub(crate) mod enrich;
pub(crate) mod jobs;
pub(crate) mod plan;
pub(crate) mod progress;
pub(crate) mod ready;
pub(crate) mod recipes;
pub(crate) mod redact;
pub(crate) mod rejects;
pub(crate) mod replay;
pub(crate) mod run;
pub(crate) mod server;
pub(crate) mod sim;
pub(crate) mod sink;
pub(crate) mod submit;
pub(crate) mod tables;
pub(crate) mod watch;

use std::collections::BTreeMap;

use forebay_api::{ErrorKind, RecipeSource, ServiceError};
use forebay_budget::memory;
use forebay_objects::Place;
use forebay_recipe::{Prepared, RecipeError, Step, shipped};
use forebay_steps::Steps;
use forebay_transform::check_models;
use forebay_types::ByteSize;

use crate::plan::{Models, Plan, PlanRequest, Roles};

/// A command that can't be done as it was given.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Usage(pub(crate) String);

/// Prints an error.
pub(crate) fn complain(message: &str) {
    eprintln!("forebay: {message}");
}

/// Sorts a service's error into usage and failure.
pub(crate) fn service_error(error: ServiceError) -> anyhow::Error {
    if error.reason == "JOB_NOT_FOUND" {
        return Usage(format!("there is no such job: {} (see forebay jobs)", error.message)).into();
    }
    let conflict = matches!(error.reason.as_ref(), "JOB_CONFLICT" | "SCHEMA_MISMATCH");
    match error.kind {
        ErrorKind::InvalidArgument | ErrorKind::NotFound => Usage(error.message).into(),
        _ if conflict => Usage(error.message).into(),
        _ => anyhow::anyhow!(error.message),
    }
}

/// The recipe that a name or path means, with its text.
pub(crate) fn load_recipe(recipe: &str) -> anyhow::Result<(RecipeSource, String)> {
    let is_path = recipe.contains('/') || recipe.ends_with(".yaml") || recipe.ends_with(".yml");
    if !is_path {
        return match shipped(recipe) {
            Ok((_, text)) => Ok((RecipeSource::Shipped(recipe.to_owned()), text.to_owned())),
            Err(error @ RecipeError::NotFound { .. }) => Err(Usage(error.to_string()).into()),
            Err(error) => Err(error.into()),
        };
    }
    let text =
        std::fs::read_to_string(recipe).map_err(|error| Usage(format!("can't read the recipe {recipe}: {error}")))?;
    Ok((RecipeSource::Inline { name: recipe.to_owned(), text: text.clone() }, text))
}

/// The `key=value` pairs of `--set`.
pub(crate) fn parse_settings(settings: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    pairs("--set", settings)
}

/// The `key=value` pairs of a flag.
pub(crate) fn pairs(flag: &str, pairs: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for pair in pairs {
        let Some((key, value)) = pair.split_once('=') else {
            return Err(Usage(format!("{flag} {pair}: write KEY=VALUE")).into());
        };
        map.insert(key.trim().to_owned(), value.trim().to_owned());
    }
    Ok(map)
}

/// Plans a process for a recipe.
pub(crate) async fn plan_for(
    name: &str,
    text: &str,
    settings: &BTreeMap<String, String>,
    memory: Option<ByteSize>,
    output: &str,
) -> anyhow::Result<(Plan, Prepared, Steps)> {
    let prepared = Prepared::new(name, text, settings).map_err(|error| Usage(error.to_string()))?;
    let steps =
        Steps::plan(&prepared.recipe, &prepared.layout).await.map_err(|error| Usage(format!("{name}: {error}")))?;
    let models = check_models(&prepared.recipe).map_err(|error| Usage(format!("{name}: {error}")))?;
    let request = PlanRequest {
        roles: Roles::ALL,
        submissions: 1,
        remote: false,
        memory: memory.unwrap_or_else(default_memory),
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        tuning: prepared.tuning.clone(),
        record_limit: prepared.recipe.source.record_limit,
        tables: steps.tables().len() as u64 + 1,
        steps: !steps.is_empty(),
        redacts: prepared.recipe.redacts(),
        enrichment: prepared.recipe.steps.iter().any(|step| matches!(step, Step::Enrich(_))),
        references: prepared.recipe.steps.iter().any(|step| match step {
            Step::Enrich(step) => step.sources().any(|(key, _)| key != "url"),
            Step::Sql(_) | Step::Redact(_) => false,
        }),
        bucket: output.starts_with("s3://"),
        sink: prepared.tuning.sink.is_some(),
        models: models.map_or(Models::None, Models::Needed),
    };
    let plan = Plan::new(&request).map_err(Usage)?;
    Ok((plan, prepared, steps))
}

/// A quarter of what the machine or container has, between 128 MiB and 2 GiB.
pub(crate) fn default_memory() -> ByteSize {
    let machine = memory::machine_limit().unwrap_or(4 << 30);
    ByteSize((machine / 4).clamp(128 << 20, 2 << 30))
}

/// How a person opens a table, in one line that can be pasted.
pub(crate) fn how_to_open(place: &Place, table: &str) -> String {
    let uri = match place.directory() {
        Some(directory) => directory.display().to_string(),
        None => place.uri().as_str().trim_end_matches('/').to_owned(),
    };
    format!("duckdb -c \"SELECT * FROM delta_scan('{uri}/{table}') LIMIT 10\"")
}
