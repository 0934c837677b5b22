//! What the ways into PostgreSQL bear. Figures, not checks of a commit: `just copy OBSERVATIONS.parquet`.

#![expect(clippy::unwrap_used, reason = "a measurement that can't go on has failed, and says why")]

use std::sync::Arc;
use std::time::Instant;

use arrow_array::RecordBatch;
use forebay_sink::{Commit, Loaded, PostgresSink, Source};
use forebay_testing::postgres::Postgres;
use futures::StreamExt;
use futures::future::join_all;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Rows of one load.
const ROWS: usize = 300_000;

/// Loads of each kind; the median counts.
const ROUNDS: usize = 5;

fn observations() -> Vec<RecordBatch> {
    let file = std::env::var("FOREBAY_OBSERVATIONS").expect("FOREBAY_OBSERVATIONS names a Parquet file");
    let file = std::fs::File::open(file).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().with_batch_size(8192).with_limit(ROWS);
    let batches: Vec<_> = reader.build().unwrap().collect::<Result<_, _>>().unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), ROWS, "the file has too few rows");
    batches
}

/// Loads everything into a new table; rows a second.
async fn load(sink: &PostgresSink, table: &str, batches: &[RecordBatch]) -> f64 {
    let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
    let batches = batches.to_vec();
    let source: Box<Source> = Box::new(move || {
        let batches = batches.clone();
        Box::pin(async move { Ok(futures::stream::iter(batches.into_iter().map(Ok)).boxed()) })
    });
    let commit = Commit { catalog: "c".to_owned(), job: 1, place: 1 };
    let began = Instant::now();
    let loaded = sink.load(sink.target(), &commit, table, rows as u64, &source).await.unwrap();
    assert_eq!(loaded, Loaded::Rows(rows as u64));
    rows as f64 / began.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a figure, not a check: see the module"]
async fn copy_beside_insert_and_three_tables_at_once() {
    let server = Postgres::start();
    let batches = observations();
    let (mut copied, mut inserted, mut together) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let url = server.database();
        let sink = Arc::new(PostgresSink::new(url.parse().unwrap(), 3));
        copied.push(load(&sink, "copied", &batches).await);

        // A view takes rows, and no COPY.
        let inserting = PostgresSink::new(url.parse().unwrap(), 1);
        let part = &batches[..batches.len() / 4];
        sink.prepare(sink.target(), &[("kept".to_owned(), batches[0].schema())]).await.unwrap();
        let database = url.rsplit('/').next().unwrap().split('?').next().unwrap();
        server.query_in(database, "CREATE VIEW seen AS SELECT * FROM kept");
        inserted.push(load(&inserting, "seen", part).await);

        let alone = load(&sink, "alone", &batches).await;
        let began = Instant::now();
        let small = &batches[..batches.len() / 3];
        join_all([("one", &batches[..]), ("two", small), ("three", small)].map(|(table, batches)| {
            let sink = Arc::clone(&sink);
            async move { load(&sink, table, batches).await }
        }))
        .await;
        together.push(began.elapsed().as_secs_f64() * alone / ROWS as f64);
    }
    println!(
        "COPY {:.0} rows/s, INSERT {:.0} rows/s; three tables at once take {:.2} of what the largest takes alone",
        median(copied),
        median(inserted),
        median(together)
    );
}
