//! Rows by INSERT, for servers and tables that take no COPY: row-level security, views, some proxies.

use arrow_array::RecordBatch;
use futures::StreamExt;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgConnection, PgTypeInfo};
use sqlx::{Arguments, AssertSqlSafe, Encode, Postgres, Type};

use crate::columns::{Column, PgType};
use crate::encode::Rows;
use crate::load::{Batches, unencodable};
use crate::table::Failure;

/// Rows of one statement.
const ROWS: usize = 1_000;

/// Parameters that the protocol can count.
const PARAMETERS: usize = 65_535;

/// Bytes of one statement: what is far beyond goes into a smaller one.
const BYTES: usize = 8 << 20;

/// A value in the form that the server has it on the wire.
struct Parameter {
    kind: PgType,
    value: Option<Vec<u8>>,
}

impl Type<Postgres> for Parameter {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(PgType::Text.oid()))
    }
}

impl Encode<'_, Postgres> for Parameter {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        match &self.value {
            Some(value) => {
                buffer.extend_from_slice(value);
                Ok(IsNull::No)
            }
            None => Ok(IsNull::Yes),
        }
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.kind.oid())))
    }
}

/// Sends all rows. Gives how many there were, and how many values had to be replaced.
pub(crate) async fn all(
    tx: &mut PgConnection,
    head: &str,
    columns: &[Column],
    mut batches: Batches,
) -> Result<(u64, u64), Failure> {
    let most = (PARAMETERS / columns.len().max(1)).clamp(1, ROWS);
    let (mut rows, mut altered) = (0, 0);
    while let Some(batch) = batches.next().await {
        let batch = batch?;
        let count = batch.num_rows();
        // As many at a time as their average size allows.
        let size = batch.get_array_memory_size() / count.max(1);
        let most = (BYTES / size.max(1)).clamp(1, most);
        let mut from = 0;
        while from < count {
            let to = (from + most).min(count);
            let (arguments, replaced) = arguments(&batch, from..to, columns)?;
            altered += replaced;
            let sql = format!("{head} {}", places(to - from, columns.len()));
            sqlx::query_with(AssertSqlSafe(sql), arguments).execute(&mut *tx).await?;
            from = to;
        }
        rows += count as u64;
    }
    Ok((rows, altered))
}

/// The values of some rows, and how many were replaced.
fn arguments(
    batch: &RecordBatch,
    rows: std::ops::Range<usize>,
    columns: &[Column],
) -> Result<(PgArguments, u64), Failure> {
    let mut encoded = Rows::new(batch, columns).map_err(|error| unencodable(&error.to_string()))?;
    let values = encoded.parameters(rows);
    let mut arguments = PgArguments::default();
    for (value, column) in values.into_iter().zip(columns.iter().cycle()) {
        let parameter = Parameter { kind: column.kind, value };
        arguments.add(parameter).map_err(|error| unencodable(&error.to_string()))?;
    }
    Ok((arguments, encoded.altered))
}

/// `($1,$2),($3,$4)`
fn places(rows: usize, columns: usize) -> String {
    let row = |row: usize| {
        let places: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
        format!("({})", places.join(","))
    };
    (0..rows).map(row).collect::<Vec<_>>().join(",")
}
