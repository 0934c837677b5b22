use std::sync::Arc;

use arrow_array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray, new_null_array,
};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::ArrowError;
use forebay_recipe::ColumnType;

use crate::fault::Checked;
use crate::value::text_end;

/// Values of one column while records are decoded. Unlike arrow's builders it can be cut back to an earlier
/// length, which is how a bad record is taken out again.
#[derive(Debug)]
pub(crate) struct ColumnBuilder {
    pub(crate) values: Values,
    /// Made when the first null comes; until then every value is there.
    validity: Option<BooleanBufferBuilder>,
}

#[derive(Debug)]
pub(crate) enum Values {
    Text {
        offsets: Vec<i32>,
        bytes: Vec<u8>,
    },
    Int64(Vec<i64>),
    Int32(Vec<i32>),
    Float64(Vec<f64>),
    Decimal(Vec<i128>, u8, i8),
    Bool(Vec<bool>),
    Date(Vec<i32>),
    Timestamp(Vec<i64>),
    /// A withheld or inherited column: only its length is counted, the type is kept for the array.
    Absent(usize, ColumnType),
}

macro_rules! each {
    ($values:expr, $vector:ident => $do:expr, $offsets:ident => $text:expr, $length:ident => $absent:expr) => {
        match $values {
            Values::Text { offsets: $offsets, .. } => $text,
            Values::Int64($vector) | Values::Timestamp($vector) => $do,
            Values::Int32($vector) | Values::Date($vector) => $do,
            Values::Float64($vector) => $do,
            Values::Decimal($vector, ..) => $do,
            Values::Bool($vector) => $do,
            Values::Absent($length, _) => $absent,
        }
    };
}

impl ColumnBuilder {
    pub(crate) fn new(kind: &ColumnType, absent: bool) -> Self {
        let values = if absent {
            Values::Absent(0, kind.clone())
        } else {
            match kind {
                ColumnType::String | ColumnType::Json => Values::Text { offsets: vec![0], bytes: Vec::new() },
                ColumnType::Int64 => Values::Int64(Vec::new()),
                ColumnType::Int32 => Values::Int32(Vec::new()),
                ColumnType::Float64 => Values::Float64(Vec::new()),
                ColumnType::Decimal(precision, scale) => Values::Decimal(Vec::new(), *precision, *scale),
                ColumnType::Bool => Values::Bool(Vec::new()),
                ColumnType::Date(_) => Values::Date(Vec::new()),
                ColumnType::Timestamp => Values::Timestamp(Vec::new()),
                ColumnType::Spans => Values::Absent(0, ColumnType::Spans),
            }
        };
        Self { values, validity: None }
    }

    pub(crate) fn len(&self) -> usize {
        each!(&self.values, v => v.len(), offsets => offsets.len() - 1, n => *n)
    }

    /// Bytes of text held, which is what can make a batch large.
    pub(crate) fn text_bytes(&self) -> usize {
        match &self.values {
            Values::Text { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }

    /// Puts a text into a text column.
    #[inline]
    pub(crate) fn push_text(&mut self, text: &str) -> Checked<()> {
        if let Values::Text { offsets, bytes } = &mut self.values {
            bytes.extend_from_slice(text.as_bytes());
            offsets.push(text_end(bytes)?);
            self.valid();
        }
        Ok(())
    }

    /// Marks the value that was pushed last as there.
    #[inline]
    pub(crate) fn valid(&mut self) {
        if let Some(validity) = &mut self.validity {
            validity.append(true);
        }
    }

    #[inline]
    pub(crate) fn push_null(&mut self) {
        let before = self.len();
        match &mut self.values {
            Values::Text { offsets, bytes } => offsets.push(bytes.len() as i32),
            Values::Int64(v) | Values::Timestamp(v) => v.push(0),
            Values::Int32(v) | Values::Date(v) => v.push(0),
            Values::Float64(v) => v.push(0.0),
            Values::Decimal(v, ..) => v.push(0),
            Values::Bool(v) => v.push(false),
            Values::Absent(n, _) => {
                *n += 1;
                return;
            }
        }
        self.validity
            .get_or_insert_with(|| {
                let mut validity = BooleanBufferBuilder::new(before + 1024);
                validity.append_n(before, true);
                validity
            })
            .append(false);
    }

    /// Takes back everything after the first `length` values.
    pub(crate) fn truncate(&mut self, length: usize) {
        match &mut self.values {
            Values::Text { offsets, bytes } => {
                offsets.truncate(length + 1);
                bytes.truncate(offsets.last().map_or(0, |&end| end as usize));
            }
            Values::Int64(v) | Values::Timestamp(v) => v.truncate(length),
            Values::Int32(v) | Values::Date(v) => v.truncate(length),
            Values::Float64(v) => v.truncate(length),
            Values::Decimal(v, ..) => v.truncate(length),
            Values::Bool(v) => v.truncate(length),
            Values::Absent(n, _) => *n = length,
        }
        if let Some(validity) = &mut self.validity {
            validity.truncate(length);
        }
    }

    /// The array of everything pushed so far; the builder is empty afterwards.
    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let nulls = self.validity.take().map(|mut validity| NullBuffer::new(validity.finish()));
        Ok(match &mut self.values {
            Values::Text { offsets, bytes } => {
                let room = (roomy(offsets.len()), roomy(bytes.len()));
                let offsets = std::mem::replace(offsets, Vec::with_capacity(room.0));
                let bytes = std::mem::replace(bytes, Vec::with_capacity(room.1));
                let array = StringArray::try_new(OffsetBuffer::new(offsets.into()), bytes.into(), nulls)?;
                if let Values::Text { offsets, .. } = &mut self.values {
                    offsets.push(0);
                }
                Arc::new(array)
            }
            Values::Int64(v) => Arc::new(Int64Array::try_new(buffer(v), nulls)?),
            Values::Int32(v) => Arc::new(Int32Array::try_new(buffer(v), nulls)?),
            Values::Float64(v) => Arc::new(Float64Array::try_new(buffer(v), nulls)?),
            Values::Date(v) => Arc::new(Date32Array::try_new(buffer(v), nulls)?),
            Values::Timestamp(v) => {
                Arc::new(TimestampMicrosecondArray::try_new(buffer(v), nulls)?.with_timezone("UTC"))
            }
            Values::Decimal(v, precision, scale) => {
                Arc::new(Decimal128Array::try_new(buffer(v), nulls)?.with_precision_and_scale(*precision, *scale)?)
            }
            Values::Bool(v) => {
                let room = roomy(v.len());
                let array = BooleanArray::new(std::mem::replace(v, Vec::with_capacity(room)).into(), nulls);
                Arc::new(array)
            }
            Values::Absent(n, kind) => new_null_array(&kind.data_type(), std::mem::take(n)),
        })
    }
}

/// Room for a little more than there was in the last batch, so that the next rarely has to move.
fn roomy(length: usize) -> usize {
    length + length / 16
}

/// Hands the values over without a copy and keeps room for as many again.
fn buffer<T: arrow_buffer::ArrowNativeType>(values: &mut Vec<T>) -> ScalarBuffer<T> {
    let room = roomy(values.len());
    std::mem::replace(values, Vec::with_capacity(room)).into()
}
