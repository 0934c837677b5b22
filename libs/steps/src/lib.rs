//! What happens to a chunk's tables between decoding and writing: the recipe's steps, planned once a job so that
//! every table's columns are known, and wrong queries refused, before anything runs.

mod sql;

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use forebay_recipe::{Layout, Recipe, Step};

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

/// A recipe's steps, planned.
#[derive(Clone, Debug)]
pub struct Steps {
    steps: Vec<sql::PlannedSql>,
    tables: Vec<(String, SchemaRef)>,
}

impl Steps {
    /// Plans a recipe's steps over the tables of its layout. What an operator spills is not encrypted, so that those of
    /// a recipe with protected fields don't.
    pub async fn plan(recipe: &Recipe, layout: &Layout) -> Result<Self, SqlError> {
        let mut tables: Vec<(String, SchemaRef)> =
            layout.tables.iter().map(|table| (table.name.clone(), table.schema())).collect();
        let mut steps = Vec::new();
        for (index, step) in recipe.steps.iter().enumerate() {
            let Step::Sql(step) = step;
            let planned = sql::PlannedSql::plan(index, step, &tables, !layout.protected).await?;
            let schema = Arc::clone(planned.schema());
            match tables.iter_mut().find(|(name, _)| *name == step.table) {
                Some((_, known)) => *known = schema,
                None => tables.push((step.table.clone(), schema)),
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

    /// Runs the steps over all tables of one chunk, within `memory` bytes for the operators.
    pub async fn run(&self, mut tables: Vec<ChunkTable>, memory: usize) -> Result<Vec<ChunkTable>, SqlError> {
        for step in &self.steps {
            let result = step.run(&tables, memory).await?;
            match tables.iter_mut().find(|table| table.name == result.name) {
                Some(known) => *known = result,
                None => tables.push(result),
            }
        }
        Ok(tables)
    }
}
