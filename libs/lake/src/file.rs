use std::sync::Arc;

use forebay_objects::Place;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::writer::SerializedFileWriter;

use crate::encoding::Encoding;
use crate::error::LakeError;
use crate::row_group::EncodedRowGroup;
use crate::stats;
use crate::upload::Upload;

/// A Parquet file while it is written to a table's folder. It is not visible before [`ParquetFile::finish`], and
/// no part of the table before its [`FinishedFile::add`] is published.
#[derive(Debug)]
pub struct ParquetFile {
    writer: SerializedFileWriter<Vec<u8>>,
    upload: Upload,
    encoding: Encoding,
    name: String,
    rows: u64,
}

/// A Parquet file that is complete.
#[derive(Clone, Debug)]
pub struct FinishedFile {
    /// Name in the table's folder.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Rows in it.
    pub rows: u64,
    /// The Delta log's add action, as JSON.
    pub add: String,
}

impl ParquetFile {
    /// Begins a file. Nothing is written before the first part of `part_bytes` is full.
    pub fn create(table: &Place, name: String, encoding: Encoding, part_bytes: usize) -> Result<Self, LakeError> {
        let writer =
            SerializedFileWriter::new(Vec::new(), Arc::clone(&encoding.root), Arc::clone(&encoding.properties))
                .map_err(|error| LakeError::parquet(format!("beginning {name}"), error))?;
        Ok(Self { writer, upload: Upload::new(table.clone(), name.clone(), part_bytes), encoding, name, rows: 0 })
    }

    /// Puts a row group behind those that are there.
    pub async fn append(&mut self, group: EncodedRowGroup) -> Result<(), LakeError> {
        let context = |error| LakeError::parquet(format!("writing {}", self.name), error);
        let mut target = self.writer.next_row_group().map_err(context)?;
        for column in group.columns {
            column.append_to_row_group(&mut target).map_err(context)?;
        }
        target.close().map_err(context)?;
        self.rows += group.rows;
        self.drain().await
    }

    /// Bytes written so far, as they are in the file.
    pub fn bytes(&self) -> u64 {
        self.writer.bytes_written() as u64
    }

    async fn drain(&mut self) -> Result<(), LakeError> {
        self.writer.flush().map_err(|error| LakeError::parquet(format!("writing {}", self.name), error))?;
        let bytes = std::mem::take(self.writer.inner_mut());
        self.upload.write(&bytes).await?;
        Ok(())
    }

    /// Writes the footer and makes the file visible in its folder.
    pub async fn finish(mut self) -> Result<FinishedFile, LakeError> {
        let finished = self.close().await;
        if finished.is_err() {
            self.upload.abort().await;
        }
        finished
    }

    async fn close(&mut self) -> Result<FinishedFile, LakeError> {
        let metadata: ParquetMetaData =
            self.writer.finish().map_err(|error| LakeError::parquet(format!("closing {}", self.name), error))?;
        self.drain().await?;
        let bytes = self.upload.finish().await?;
        let add = stats::add_action(&self.name, bytes, &metadata, &self.encoding.schema)?;
        Ok(FinishedFile { name: self.name.clone(), bytes, rows: self.rows, add })
    }

    /// Gives the file up.
    pub async fn abort(mut self) {
        self.upload.abort().await;
    }
}
