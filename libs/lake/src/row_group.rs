use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::DataType;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{
    ArrowColumnChunk, ArrowRowGroupWriterFactory, InMemoryPageStoreFactory, PageKey, PageStore, PageStoreArgs,
    PageStoreFactory, compute_leaves,
};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;

use crate::encoding::Encoding;
use crate::error::LakeError;

/// A row group, encoded and compressed, that is not part of a file yet.
#[derive(Debug)]
pub struct EncodedRowGroup {
    pub(crate) columns: Vec<ArrowColumnChunk>,
    encoding: Encoding,
    /// Rows in it.
    pub rows: u64,
    /// Bytes, encoded.
    pub bytes: u64,
}

impl EncodedRowGroup {
    /// How it was encoded: a file that begins with it takes this.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }
}

/// Where the pages of a row group wait until they are part of a file.
#[derive(Clone, Debug)]
pub enum Pages {
    /// In memory, as they soon are written.
    Memory,
    /// In an unnamed file in a folder, because more of them may come than the budget holds.
    Disk(PathBuf),
}

/// Encodes batches as one row group. It takes long: call it off the async threads. Columns are encoded one after
/// the other and each is dropped when it is done, so that little more than the batches themselves is held.
pub fn encode(encoding: &Encoding, batches: Vec<RecordBatch>, pages: &Pages) -> Result<EncodedRowGroup, LakeError> {
    let fail = |error: ParquetError| LakeError::parquet("encoding a row group", error);
    let template =
        SerializedFileWriter::new(std::io::sink(), Arc::clone(&encoding.root), Arc::clone(&encoding.properties))
            .map_err(fail)?;
    let store: Arc<dyn PageStoreFactory> = match pages {
        Pages::Memory => Arc::new(InMemoryPageStoreFactory),
        Pages::Disk(folder) => Arc::new(DiskPageFactory { folder: folder.clone() }),
    };
    let factory =
        ArrowRowGroupWriterFactory::new(&template, Arc::clone(&encoding.schema)).with_page_store_factory(store);
    let writers = factory.create_column_writers(0).map_err(fail)?;
    let rows = batches.iter().map(|batch| batch.num_rows() as u64).sum();
    let mut by_column: Vec<Vec<ArrayRef>> = vec![Vec::with_capacity(batches.len()); encoding.schema.fields().len()];
    for batch in batches {
        let (_, arrays, _) = batch.into_parts();
        for (column, array) in by_column.iter_mut().zip(arrays) {
            column.push(array);
        }
    }
    let mut columns = Vec::with_capacity(writers.len());
    let mut bytes = 0;
    let mut writers = writers.into_iter();
    for (field, arrays) in encoding.schema.fields().iter().zip(by_column) {
        let mut leaves: Vec<_> = writers.by_ref().take(leaves(field.data_type())).collect();
        for array in arrays {
            for (writer, leaf) in leaves.iter_mut().zip(compute_leaves(field, &array).map_err(fail)?) {
                writer.write(&leaf).map_err(fail)?;
            }
        }
        for writer in leaves {
            let chunk = writer.close().map_err(fail)?;
            bytes += chunk.close().bytes_written;
            columns.push(chunk);
        }
    }
    Ok(EncodedRowGroup { columns, encoding: encoding.clone(), rows, bytes })
}

/// How many columns of Parquet a column is written as: one, but for lists and structs.
pub(crate) fn leaves(data_type: &DataType) -> usize {
    match data_type {
        DataType::List(element) => leaves(element.data_type()),
        DataType::Struct(fields) => fields.iter().map(|field| leaves(field.data_type())).sum(),
        _ => 1,
    }
}

#[derive(Debug)]
struct DiskPageFactory {
    folder: PathBuf,
}

impl PageStoreFactory for DiskPageFactory {
    fn create(&self, _: &PageStoreArgs<'_>) -> Result<Box<dyn PageStore>, ParquetError> {
        let file = tempfile::tempfile_in(&self.folder)?;
        Ok(Box::new(DiskPages { file, pages: Vec::new(), end: 0 }))
    }
}

/// Pages of one column in a file without a name, which the system deletes when it is closed.
struct DiskPages {
    file: File,
    pages: Vec<(u64, usize)>,
    end: u64,
}

impl PageStore for DiskPages {
    fn put(&mut self, value: Bytes) -> Result<PageKey, ParquetError> {
        self.file.seek(SeekFrom::Start(self.end))?;
        self.file.write_all(&value)?;
        self.pages.push((self.end, value.len()));
        self.end += value.len() as u64;
        Ok(PageKey::new(self.pages.len() as u64 - 1))
    }

    fn take(&mut self, key: PageKey) -> Result<Bytes, ParquetError> {
        let (start, length) = usize::try_from(key.get())
            .ok()
            .and_then(|index| self.pages.get(index))
            .ok_or_else(|| ParquetError::General("no such page".to_owned()))?;
        let mut page = vec![0; *length];
        self.file.read_exact_at(&mut page, *start)?;
        Ok(page.into())
    }
}
