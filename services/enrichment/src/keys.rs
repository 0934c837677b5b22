use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Date32Type, Int64Type};
use arrow_array::{Array, ArrayRef, Date32Array, Int64Array, StringArray};
use arrow_cast::cast;
use arrow_schema::DataType;
use forebay_api::ServiceError;
use jiff::civil::Date;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128, xxh3_128_with_seed};

/// Between the parts of a key. Where a text holds it, it is a blank.
const SEPARATOR: char = '\u{1f}';

/// Longest key that a cache is asked for as it is. Longer ones, and those of several parts, go by their fingerprint:
/// they are smaller so, and an address that somebody lives at is not written down.
const PLAIN: usize = 32;

/// What is looked up: one value, or several parts in the order of the enricher.
///
/// It shows nothing of itself: it may be part of a record.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(Box<str>);

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    pub(crate) fn one(text: &str) -> Self {
        Self(text.into())
    }

    /// A key of several parts, or of one.
    pub(crate) fn of(parts: &[&str]) -> Self {
        let mut key = String::new();
        for (index, part) in parts.iter().enumerate() {
            push_part(&mut key, index, part);
        }
        Self(key.into())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(SEPARATOR)
    }

    /// The key's names in caches.
    pub(crate) fn cache_key(&self, namespace: &Namespace) -> CacheKey {
        let name = if self.0.len() <= PLAIN && !self.0.contains(SEPARATOR) {
            format!("{}:{}", namespace.name, self.0)
        } else {
            format!("{}:#{:032x}", namespace.name, xxh3_128(self.0.as_bytes()))
        };
        CacheKey { fingerprint: namespace.fingerprint(&self.0), name: name.into() }
    }
}

fn push_part(key: &mut String, index: usize, part: &str) {
    if index > 0 {
        key.push(SEPARATOR);
    }
    let part = part.trim();
    if part.contains(SEPARATOR) {
        key.extend(part.chars().map(|c| if c == SEPARATOR { ' ' } else { c }));
    } else {
        key.push_str(part);
    }
}

/// What an enricher's keys are called in caches.
#[derive(Clone, Debug)]
pub(crate) struct Namespace {
    name: String,
    seed: u64,
}

impl Namespace {
    pub(crate) fn new(name: String) -> Self {
        let seed = xxh3_64(name.as_bytes());
        Self { name, seed }
    }

    #[cfg(test)]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A key's name in the memory of the process. Of a billion keys, two have the same one with a chance of 1 in 10^21.
    pub(crate) fn fingerprint(&self, key: &str) -> u128 {
        xxh3_128_with_seed(key.as_bytes(), self.seed)
    }
}

/// A key's names in caches: a short one in the process, and one that can be read in others. Shows nothing of itself, as
/// the key.
#[derive(Clone)]
pub(crate) struct CacheKey {
    fingerprint: u128,
    name: Arc<str>,
}

impl PartialEq for CacheKey {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for CacheKey {}

impl std::hash::Hash for CacheKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

impl CacheKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.name
    }

    pub(crate) fn fingerprint(&self) -> u128 {
        self.fingerprint
    }
}

/// The keys of a batch, in the columns that they came in: most are looked up without a copy.
pub(crate) struct Keys {
    parts: Vec<Part>,
    /// One value a key, which is taken as it is.
    plain: bool,
    len: usize,
}

/// A column of a part of the keys.
enum Part {
    Text(StringArray),
    Int(Int64Array),
    Date(Date32Array),
    /// Nobody sent it.
    Absent,
}

