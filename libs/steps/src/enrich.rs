//! Columns from the enrichment service: the unique keys of a chunk, asked for once, joined back by place.

mod unique;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, RecordBatch, StringArray, StructArray, UInt32Array, new_null_array};
use arrow_schema::{ArrowError, DataType, Field, Fields, Schema, SchemaRef};
use datafusion::arrow::compute::{cast, concat, take};
use forebay_api::{BoxStream, CALLS_COLUMN, EnrichRequest, KeyBatch, REASON_COLUMN, SOURCE_COLUMN, ServiceError};
use forebay_recipe::{Added, EnrichStep};
use futures::{StreamExt, TryStreamExt, stream};

use unique::UniqueKeys;

use crate::{ChunkTable, StepContext, StepError};

/// Keys of one batch that is sent.
const KEYS: usize = 8192;

/// Reason of a row that has no key.
const NO_KEY: &str = "no_key";

/// Reason of all rows where the enricher has no reference file.
const NO_FILE: &str = "no_reference_file";

#[derive(Clone, Debug)]
pub(crate) struct PlannedEnrich {
    index: usize,
    table: String,
    request: EnrichRequest,
    /// Each part's name, and its column.
    key: Vec<(String, usize)>,
    added: Vec<Added>,
    reason: Option<String>,
    schema: SchemaRef,
    /// The enricher lacks the file that it knows everything from: nobody need be asked.
    knows_nothing: bool,
}

impl PlannedEnrich {
    pub(crate) fn plan(index: usize, step: &EnrichStep, tables: &[(String, SchemaRef)]) -> Result<Self, StepError> {
        let fail = |message: String| StepError::Enrich { step: index, message };
        let Some((_, schema)) = tables.iter().find(|(name, _)| *name == step.table) else {
            let names: Vec<_> = tables.iter().map(|(name, _)| name.as_str()).collect();
            return Err(fail(format!("there is no table '{}': there are {}", step.table, names.join(", "))));
        };
        let mut key = Vec::new();
        for (part, column) in step.key_columns().map_err(fail)? {
            let place = schema
                .index_of(&column)
                .map_err(|_| fail(format!("the key's column '{column}' is none of the table '{}'", step.table)))?;
            let kind = schema.field(place).data_type();
            if !unique::is_key(kind) {
                return Err(fail(format!(
                    "the key's column '{column}' is {kind}: keys are text, whole numbers or dates"
                )));
            }
            key.push((part, place));
        }
        let added = step.added().map_err(fail)?;
        let mut fields: Vec<Field> = schema.fields().iter().map(|field| field.as_ref().clone()).collect();
        let reason = step.reason.iter().map(|name| (name, DataType::Utf8));
        for (name, kind) in added.iter().map(|added| (&added.name, added.kind.data_type())).chain(reason) {
            if fields.iter().any(|field| field.name().eq_ignore_ascii_case(name)) {
                return Err(fail(format!(
                    "the table '{}' has a column '{name}' already: give it another name",
                    step.table
                )));
            }
            fields.push(Field::new(name, kind, true));
        }
        let request = EnrichRequest {
            enricher: step.enricher.as_str().to_owned(),
            settings: step.request_settings(),
            columns: added.iter().map(|added| added.from.clone()).collect(),
        };
        Ok(Self {
            index,
            table: step.table.clone(),
            request,
            key,
            added,
            reason: step.reason.clone(),
            schema: Arc::new(Schema::new(fields)),
            knows_nothing: step.enricher.needed_file().is_some_and(|file| !step.settings.contains_key(file)),
        })
    }

