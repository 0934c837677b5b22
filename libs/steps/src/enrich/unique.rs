//! The unique keys of a chunk, found without a copy of any.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, StringArray, UInt32Array};
use arrow_schema::{ArrowError, DataType};
use datafusion::arrow::compute::{cast, concat, take};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Keys that there is room for from the start: most chunks have no more.
const KEYS: usize = 32_768;

/// Another in each process: who sends keys can't know which of them have the same hash.
static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one("keys"));

/// No other key.
const LAST: u32 = u32::MAX;

/// True if keys may be in a column of this type.
pub(super) fn is_key(kind: &DataType) -> bool {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Int32 | DataType::Int64 | DataType::Date32 => true,
        DataType::Dictionary(_, value) => is_key(value),
        _ => false,
    }
}

/// The unique keys of a chunk, in the order in which they first come, and which of them each row has.
pub(super) struct UniqueKeys {
    /// A column a part.
    parts: Vec<ArrayRef>,
    /// A batch of places a batch of rows; null where there is no key.
    places: Vec<UInt32Array>,
}

impl UniqueKeys {
    /// Finds the unique keys in `columns` of the batches. A row without a value in any of them has none; a part that is
    /// missing is the same as one without text.
    pub(super) fn of(batches: &[RecordBatch], columns: &[usize]) -> Result<Self, ArrowError> {
        let chunk = batches
            .iter()
            .map(|batch| columns.iter().map(|column| Part::of(batch.column(*column))).collect())
            .collect::<Result<Vec<Vec<Part>>, _>>()?;
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let mut finder = Finder::new(&chunk, rows.min(KEYS));
        let (mut places, mut firsts) = (Vec::with_capacity(batches.len()), Vec::with_capacity(batches.len()));
        for (index, batch) in batches.iter().enumerate() {
            let known = finder.keys.len();
            places.push(finder.places(index as u32, batch.num_rows()));
            firsts.push(finder.keys[known..].iter().map(|(_, row)| *row).collect::<UInt32Array>());
        }
        let parts = (0..columns.len())
            .map(|part| {
                let taken = chunk.iter().zip(&firsts).map(|(parts, rows)| take(&parts[part].array(), rows, None));
                let taken = taken.collect::<Result<Vec<ArrayRef>, _>>()?;
                concat(&taken.iter().map(AsRef::as_ref).collect::<Vec<_>>())
            })
            // A chunk without rows has no column to begin with.
            .collect::<Result<Vec<_>, _>>();
        let parts =
            if chunk.is_empty() { vec![Arc::new(StringArray::new_null(0)) as ArrayRef; columns.len()] } else { parts? };
        Ok(Self { parts, places })
    }

    pub(super) fn parts(&self) -> &[ArrayRef] {
        &self.parts
    }

    pub(super) fn places(&self) -> &[UInt32Array] {
        &self.places
    }

    pub(super) fn len(&self) -> usize {
        self.parts.first().map_or(0, |part| part.len())
    }
}

/// A part of the keys of one batch.
enum Part {
    Text(StringArray),
    Int32(PrimitiveArray<Int32Type>),
    Int64(PrimitiveArray<Int64Type>),
    Date(PrimitiveArray<Date32Type>),
}

impl Part {
    fn of(column: &ArrayRef) -> Result<Self, ArrowError> {
        Ok(match column.data_type() {
            DataType::Utf8 => Self::Text(column.as_string().clone()),
            DataType::Int32 => Self::Int32(column.as_primitive().clone()),
            DataType::Int64 => Self::Int64(column.as_primitive().clone()),
            DataType::Date32 => Self::Date(column.as_primitive().clone()),
            DataType::Dictionary(_, value) if !matches!(value.as_ref(), DataType::LargeUtf8 | DataType::Utf8View) => {
                return Self::of(&cast(column, value)?);
            }
            _ => Self::Text(cast(column, &DataType::Utf8)?.as_string().clone()),
        })
    }

