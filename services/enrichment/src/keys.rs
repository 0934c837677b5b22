use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use forebay_api::ServiceError;
use xxhash_rust::xxh3::xxh3_128;

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
            if index > 0 {
                key.push(SEPARATOR);
            }
            key.extend(part.trim().chars().map(|c| if c == SEPARATOR { ' ' } else { c }));
        }
        Self(key.into())
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    pub(crate) fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split(SEPARATOR)
    }

    /// The key's name in caches, below an enricher's.
    pub(crate) fn cache_key(&self, namespace: &str) -> CacheKey {
        if self.0.len() <= PLAIN && !self.0.contains(SEPARATOR) {
            CacheKey(format!("{namespace}:{}", self.0).into())
        } else {
            CacheKey(format!("{namespace}:#{:032x}", xxh3_128(self.0.as_bytes())).into())
        }
    }
}

/// A key's name in caches. Shows nothing of itself, as the key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey(Arc<str>);

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheKey(..)")
    }
}

impl CacheKey {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// The keys of a batch: text, whole numbers, or a struct of them, of which the named parts are taken in order.
pub(crate) fn keys_of(array: &ArrayRef, parts: &[&str]) -> Result<Vec<Key>, ServiceError> {
    if let Some(fields) = array.as_struct_opt() {
        let columns = if parts.is_empty() {
            fields.columns().iter().map(texts).collect::<Result<Vec<_>, _>>()?
        } else {
            let column = |part: &&str| fields.column_by_name(part).map(texts).transpose();
            let given = parts.iter().map(column).collect::<Result<Vec<_>, _>>()?;
            given.into_iter().map(|column| column.unwrap_or_else(|| vec![String::new(); array.len()])).collect()
        };
        let key = |row: usize| Key::of(&columns.iter().map(|column| column[row].as_str()).collect::<Vec<_>>());
        return Ok((0..array.len()).map(key).collect());
    }
    if let Some(strings) = array.as_string_opt::<i32>() {
        return Ok(strings.iter().map(|text| Key::one(text.unwrap_or_default())).collect());
    }
    Ok(texts(array)?.into_iter().map(|text| Key(text.into())).collect())
}

fn texts(array: &ArrayRef) -> Result<Vec<String>, ServiceError> {
    Ok(match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().iter().map(|text| text.unwrap_or_default().to_owned()).collect(),
        DataType::Int64 => array.as_primitive::<Int64Type>().iter().map(written).collect(),
        DataType::Int32 => array.as_primitive::<Int32Type>().iter().map(written).collect(),
        other => {
            let message = format!("keys are {other}: send text, whole numbers, or a struct of them");
            return Err(ServiceError::invalid("KEYS_UNUSABLE", message));
        }
    })
}

fn written(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_text_of_a_key_passes_for_two() {
        let key = |parts: &[&str]| Key::of(parts);
        assert_eq!(key(&["a", "b"]).parts().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(key(&["a\u{1f}b", "c"]).parts().collect::<Vec<_>>(), ["a b", "c"]);
        assert!(key(&["a\u{1f}b", "c"]) != key(&["a", "b\u{1f}c"]));
    }

    use arrow_array::{Int32Array, StringArray, StructArray};
    use arrow_schema::Field;

    use super::*;

    #[test]
    fn parts_come_in_the_enrichers_order_and_missing_ones_are_empty() {
        let zip: ArrayRef = Arc::new(StringArray::from(vec![Some("98101"), None]));
        let place: ArrayRef = Arc::new(Int32Array::from(vec![11, 21]));
        let fields = StructArray::from(vec![
            (Arc::new(Field::new("place", DataType::Int32, true)), place),
            (Arc::new(Field::new("zip", DataType::Utf8, true)), zip),
        ]);
        let keys = keys_of(&(Arc::new(fields) as ArrayRef), &["zip", "code", "place"]).unwrap();
        let parts: Vec<Vec<&str>> = keys.iter().map(|key| key.parts().collect()).collect();
        assert_eq!(parts, [["98101", "", "11"], ["", "", "21"]]);
        assert!(keys[0].cache_key("m").as_str().starts_with("m:#"));
    }

    #[test]
    fn short_keys_stay_readable_in_caches_and_nothing_shows_them_in_logs() {
        let key = Key::one("1234567893");
        assert_eq!(key.cache_key("nppes").as_str(), "nppes:1234567893");
        assert!(!format!("{key:?} {:?}", key.cache_key("nppes")).contains("123"));
    }
}
