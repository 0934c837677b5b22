use std::sync::Arc;

use arrow_array::builder::{Decimal128Builder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use forebay_api::{CALLS_COLUMN, REASON_COLUMN, SOURCE_COLUMN, ServiceError};

use crate::answer::{CellRef, Entry};

/// A column that an enricher gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ColumnSpec {
    pub(crate) name: String,
    pub(crate) data_type: DataType,
}

/// Where an answer came from. The names are part of the service's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// The cache of this process.
    Memory,
    /// The cache that processes share, or that survives a run.
    Store,
    /// A reference file.
    Reference,
    /// Somebody else was asking for the key just then.
    Shared,
    /// The upstream.
    Upstream,
    /// A cache, although the answer is out of date: the upstream could not be asked.
    Stale,
    /// Nobody: the key can't be right.
    Invalid,
    /// Nobody: there was no answer.
    None,
}

impl Source {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Store => "store",
            Self::Reference => "reference",
            Self::Shared => "shared",
            Self::Upstream => "upstream",
            Self::Stale => "stale",
            Self::Invalid => "invalid",
            Self::None => "none",
        }
    }
}

/// What became of one key.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) entry: Entry,
    pub(crate) source: Source,
    /// Requests that were sent upstream for it.
    pub(crate) calls: u32,
}

enum Builder {
    Text(StringBuilder),
    Int(Int64Builder),
    Float(Float64Builder),
    Decimal(Decimal128Builder),
}

impl Builder {
    fn new(data_type: &DataType) -> Result<Self, ServiceError> {
        Ok(match data_type {
            DataType::Utf8 => Self::Text(StringBuilder::new()),
            DataType::Int64 => Self::Int(Int64Builder::new()),
            DataType::Float64 => Self::Float(Float64Builder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new().with_data_type(data_type.clone())),
            other => return Err(ServiceError::internal(format!("no enricher can have a column of {other}"))),
        })
    }

    /// A value of another type than the column's is null: it comes from an older version's cache.
    fn push(&mut self, cell: CellRef<'_>) {
        match (self, cell) {
            (Self::Text(builder), CellRef::Text(text)) => builder.append_value(text),
            (Self::Int(builder), CellRef::Int(value)) => builder.append_value(value),
            (Self::Float(builder), CellRef::Float(value)) => builder.append_value(value),
            (Self::Decimal(builder), CellRef::Decimal(value)) => builder.append_value(value),
            (Self::Text(builder), _) => builder.append_null(),
            (Self::Int(builder), _) => builder.append_null(),
            (Self::Float(builder), _) => builder.append_null(),
            (Self::Decimal(builder), _) => builder.append_null(),
        }
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Text(builder) => Arc::new(builder.finish()),
            Self::Int(builder) => Arc::new(builder.finish()),
            Self::Float(builder) => Arc::new(builder.finish()),
            Self::Decimal(builder) => Arc::new(builder.finish()),
        }
    }
}

/// The answer to a batch of keys: the enricher's columns, the reason, the source and the calls.
pub(crate) fn batch(columns: &[ColumnSpec], rows: &[Resolved]) -> Result<RecordBatch, ServiceError> {
    let mut builders = columns.iter().map(|column| Builder::new(&column.data_type)).collect::<Result<Vec<_>, _>>()?;
    let (mut reasons, mut sources, mut calls) = (StringBuilder::new(), StringBuilder::new(), Int64Builder::new());
    for row in rows {
        let mut cells = row.entry.cells();
        for builder in &mut builders {
            builder.push(cells.next().unwrap_or(CellRef::Null));
        }
        reasons.append_option(row.entry.reason());
        sources.append_value(row.source.as_str());
        calls.append_value(i64::from(row.calls));
    }
    let mut fields: Vec<Field> =
        columns.iter().map(|column| Field::new(&column.name, column.data_type.clone(), true)).collect();
    fields.push(Field::new(REASON_COLUMN, DataType::Utf8, true));
    fields.push(Field::new(SOURCE_COLUMN, DataType::Utf8, true));
    fields.push(Field::new(CALLS_COLUMN, DataType::Int64, true));
    let mut arrays: Vec<ArrayRef> = builders.iter_mut().map(Builder::finish).collect();
    arrays.extend([Arc::new(reasons.finish()) as ArrayRef, Arc::new(sources.finish()), Arc::new(calls.finish())]);
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| ServiceError::internal(format!("an answer's columns do not fit: {error}")))
}
