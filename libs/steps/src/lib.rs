//! What happens to a chunk's tables between decoding and writing: the recipe's steps, planned once a job so that
//! every table's columns are known, and wrong queries refused, before anything runs.

mod enrich;
mod sql;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use forebay_api::{Enrichment, ServiceError};
use forebay_recipe::{Layout, Recipe, Step};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use sql::SqlError;

/// A table of a chunk: its name, its columns, and the rows that there are.
#[derive(Clone, Debug)]
pub struct ChunkTable {
    /// Name.
    pub name: String,
    /// Columns.
    pub schema: SchemaRef,
    /// Rows.
    pub batches: Vec<RecordBatch>,
}

/// A step that can't be planned, or that failed on a chunk.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StepError {
    /// A query.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// An enrichment.
    #[error("steps[{step}].enrich: {message}")]
    Enrich {
        /// Its place in the recipe.
        step: usize,
        /// What is wrong.
        message: String,
    },
    /// The enrichment service refused the call, or could not be reached.
    #[error("{0}")]
    Service(ServiceError),
}

/// What steps run with.
#[derive(Clone)]
pub struct StepContext {
    /// Bytes for the operators of SQL steps.
    pub memory: usize,
    /// Whom keys are looked up with.
    pub enrichment: Arc<dyn Enrichment>,
    /// As many chunks use the processor at a time as this has permits. None is held while a step waits for somebody.
    pub cpu: Arc<Semaphore>,
}

impl fmt::Debug for StepContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepContext").field("memory", &self.memory).finish_non_exhaustive()
    }
}

impl StepContext {
    /// A permit; none only if the semaphore was closed, and then nobody counts any more.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.cpu).acquire_owned().await.ok()
    }
}

/// What steps made of a chunk.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Its tables.
    pub tables: Vec<ChunkTable>,
    /// What was counted, by name.
    pub counts: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
enum Planned {
    Sql(sql::PlannedSql),
    Enrich(enrich::PlannedEnrich),
}

/// A recipe's steps, planned.
#[derive(Clone, Debug)]
pub struct Steps {
    steps: Vec<Planned>,
    tables: Vec<(String, SchemaRef)>,
}

impl Steps {
    /// Plans a recipe's steps over the tables of its layout. What an operator spills is not encrypted, so that those of
    /// a recipe with protected fields don't.
    pub async fn plan(recipe: &Recipe, layout: &Layout) -> Result<Self, StepError> {
        let mut tables: Vec<(String, SchemaRef)> =
            layout.tables.iter().map(|table| (table.name.clone(), table.schema())).collect();
        let mut steps = Vec::new();
        for (index, step) in recipe.steps.iter().enumerate() {
            let (name, planned, schema) = match step {
                Step::Sql(step) => {
                    let planned = sql::PlannedSql::plan(index, step, &tables, !layout.protected).await?;
                    let schema = Arc::clone(planned.schema());
                    (step.table.clone(), Planned::Sql(planned), schema)
                }
                Step::Enrich(step) => {
                    let planned = enrich::PlannedEnrich::plan(index, step, &tables)?;
                    let schema = Arc::clone(planned.schema());
                    (planned.table().to_owned(), Planned::Enrich(planned), schema)
                }
            };
            match tables.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = schema,
                None => tables.push((name, schema)),
            }
            steps.push(planned);
        }
        Ok(Self { steps, tables })
    }

    /// The tables that are written, with their columns.
    pub fn tables(&self) -> &[(String, SchemaRef)] {
        &self.tables
    }

    /// True if there is nothing to do, so that batches can be written as they are decoded.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Runs the steps over all tables of one chunk.
    pub async fn run(&self, mut tables: Vec<ChunkTable>, context: &StepContext) -> Result<StepResult, StepError> {
        let mut counts = BTreeMap::new();
        for step in &self.steps {
            match step {
                Planned::Sql(step) => {
                    let _permit = context.permit().await;
                    let result = step.run(&tables, context.memory).await?;
                    match tables.iter_mut().find(|table| table.name == result.name) {
                        Some(known) => *known = result,
                        None => tables.push(result),
                    }
                }
                Planned::Enrich(step) => step.run(&mut tables, context, &mut counts).await?,
            }
        }
        Ok(StepResult { tables, counts })
    }
}