    pub(crate) fn table(&self) -> &str {
        &self.table
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds the columns, and counts what became of the keys.
    pub(crate) async fn run(
        &self,
        tables: &mut [ChunkTable],
        context: &StepContext,
        counts: &mut BTreeMap<String, u64>,
    ) -> Result<(), StepError> {
        let Some(table) = tables.iter_mut().find(|table| table.name == self.table) else {
            return Err(self.fail("its table is gone"));
        };
        table.schema = Arc::clone(&self.schema);
        if self.knows_nothing {
            for batch in &mut table.batches {
                *batch = self.leave_null(batch).map_err(|error| self.fail(error))?;
            }
            return Ok(());
        }
        let permit = context.permit().await;
        let columns: Vec<usize> = self.key.iter().map(|(_, column)| *column).collect();
        let unique = UniqueKeys::of(&table.batches, &columns).map_err(|error| self.fail(error))?;
        // Others may use the processor while we wait for answers.
        drop(permit);
        let answers = self.ask(&unique, context).await?;
        let permit = context.permit().await;
        count(&answers, counts);
        let columns = self.columns(&answers)?;
        for (batch, places) in table.batches.iter_mut().zip(unique.places()) {
            *batch = self.join(batch, places, &columns).map_err(|error| self.fail(error))?;
        }
        drop(permit);
        Ok(())
    }

    /// Adds the columns without a value, and why.
    fn leave_null(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let mut arrays = batch.columns().to_vec();
        let added = self.schema.fields()[arrays.len()..].iter().take(self.added.len());
        arrays.extend(added.map(|field| new_null_array(field.data_type(), rows)));
        if self.reason.is_some() {
            arrays.push(Arc::new(StringArray::new_repeated(NO_FILE, rows)));
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }

    fn fail(&self, error: impl ToString) -> StepError {
        StepError::Enrich { step: self.index, message: error.to_string() }
    }

    /// The key batches that are sent: one column, or a struct of the parts.
    fn key_batches(&self, unique: &UniqueKeys) -> Result<Vec<KeyBatch>, ArrowError> {
        let keys: ArrayRef = match unique.parts() {
            // The recipe may name the part of a key that has only one.
            [part] if self.key[0].0 == "key" => Arc::clone(part),
            parts => {
                let field =
                    |((name, _), part): (&(String, usize), &ArrayRef)| Field::new(name, part.data_type().clone(), true);
                let fields: Fields = self.key.iter().zip(parts).map(field).collect();
                Arc::new(StructArray::try_new(fields, parts.to_vec(), None)?)
            }
        };
        let batch = |from: usize| KeyBatch { keys: keys.slice(from, KEYS.min(keys.len() - from)) };
        Ok((0..keys.len()).step_by(KEYS).map(batch).collect())
    }

    async fn ask(&self, unique: &UniqueKeys, context: &StepContext) -> Result<Vec<RecordBatch>, StepError> {
        let batches = self.key_batches(unique).map_err(|error| self.fail(error))?;
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let keys: BoxStream<Result<KeyBatch, ServiceError>> = stream::iter(batches.into_iter().map(Ok)).boxed();
        let answers = context.enrichment.enrich(self.request.clone(), keys).await.map_err(StepError::Service)?;
        // Bounded: a row a unique key of one chunk.
        let answers: Vec<RecordBatch> = answers.try_collect().await.map_err(StepError::Service)?;
        let rows: usize = answers.iter().map(RecordBatch::num_rows).sum();
        if rows != unique.len() {
            return Err(self.fail(format!("the enrichment service answered {rows} of {} keys", unique.len())));
        }
        Ok(answers)
    }

    /// The answers' columns that are added, in order. The reasons come last, and after them that of a row without a key.
    fn columns(&self, answers: &[RecordBatch]) -> Result<Vec<ArrayRef>, StepError> {
        let names = self.added.iter().map(|added| added.from.as_str()).chain(self.reason.iter().map(|_| REASON_COLUMN));
        let first = self.schema.fields().len() - self.added.len() - usize::from(self.reason.is_some());
        let fields = self.schema.fields()[first..].iter();
        let no_key = StringArray::from(vec![NO_KEY]);
        names
            .zip(fields)
            .enumerate()
            .map(|(index, (name, field))| {
                let mut parts: Vec<&dyn Array> = Vec::with_capacity(answers.len() + 1);
                for answer in answers {
                    let column = answer.column_by_name(name);
                    parts.push(column.ok_or_else(|| self.fail(format!("the answer has no column '{name}'")))?.as_ref());
                }
                if index == self.added.len() {
                    parts.push(&no_key);
                }
                if parts.is_empty() {
                    return Ok(arrow_array::new_empty_array(field.data_type()));
                }
                let column = concat(&parts).and_then(|column| {
                    if column.data_type() == field.data_type() { Ok(column) } else { cast(&column, field.data_type()) }
                });
                column.map_err(|error| self.fail(error))
            })
            .collect()
    }

    fn join(&self, batch: &RecordBatch, places: &UInt32Array, columns: &[ArrayRef]) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let (added, reasons) = columns.split_at(self.added.len());
        let mut arrays = batch.columns().to_vec();
        for column in added {
            let is_null = column.null_count() == column.len();
            arrays.push(if is_null { new_null_array(column.data_type(), rows) } else { take(column, places, None)? });
        }
        for reasons in reasons {
            let (no_key, is_said) = (reasons.len() - 1, reasons.null_count() < reasons.len() - 1);
            arrays.push(if is_said || places.null_count() > 0 {
                let places: UInt32Array = places.iter().map(|place| place.unwrap_or(no_key as u32)).collect();
                take(reasons, &places, None)?
            } else {
                new_null_array(reasons.data_type(), rows)
            });
        }
        RecordBatch::try_new(Arc::clone(&self.schema), arrays)
    }
}

/// Adds up where the answers came from.
fn count(answers: &[RecordBatch], counts: &mut BTreeMap<String, u64>) {
    let mut add = |name: &str, n: u64| *counts.entry(format!("enrichment.{name}")).or_default() += n;
    for answer in answers {
        add("keys", answer.num_rows() as u64);
        if let Some(sources) = answer.column_by_name(SOURCE_COLUMN).and_then(|column| column.as_string_opt::<i32>()) {
            // Most of a batch come from one place.
            let (mut source, mut rows) = ("", 0);
            for next in sources.iter().flatten() {
                if next != source {
                    if rows > 0 {
                        add(source, rows);
                    }
                    (source, rows) = (next, 0);
                }
                rows += 1;
            }
            if rows > 0 {
                add(source, rows);
            }
        }
        if let Some(calls) =
            answer.column_by_name(CALLS_COLUMN).and_then(|column| column.as_primitive_opt::<Int64Type>())
        {
            add("calls", calls.iter().flatten().map(i64::unsigned_abs).sum());
        }
    }
}
