mod build;
mod records;

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::rules::Rules;
use crate::{Encoding, Identifies, OtherKinds, Path, PathStep, Pick, Treatment, UnknownFields};

/// Column that holds the fields a recipe does not name, with `unknown_fields: keep`.
pub const UNKNOWN_COLUMN: &str = "_unknown";

/// A recipe, checked and compiled: the tables that a record becomes, and how its fields get there.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Tables, a parent before its children; the first is the record's own, or that of the first kind of records.
    pub tables: Vec<TablePlan>,
    /// What records there are.
    pub records: Records,
    /// How many [`ObjectPlan`]s there are; their `id`s are below it.
    pub objects: usize,
    /// What becomes of fields that the recipe does not name.
    pub unknown: UnknownFields,
    /// Most levels of nesting of a JSON value.
    pub depth_limit: u32,
    /// True if any field is withheld: then no value, raw record or field name may reach a log, error or reject.
    pub protected: bool,
}

/// What records an input holds.
#[derive(Clone, Debug)]
pub enum Records {
    /// One kind, with these fields.
    One(ObjectPlan),
    /// Several kinds, told apart by a field.
    Kinds(Kinds),
}

/// Several kinds of records.
#[derive(Clone, Debug)]
pub struct Kinds {
    /// Field whose text says of which kind a record is.
    pub by: String,
    /// What becomes of records of other kinds.
    pub other: OtherKinds,
    /// The kinds, by that text.
    pub kinds: Vec<(String, Kind)>,
}

/// One kind of records.
#[derive(Clone, Debug)]
pub enum Kind {
    /// A record is a row of a table.
    Rows(ObjectPlan),
    /// A record holds other records, where the path leads.
    Each(Path),
}

/// A table that a recipe writes.
#[derive(Clone, Debug)]
pub struct TablePlan {
    /// Its name, which is also its folder.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
    /// The table whose records hold this one's.
    pub parent: Option<usize>,
    /// The column that children carry.
    pub key: Option<usize>,
    /// The column that says whose record it is.
    pub subject: Option<usize>,
    /// The column of unknown fields.
    pub unknown: Option<usize>,
}

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type.
    pub kind: ColumnType,
    /// How its texts are read.
    pub reading: Reading,
    /// Rules of its values.
    pub rules: Rules,
    /// Protected, with protection on, and of no use for anything: always null.
    pub withheld: bool,
    /// What of a person it identifies.
    pub identifies: Option<Identifies>,
    /// What becomes of its values after they were decoded.
    pub treatment: Treatment,
    /// For a parent's key: that table and its column.
    pub inherited: Option<(usize, usize)>,
}

/// How the texts of a column's values are read, before its rules are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// How they are encoded.
    pub encoding: Encoding,
    /// Only what stands after the last of these characters is kept.
    pub after: Option<String>,
    /// Several values become one text, with this between them.
    pub join: Option<String>,
    /// A year or a month alone stands for its first day.
    pub partial: bool,
}

/// The type of a column, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// Text.
    String,
    /// 64-bit whole number.
    Int64,
    /// 32-bit whole number.
    Int32,
    /// 64-bit float.
    Float64,
    /// Decimal with precision and scale.
    Decimal(u8, i8),
    /// True or false.
    Bool,
    /// Days since the epoch, read by a format.
    Date(DateOrder),
    /// Microseconds since the epoch, UTC.
    Timestamp,
    /// The text of a JSON value.
    Json,
    /// Where in a text something was replaced: a list of {`start`, `end`, `class`}. No input has it.
    Spans,
}

/// How a date is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DateOrder {
    /// `2026-11-21`
    Iso,
    /// `11/21/2026`
    MonthFirst,
    /// `21.11.2026`
    DayFirst,
    /// `20261121`
    Compact,
}

/// The fields of one object.
#[derive(Clone, Debug)]
pub struct ObjectPlan {
    /// Number of this plan in its layout.
    pub id: usize,
    /// Table that the scalar fields belong to.
    pub table: usize,
    /// Its fields, in the recipe's order; then those that only paths lead through.
    pub fields: Vec<FieldPlan>,
    /// Columns whose values are found by path.
    pub paths: Vec<PathColumn>,
}

