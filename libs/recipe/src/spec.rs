use forebay_types::ByteSize;
use serde::Deserialize;

use crate::protection::{DateFields, Identifiers, Identifies, Profile, RedactStep};
use crate::{EnrichStep, Ordered, Paths, RecipeError, RecordsSpec};

/// A recipe as it stands in its file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Short name: lower-case letters, digits, `_` and `-`.
    pub name: String,
    /// One line for `forebay recipes list`.
    #[serde(default)]
    pub description: String,
    /// Whether fields marked `protected` are withheld. `off` is for synthetic or already public input.
    #[serde(default)]
    pub protect: Protect,
    /// What becomes of fields that identify a person, and of texts that are redacted, while `protect` is on.
    #[serde(default)]
    pub profile: Profile,
    /// The year in which the tables are given out: whoever is 90 by then is not told from those who are older.
    #[serde(default = "release_year")]
    pub release_year: i32,
    /// What takes the place of fields that would be withheld because they name or number a person.
    #[serde(default)]
    pub identifiers: Identifiers,
    /// What becomes of fields that hold dates.
    #[serde(default)]
    pub dates: DateFields,
    /// How the input is read.
    #[serde(default)]
    pub source: SourceSpec,
    /// What becomes of a record that can't be processed.
    #[serde(default)]
    pub on_error: OnError,
    /// What becomes of fields that the recipe does not name.
    #[serde(default)]
    pub unknown_fields: UnknownFields,
    /// One record: its table and fields.
    #[serde(default)]
    pub record: Option<RecordSpec>,
    /// Instead of `record`: records of several kinds.
    #[serde(default)]
    pub records: Option<RecordsSpec>,
    /// What happens to a chunk's tables before they are written, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

/// Whether protected fields are withheld.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protect {
    /// Protected fields are written as null.
    #[default]
    On,
    /// They are kept: the input is synthetic or public.
    Off,
}

/// What becomes of a record that can't be processed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnError {
    /// It is kept in the rejects table and the job goes on.
    #[default]
    Reject,
    /// The job fails at the first one.
    Fail,
}

/// What becomes of fields that the recipe does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// They are left out.
    #[default]
    Ignore,
    /// The record is rejected.
    Reject,
    /// They are kept as JSON in the column `_unknown` of the table they belong to.
    Keep,
}

/// How the input is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// The format, where it should not be recognised by content.
    pub format: FormatName,
    /// Longer records become rejects. Default 10MiB.
    pub record_limit: ByteSize,
    /// Objects and arrays nested deeper become rejects. Default 64.
    pub depth_limit: u32,
    /// For CSV.
    pub csv: CsvSpec,
}

impl Default for SourceSpec {
    fn default() -> Self {
        Self { format: FormatName::Auto, record_limit: ByteSize::mib(10), depth_limit: 64, csv: CsvSpec::default() }
    }
}

/// An input format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FormatName {
    /// Recognised by content.
    #[default]
    Auto,
    /// One JSON object a line.
    Ndjson,
    /// One JSON array of objects.
    Json,
    /// Comma-separated values, RFC 4180.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file or stream.
    Arrow,
}

impl FormatName {
    /// The name users write.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ndjson => "ndjson",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// Reads the name users write.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Auto, Self::Ndjson, Self::Json, Self::Csv, Self::Parquet, Self::Arrow]
            .into_iter()
            .find(|format| format.as_str() == text)
    }
}

/// How CSV is read.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CsvSpec {
    /// One ASCII character between fields.
    pub delimiter: char,
    /// One ASCII character round fields that hold delimiters, quotes or newlines.
    pub quote: char,
    /// Whether the first row names the columns. Without it, columns are the recipe's fields in order.
    pub header: bool,
    /// Unquoted texts that mean null, besides the empty one.
    pub nulls: Vec<String>,
}

impl Default for CsvSpec {
    fn default() -> Self {
        Self { delimiter: ',', quote: '"', header: true, nulls: Vec::new() }
    }
}

/// One record of the input.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordSpec {
    /// Table that a record becomes a row of.
    pub table: String,
    /// Field that child tables carry as the parent's key.
    #[serde(default)]
    pub key: Option<String>,
    /// Column that says whose record it is, where that is not the key: dates of one subject are shifted together.
    #[serde(default)]
    pub subject: Option<String>,
    /// Fields, in the order of the columns.
    pub fields: Ordered<FieldSpec>,
}

/// The type of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FieldType {
    /// Text.
    String,
    /// A whole number of 64 bits.
    Int,
    /// A whole number of 32 bits.
    Int32,
    /// A floating-point number of 64 bits.
    Float,
    /// A decimal of `precision` digits, `scale` of them after the point.
    Decimal,
    /// True or false.
    Bool,
    /// A day, `YYYY-MM-DD` unless `format` says otherwise.
    Date,
    /// A moment, RFC 3339; without an offset it is UTC. Stored as microseconds, UTC.
    Timestamp,
    /// Any JSON value, kept as its text.
    Json,
    /// Nested fields, which become columns `name_field` of the same table.
    Object,
    /// A list of objects, which become rows of a table of their own.
    List,
}

