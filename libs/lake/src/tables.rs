use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_objects::{Place, StoreError};
use forebay_types::REJECTS_TABLE;
use uuid::Uuid;

/// Folder of an output that holds what is not a table: catalog, staging, rejects.
pub const STATE_FOLDER: &str = "_forebay";

/// Where a table of an output is.
pub fn table_place(output: &Place, table: &str) -> Result<Place, StoreError> {
    if table == REJECTS_TABLE { rejects_place(output) } else { output.child(table) }
}

/// Where a catalog's copies of raw chunks wait below an output. Each catalog has a folder of its own: jobs of two that
/// write to one output may have the same number.
pub fn staging_place(output: &Place, catalog: Uuid) -> Result<Place, StoreError> {
    output.child(&format!("{STATE_FOLDER}/staging/{}", catalog.simple()))
}

/// Where the rejects of an output are.
pub fn rejects_place(output: &Place) -> Result<Place, StoreError> {
    output.child(&format!("{STATE_FOLDER}/rejects"))
}

/// Columns of the table of rejects.
pub fn rejects_schema() -> SchemaRef {
    let text = |name: &str| Field::new(name, DataType::Utf8, true);
    let number = |name: &str| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("job"),
        text("input"),
        number("record"),
        number("offset"),
        number("length"),
        text("reason"),
        text("path"),
        text("message"),
        Field::new("raw", DataType::Binary, true),
    ]))
}
