//! Measures loads: `load URL TABLE=FILE.parquet...` loads each file into its table, all at the same time, as a job of
//! its own. Reading the files is not counted. Prints one JSON line a table, and one for all.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use forebay_sink::{Commit, PostgresSink, Source};
use futures::StreamExt;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(clippy::print_stdout, reason = "what it measures is its result")]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let sink = Arc::new(PostgresSink::new(arguments.next().ok_or("URL TABLE=FILE...")?.parse()?, 4));
    let mut tables = Vec::new();
    for argument in arguments {
        let (table, file) = argument.split_once('=').ok_or("TABLE=FILE")?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?.with_batch_size(8192).build()?;
        let batches = reader.collect::<Result<Vec<RecordBatch>, _>>()?;
        sink.prepare(sink.target(), &[(table.to_owned(), batches.first().ok_or("no rows")?.schema())]).await?;
        tables.push((table.to_owned(), batches));
    }
    let mut loads = tokio::task::JoinSet::new();
    let start = Instant::now();
    for (table, batches) in tables {
        let sink = Arc::clone(&sink);
        loads.spawn(async move {
            let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
            let source: Box<Source> = Box::new(move || {
                let batches = batches.clone();
                Box::pin(async move { Ok(futures::stream::iter(batches.into_iter().map(Ok)).boxed()) })
            });
            let commit = Commit { catalog: format!("{:?}", Instant::now()), job: 1, place: 1 };
            sink.load(sink.target(), &commit, &table, rows, &*source).await?;
            Ok::<_, Failure>((table, rows, start.elapsed().as_secs_f64()))
        });
    }
    let mut all = 0;
    for loaded in loads.join_all().await {
        let (table, rows, seconds) = loaded?;
        all += rows;
        println!(
            r#"{{"table":"{table}","rows":{rows},"seconds":{seconds:.3},"rows_per_s":{:.0}}}"#,
            rows as f64 / seconds
        );
    }
    println!(r#"{{"table":"all","rows":{all},"seconds":{:.3}}}"#, start.elapsed().as_secs_f64());
    Ok(())
}
