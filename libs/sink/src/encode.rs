use std::sync::LazyLock;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Date32Type, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type,
    Int64Type, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatch};
use arrow_json::writer::{EncoderOptions, make_encoder};
use arrow_schema::{ArrowError, DataType, FieldRef, TimeUnit};

use crate::columns::{Column, PgType};
use crate::numeric;

/// What a binary COPY begins with: signature, no flags, no extension.
/// Source: the manual of PostgreSQL, COPY, "Binary Format".
pub(crate) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// What it ends with.
pub(crate) const TRAILER: [u8; 2] = (-1i16).to_be_bytes();

/// The length of a value that is null.
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// Days from 1970-01-01 to 2000-01-01, PostgreSQL's epoch.
const EPOCH_DAYS: i32 = 10_957;

/// The same in microseconds.
const EPOCH_MICROS: i64 = EPOCH_DAYS as i64 * 86_400_000_000;

/// What a `date` can be, in days of that epoch (`src/include/datatype/timestamp.h` of PostgreSQL).
const DATES: std::ops::Range<i32> = -2_451_545..2_145_031_949;

/// What a `timestamp` can be, in microseconds of that epoch.
const TIMESTAMPS: std::ops::Range<i64> = -211_813_488_000_000_000..9_223_371_331_200_000_000;

/// Stands for the character U+0000, which no text of PostgreSQL can hold.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

static JSON: LazyLock<EncoderOptions> = LazyLock::new(|| EncoderOptions::default().with_explicit_nulls(true));

/// Writes the value of a row with its length before it, and counts what it had to replace.
type Write<'a> = Box<dyn FnMut(usize, &mut Vec<u8>, &mut u64) + 'a>;

/// The rows of a batch in PostgreSQL's binary form, which is the same for COPY and for parameters.
pub(crate) struct Rows<'a> {
    columns: Vec<(&'a dyn Array, Write<'a>)>,
    rows: usize,
    /// Values that PostgreSQL can't hold, and that were replaced.
    pub(crate) altered: u64,
}

impl<'a> Rows<'a> {
    /// The rows of a batch whose columns are, in their order, those of the table.
    pub(crate) fn new(batch: &'a RecordBatch, columns: &[Column]) -> Result<Self, ArrowError> {
        let schema = batch.schema_ref();
        let columns = batch.columns().iter().zip(schema.fields()).zip(columns);
        let columns = columns
            .map(|((array, field), column)| Ok((array.as_ref(), writer(array.as_ref(), field, column.kind)?)))
            .collect::<Result<_, ArrowError>>()?;
        Ok(Self { columns, rows: batch.num_rows(), altered: 0 })
    }

    /// Writes rows as COPY takes them, from one on, until there are no more or `limit` bytes are reached. Gives the
    /// row to go on with.
    pub(crate) fn copy(&mut self, from: usize, limit: usize, out: &mut Vec<u8>) -> usize {
        let fields = (self.columns.len() as i16).to_be_bytes();
        let mut row = from;
        while row < self.rows && out.len() < limit {
            out.extend_from_slice(&fields);
            for (array, write) in &mut self.columns {
                if array.is_null(row) {
                    out.extend_from_slice(&NULL);
                } else {
                    write(row, out, &mut self.altered);
                }
            }
            row += 1;
        }
        row
    }

    /// The values of some rows, row by row, as parameters of a statement; none for null.
    pub(crate) fn parameters(&mut self, rows: std::ops::Range<usize>) -> Vec<Option<Vec<u8>>> {
        let mut values = Vec::with_capacity(rows.len() * self.columns.len());
        for row in rows {
            for (array, write) in &mut self.columns {
                values.push((!array.is_null(row)).then(|| {
                    let mut value = Vec::new();
                    write(row, &mut value, &mut self.altered);
                    // A parameter's length is written by the driver.
                    value.split_off(4)
                }));
            }
        }
        values
    }
}

fn fixed<'a, T: ArrowPrimitiveType, const N: usize>(
    array: &'a dyn Array,
    bytes: impl Fn(T::Native, &mut u64) -> [u8; N] + 'a,
) -> Write<'a> {
    let values = array.as_primitive::<T>().values();
    Box::new(move |row, out, altered| {
        out.extend_from_slice(&(N as i32).to_be_bytes());
        out.extend_from_slice(&bytes(values[row], altered));
    })
}

