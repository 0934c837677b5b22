//! Recipes: the YAML files that say where records come from, which tables they become, and the rules they keep.
//!
//! [`Recipe::parse`] reads the text into typed structs; [`Recipe::layout`] checks it whole and compiles it into
//! the [`Layout`] that the decoders fill. Nothing runs before both succeed, and every error names the line or the
//! key that is wrong and what is allowed there.

mod enrich;
mod error;
mod kinds;
mod layout;
mod ordered;
mod path;
mod prepared;
mod protection;
mod rules;
mod settings;
mod shipped;
mod spec;

pub use enrich::{
    Added, AddedColumn, AddedColumns, ColumnDefinition, EnrichStep, EnricherKind, KeyColumns, OnOpen, SettingValue,
    span,
};
pub use error::RecipeError;
pub use kinds::{KindSpec, OtherKinds, RecordsSpec};
pub use layout::{
    Column, ColumnType, DateOrder, FieldPlan, Kind, Kinds, Layout, ObjectPlan, PathColumn, Reading, Records, TablePlan,
    Target, UNKNOWN_COLUMN, Way, days_from_civil,
};
pub use ordered::Ordered;
pub use path::{Condition, Path, PathStep, Paths, Pick};
pub use prepared::Prepared;
pub use protection::{
    DateFields, Identifiers, Identifies, ModelSpec, Profile, RedactDates, RedactStep, RedactStyle, Treatment,
};
pub use rules::Rules;
pub use settings::{SETTINGS, Setting, Tuning, duration};
pub use shipped::{SHIPPED, shipped};
pub use spec::{
    CsvSpec, Encoding, FieldSpec, FieldType, FormatName, OnError, Protect, Recipe, RecordSpec, Scope, SourceSpec,
    SqlStep, Step, UnknownFields,
};

#[cfg(test)]
mod tests;
