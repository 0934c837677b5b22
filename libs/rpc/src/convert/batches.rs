//! Record batches as Arrow IPC messages, cut into parts that fit a gRPC message.
//!
//! Nothing is compressed and nothing is copied that need not be: encoding copies a batch once, decoding takes the
//! columns out of the received bytes. (`RecordBatch::get_array_memory_size` then counts the shared bytes once a
//! column; `ArrayData::get_slice_memory_size` tells what a batch really holds.)

use std::collections::HashMap;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow_array::types::ByteViewType;
use arrow_array::{Array, ArrayRef, GenericByteViewArray, RecordBatch, cast::AsArray};
use arrow_buffer::Buffer;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{read_dictionary, read_record_batch};
use arrow_ipc::root_as_message;
use arrow_ipc::writer::{DictionaryTracker, EncodedData, IpcDataGenerator, IpcWriteContext, IpcWriteOptions};
use arrow_schema::{ArrowError, DataType, SchemaRef};
use bytes::{Bytes, BytesMut};
use forebay_api::ServiceError;
use forebay_proto::common::v1::ArrowPart;

use super::{ProtocolError, required};
use crate::limits::{BATCH_LIMIT, PART_LIMIT, ROW_LIMIT, SLICE_TARGET};

/// Encodes the batches of one stream; their schema is sent before the first and whenever it changes.
#[derive(Default)]
pub(crate) struct BatchEncoder {
    stream: Option<(SchemaRef, DictionaryTracker)>,
    context: IpcWriteContext,
}

impl BatchEncoder {
    /// All parts of a batch. It holds the batch once more, so slice what may be large.
    pub(crate) fn encode(&mut self, batch: &RecordBatch) -> Result<Vec<ArrowPart>, ServiceError> {
        let generator = IpcDataGenerator::default();
        let options = IpcWriteOptions::default();
        let batch = without_unused_views(batch)?;
        let schema = batch.schema();
        let mut parts = Vec::with_capacity(1);
        if self.stream.as_ref().is_none_or(|(known, _)| *known != schema) {
            let mut tracker = DictionaryTracker::new(false);
            let encoded = generator.schema_to_bytes_with_dictionary_tracker(&schema, &mut tracker, &options);
            push_parts(encoded, &mut parts)?;
            self.stream = Some((schema, tracker));
        }
        if let Some((_, tracker)) = &mut self.stream {
            let (dictionaries, rows) =
                generator.encode(&batch, tracker, &options, &mut self.context).map_err(|e| not_sendable(&e))?;
            for encoded in dictionaries.into_iter().chain(iter::once(rows)) {
                push_parts(encoded, &mut parts)?;
            }
        }
        Ok(parts)
    }
}

/// Cuts one message into parts, which share its bytes.
fn push_parts(encoded: EncodedData, parts: &mut Vec<ArrowPart>) -> Result<(), ServiceError> {
    let mut header = Bytes::from(encoded.ipc_message);
    let mut body = Bytes::from(encoded.arrow_data);
    if header.len() > PART_LIMIT || body.len() > BATCH_LIMIT {
        return Err(ServiceError::invalid(
            "BATCH_EXCEEDS_LIMIT",
            format!(
                "a schema of {} bytes, or {} bytes of rows that cannot be sent apart, is more than one message may \
                 have ({PART_LIMIT} and {BATCH_LIMIT} bytes)",
                header.len(),
                body.len()
            ),
        ));
    }
    loop {
        let part = body.split_to(body.len().min(PART_LIMIT));
        let more = !body.is_empty();
        parts.push(ArrowPart { header: std::mem::take(&mut header), body: part, more });
        if !more {
            return Ok(());
        }
    }
}

pub(super) fn not_sendable(error: &ArrowError) -> ServiceError {
    ServiceError::invalid("BATCH_NOT_SENDABLE", format!("a batch cannot be written as Arrow IPC: {error}"))
}

/// The batch in slices of about [`SLICE_TARGET`] bytes and at most [`ROW_LIMIT`] rows, in order; one slice for a batch
/// without rows.
pub(crate) fn slices(batch: RecordBatch) -> impl Iterator<Item = RecordBatch> + Send {
    let mut rest = Some(batch);
    iter::from_fn(move || {
        let batch = rest.take()?;
        let mut rows = batch.num_rows().min(ROW_LIMIT);
        while rows > 1 && batch_size(&batch.slice(0, rows)) > SLICE_TARGET {
            rows = rows.div_ceil(2);
        }
        if rows == batch.num_rows() {
            return Some(batch);
        }
        rest = Some(batch.slice(rows, batch.num_rows() - rows));
        Some(batch.slice(0, rows))
    })
}

fn batch_size(batch: &RecordBatch) -> usize {
    batch.columns().iter().map(|column| array_size(column)).sum()
}

