//! Columnar batches of any values, made from bytes.

use std::sync::Arc;

use arrow_array::builder::{Int64Builder, ListBuilder, StringBuilder, StructBuilder};
use arrow_array::{
    ArrayRef, BooleanArray, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray,
};
use arrow_schema::{DataType, Field};

use super::check::{NESTED, check_columnar, layout};

/// Bytes, taken from the front; zeros when there are no more.
struct Source<'a>(&'a [u8]);

/// Texts that some column takes and others do not.
const TEXTS: [&str; 12] = [
    "",
    "a",
    "abcd",
    "1",
    "-2.50",
    "1e5",
    "null",
    "{\"a\":[1,{}]}",
    " [1] ",
    "{",
    "2024-02-29",
    "2024-02-30T00:00:00Z",
];

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn number(&mut self) -> i64 {
        i64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }

    /// Mostly a value.
    fn some<T>(&mut self, value: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (!self.byte().is_multiple_of(8)).then(|| value(self))
    }

    fn text(&mut self) -> Option<String> {
        self.some(|source| TEXTS[usize::from(source.byte()) % TEXTS.len()].to_owned())
    }
}

fn parts(source: &mut Source<'_>, rows: usize) -> ArrayRef {
    let fields = [Field::new("name", DataType::Utf8, true), Field::new("n", DataType::Int64, true)];
    let mut lists = ListBuilder::new(StructBuilder::from_fields(fields.to_vec(), 0));
    for _ in 0..rows {
        for _ in 0..source.byte() % 4 {
            let parts = lists.values();
            if let Some(names) = parts.field_builder::<StringBuilder>(0) {
                names.append_option(source.text());
            }
            if let Some(numbers) = parts.field_builder::<Int64Builder>(1) {
                numbers.append_option(source.some(|source| source.number() >> 48));
            }
            parts.append(!source.byte().is_multiple_of(16));
        }
        lists.append(!source.byte().is_multiple_of(8));
    }
    Arc::new(lists.finish())
}

/// A batch with columns of the nested recipe. The first byte says how many rows, the others what is in them.
fn batch(bytes: &[u8]) -> RecordBatch {
    let source = &mut Source(bytes);
    let rows = usize::from(source.byte() % 32);
    let mut columns: Vec<(&str, ArrayRef)> = Vec::new();
    for name in ["id", "s", "d", "j", "day"] {
        columns.push((name, Arc::new((0..rows).map(|_| source.text()).collect::<StringArray>())));
    }
    for name in ["n", "m"] {
        let small = |source: &mut Source<'_>| source.number() >> (source.byte() % 64);
        columns.push((name, Arc::new((0..rows).map(|_| source.some(small)).collect::<Int64Array>())));
    }
    let float = |source: &mut Source<'_>| f64::from_bits(source.number() as u64);
    columns.push(("f", Arc::new((0..rows).map(|_| source.some(float)).collect::<Float64Array>())));
    let nanos = (0..rows).map(|_| source.some(Source::number)).collect::<TimestampNanosecondArray>();
    columns.push(("at", Arc::new(nanos)));
    columns.push(("yes", Arc::new((0..rows).map(|_| source.some(|s| s.byte() > 99)).collect::<BooleanArray>())));
    let fields = [Field::new("city", DataType::Utf8, true), Field::new("zip", DataType::Utf8, true)];
    let mut places = StructBuilder::from_fields(fields.to_vec(), 0);
    for _ in 0..rows {
        for field in 0..2 {
            if let Some(texts) = places.field_builder::<StringBuilder>(field) {
                texts.append_option(source.text());
            }
        }
        places.append(!source.byte().is_multiple_of(8));
    }
    columns.push(("place", Arc::new(places.finish())));
    columns.push(("parts", parts(source, rows)));
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
        .expect("columns of one length")
}

/// Decodes the batch that some bytes make, whole and in slices. The first byte is the length of a slice.
pub(crate) fn check(bytes: &[u8]) {
    let rows = usize::from(bytes.first().copied().unwrap_or(0) % 8) + 1;
    check_columnar(&layout(NESTED), &batch(bytes.get(1..).unwrap_or_default()), rows);
}
