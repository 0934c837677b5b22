use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use forebay_catalog::{Catalog, Job};
use forebay_decode::{CsvHeader, Dialect};
use forebay_lake::staging_place;
use forebay_objects::{Content, InputInfo, Place, Staging};
use forebay_recipe::Prepared;
use forebay_seal::Keys;
use forebay_steps::Steps;
use forebay_types::{InputIdentity, JobId};
use uuid::Uuid;

use crate::failure::Failure;
use crate::model::Models;
use crate::redaction::Redaction;

/// Inputs of a job that are kept ready.
const KNOWN_INPUTS: usize = 64;

/// What a worker knows of a job, kept from chunk to chunk.
#[derive(Debug)]
pub(crate) struct JobContext {
    pub(crate) id: JobId,
    pub(crate) key: String,
    pub(crate) prepared: Prepared,
    /// What is done to identifiers before anything else sees a row.
    pub(crate) redaction: Option<Arc<Redaction>>,
    pub(crate) steps: Steps,
    pub(crate) staging: Staging,
    /// Opens staged copies, and encrypts rejects of protected records.
    pub(crate) keys: Keys,
    /// Inputs that chunks were read of. What is known of an input does not change once it has chunks.
    inputs: Mutex<BTreeMap<u32, InputContext>>,
}

/// What a worker knows of one input.
#[derive(Clone, Debug)]
pub(crate) struct InputContext {
    pub(crate) identity: InputIdentity,
    /// How its text is read; none for a columnar input.
    pub(crate) dialect: Option<Dialect>,
}

impl JobContext {
    pub(crate) async fn load(job: Job, catalog: Uuid, keys: &Keys, models: &Models) -> Result<Self, Failure> {
        let settings: BTreeMap<String, String> =
            serde_json::from_str(&job.settings).map_err(|error| Failure::Fatal(error.to_string()))?;
        let prepared = Prepared::new(&job.recipe_name, &job.recipe, &settings)
            .map_err(|error| Failure::Fatal(error.to_string()))?;
        let steps =
            Steps::plan(&prepared.recipe, &prepared.layout).await.map_err(|error| Failure::Fatal(error.to_string()))?;
        let redaction = Redaction::plan(&prepared.recipe, &prepared.layout, models).await?.map(Arc::new);
        let staging = Staging::new(staging_place(&Place::open(&job.output)?, catalog)?).with_keys(keys.clone());
        let inputs = Mutex::default();
        Ok(Self { id: job.id, key: job.key, prepared, redaction, steps, staging, keys: keys.clone(), inputs })
    }

    pub(crate) async fn input(&self, catalog: &Catalog, index: u32) -> Result<InputContext, Failure> {
        if let Some(known) = self.inputs.lock().unwrap_or_else(PoisonError::into_inner).get(&index) {
            return Ok(known.clone());
        }
        let inputs = catalog.inputs(self.id).await?;
        let input = inputs
            .into_iter()
            .find(|input| input.index == index)
            .ok_or_else(|| Failure::Fatal(format!("the job has no input {index}")))?;
        let info: InputInfo = input
            .info
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| Failure::Fatal(format!("nothing is known about input {index}")))?;
        let dialect = match info.content {
            Content::Ndjson => Some(Dialect::Lines),
            Content::Json => Some(Dialect::JsonArray),
            Content::Csv => {
                let csv = &self.prepared.recipe.source.csv;
                let header = CsvHeader::new(&self.prepared.layout, csv, input.header.as_deref())
                    .map_err(|error| Failure::Fatal(format!("{}: {error}", input.identity.uri)))?;
                Some(Dialect::Csv(header))
            }
            Content::Parquet | Content::ArrowFile | Content::ArrowStream => None,
        };
        let context = InputContext { identity: input.identity, dialect };
        let mut known = self.inputs.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_INPUTS {
            known.clear();
        }
        known.insert(index, context.clone());
        Ok(context)
    }
}
