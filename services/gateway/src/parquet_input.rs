use std::sync::Arc;

use arrow_ipc::writer::StreamWriter;
use bytes::Bytes;
use forebay_catalog::NewChunk;
use forebay_decode::ColumnarMismatch;
use forebay_objects::{Input, StoreError};
use forebay_types::ChunkSource;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use parquet::arrow::ParquetRecordBatchStreamBuilder;
#[expect(deprecated, reason = "its replacement is an example to copy; until that is a library, this is")]
use parquet::arrow::async_reader::ParquetObjectReader;

use crate::error::Failure;
use crate::framing::{InputFraming, JobFraming};

impl JobFraming {
    /// Cuts a Parquet file into runs of rows that do not cross row groups. Only its footer is read.
    pub(crate) async fn frame_parquet(&self, mut state: InputFraming) -> Result<(), Failure> {
        let uri = state.input.identity().uri.clone();
        let Some((store, path)) = state.input.object() else {
            return Err(Failure::unusable(format!("{uri}: Parquet can't be read from a stream")));
        };
        #[expect(deprecated, reason = "as above")]
        let reader = ParquetObjectReader::new(Arc::clone(store), path.clone());
        let builder = ParquetRecordBatchStreamBuilder::new(reader)
            .await
            .map_err(|error| Failure::unusable(format!("{uri}: this is no readable Parquet file: {error}")))?;
        ColumnarMismatch::check(&self.prepared.layout, builder.schema())
            .map_err(|error| Failure::unusable(format!("{uri}: {error}")))?;
        let most = self.targets(None).records;
        let mut row = 0;
        for group in builder.metadata().row_groups() {
            let (start, rows) = (row, group.num_rows().max(0) as u64);
            row += rows;
            let width = (group.compressed_size().max(0) as u64).checked_div(rows).unwrap_or(0);
            let mut at = start.max(state.records);
            while at < row {
                let end = row.min(at + most);
                let chunk = NewChunk {
                    input: state.index,
                    source: ChunkSource::Rows { start: at, end },
                    first_record: at,
                    records: end - at,
                    checksum: None,
                    bytes: width * (end - at),
                };
                state.records = end;
                state.offset += chunk.bytes;
                self.wait_for_room().await?;
                self.add(&state, &[chunk], false).await?;
                at = end;
            }
        }
        self.add(&state, &[], true).await
    }
}

/// What a client sends of a Parquet file, which can't be read from a stream: its rows, as an Arrow stream. A file gives
/// the same rows in the same order each time, and that is what a submission is resumed by.
///
/// # Errors
/// On the stream: if the file can't be read, or is no Parquet.
pub fn arrow_frames(input: Input) -> BoxStream<'static, Result<Bytes, StoreError>> {
    let uri = input.identity().uri.clone();
    let failed = move |message: String| StoreError::Unreadable { uri: uri.clone(), message };
    let open = async move {
        let no_file = || failed("Parquet can't be read from a stream; give the file itself".to_owned());
        let (store, path) = input.object().ok_or_else(no_file)?;
        #[expect(deprecated, reason = "as above")]
        let reader = ParquetObjectReader::new(Arc::clone(store), path.clone());
        let builder = ParquetRecordBatchStreamBuilder::new(reader).await.map_err(|error| failed(error.to_string()))?;
        let writer = StreamWriter::try_new(Vec::new(), builder.schema()).map_err(|error| failed(error.to_string()))?;
        let batches = builder.build().map_err(|error| failed(error.to_string()))?;
        let frames = stream::try_unfold((batches, Some(writer)), move |(mut batches, writer)| {
            let failed = failed.clone();
            async move {
                let Some(mut writer) = writer else { return Ok(None) };
                let batch = batches.next().await.transpose().map_err(|error| failed(error.to_string()))?;
                let written = match &batch {
                    Some(batch) => writer.write(batch),
                    None => writer.finish(),
                };
                written.map_err(|error| failed(error.to_string()))?;
                let frame = Bytes::from(std::mem::take(writer.get_mut()));
                Ok(Some((frame, (batches, batch.map(|_| writer)))))
            }
        });
        Ok::<_, StoreError>(frames)
    };
    stream::once(open).try_flatten().boxed()
}
