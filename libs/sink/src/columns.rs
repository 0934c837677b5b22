use arrow_schema::{DataType, Field};

use crate::SinkError;
use crate::target::LONGEST_NAME;

/// A type of PostgreSQL that a column can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PgType {
    /// `boolean`
    Bool,
    /// `smallint`
    Int2,
    /// `integer`
    Int4,
    /// `bigint`
    Int8,
    /// `real`
    Float4,
    /// `double precision`
    Float8,
    /// `numeric`
    Numeric,
    /// `text`
    Text,
    /// `varchar(n)`
    Varchar,
    /// `char(n)`
    Bpchar,
    /// `json`
    Json,
    /// `jsonb`
    Jsonb,
    /// `bytea`
    Bytea,
    /// `date`
    Date,
    /// `timestamp`
    Timestamp,
    /// `timestamp with time zone`
    Timestamptz,
}

/// The types and their numbers, which are the same on every server (`pg_type.dat`).
const OIDS: [(PgType, u32); 16] = [
    (PgType::Bool, 16),
    (PgType::Bytea, 17),
    (PgType::Int8, 20),
    (PgType::Int2, 21),
    (PgType::Int4, 23),
    (PgType::Text, 25),
    (PgType::Json, 114),
    (PgType::Float4, 700),
    (PgType::Float8, 701),
    (PgType::Bpchar, 1042),
    (PgType::Varchar, 1043),
    (PgType::Date, 1082),
    (PgType::Timestamp, 1114),
    (PgType::Timestamptz, 1184),
    (PgType::Numeric, 1700),
    (PgType::Jsonb, 3802),
];

impl PgType {
    /// The type with a number.
    pub(crate) fn from_oid(oid: u32) -> Option<Self> {
        OIDS.iter().find(|(_, there)| *there == oid).map(|(kind, _)| *kind)
    }

    /// Its number.
    pub(crate) fn oid(self) -> u32 {
        OIDS.iter().find(|(kind, _)| *kind == self).map_or(0, |(_, oid)| *oid)
    }
}

/// A column of a table: the batch's column that it is filled from, and its type there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: PgType,
}

/// The type of a column that is made for an Arrow type, and how SQL writes it.
///
/// # Errors
/// [`SinkError::Schema`] if there is none.
pub(crate) fn made_for(table: &str, field: &Field) -> Result<(PgType, String), SinkError> {
    let fail = |message: String| SinkError::Schema { table: table.to_owned(), message };
    if field.name().len() > LONGEST_NAME {
        return Err(fail(format!("the name of its column '{}' is longer than 63 bytes", field.name())));
    }
    let kind = taken_by(field.data_type()).first().copied().ok_or_else(|| {
        fail(format!(
            "its column '{}' is {}, which has no type in PostgreSQL: cast it in a step",
            field.name(),
            field.data_type()
        ))
    })?;
    let sql = match (kind, field.data_type()) {
        (PgType::Bool, _) => "boolean".to_owned(),
        (PgType::Int2, _) => "smallint".to_owned(),
        (PgType::Int4, _) => "integer".to_owned(),
        (PgType::Int8, _) => "bigint".to_owned(),
        (PgType::Float4, _) => "real".to_owned(),
        (PgType::Float8, _) => "double precision".to_owned(),
        (PgType::Numeric, DataType::Decimal128(precision, scale)) => format!("numeric({precision},{scale})"),
        (PgType::Numeric, _) => "numeric(20)".to_owned(),
        (PgType::Text | PgType::Varchar | PgType::Bpchar, _) => "text".to_owned(),
        (PgType::Json, _) => "json".to_owned(),
        (PgType::Jsonb, _) => "jsonb".to_owned(),
        (PgType::Bytea, _) => "bytea".to_owned(),
        (PgType::Date, _) => "date".to_owned(),
        (PgType::Timestamp, _) => "timestamp".to_owned(),
        (PgType::Timestamptz, _) => "timestamptz".to_owned(),
    };
    Ok((kind, sql))
}

/// The types that take every value of an Arrow type, the best first.
pub(crate) fn taken_by(kind: &DataType) -> &'static [PgType] {
    use PgType::{
        Bool, Bpchar, Bytea, Date, Float4, Float8, Int2, Int4, Int8, Json, Jsonb, Numeric, Text, Timestamp,
        Timestamptz, Varchar,
    };
    match kind {
        DataType::Boolean => &[Bool],
        DataType::Int8 | DataType::UInt8 | DataType::Int16 => &[Int2, Int4, Int8, Numeric],
        DataType::UInt16 | DataType::Int32 => &[Int4, Int8, Numeric],
        DataType::UInt32 | DataType::Int64 => &[Int8, Numeric],
        DataType::UInt64 => &[Numeric],
        DataType::Float32 => &[Float4, Float8],
        DataType::Float64 => &[Float8],
        DataType::Decimal128(_, scale) if *scale >= 0 => &[Numeric],
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => &[Text, Varchar, Bpchar, Json, Jsonb],
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => &[Bytea],
        DataType::Date32 => &[Date],
        DataType::Timestamp(_, Some(_)) => &[Timestamptz, Timestamp],
        DataType::Timestamp(_, None) => &[Timestamp, Timestamptz],
        DataType::List(_) | DataType::LargeList(_) | DataType::Struct(_) | DataType::Map(..) => &[Jsonb, Json],
        _ => &[],
    }
}
