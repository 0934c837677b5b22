use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{DataType, SchemaRef};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding as PageEncoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder, WriterPropertiesPtr};
use parquet::schema::types::{ColumnPath, TypePtr};

use crate::LakeError;

/// Values looked at in each column.
const SAMPLE: usize = 4096;

/// Encoded bytes of a page. A quarter of what is usual: each column that is being encoded holds a page twice, and the
/// memory of small ones is used again before it has gone back to the system.
const PAGE_BYTES: usize = 256 << 10;

/// Share of different values up to which a dictionary pays.
const DICTIONARY_SHARE: f64 = 0.2;

/// Mean length in bytes from which a text is prose: no statistics, no dictionary.
const PROSE: usize = 64;

/// How the row groups of a table are encoded. Chosen once a table and job from the first rows that come.
///
/// The choice never changes what is read back. It matters because encoding is the dearest step there is: a
/// dictionary of values that hardly repeat is built, found too large, and thrown away again.
#[derive(Clone, Debug)]
pub struct Encoding {
    /// Arrow schema of the rows.
    pub schema: SchemaRef,
    pub(crate) root: TypePtr,
    pub(crate) properties: WriterPropertiesPtr,
}

impl Encoding {
    /// Chooses encodings by a sample of a table's rows.
    pub fn choose(sample: &RecordBatch) -> Result<Self, LakeError> {
        let schema = sample.schema();
        let mut builder = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_created_by(format!("forebay {}", env!("CARGO_PKG_VERSION")))
            .set_max_row_group_row_count(None)
            .set_dictionary_enabled(false)
            .set_data_page_size_limit(PAGE_BYTES);
        for (field, array) in schema.fields().iter().zip(sample.columns()) {
            builder = choose_column(builder, ColumnPath::from(field.name().as_str()), array);
        }
        let root = ArrowSchemaConverter::new()
            .convert(&schema)
            .map_err(|error| LakeError::parquet("converting a table's schema", error))?
            .root_schema_ptr();
        Ok(Self { schema, root, properties: Arc::new(builder.build()) })
    }
}

fn choose_column(builder: WriterPropertiesBuilder, path: ColumnPath, array: &ArrayRef) -> WriterPropertiesBuilder {
    let repeats = share_of_different(array) <= DICTIONARY_SHARE;
    if repeats {
        return builder.set_column_dictionary_enabled(path, true);
    }
    match array.data_type() {
        DataType::Utf8 => {
            let shape = TextShape::of(array);
            if shape.mean_length >= PROSE {
                return builder
                    .set_column_statistics_enabled(path.clone(), EnabledStatistics::None)
                    .set_column_encoding(path, PageEncoding::DELTA_LENGTH_BYTE_ARRAY);
            }
            // Identifiers often begin like the one before.
            let encoding = if shape.shared_prefix * 3 >= shape.mean_length {
                PageEncoding::DELTA_BYTE_ARRAY
            } else {
                PageEncoding::DELTA_LENGTH_BYTE_ARRAY
            };
            builder.set_column_encoding(path, encoding)
        }
        DataType::Int32 | DataType::Int64 | DataType::Date32 | DataType::Timestamp(..) => {
            builder.set_column_encoding(path, PageEncoding::DELTA_BINARY_PACKED)
        }
        _ => builder,
    }
}

/// How many of a sample's values are different, as a share. Nulls do not count.
fn share_of_different(array: &ArrayRef) -> f64 {
    let rows = array.len().min(SAMPLE);
    let present = (0..rows).filter(|&row| array.is_valid(row));
    let (different, total) = match array.data_type() {
        DataType::Utf8 => {
            let texts = array.as_string::<i32>();
            count(present.map(|row| texts.value(row).as_bytes()))
        }
        DataType::Boolean => return 1.0,
        _ => {
            let data = array.to_data();
            let Some(width) = array.data_type().primitive_width() else { return 1.0 };
            let Some(values) = data.buffers().first() else { return 1.0 };
            let values = &values.as_slice()[data.offset() * width..];
            count(present.filter_map(|row| values.get(row * width..(row + 1) * width)))
        }
    };
    // Too few rows say nothing about the rest.
    if total < 16 { if different <= 1 { 0.0 } else { 1.0 } } else { different as f64 / total as f64 }
}

fn count<'a>(values: impl Iterator<Item = &'a [u8]>) -> (usize, usize) {
    let (mut set, mut total) = (HashSet::new(), 0);
    for value in values {
        set.insert(value);
        total += 1;
    }
    (set.len(), total)
}

struct TextShape {
    mean_length: usize,
    /// Mean number of bytes that a text has in common with the one before.
    shared_prefix: usize,
}

impl TextShape {
    fn of(array: &ArrayRef) -> Self {
        let texts = array.as_string::<i32>();
        let (mut length, mut shared, mut rows) = (0, 0, 0);
        let mut before: &[u8] = b"";
        for text in texts.iter().take(SAMPLE).flatten() {
            let text = text.as_bytes();
            length += text.len();
            shared += before.iter().zip(text).take_while(|(a, b)| a == b).count();
            before = text;
            rows += 1;
        }
        let rows = rows.max(1);
        Self { mean_length: length / rows, shared_prefix: shared / rows }
    }
}
