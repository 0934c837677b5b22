use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use forebay_objects::Place;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use parquet::arrow::ParquetRecordBatchStreamBuilder;
#[expect(deprecated, reason = "its replacement is an example to copy; until that is a library, this is")]
use parquet::arrow::async_reader::ParquetObjectReader;

use crate::{DeltaLog, LakeError};

/// Rows in a batch that is read.
const BATCH_ROWS: usize = 8192;

/// Reads a table, a batch at a time.
#[derive(Debug)]
pub struct TableReader {
    place: Place,
    schema: SchemaRef,
    files: Vec<(String, u64)>,
}

impl TableReader {
    /// Opens the table at a place.
    pub async fn open(place: Place) -> Result<Self, LakeError> {
        let log = DeltaLog::open(place.clone()).await?;
        let Some(schema) = log.schema()? else { return Err(LakeError::NoTable(place.display())) };
        let mut files = log.files().await?;
        // The order of commits, which is the order of their names.
        files.sort();
        Ok(Self { place, schema, files })
    }

    /// The table's columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The table's files and their rows.
    pub fn files(&self) -> &[(String, u64)] {
        &self.files
    }

    /// Rows in the table, as its log says.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|(_, rows)| rows).sum()
    }

    /// Every row, in batches of at most 8,192. One row group's pages are held at a time.
    pub fn batches(&self) -> BoxStream<'static, Result<RecordBatch, LakeError>> {
        let place = self.place.clone();
        futures::stream::iter(self.files.clone())
            .then(move |(file, _)| {
                let place = place.clone();
                async move { read_file(&place, &file).await }
            })
            .try_flatten()
            .boxed()
    }
}

/// Every row of one Parquet file below a place.
pub async fn read_file(
    place: &Place,
    file: &str,
) -> Result<BoxStream<'static, Result<RecordBatch, LakeError>>, LakeError> {
    let context = format!("reading {}/{file}", place.display());
    let fail = {
        let context = context.clone();
        move |error| LakeError::parquet(context.clone(), error)
    };
    let path = Path::from_url_path(file).map_err(|error| LakeError::parquet(context, error))?;
    #[expect(deprecated, reason = "as above")]
    let reader = ParquetObjectReader::new(Arc::clone(place.store()), path);
    let stream = ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(&fail)?
        .with_batch_size(BATCH_ROWS)
        .build()
        .map_err(&fail)?;
    Ok(stream.map_err(fail).boxed())
}