impl Keys {
    /// Takes the keys of a batch: text, whole numbers or dates, or a struct of them, of which the named parts are taken
    /// in order.
    pub(crate) fn read(array: &ArrayRef, names: &[String]) -> Result<Self, ServiceError> {
        let len = array.len();
        let Some(fields) = array.as_struct_opt() else {
            return Ok(Self { parts: vec![Part::of(array)?], plain: true, len });
        };
        let parts = if names.is_empty() {
            fields.columns().iter().map(Part::of).collect::<Result<Vec<_>, _>>()?
        } else {
            let part = |name: &String| fields.column_by_name(name).map_or(Ok(Part::Absent), Part::of);
            names.iter().map(part).collect::<Result<Vec<_>, _>>()?
        };
        Ok(Self { parts, plain: false, len })
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn key(&self, row: usize) -> Key {
        Key::one(self.text(row, &mut String::new()))
    }

    /// The text of a whole key, as that of [`Key`]. It is put into `buffer` where it is in no column.
    pub(crate) fn text<'a>(&'a self, row: usize, buffer: &'a mut String) -> &'a str {
        if let Some(text) = self.in_place(row) {
            return text;
        }
        if self.plain {
            return self.parts[0].text(row, buffer);
        }
        let (mut key, mut part) = (std::mem::take(buffer), String::new());
        key.clear();
        for (index, column) in self.parts.iter().enumerate() {
            push_part(&mut key, index, column.text(row, &mut part));
        }
        *buffer = key;
        buffer
    }

    /// The text of a whole key where a column has it as it is.
    fn in_place(&self, row: usize) -> Option<&str> {
        let [Part::Text(column)] = self.parts.as_slice() else { return None };
        let text = value(column, row);
        if self.plain { Some(text) } else { Some(text.trim()).filter(|text| !text.contains(SEPARATOR)) }
    }

    /// The text of a part, without blanks around it; nothing where there is none.
    pub(crate) fn part<'a>(&'a self, part: usize, row: usize, buffer: &'a mut String) -> &'a str {
        self.parts.get(part).map_or("", |column| column.text(row, buffer).trim())
    }

    /// The day that a part says, if it does.
    pub(crate) fn date(&self, part: usize, row: usize) -> Option<Date> {
        match self.parts.get(part)? {
            Part::Date(column) => column.is_valid(row).then(|| day(column.value(row))).flatten(),
            column => column.text(row, &mut String::new()).trim().parse().ok(),
        }
    }
}

impl Part {
    fn of(array: &ArrayRef) -> Result<Self, ServiceError> {
        let as_type = |kind| cast(array, &kind).map_err(|error| unusable(array.data_type(), &error.to_string()));
        Ok(match array.data_type() {
            DataType::Utf8 => Self::Text(array.as_string().clone()),
            DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => {
                Self::Text(as_type(DataType::Utf8)?.as_string().clone())
            }
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::Int32 => Self::Int(as_type(DataType::Int64)?.as_primitive::<Int64Type>().clone()),
            DataType::Date32 => Self::Date(array.as_primitive::<Date32Type>().clone()),
            other => return Err(unusable(other, "send text, whole numbers, dates, or a struct of them")),
        })
    }