/// One field and its rules.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FieldSpec {
    /// Its type.
    #[serde(rename = "type")]
    pub kind: FieldType,
    /// A record without it, or with null, is rejected.
    #[serde(default)]
    pub required: bool,
    /// Withheld (written as null) while the recipe's `protect` is on.
    #[serde(default)]
    pub protected: bool,
    /// What of a person the value identifies: the profile says what becomes of it, and it is looked for in texts that are
    /// redacted.
    #[serde(default)]
    pub identifies: Option<Identifies>,
    /// Where the value is, if it is not the field of this name: JSON only. Of several paths the first with a value is
    /// taken.
    #[serde(default)]
    pub path: Option<Paths>,
    /// For strings with `path`: all values of all paths are taken, with this between them.
    #[serde(default)]
    pub join: Option<String>,
    /// For strings: how the text is encoded in the input.
    #[serde(default)]
    pub encoding: Encoding,
    /// For strings: only what stands after the last of these characters is kept.
    #[serde(default)]
    pub after: Option<String>,
    /// For dates and timestamps: `2024` and `2024-03` are allowed, and mean the first day.
    #[serde(default)]
    pub partial: bool,
    /// Column name, where it differs from the field's.
    #[serde(default)]
    pub column: Option<String>,
    /// The only values allowed.
    #[serde(default)]
    pub values: Option<Vec<String>>,
    /// A regular expression that the whole text matches.
    #[serde(default)]
    pub pattern: Option<String>,
    /// Smallest value: a number, or a date for dates and timestamps.
    #[serde(default)]
    pub min: Option<Scope>,
    /// Largest value.
    #[serde(default)]
    pub max: Option<Scope>,
    /// Fewest characters of a string.
    #[serde(default)]
    pub min_length: Option<u32>,
    /// Most characters of a string.
    #[serde(default)]
    pub max_length: Option<u32>,
    /// For dates: `%Y-%m-%d` (default), `%m/%d/%Y`, `%d.%m.%Y`, `%Y%m%d`.
    #[serde(default)]
    pub format: Option<String>,
    /// For decimals: digits in all, at most 38.
    #[serde(default)]
    pub precision: Option<u8>,
    /// For decimals: digits after the point.
    #[serde(default)]
    pub scale: Option<u8>,
    /// For lists: the table of the elements.
    #[serde(default)]
    pub table: Option<String>,
    /// For lists: the field that grandchild tables carry as a key.
    #[serde(default)]
    pub key: Option<String>,
    /// For objects and lists: the fields inside.
    #[serde(default)]
    pub fields: Option<Ordered<FieldSpec>>,
}

/// How a text is encoded in the input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As it is.
    #[default]
    Plain,
    /// Base64 of UTF-8 (RFC 4648, section 4), with or without white space.
    Base64,
}

/// A bound: written as a number or as text.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Scope {
    /// A number.
    Number(f64),
    /// A date, timestamp or decimal.
    Text(String),
}

/// A step over one chunk's tables.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
pub enum Step {
    /// A text column loses what identifies persons. Comes before all other kinds of steps.
    Redact(RedactStep),
    /// A SQL query.
    Sql(SqlStep),
    /// Columns from somewhere else, by a key.
    Enrich(EnrichStep),
}

/// A SQL query over the tables of one chunk.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqlStep {
    /// Table that takes the result: a new one, or one that it replaces.
    pub table: String,
    /// The query, in DataFusion's SQL. It sees the chunk's tables under their names.
    pub query: String,
    /// Allows what depends on how the input is cut into chunks: grouping, windows, limits, sorting.
    #[serde(default)]
    pub per_chunk: bool,
}

/// The year of this program's release.
const fn release_year() -> i32 {
    2026
}

impl Recipe {
    /// True if a step redacts a text, with protection on.
    pub fn redacts(&self) -> bool {
        self.redact_steps().next().is_some()
    }

    /// The redact steps that are in force.
    pub fn redact_steps(&self) -> impl Iterator<Item = &RedactStep> {
        let on = self.profile() != Profile::Public;
        self.steps.iter().filter_map(move |step| match step {
            Step::Redact(step) if on => Some(step),
            Step::Redact(_) | Step::Sql(_) | Step::Enrich(_) => None,
        })
    }

    /// Reads a recipe's text. `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self, RecipeError> {
        serde_saphyr::from_str(text)
            .map_err(|error| RecipeError::Syntax { name: name.to_owned(), message: error.to_string() })
    }
}