/// A column whose values are found by path.
#[derive(Clone, Debug)]
pub struct PathColumn {
    /// The field's name in the recipe, for errors.
    pub name: String,
    /// The column of the object's table.
    pub column: usize,
    /// The ways to its values, in order.
    pub ways: Vec<Way>,
}

/// A path that begins at a field of an object.
#[derive(Clone, Debug)]
pub struct Way {
    /// The first field's place in [`ObjectPlan::fields`].
    pub field: usize,
    /// Which of that field's elements.
    pub pick: Pick,
    /// What comes after it.
    pub rest: Vec<PathStep>,
}

/// One field.
#[derive(Clone, Debug)]
pub struct FieldPlan {
    /// Name in the input.
    pub name: String,
    /// Missing or null is an error.
    pub required: bool,
    /// Paths lead through it: where it begins is kept until the object ends.
    pub kept: bool,
    /// Where it goes.
    pub target: Target,
}

/// Where a field goes.
#[derive(Clone, Debug)]
pub enum Target {
    /// A column of the object's table.
    Column(usize),
    /// Columns of the same table.
    Object(ObjectPlan),
    /// Rows of a child table.
    List(ObjectPlan),
    /// Nowhere: only paths lead through it, or it says of what kind the record is.
    Nowhere,
}

impl ColumnType {
    /// The Arrow type of the column.
    pub fn data_type(&self) -> DataType {
        match self {
            Self::String | Self::Json => DataType::Utf8,
            Self::Int64 => DataType::Int64,
            Self::Int32 => DataType::Int32,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Bool => DataType::Boolean,
            Self::Date(_) => DataType::Date32,
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Spans => {
                let number = |name| Field::new(name, DataType::Int32, true);
                let span = vec![number("start"), number("end"), Field::new("class", DataType::Utf8, true)];
                DataType::List(Arc::new(Field::new("element", DataType::Struct(span.into()), true)))
            }
        }
    }
}

impl TablePlan {
    /// The Arrow schema: every column nullable, so that tables can take rows from several recipes.
    pub fn schema(&self) -> SchemaRef {
        let fields: Vec<_> =
            self.columns.iter().map(|column| Field::new(&column.name, column.kind.data_type(), true)).collect();
        Arc::new(Schema::new(fields))
    }
}

impl Column {
    /// True if any text is taken as it is, so that a decoder can skip what it would check and change.
    pub fn text_is_plain(&self) -> bool {
        self.rules.text_is_free() && self.reading.encoding == Encoding::Plain && self.reading.after.is_none()
    }
}

impl ObjectPlan {
    fn has_paths(&self) -> bool {
        !self.paths.is_empty()
            || self.fields.iter().any(|field| match &field.target {
                Target::Object(inner) | Target::List(inner) => inner.has_paths(),
                Target::Column(_) | Target::Nowhere => false,
            })
    }
}

impl Layout {
    /// The fields of the only kind of records, where no path is needed to read them; else why only JSON can be read.
    pub fn fields(&self) -> Result<&ObjectPlan, &'static str> {
        match &self.records {
            Records::One(root) if !root.has_paths() => Ok(root),
            Records::One(_) => Err("the recipe finds fields by path, which is for JSON only"),
            Records::Kinds(_) => Err("the recipe has records of several kinds, which are for JSON only"),
        }
    }

    /// The table with a name.
    pub fn table(&self, name: &str) -> Option<usize> {
        self.tables.iter().position(|table| table.name == name)
    }

    /// True if a record becomes rows of one table only, so that flat formats can hold it.
    pub fn is_flat(&self) -> bool {
        self.tables.len() == 1
    }
}

/// Days since 1970-01-01 of a proleptic Gregorian date.
/// Source: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
pub fn days_from_civil(year: i32, month: u32, day: u32) -> i32 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month as i32 + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day as i32 - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}
