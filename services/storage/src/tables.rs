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
