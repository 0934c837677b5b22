use std::sync::Arc;

use arrow_array::builder::{Decimal128Builder, Float64Builder, Int64Builder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, UInt32Array};
use arrow_schema::{ArrowError, DataType, Field, Schema};
use arrow_select::take::take;
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
/// and the calls. Keys may be added as their answers come in; the rows are put in order at the end.
pub(crate) struct Rows {
    fields: Vec<Field>,
    /// One a column of the enricher; none where nobody wants it.
    builders: Vec<Option<Builder>>,
    /// After which column nobody wants another.
    last: usize,
    reasons: StringBuilder,
    sources: StringBuilder,
    calls: Int64Builder,
    /// Which key each row is of.
    places: Vec<u32>,
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
            places: Vec::with_capacity(rows),
            counts: [0; Source::ALL.len()],
        })
    }

    /// Adds the key of a place, of which a cache, or the upstream, gave an entry.
    pub(crate) fn entry(&mut self, place: usize, entry: &Entry, source: Source, calls: u32) {
        let mut cells = entry.cells();
        for builder in &mut self.builders[..self.last] {
            match builder {
                Some(builder) => builder.push(cells.next().unwrap_or(CellRef::Null)),
                None => cells.pass(),
            }
        }
        self.end_row(place, entry.reason(), source, calls);
    }

    /// Adds the next key, which has these values, one a column of the enricher.
    pub(crate) fn found(&mut self, cells: &[CellRef<'_>], source: Source) {
        self.row(cells, None, source);
    }

    /// Adds the next key, without values.
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
        self.end_row(self.places.len(), reason, source, 0);
    }

    fn end_row(&mut self, place: usize, reason: Option<&str>, source: Source, calls: u32) {
        self.reasons.append_option(reason);
        self.sources.append_value(source.as_str());
        self.calls.append_value(i64::from(calls));
        self.places.push(place as u32);
        self.counts[source as usize] += 1;
    }

    /// How many rows came from where, in the order of [`Source::ALL`].
    pub(crate) fn counts(&self) -> &[u64; Source::ALL.len()] {
        &self.counts
    }

    /// Where the row of each key is; none if all are in their places.
    fn order(&self) -> Option<UInt32Array> {
        if self.places.is_sorted() {
            return None;
        }
        let mut order: Vec<u32> = (0..self.places.len() as u32).collect();
        order.sort_by_key(|row| self.places[*row as usize]);
        Some(order.into())
    }

    pub(crate) fn finish(mut self) -> Result<RecordBatch, ServiceError> {
        let order = self.order();
        let mut fields = self.fields;
        fields.push(Field::new(REASON_COLUMN, DataType::Utf8, true));
        fields.push(Field::new(SOURCE_COLUMN, DataType::Utf8, true));
        fields.push(Field::new(CALLS_COLUMN, DataType::Int64, true));
        let mut arrays: Vec<ArrayRef> = self.builders.iter_mut().flatten().map(Builder::finish).collect();
        arrays.push(Arc::new(self.reasons.finish()));
        arrays.push(Arc::new(self.sources.finish()));
        arrays.push(Arc::new(self.calls.finish()));
        let finish = || {
            if let Some(order) = order {
                arrays = arrays.iter().map(|array| take(array, &order, None)).collect::<Result<_, ArrowError>>()?;
            }
            RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        };
        finish().map_err(|error| ServiceError::internal(format!("an answer's columns do not fit: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use arrow_array::cast::AsArray;
    use arrow_array::types::Int64Type;

    use super::*;
    use crate::answer::{Cell, Outcome, Patience};

    #[test]
    fn rows_are_in_the_order_of_the_keys_however_they_come_in() {
        let column = |name: &str, data_type| ColumnSpec { name: name.to_owned(), data_type };
        let columns = [column("name", DataType::Utf8), column("size", DataType::Int64)];
        let entry = |cells: Vec<Cell>| Entry::new(&Outcome::Found(cells), Duration::ZERO, Patience::default());
        let mut rows = Rows::new(&columns, &[], 4).unwrap();
        for place in [1, 3, 2, 0] {
            let (name, size) = (format!("n{place}"), Cell::Int(place as i64));
            rows.entry(place, &entry(vec![Cell::Text(name.into()), size]), Source::Memory, place as u32);
        }
        let batch = rows.finish().unwrap();
        let names: Vec<_> = batch.column(0).as_string::<i32>().iter().flatten().collect();
        let numbers = |name: &str| batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().values().to_vec();
        assert_eq!((names, numbers("size")), (vec!["n0", "n1", "n2", "n3"], vec![0, 1, 2, 3]));
        assert_eq!((numbers(CALLS_COLUMN), batch.column_by_name(SOURCE_COLUMN).unwrap().len()), (vec![0, 1, 2, 3], 4));
    }
}
