use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow_schema::{DataType, Schema};
use deltalake_core::kernel::Add;
use parquet::file::metadata::ParquetMetaData;
use parquet::file::statistics::Statistics;
use serde_json::{Map, Value, json};

use crate::LakeError;
use crate::row_group::leaves;

/// Longest text that bounds are kept for: readers use them to skip files, and long ones only grow the log.
const TEXT_BOUND: usize = 32;

/// The add action of a file, with the statistics that its footer holds.
pub(crate) fn add_action(
    name: &str,
    bytes: u64,
    metadata: &ParquetMetaData,
    schema: &Schema,
) -> Result<String, LakeError> {
    let modified = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    let add = Add {
        path: name.to_owned(),
        partition_values: HashMap::new(),
        size: bytes as i64,
        modification_time: modified,
        data_change: true,
        stats: Some(statistics(metadata, schema).to_string()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    };
    serde_json::to_string(&add).map_err(|error| LakeError::parquet("describing a file", error))
}

/// Per-file statistics of the Delta protocol.
/// Source: Delta transaction log protocol, "Per-file Statistics".
fn statistics(metadata: &ParquetMetaData, schema: &Schema) -> Value {
    let (mut smallest, mut largest, mut nulls) = (Map::new(), Map::new(), Map::new());
    let mut next = 0;
    for field in schema.fields() {
        let index = next;
        next += leaves(field.data_type());
        if field.data_type().is_nested() {
            continue;
        }
        let mut bounds: Option<(Value, Value)> = None;
        let (mut null_count, mut complete) = (Some(0), true);
        for group in metadata.row_groups() {
            let Some(found) = group.columns().get(index).and_then(|column| column.statistics()) else {
                (null_count, complete) = (None, false);
                continue;
            };
            null_count = null_count.zip(found.null_count_opt()).map(|(a, b)| a + b);
            match range(found, field.data_type()) {
                Some(next) => bounds = Some(bounds.map_or(next.clone(), |known| widen(known, next))),
                // A row group of nulls has no bounds, and takes none away.
                None if found.null_count_opt() == Some(group.num_rows() as u64) => {}
                None => complete = false,
            }
        }
        if let Some(count) = null_count {
            nulls.insert(field.name().clone(), json!(count));
        }
        if let (true, Some((low, high))) = (complete, bounds) {
            smallest.insert(field.name().clone(), low);
            largest.insert(field.name().clone(), high);
        }
    }
    json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": smallest,
        "maxValues": largest,
        "nullCount": nulls,
    })
}

fn widen(known: (Value, Value), next: (Value, Value)) -> (Value, Value) {
    let less = |a: &Value, b: &Value| match (a, b) {
        (Value::String(a), Value::String(b)) => a < b,
        (a, b) => match (a.as_i64(), b.as_i64()) {
            (Some(a), Some(b)) => a < b,
            _ => a.as_f64() < b.as_f64(),
        },
    };
    let low = if less(&next.0, &known.0) { next.0 } else { known.0 };
    let high = if less(&known.1, &next.1) { next.1 } else { known.1 };
    (low, high)
}

fn range(found: &Statistics, data_type: &DataType) -> Option<(Value, Value)> {
    match (found, data_type) {
        (Statistics::Int32(s), DataType::Date32) => Some((json!(day(*s.min_opt()?)), json!(day(*s.max_opt()?)))),
        (Statistics::Int32(s), DataType::Int32) => Some((json!(s.min_opt()?), json!(s.max_opt()?))),
        (Statistics::Int64(s), DataType::Int64) => Some((json!(s.min_opt()?), json!(s.max_opt()?))),
        (Statistics::Int64(s), DataType::Timestamp(..)) => {
            // Bounds have milliseconds: the upper one is rounded up.
            let (low, high) = (*s.min_opt()?, *s.max_opt()?);
            Some((json!(moment(low.div_euclid(1000))), json!(moment(high.div_euclid(1000) + 1))))
        }
        (Statistics::Double(s), DataType::Float64) => {
            let (low, high) = (*s.min_opt()?, *s.max_opt()?);
            (low.is_finite() && high.is_finite()).then(|| (json!(low), json!(high)))
        }
        (Statistics::ByteArray(s), DataType::Utf8) => {
            let (low, high) = (s.min_opt()?.as_utf8().ok()?, s.max_opt()?.as_utf8().ok()?);
            let exact = found.min_is_exact() && found.max_is_exact();
            (exact && low.len() <= TEXT_BOUND && high.len() <= TEXT_BOUND).then(|| (json!(low), json!(high)))
        }
        _ => None,
    }
}

/// A day since the epoch as `YYYY-MM-DD`.
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn day(days: i32) -> String {
    let shifted = i64::from(days) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

fn moment(millis: i64) -> String {
    let (days, rest) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (hour, minute, second, milli) = (rest / 3_600_000, rest / 60_000 % 60, rest / 1000 % 60, rest % 1000);
    format!("{}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", day(days as i32))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments_are_written_as_the_protocol_says() {
        assert_eq!(day(0), "1970-01-01");
        assert_eq!(day(19_782), "2024-02-29");
        assert_eq!(day(-1), "1969-12-31");
        assert_eq!(moment(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(moment(1_732_147_200_123), "2024-11-21T00:00:00.123Z");
    }
}
