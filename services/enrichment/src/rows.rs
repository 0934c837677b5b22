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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 8] = [
        Self::Memory,
        Self::Store,
        Self::Reference,
        Self::Shared,
        Self::Upstream,
        Self::Stale,
        Self::Invalid,
        Self::None,
    ];

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
    fn new(data_type: &DataType, rows: usize) -> Result<Self, ServiceError> {
        Ok(match data_type {
            DataType::Utf8 => Self::Text(StringBuilder::with_capacity(rows, rows * 8)),
            DataType::Int64 => Self::Int(Int64Builder::with_capacity(rows)),
            DataType::Float64 => Self::Float(Float64Builder::with_capacity(rows)),
            DataType::Decimal128(..) => {
                Self::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(data_type.clone()))
            }
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

/// The answer to a batch of keys, in the making: a row a key, with the columns that are wanted, the reason, the source
/// and the calls.
pub(crate) struct Rows {
    fields: Vec<Field>,
    /// One a column of the enricher; none where nobody wants it.
    builders: Vec<Option<Builder>>,
    /// After which column nobody wants another.
    last: usize,
    reasons: StringBuilder,
    sources: StringBuilder,
    calls: Int64Builder,
    counts: [u64; Source::ALL.len()],
}

impl Rows {
    /// Begins an answer of `rows` keys with the columns of these names; without names, with all of them.
    pub(crate) fn new(columns: &[ColumnSpec], wanted: &[String], rows: usize) -> Result<Self, ServiceError> {
        if let Some(unknown) = wanted.iter().find(|name| columns.iter().all(|column| column.name != **name)) {
            let message = format!("the enricher has no column '{unknown}'");
            return Err(ServiceError::invalid("COLUMN_UNKNOWN", message));
        }
        let is_wanted = |column: &ColumnSpec| wanted.is_empty() || wanted.contains(&column.name);
        let builder =
            |column: &ColumnSpec| is_wanted(column).then(|| Builder::new(&column.data_type, rows)).transpose();
        let builders = columns.iter().map(builder).collect::<Result<Vec<_>, _>>()?;
        let field = |column: &ColumnSpec| Field::new(&column.name, column.data_type.clone(), true);
        Ok(Self {
            fields: columns.iter().filter(|column| is_wanted(column)).map(field).collect(),
            last: builders.iter().rposition(Option::is_some).map_or(0, |last| last + 1),
            builders,
            reasons: StringBuilder::with_capacity(rows, 0),
            sources: StringBuilder::with_capacity(rows, rows * 6),
            calls: Int64Builder::with_capacity(rows),
            counts: [0; Source::ALL.len()],
        })
    }

    /// Adds a key of which a cache, or the upstream, gave an entry.
    pub(crate) fn entry(&mut self, entry: &Entry, source: Source, calls: u32) {
        let mut cells = entry.cells();
        for builder in &mut self.builders[..self.last] {
            match builder {
                Some(builder) => builder.push(cells.next().unwrap_or(CellRef::Null)),
                None => cells.pass(),
            }
        }
        self.end_row(entry.reason(), source, calls);
    }

    /// Adds a key that has these values, one a column of the enricher.
    pub(crate) fn found(&mut self, cells: &[CellRef<'_>], source: Source) {
        self.row(cells, None, source);
    }

    /// Adds a key without values.
    pub(crate) fn without(&mut self, reason: &str, source: Source) {
        self.row(&[], Some(reason), source);
    }

    /// True if somebody wants an enricher's column.
    pub(crate) fn wants(&self, column: usize) -> bool {
        self.builders.get(column).is_some_and(Option::is_some)
    }

    fn row(&mut self, cells: &[CellRef<'_>], reason: Option<&str>, source: Source) {
        for (column, builder) in self.builders[..self.last].iter_mut().enumerate() {
            if let Some(builder) = builder {
                builder.push(cells.get(column).copied().unwrap_or(CellRef::Null));
            }
        }
        self.end_row(reason, source, 0);
    }

    fn end_row(&mut self, reason: Option<&str>, source: Source, calls: u32) {
        self.reasons.append_option(reason);
        self.sources.append_value(source.as_str());
        self.calls.append_value(i64::from(calls));
        self.counts[source as usize] += 1;
    }

    /// How many rows came from where, in the order of [`Source::ALL`].
    pub(crate) fn counts(&self) -> &[u64; Source::ALL.len()] {
        &self.counts
    }

    pub(crate) fn finish(mut self) -> Result<RecordBatch, ServiceError> {
        let mut fields = self.fields;
        fields.push(Field::new(REASON_COLUMN, DataType::Utf8, true));
        fields.push(Field::new(SOURCE_COLUMN, DataType::Utf8, true));
        fields.push(Field::new(CALLS_COLUMN, DataType::Int64, true));
        let mut arrays: Vec<ArrayRef> = self.builders.iter_mut().flatten().map(Builder::finish).collect();
        arrays.push(Arc::new(self.reasons.finish()));
        arrays.push(Arc::new(self.sources.finish()));
        arrays.push(Arc::new(self.calls.finish()));
        RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
            .map_err(|error| ServiceError::internal(format!("an answer's columns do not fit: {error}")))
    }
}
