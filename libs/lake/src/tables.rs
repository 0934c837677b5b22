use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use forebay_objects::{Place, StoreError};
use forebay_types::REJECTS_TABLE;

/// Folder of an output that holds what is not a table: catalog, staging, rejects.
pub const STATE_FOLDER: &str = "_forebay";

/// Folder of staged chunks below an output.
pub const STAGING_FOLDER: &str = "_forebay/staging";

/// Where a table of an output is.
pub fn table_place(output: &Place, table: &str) -> Result<Place, StoreError> {
    if table == REJECTS_TABLE { rejects_place(output) } else { output.child(table) }
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