    fn text<'a>(&'a self, row: usize, buffer: &'a mut String) -> &'a str {
        use fmt::Write as _;
        // Writing to a text never fails.
        let written = match self {
            Self::Text(column) => return value(column, row),
            Self::Absent => return "",
            Self::Int(column) if column.is_valid(row) => {
                buffer.clear();
                write!(buffer, "{}", column.value(row))
            }
            Self::Date(column) if column.is_valid(row) => {
                buffer.clear();
                day(column.value(row)).map_or(Ok(()), |day| write!(buffer, "{day}"))
            }
            Self::Int(_) | Self::Date(_) => return "",
        };
        written.map_or("", |()| buffer.as_str())
    }
}

fn value(column: &StringArray, row: usize) -> &str {
    if column.is_valid(row) { column.value(row) } else { "" }
}

/// The day so many days after 1970-01-01.
fn day(days: i32) -> Option<Date> {
    Date::constant(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()
}

fn unusable(kind: &DataType, problem: &str) -> ServiceError {
    ServiceError::invalid("KEYS_UNUSABLE", format!("keys are {kind}: {problem}"))
}

#[cfg(test)]
mod tests {
    use arrow_array::{DictionaryArray, Int32Array, StructArray};
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn no_text_of_a_key_passes_for_two() {
        let key = |parts: &[&str]| Key::of(parts);
        assert_eq!(key(&["a", "b"]).parts().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(key(&["a\u{1f}b", "c"]).parts().collect::<Vec<_>>(), ["a b", "c"]);
        assert!(key(&["a\u{1f}b", "c"]) != key(&["a", "b\u{1f}c"]));
    }

    #[test]
    fn parts_come_in_the_enrichers_order_and_missing_ones_are_empty() {
        let zip: ArrayRef = Arc::new(StringArray::from(vec![Some(" 98101"), None]));
        let place: ArrayRef = Arc::new(Int32Array::from(vec![11, 21]));
        let date: ArrayRef = Arc::new(Date32Array::from(vec![Some(20_149), None]));
        let field = |name: &str, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), true));
        let fields = StructArray::from(vec![
            (field("place", &place), place),
            (field("zip", &zip), zip),
            (field("date", &date), date),
        ]);
        let names = ["zip", "code", "place", "date"].map(str::to_owned);
        let keys = Keys::read(&(Arc::new(fields) as ArrayRef), &names).unwrap();
        let (first, second) = (keys.key(0), keys.key(1));
        assert_eq!(first.parts().collect::<Vec<_>>(), ["98101", "", "11", "2025-03-02"]);
        assert_eq!(second.parts().collect::<Vec<_>>(), ["", "", "21", ""]);
        assert_eq!((keys.date(3, 0), keys.date(3, 1)), (Some(Date::constant(2025, 3, 2)), None));
        let mut buffer = String::new();
        assert_eq!((keys.part(0, 0, &mut buffer).to_owned(), keys.part(2, 1, &mut buffer)), ("98101".to_owned(), "21"));
        assert!(first.cache_key(&Namespace::new("m".to_owned())).as_str().starts_with("m:#"));
    }

    #[test]
    fn the_only_part_of_a_key_is_that_key() {
        let codes: ArrayRef = Arc::new(StringArray::from(vec![Some(" A1 "), Some("a\u{1f}b"), None]));
        let struct_of = |name: &str, column: &ArrayRef| -> ArrayRef {
            let field = Arc::new(Field::new(name, column.data_type().clone(), true));
            Arc::new(StructArray::from(vec![(field, Arc::clone(column))]))
        };
        let keys = Keys::read(&struct_of("code", &codes), &["code".to_owned()]).unwrap();
        let wanted = [" A1 ", "a\u{1f}b", ""].map(|text| Key::of(&[text]));
        assert_eq!([0, 1, 2].map(|row| keys.key(row)), wanted);
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7]));
        assert_eq!(Keys::read(&struct_of("code", &numbers), &[]).unwrap().key(0), Key::one("7"));
    }

    #[test]
    fn one_value_may_come_in_any_column_of_text_or_numbers() {
        let texts = StringArray::from(vec!["7", "8"]);
        let dictionary: DictionaryArray<arrow_array::types::Int8Type> = vec!["7", "8"].into_iter().collect();
        let large = cast(&texts, &DataType::LargeUtf8).unwrap();
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        for column in [Arc::new(texts) as ArrayRef, Arc::new(dictionary), large, numbers] {
            let keys = Keys::read(&column, &[]).unwrap();
            assert_eq!((keys.key(0), keys.key(1), keys.len()), (Key::one("7"), Key::one("8"), 2), "{column:?}");
        }
        let floats: ArrayRef = Arc::new(arrow_array::Float64Array::from(vec![1.0]));
        assert!(Keys::read(&floats, &[]).is_err());
    }

    #[test]
    fn short_keys_stay_readable_in_caches_and_nothing_shows_them_in_logs() {
        let (key, namespace) = (Key::one("1234567893"), Namespace::new("nppes".to_owned()));
        assert_eq!(key.cache_key(&namespace).as_str(), "nppes:1234567893");
        assert_ne!(namespace.fingerprint("1"), Namespace::new("zip".to_owned()).fingerprint("1"));
        assert!(!format!("{key:?} {:?}", key.cache_key(&namespace)).contains("123"));
    }
}