    fn array(&self) -> ArrayRef {
        match self {
            Self::Text(column) => Arc::new(column.clone()),
            Self::Int32(column) => Arc::new(column.clone()),
            Self::Int64(column) => Arc::new(column.clone()),
            Self::Date(column) => Arc::new(column.clone()),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Text(column) => column.is_null(row),
            Self::Int32(column) => column.is_null(row),
            Self::Int64(column) => column.is_null(row),
            Self::Date(column) => column.is_null(row),
        }
    }

    /// Mixes the values into the hashes of their rows.
    fn hash(&self, hashes: &mut [u64]) {
        match self {
            Self::Text(column) => {
                let seed = *SEED;
                mix(hashes, |row| xxh3_64_with_seed(text(column, row).as_bytes(), seed));
            }
            Self::Int32(column) => {
                mix(hashes, |row| number(column.is_valid(row).then(|| i64::from(column.value(row)))))
            }
            Self::Int64(column) => mix(hashes, |row| number(column.is_valid(row).then(|| column.value(row)))),
            Self::Date(column) => mix(hashes, |row| number(column.is_valid(row).then(|| i64::from(column.value(row))))),
        }
    }

    /// True if a row has the same value as one of another batch.
    fn equals(&self, row: usize, other: &Self, other_row: usize) -> bool {
        match (self, other) {
            (Self::Text(a), Self::Text(b)) => text(a, row) == text(b, other_row),
            (Self::Int32(a), Self::Int32(b)) => value(a, row) == value(b, other_row),
            (Self::Int64(a), Self::Int64(b)) => value(a, row) == value(b, other_row),
            (Self::Date(a), Self::Date(b)) => value(a, row) == value(b, other_row),
            // All batches of a table have the same columns.
            (Self::Text(_) | Self::Int32(_) | Self::Int64(_) | Self::Date(_), _) => false,
        }
    }
}

fn text(column: &StringArray, row: usize) -> &str {
    if column.is_null(row) { "" } else { column.value(row) }
}

fn value<T: arrow_array::ArrowPrimitiveType>(column: &PrimitiveArray<T>, row: usize) -> Option<T::Native> {
    column.is_valid(row).then(|| column.value(row))
}

/// A number's hash: numbers that are close must not be close any more.
fn number(value: Option<i64>) -> u64 {
    let value = value.map_or(0x9e37_79b9_7f4a_7c15, |value| value as u64);
    let spread = u128::from(value ^ *SEED) * 0xe703_7ed1_a0b4_28db;
    spread as u64 ^ (spread >> 64) as u64
}

fn mix(hashes: &mut [u64], hash: impl Fn(usize) -> u64) {
    for (row, mixed) in hashes.iter_mut().enumerate() {
        *mixed = mixed.rotate_left(23).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ hash(row);
    }
}

/// A hash as it is.
#[derive(Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= xxh3_64_with_seed(bytes, *SEED);
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

struct Finder<'a> {
    chunk: &'a [Vec<Part>],
    /// By its hash, the place of the first key that has it.
    first: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    /// Where each key first is: the batch and the row.
    keys: Vec<(u32, u32)>,
    /// The next key of the same hash, which is rare.
    next: Vec<u32>,
}

impl<'a> Finder<'a> {
    fn new(chunk: &'a [Vec<Part>], keys: usize) -> Self {
        let first = HashMap::with_capacity_and_hasher(keys, BuildHasherDefault::default());
        Self { chunk, first, keys: Vec::with_capacity(keys), next: Vec::with_capacity(keys) }
    }

    /// Which key each row of a batch has.
    fn places(&mut self, batch: u32, rows: usize) -> UInt32Array {
        let chunk = self.chunk;
        let parts = &chunk[batch as usize];
        let mut hashes = vec![0; rows];
        parts.iter().for_each(|part| part.hash(&mut hashes));
        let place = |(row, hash): (usize, &u64)| {
            if parts.iter().all(|part| part.is_null(row)) { None } else { Some(self.place(batch, row, *hash)) }
        };
        hashes.iter().enumerate().map(place).collect()
    }

