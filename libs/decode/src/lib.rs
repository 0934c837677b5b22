//! Records to columns: bytes of NDJSON, JSON or CSV, and batches of columnar files, decoded straight into the
//! Arrow tables of a recipe's layout, with no value in between for a record.
//!
//! A record is all or nothing: when any of its fields is wrong, whatever of it has reached a column is taken back,
//! and it becomes a [`Reject`](forebay_types::Reject) that says where and why.

mod column;
mod columnar;
mod csv;
mod decoder;
mod fault;
mod json;
mod json_reader;
mod json_string;
mod scan;
mod table;
mod value;

pub use columnar::ColumnarMismatch;
pub use csv::{CsvHeader, HeaderMismatch};
pub use decoder::{BATCH_ROWS, Decoded, Decoder, Dialect, Position};
