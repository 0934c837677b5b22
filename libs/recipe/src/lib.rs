//! Recipes: the YAML files that say where records come from, which tables they become, and the rules they keep.
//!
//! [`Recipe::parse`] reads the text into typed structs; [`Recipe::layout`] checks it whole and compiles it into
//! the [`Layout`] that the decoders fill. Nothing runs before both succeed, and every error names the line or the
//! key that is wrong and what is allowed there.

mod enrich;
mod error;
mod layout;
mod ordered;
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
pub use layout::{
    Column, ColumnType, DateOrder, FieldPlan, Layout, ObjectPlan, TablePlan, Target, UNKNOWN_COLUMN, days_from_civil,
};
pub use ordered::Ordered;
pub use prepared::Prepared;
pub use protection::{Identifies, ModelSpec, Profile, RedactDates, RedactStep, RedactStyle, Treatment};
pub use rules::Rules;
pub use settings::{SETTINGS, Setting, Tuning, duration};
pub use shipped::{SHIPPED, shipped};
pub use spec::{
    CsvSpec, FieldSpec, FieldType, FormatName, OnError, Protect, Recipe, RecordSpec, Scope, SourceSpec, SqlStep, Step,
    UnknownFields,
};

#[cfg(test)]
mod tests;