/// The bytes that the rows of an array need, and not what the buffers that it shares have.
fn array_size(array: &dyn Array) -> usize {
    let list = |values: &ArrayRef, first: usize, last: usize| {
        array.len() * size_of::<i64>() + array_size(&values.slice(first, last - first))
    };
    match array.data_type() {
        DataType::List(_) => {
            let (values, offsets) = (array.as_list::<i32>().values(), array.as_list::<i32>().value_offsets());
            list(values, offsets[0] as usize, offsets[array.len()] as usize)
        }
        DataType::LargeList(_) => {
            let (values, offsets) = (array.as_list::<i64>().values(), array.as_list::<i64>().value_offsets());
            list(values, offsets[0] as usize, offsets[array.len()] as usize)
        }
        DataType::Map(_, _) => {
            let (entries, offsets) = (array.as_map().entries(), array.as_map().value_offsets());
            let entries: ArrayRef = Arc::new(entries.clone());
            list(&entries, offsets[0] as usize, offsets[array.len()] as usize)
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(|column| array_size(column)).sum(),
        DataType::Dictionary(_, _) => array_size(array.as_any_dictionary().keys()),
        DataType::Utf8View => view_size(array.as_string_view()),
        DataType::BinaryView => view_size(array.as_binary_view()),
        _ => array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size()),
    }
}

fn view_size<T: ByteViewType>(array: &GenericByteViewArray<T>) -> usize {
    // The low 32 bits of a view are the length; up to 12 bytes lie in the view itself.
    let outside = array.views().iter().map(|view| *view as u32 as usize).filter(|length| *length > 12).sum::<usize>();
    array.len() * size_of::<u128>() + outside
}

/// Arrow IPC writes the whole buffers of a view column, however few rows of them are left.
fn without_unused_views(batch: &RecordBatch) -> Result<RecordBatch, ServiceError> {
    fn compact<T: ByteViewType>(array: &GenericByteViewArray<T>, column: &ArrayRef) -> ArrayRef {
        let held: usize = array.data_buffers().iter().map(Buffer::len).sum();
        if held > 2 * view_size(array) { Arc::new(array.gc()) } else { Arc::clone(column) }
    }
    let columns = batch.columns().iter().map(|column| match column.data_type() {
        DataType::Utf8View => compact(column.as_string_view(), column),
        DataType::BinaryView => compact(column.as_binary_view(), column),
        _ => Arc::clone(column),
    });
    let options = arrow_array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options).map_err(|e| not_sendable(&e))
}

/// Puts the parts of one stream together.
#[derive(Default)]
pub(crate) struct BatchDecoder {
    schema: Option<SchemaRef>,
    dictionaries: HashMap<i64, ArrayRef>,
    pending: Option<(Bytes, BytesMut)>,
}

impl BatchDecoder {
    /// Takes the next part; gives a batch if it was the last of one.
    pub(crate) fn push(&mut self, part: ArrowPart) -> Result<Option<RecordBatch>, ProtocolError> {
        let (header, body) = match self.pending.take() {
            None if part.header.is_empty() => return Err(ProtocolError::Missing("header")),
            None if !part.more => (part.header, part.body),
            None => {
                self.pending = Some((part.header, part.body.into()));
                return Ok(None);
            }
            Some(_) if !part.header.is_empty() => {
                return Err(ProtocolError::invalid("header", "begins a message before the last one is complete"));
            }
            Some((_, body)) if body.len() + part.body.len() > BATCH_LIMIT => {
                return Err(ProtocolError::invalid("body", format!("is more than {BATCH_LIMIT} bytes")));
            }
            Some((header, mut body)) => {
                body.extend_from_slice(&part.body);
                if part.more {
                    self.pending = Some((header, body));
                    return Ok(None);
                }
                (header, body.freeze())
            }
        };
        // The reader checks most of what it reads, and asserts the rest.
        catch_unwind(AssertUnwindSafe(|| self.decode(&header, body)))
            .unwrap_or_else(|_| Err(ProtocolError::invalid("body", "is no Arrow data that fits its header")))
    }

    /// True in the middle of a message.
    pub(crate) const fn is_incomplete(&self) -> bool {
        self.pending.is_some()
    }

    fn decode(&mut self, header: &[u8], body: Bytes) -> Result<Option<RecordBatch>, ProtocolError> {
        let broken = |error: ArrowError| ProtocolError::invalid("body", format!("cannot be decoded: {error}"));
        let message = root_as_message(header)
            .map_err(|error| ProtocolError::invalid("header", format!("is no Arrow IPC message: {error}")))?;
        let version = message.version();
        let body = Buffer::from(body);
        if let Some(schema) = message.header_as_schema() {
            self.schema = Some(Arc::new(fb_to_schema(schema)));
            self.dictionaries.clear();
            return Ok(None);
        }
        let schema = required(self.schema.clone(), "schema")?;
        if let Some(dictionary) = message.header_as_dictionary_batch() {
            if dictionary.isDelta() {
                return Err(ProtocolError::invalid("header", "adds to a dictionary"));
            }
            read_dictionary(&body, dictionary, &schema, &mut self.dictionaries, &version).map_err(broken)?;
            return Ok(None);
        }
        let Some(rows) = message.header_as_record_batch() else {
            let kind = message.header_type().variant_name().unwrap_or("unknown to Arrow");
            return Err(ProtocolError::invalid("header", format!("is a message {kind}")));
        };
        if !usize::try_from(rows.length()).is_ok_and(|rows| rows <= ROW_LIMIT) {
            return Err(ProtocolError::invalid("rows", format!("are {}, more than {ROW_LIMIT}", rows.length())));
        }
        read_record_batch(&body, rows, schema, &self.dictionaries, None, &version).map(Some).map_err(broken)
    }
}

#[cfg(test)]
mod tests;
