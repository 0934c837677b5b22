use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::MemTable;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::prelude::{SessionConfig, SessionContext};
use forebay_recipe::SqlStep;
use futures::TryStreamExt;

use crate::ChunkTable;

/// Rows in a batch of a result.
const BATCH_ROWS: usize = 8192;

/// A SQL step that can't be planned, or that failed on a chunk.
#[derive(Clone, Debug, thiserror::Error)]
#[error("steps[{step}].sql: {message}")]
pub struct SqlError {
    step: usize,
    message: String,
}

#[derive(Clone, Debug)]
pub(crate) struct PlannedSql {
    index: usize,
    table: String,
    query: String,
    schema: SchemaRef,
    may_spill: bool,
}

impl PlannedSql {
    /// Plans the query over empty tables: finds its columns, and refuses what depends on how input is cut. One that
    /// may not spill fails where its memory is not enough.
    pub(crate) async fn plan(
        index: usize,
        step: &SqlStep,
        tables: &[(String, SchemaRef)],
        may_spill: bool,
    ) -> Result<Self, SqlError> {
        let fail = |message: String| SqlError { step: index, message };
        let empty: Vec<ChunkTable> = tables
            .iter()
            .map(|(name, schema)| ChunkTable { name: name.clone(), schema: Arc::clone(schema), batches: Vec::new() })
            .collect();
        let context = session(&empty, 64 << 20, may_spill).map_err(|error| fail(error.to_string()))?;
        // Only a plan is made: `SessionContext::sql` would carry a CREATE or SET out before it could be refused.
        let plan = context.state().create_logical_plan(&step.query).await.map_err(|error| fail(error.to_string()))?;
        check(&plan, step.per_chunk).map_err(fail)?;
        let schema = written_schema(plan.schema().as_arrow()).map_err(fail)?;
        Ok(Self { index, table: step.table.clone(), query: step.query.clone(), schema, may_spill })
    }

    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) async fn run(&self, tables: &[ChunkTable], memory: usize) -> Result<ChunkTable, SqlError> {
        let fail =
            |error: datafusion::error::DataFusionError| SqlError { step: self.index, message: error.to_string() };
        let context = session(tables, memory, self.may_spill).map_err(fail)?;
        let frame = context.sql(&self.query).await.map_err(fail)?;
        let stream = frame.execute_stream().await.map_err(fail)?;
        let schema = Arc::clone(&self.schema);
        let batches = stream
            .map_err(fail)
            .and_then(|batch| {
                let cast = cast(&batch, &schema).map_err(|message| SqlError { step: self.index, message });
                futures::future::ready(cast)
            })
            .try_collect()
            .await?;
        Ok(ChunkTable { name: self.table.clone(), schema: Arc::clone(&self.schema), batches })
    }
}

fn session(tables: &[ChunkTable], memory: usize, may_spill: bool) -> datafusion::error::Result<SessionContext> {
    let config = SessionConfig::new()
        .with_target_partitions(1)
        .with_batch_size(BATCH_ROWS)
        .with_information_schema(false)
        .set_bool("datafusion.sql_parser.map_string_types_to_utf8view", false);
    let disk = if may_spill { DiskManagerMode::OsTmpDirectory } else { DiskManagerMode::Disabled };
    let runtime = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(memory)))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
        .build_arc()?;
    let context = SessionContext::new_with_config_rt(config, runtime);
    for table in tables {
        let memory = MemTable::try_new(Arc::clone(&table.schema), vec![table.batches.clone()])?;
        context.register_table(table.name.as_str(), Arc::new(memory))?;
    }
    Ok(context)
}

/// Refuses statements that are no queries, functions that give other results each time, and, unless the recipe
/// allows it, operators whose result depends on which records are in the same chunk.
fn check(plan: &LogicalPlan, per_chunk: bool) -> Result<(), String> {
    let mut problem = None;
    let walked = plan.apply_with_subqueries(|node| {
        let operator = match node {
            LogicalPlan::Ddl(_)
            | LogicalPlan::Dml(_)
            | LogicalPlan::Copy(_)
            | LogicalPlan::Statement(_)
            | LogicalPlan::Explain(_)
            | LogicalPlan::Analyze(_)
            | LogicalPlan::DescribeTable(_) => {
                problem = Some("only queries (SELECT) are allowed".to_owned());
                return Ok(TreeNodeRecursion::Stop);
            }
            LogicalPlan::Aggregate(_) => Some("grouping"),
            LogicalPlan::Window(_) => Some("window functions"),
            LogicalPlan::Limit(_) => Some("LIMIT"),
            LogicalPlan::Sort(_) => Some("ORDER BY"),
            LogicalPlan::Distinct(_) => Some("DISTINCT"),
            LogicalPlan::RecursiveQuery(_) => Some("recursion"),
            _ => None,
        };
        if let (Some(operator), false) = (operator, per_chunk) {
            problem = Some(format!(
                "{operator} would see one chunk only, and give other rows when the input is cut elsewhere; if that \
                 is what you want, say per_chunk: true"
            ));
            return Ok(TreeNodeRecursion::Stop);
        }
        for expression in node.expressions() {
            if let Some(function) = volatile(&expression) {
                problem = Some(format!("{function}() gives another result each time it runs, so a retry would too"));
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    });
    match (walked, problem) {
        (Err(error), _) => Err(error.to_string()),
        (_, Some(problem)) => Err(problem),
        (Ok(_), None) => Ok(()),
    }
}

/// The first function in an expression that is not a function of its arguments alone.
fn volatile(expression: &Expr) -> Option<String> {
    let mut found = None;
    // The closure does not fail.
    drop(expression.apply(|node| {
        if let Expr::ScalarFunction(function) = node
            && function.func.signature().volatility != Volatility::Immutable
        {
            found = Some(function.func.name().to_owned());
            return Ok(TreeNodeRecursion::Stop);
        }
        Ok(TreeNodeRecursion::Continue)
    }));
    found
}

/// The columns as they are written: types that every Delta reader knows, all nullable.
fn written_schema(schema: &Schema) -> Result<SchemaRef, String> {
    let mut fields: Vec<Field> = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let data_type = match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 | DataType::Utf8 => DataType::Utf8,
            DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            DataType::Date64 | DataType::Date32 => DataType::Date32,
            DataType::UInt8 | DataType::UInt16 | DataType::Int8 | DataType::Int16 => DataType::Int32,
            DataType::UInt32 | DataType::UInt64 => DataType::Int64,
            DataType::Float16 | DataType::Float32 => DataType::Float64,
            DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Boolean | DataType::Decimal128(..) => {
                field.data_type().clone()
            }
            other => return Err(format!("column '{}' is {other}, which can't be written; cast it", field.name())),
        };
        if fields.iter().any(|known| known.name().eq_ignore_ascii_case(field.name())) {
            return Err(format!("two columns are called '{}'; rename one with AS", field.name()));
        }
        fields.push(Field::new(field.name(), data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

fn cast(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, String> {
    let mut arrays = Vec::with_capacity(schema.fields().len());
    for (array, field) in batch.columns().iter().zip(schema.fields()) {
        let cast = datafusion::arrow::compute::cast(array, field.data_type());
        arrays.push(cast.map_err(|error| error.to_string())?);
    }
    RecordBatch::try_new(Arc::clone(schema), arrays).map_err(|error| error.to_string())
}