/// A whole number, in a type that has room for it.
fn whole<'a, T: ArrowPrimitiveType>(array: &'a dyn Array, kind: PgType) -> Option<Write<'a>>
where
    T::Native: Into<i128>,
{
    let values = array.as_primitive::<T>().values();
    Some(match kind {
        PgType::Int2 => fixed::<T, 2>(array, |value, _| (value.into() as i16).to_be_bytes()),
        PgType::Int4 => fixed::<T, 4>(array, |value, _| (value.into() as i32).to_be_bytes()),
        PgType::Int8 => fixed::<T, 8>(array, |value, _| (value.into() as i64).to_be_bytes()),
        PgType::Numeric => Box::new(move |row, out, _| numeric::write(values[row].into(), 0, out)),
        PgType::Bool
        | PgType::Float4
        | PgType::Float8
        | PgType::Text
        | PgType::Varchar
        | PgType::Bpchar
        | PgType::Json
        | PgType::Jsonb
        | PgType::Bytea
        | PgType::Date
        | PgType::Timestamp
        | PgType::Timestamptz => return None,
    })
}

fn timestamp<'a, T: ArrowPrimitiveType<Native = i64>>(
    array: &'a dyn Array,
    micros: impl Fn(i64) -> Option<i64> + 'a,
) -> Write<'a> {
    fixed::<T, 8>(array, move |value, altered| {
        let moved = micros(value).and_then(|micros| micros.checked_sub(EPOCH_MICROS));
        let there = match moved.filter(|micros| TIMESTAMPS.contains(micros)) {
            Some(micros) => micros,
            None => {
                *altered += 1;
                // Infinity, and minus infinity.
                if value < 0 { i64::MIN } else { i64::MAX }
            }
        };
        there.to_be_bytes()
    })
}

fn date(days: i32, altered: &mut u64) -> [u8; 4] {
    let moved = days.checked_sub(EPOCH_DAYS).filter(|days| DATES.contains(days));
    let there = moved.unwrap_or_else(|| {
        *altered += 1;
        if days < 0 { i32::MIN } else { i32::MAX }
    });
    there.to_be_bytes()
}

fn text<'a>(kind: PgType, value: impl Fn(usize) -> &'a str + 'a) -> Write<'a> {
    match kind {
        PgType::Json | PgType::Jsonb => Box::new(move |row, out, altered| {
            json(kind, out, altered, |out| out.extend_from_slice(value(row).as_bytes()));
        }),
        _ => Box::new(move |row, out, altered| {
            let bytes = value(row).as_bytes();
            if memchr::memchr(0, bytes).is_none() {
                bytea(bytes, out);
            } else {
                *altered += 1;
                bytea(&bytes.split(|byte| *byte == 0).collect::<Vec<_>>().join(REPLACEMENT), out);
            }
        }),
    }
}

