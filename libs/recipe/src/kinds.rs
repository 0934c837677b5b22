use serde::Deserialize;

use crate::{FieldSpec, Ordered};

/// Records of several kinds in one input, told apart by a field.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordsSpec {
    /// Field whose text says of which kind a record is.
    pub by: String,
    /// What becomes of records of other kinds.
    #[serde(default)]
    pub other: OtherKinds,
    /// The kinds, by that text.
    pub kinds: Ordered<KindSpec>,
}

/// What becomes of a record of a kind that the recipe does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OtherKinds {
    /// It is rejected.
    #[default]
    Reject,
    /// It is left out, and counted.
    Ignore,
}

/// One kind of records: either a table and its fields, or where in it other records are.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KindSpec {
    /// Table that a record becomes a row of.
    #[serde(default)]
    pub table: Option<String>,
    /// Field that child tables carry as the parent's key.
    #[serde(default)]
    pub key: Option<String>,
    /// Column that says whose record it is, where that is not the key.
    #[serde(default)]
    pub subject: Option<String>,
    /// Fields, in the order of the columns.
    #[serde(default)]
    pub fields: Option<Ordered<FieldSpec>>,
    /// The path to the records that a record of this kind holds; it has no row itself.
    #[serde(default)]
    pub each: Option<String>,
}
