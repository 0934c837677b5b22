use std::process::ExitCode;

use anyhow::Context;
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_schema::DataType;
use comfy_table::{Table, presets};
use forebay_lake::{LakeError, TableReader};
use forebay_objects::Place;
use futures::StreamExt;
use serde_json::json;

use crate::cli::{HeadArgs, StatsArgs};
use crate::commands::Usage;
use crate::commands::run::runtime;

async fn open(table: &str) -> anyhow::Result<TableReader> {
    if !table.contains("://") && !std::path::Path::new(table).is_dir() {
        return Err(Usage(format!("there is no table at {table}")).into());
    }
    match TableReader::open(Place::open(table)?).await {
        Ok(reader) => Ok(reader),
        Err(error @ LakeError::NoTable(_)) => Err(Usage(error.to_string()).into()),
        Err(error) => Err(error.into()),
    }
}

/// `forebay head`
pub(crate) fn head(args: &HeadArgs) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let reader = open(&args.table).await?;
        let mut batches = reader.batches();
        let mut rows: Vec<RecordBatch> = Vec::new();
        let mut wanted = args.rows;
        while wanted > 0 {
            let Some(batch) = batches.next().await else { break };
            let batch = batch?;
            let batch = batch.slice(0, batch.num_rows().min(wanted));
            wanted -= batch.num_rows();
            rows.push(batch);
        }
        if rows.is_empty() {
            rows.push(RecordBatch::new_empty(std::sync::Arc::clone(reader.schema())));
        }
        println!("{}", arrow_cast::pretty::pretty_format_batches(&rows)?);
        println!("{} of {} rows", args.rows - wanted, reader.rows());
        Ok(ExitCode::SUCCESS)
    })
}

/// What is known of one column.
#[derive(Default)]
struct ColumnStats {
    nulls: u64,
    least: Option<(String, Option<f64>)>,
    most: Option<(String, Option<f64>)>,
    sum: f64,
    numbers: u64,
}

impl ColumnStats {
    fn add(&mut self, array: &ArrayRef) -> anyhow::Result<()> {
        self.nulls += array.null_count() as u64;
        let options = FormatOptions::default().with_null("");
        let text = ArrayFormatter::try_new(array, &options)?;
        let (mut least, mut most): (Option<usize>, Option<usize>) = (None, None);
        let less = order(array);
        for row in 0..array.len() {
            if array.is_null(row) {
                continue;
            }
            if let Some(value) = number(array, row) {
                self.sum += value;
                self.numbers += 1;
            }
            if least.is_none_or(|known| less(row, known)) {
                least = Some(row);
            }
            if most.is_none_or(|known| less(known, row)) {
                most = Some(row);
            }
        }
        if let Some(row) = least {
            let found = (text.value(row).to_string(), number(array, row));
            if self.least.as_ref().is_none_or(|known| before(&found, known)) {
                self.least = Some(found);
            }
        }
        if let Some(row) = most {
            let found = (text.value(row).to_string(), number(array, row));
            if self.most.as_ref().is_none_or(|known| before(known, &found)) {
                self.most = Some(found);
            }
        }
        Ok(())
    }

    fn mean(&self) -> Option<f64> {
        (self.numbers > 0).then(|| self.sum / self.numbers as f64)
    }
}

/// Whether one row's value is less than another's in an array.
fn order(array: &ArrayRef) -> Box<dyn Fn(usize, usize) -> bool + '_> {
    match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            Box::new(move |a, b| texts.value(a) < texts.value(b))
        }
        _ => match arrow_ord::ord::make_comparator(array, array, arrow_schema::SortOptions::default()) {
            Ok(compare) => Box::new(move |a, b| compare(a, b).is_lt()),
            Err(_) => Box::new(|_, _| false),
        },
    }
}

fn before(a: &(String, Option<f64>), b: &(String, Option<f64>)) -> bool {
    match (a.1, b.1) {
        (Some(a), Some(b)) => a < b,
        _ => a.0 < b.0,
    }
}

fn number(array: &ArrayRef, row: usize) -> Option<f64> {
    match array.data_type() {
        DataType::Int32 => Some(f64::from(array.as_primitive::<Int32Type>().value(row))),
        DataType::Int64 => Some(array.as_primitive::<Int64Type>().value(row) as f64),
        DataType::Float64 => Some(array.as_primitive::<Float64Type>().value(row)),
        _ => None,
    }
}

/// `forebay stats`
pub(crate) fn stats(args: &StatsArgs) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(async {
        let reader = open(&args.table).await?;
        let fields = reader.schema().fields().clone();
        let mut columns: Vec<ColumnStats> = fields.iter().map(|_| ColumnStats::default()).collect();
        let mut rows = 0u64;
        let mut batches = reader.batches();
        while let Some(batch) = batches.next().await {
            let batch = batch?;
            rows += batch.num_rows() as u64;
            // Files may have other columns, or another order, than the table.
            for (field, stats) in fields.iter().zip(&mut columns) {
                match batch.column_by_name(field.name()) {
                    Some(array) => stats.add(array)?,
                    None => stats.nulls += batch.num_rows() as u64,
                }
            }
        }
        if args.json {
            let columns: serde_json::Map<_, _> = fields
                .iter()
                .zip(&columns)
                .map(|(field, stats)| {
                    let text = |bound: &Option<(String, Option<f64>)>| bound.as_ref().map(|(text, _)| text.clone());
                    let stats = json!({
                        "type": field.data_type().to_string(), "nulls": stats.nulls, "min": text(&stats.least),
                        "max": text(&stats.most), "mean": stats.mean(),
                    });
                    (field.name().clone(), stats)
                })
                .collect();
            let text = json!({ "rows": rows, "files": reader.files().len(), "columns": columns });
            println!("{}", serde_json::to_string(&text).context("can't write JSON")?);
            return Ok(ExitCode::SUCCESS);
        }
        let mut table = Table::new();
        table.load_preset(presets::UTF8_FULL_CONDENSED).set_header(["column", "type", "nulls", "min", "max", "mean"]);
        let short = |bound: &Option<(String, Option<f64>)>| -> String {
            bound.as_ref().map_or(String::new(), |(text, _)| text.chars().take(32).collect())
        };
        for (field, stats) in fields.iter().zip(&columns) {
            table.add_row([
                field.name().clone(),
                field.data_type().to_string(),
                stats.nulls.to_string(),
                short(&stats.least),
                short(&stats.most),
                stats.mean().map_or(String::new(), |mean| format!("{mean:.3}")),
            ]);
        }
        println!("{table}");
        println!("{rows} rows in {} files", reader.files().len());
        Ok(ExitCode::SUCCESS)
    })
}