    fn place(&mut self, batch: u32, row: usize, hash: u64) -> u32 {
        let new = self.keys.len() as u32;
        let mut last = None;
        let mut at = *self.first.entry(hash).or_insert(new);
        while at != new && at != LAST {
            let (first_batch, first_row) = self.keys[at as usize];
            let (parts, first) = (&self.chunk[batch as usize], &self.chunk[first_batch as usize]);
            if parts.iter().zip(first).all(|(part, first)| part.equals(row, first, first_row as usize)) {
                return at;
            }
            last = Some(at);
            at = self.next[at as usize];
        }
        if let Some(last) = last {
            self.next[last as usize] = new;
        }
        self.keys.push((batch, row as u32));
        self.next.push(LAST);
        new
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{DictionaryArray, Int32Array};
    use arrow_schema::{Field, Schema};

    use super::*;

    fn batch(columns: Vec<ArrayRef>) -> RecordBatch {
        let fields: Vec<Field> =
            columns.iter().enumerate().map(|(n, c)| Field::new(n.to_string(), c.data_type().clone(), true)).collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(values.to_vec()))
    }

    fn places(unique: &UniqueKeys) -> Vec<Vec<Option<u32>>> {
        unique.places().iter().map(|places| places.iter().collect()).collect()
    }

    #[test]
    fn keys_are_found_over_batches_and_rows_without_one_have_none() {
        let batches = [
            batch(vec![texts(&[Some("b"), None, Some("a"), Some("b"), Some("")])]),
            batch(vec![texts(&[])]),
            batch(vec![texts(&[Some("c"), Some("a"), None])]),
        ];
        let unique = UniqueKeys::of(&batches, &[0]).unwrap();
        assert_eq!(
            places(&unique),
            [vec![Some(0), None, Some(1), Some(0), Some(2)], vec![], vec![Some(3), Some(1), None]]
        );
        let keys: Vec<_> = unique.parts()[0].as_string::<i32>().iter().collect();
        assert_eq!(keys, [Some("b"), Some("a"), Some(""), Some("c")]);
    }

    #[test]
    fn parts_are_compared_apart_and_a_missing_one_is_none() {
        let zip = texts(&[Some("ab"), Some("a"), Some("ab"), Some("x"), Some("x"), None, None]);
        let code = texts(&[Some("c"), Some("bc"), Some("c"), None, Some(""), None, Some("x")]);
        let place: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), Some(1), Some(1), None, None, None, Some(0)]));
        let unique = UniqueKeys::of(&[batch(vec![zip, code, place])], &[0, 1, 2]).unwrap();
        assert_eq!(places(&unique), [[Some(0), Some(1), Some(0), Some(2), Some(2), None, Some(3)]]);
        assert_eq!((unique.len(), unique.parts()[2].data_type()), (4, &DataType::Int32));
    }

    #[test]
    fn dictionaries_are_keys_by_their_values() {
        let dictionary: DictionaryArray<Int32Type> = vec![Some("b"), Some("a"), None, Some("b")].into_iter().collect();
        let batches = [batch(vec![Arc::new(dictionary)])];
        let unique = UniqueKeys::of(&batches, &[0]).unwrap();
        assert_eq!(places(&unique), [[Some(0), Some(1), None, Some(0)]]);
        assert_eq!(unique.parts()[0].data_type(), &DataType::Utf8);
    }

    #[test]
    fn keys_whose_hashes_meet_are_kept_apart() {
        let chunk = [vec![Part::of(&texts(&[Some("a"), Some("b"), Some("c")])).unwrap()]];
        let mut finder = Finder::new(&chunk, 0);
        let places = [0, 1, 2, 1, 2, 0].map(|row| finder.place(0, row, 7));
        assert_eq!(places, [0, 1, 2, 1, 2, 0]);
    }

    #[test]
    fn a_chunk_without_rows_has_no_keys() {
        assert_eq!(UniqueKeys::of(&[], &[0]).unwrap().len(), 0);
        assert_eq!(UniqueKeys::of(&[batch(vec![texts(&[])])], &[0]).unwrap().len(), 0);
    }
}
