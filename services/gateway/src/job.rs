use std::collections::BTreeMap;

use forebay_api::{RecipeSource, SubmitRequest};
use forebay_catalog::{Catalog, NewJob, OpenedJob};
use forebay_lake::{DeltaLog, rejects_place, rejects_schema, table_place};
use forebay_objects::{Input, Place};
use forebay_recipe::{FormatName, Prepared, RecipeError, shipped};
use forebay_steps::Steps;
use forebay_types::InputIdentity;

use crate::error::Failure;

/// Settings that change which rows come out. The others may differ when a job is resumed.
const MEANINGFUL: &[&str] = &["protect", "on_error", "unknown_fields", "source.format", "source.record_limit"];

/// A job that was opened, checked whole.
pub(crate) struct Opened {
    pub(crate) opened: OpenedJob,
    pub(crate) prepared: Prepared,
    pub(crate) output: Place,
}

/// Checks everything that can be checked before anything runs, and puts the job into the catalog.
pub(crate) async fn open(catalog: &Catalog, request: &SubmitRequest) -> Result<Opened, Failure> {
    let (name, text) = match &request.recipe {
        RecipeSource::Shipped(name) => (name.clone(), shipped(name)?.1.to_owned()),
        RecipeSource::Inline { name, text } => (name.clone(), text.clone()),
    };
    let mut settings = request.settings.clone();
    if request.format != FormatName::Auto.as_str() {
        settings.insert("source.format".to_owned(), request.format.clone());
    }
    let prepared = Prepared::new(&name, &text, &settings)?;
    let steps = Steps::plan(&prepared.recipe, &prepared.layout).await.map_err(|error| {
        Failure::Recipe(RecipeError::Invalid { name: name.clone(), key: String::new(), message: error.to_string() })
    })?;
    let mut inputs = Vec::new();
    for input in &request.inputs {
        inputs.push(Input::open(input).await?.identity().clone());
    }
    if inputs.is_empty() {
        inputs.push(InputIdentity { uri: "-".to_owned(), size: None, version: None });
    }
    let output = Place::open(&request.output)?;
    output.reach().await?;
    let digest = digest(&text, &settings);
    let key = request.key.clone().unwrap_or_else(|| derived_key(&prepared.recipe.name, &digest, &inputs));
    let opened = catalog
        .open_job(NewJob {
            tenant: String::new(),
            key,
            recipe_name: name,
            recipe: text,
            digest,
            output: output.uri().as_str().to_owned(),
            format: request.format.clone(),
            settings: serde_json::to_string(&settings).unwrap_or_default(),
            inputs,
            max_rejects: request.max_rejects,
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

fn digest(text: &str, settings: &BTreeMap<String, String>) -> String {
    let mut whole = text.to_owned();
    for (key, value) in settings.iter().filter(|(key, _)| MEANINGFUL.contains(&key.as_str())) {
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