fn bytea(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&(bytes.len() as i32).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Writes a value of JSON. The escape of U+0000 is text like any other for `json`, but no value that `jsonb` can hold.
fn json(kind: PgType, out: &mut Vec<u8>, altered: &mut u64, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&NULL);
    if kind == PgType::Jsonb {
        // The version of its binary form.
        out.push(1);
    }
    let value = out.len();
    write(out);
    if kind == PgType::Jsonb {
        let (mut at, mut found) = (value, false);
        while let Some(next) = memchr::memchr(b'\\', &out[at..]) {
            let escape = at + next;
            if out[escape..].starts_with(b"\\u0000") {
                out[escape + 2..escape + 6].copy_from_slice(b"fffd");
                found = true;
            }
            // Whatever is escaped is no backslash that begins an escape.
            at = (escape + 2).min(out.len());
        }
        *altered += u64::from(found);
    }
    let length = (out.len() - start - 4) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// How a column is written. A type of the table that does not take the column's was refused before.
fn writer<'a>(array: &'a dyn Array, field: &'a FieldRef, kind: PgType) -> Result<Write<'a>, ArrowError> {
    let whole = match array.data_type() {
        DataType::Int8 => whole::<Int8Type>(array, kind),
        DataType::UInt8 => whole::<UInt8Type>(array, kind),
        DataType::Int16 => whole::<Int16Type>(array, kind),
        DataType::UInt16 => whole::<UInt16Type>(array, kind),
        DataType::Int32 => whole::<Int32Type>(array, kind),
        DataType::UInt32 => whole::<UInt32Type>(array, kind),
        DataType::Int64 => whole::<Int64Type>(array, kind),
        DataType::UInt64 => whole::<UInt64Type>(array, kind),
        _ => None,
    };
    if let Some(whole) = whole {
        return Ok(whole);
    }
    Ok(match (array.data_type(), kind) {
        (DataType::Boolean, _) => {
            let values = array.as_boolean();
            Box::new(move |row, out, _| bytea(&[u8::from(values.value(row))], out))
        }
        (DataType::Float32, PgType::Float8) => {
            fixed::<Float32Type, 8>(array, |value, _| f64::from(value).to_be_bytes())
        }
        (DataType::Float32, _) => fixed::<Float32Type, 4>(array, |value, _| value.to_be_bytes()),
        (DataType::Float64, _) => fixed::<Float64Type, 8>(array, |value, _| value.to_be_bytes()),
        (DataType::Decimal128(_, scale), _) => {
            let (values, scale) = (array.as_primitive::<Decimal128Type>().values(), scale.unsigned_abs());
            Box::new(move |row, out, _| numeric::write(values[row], scale, out))
        }
        (DataType::Utf8, _) => text(kind, |row| array.as_string::<i32>().value(row)),
        (DataType::LargeUtf8, _) => text(kind, |row| array.as_string::<i64>().value(row)),
        (DataType::Utf8View, _) => text(kind, |row| array.as_string_view().value(row)),
        (DataType::Binary, _) => Box::new(|row, out, _| bytea(array.as_binary::<i32>().value(row), out)),
        (DataType::LargeBinary, _) => Box::new(|row, out, _| bytea(array.as_binary::<i64>().value(row), out)),
        (DataType::BinaryView, _) => Box::new(|row, out, _| bytea(array.as_binary_view().value(row), out)),
        (DataType::Date32, _) => fixed::<Date32Type, 4>(array, date),
        (DataType::Timestamp(TimeUnit::Second, _), _) => {
            timestamp::<TimestampSecondType>(array, |value| value.checked_mul(1_000_000))
        }
        (DataType::Timestamp(TimeUnit::Millisecond, _), _) => {
            timestamp::<TimestampMillisecondType>(array, |value| value.checked_mul(1_000))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), _) => timestamp::<TimestampMicrosecondType>(array, Some),
        (DataType::Timestamp(TimeUnit::Nanosecond, _), _) => {
            timestamp::<TimestampNanosecondType>(array, |value| Some(value.div_euclid(1_000)))
        }
        _ => {
            let mut nested = make_encoder(field, array, &JSON)?;
            Box::new(move |row, out, altered| json(kind, out, altered, |out| nested.encode(row, out)))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>, &mut u64)) -> (Vec<u8>, u64) {
        let (mut out, mut altered) = (Vec::new(), 0);
        write(&mut out, &mut altered);
        assert_eq!(out[..4], ((out.len() - 4) as i32).to_be_bytes());
        (out.split_off(4), altered)
    }

    #[test]
    fn what_postgresql_cannot_hold_is_replaced_and_counted() {
        let plain =
            |text: &'static str| written(|out, altered| self::text(PgType::Text, move |_| text)(0, out, altered));
        assert_eq!(plain("a\0\0b"), ("a\u{fffd}\u{fffd}b".as_bytes().to_vec(), 1));
        assert_eq!(plain("ab"), (b"ab".to_vec(), 0));
        let jsonb =
            |text: &'static str| written(|out, altered| self::text(PgType::Jsonb, move |_| text)(0, out, altered));
        assert_eq!(
            jsonb(r#"["\u0000","\\u0000","\\\u0000"]"#),
            (b"\x01[\"\\ufffd\",\"\\\\u0000\",\"\\\\\\ufffd\"]".to_vec(), 1)
        );
        let mut altered = 0;
        assert_eq!(date(0, &mut altered), (-10_957i32).to_be_bytes());
        assert_eq!(date(i32::MAX, &mut altered), i32::MAX.to_be_bytes());
        assert_eq!(date(-2_500_000, &mut altered), i32::MIN.to_be_bytes());
        assert_eq!(altered, 2);
    }
}
