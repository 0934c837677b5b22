//! The tables of a job in PostgreSQL, beside those of the lake.
//!
//! A [`PostgresSink`] loads what a commit group has in one table as one transaction: the rows by binary COPY, and with
//! them the group's place in its job's order of commits, in the table `_forebay_commits`. What was loaded before is
//! skipped, so that a load may be repeated after whatever happened to it. Tables are made where they are missing
//! ([`column`](PgType) types follow from Arrow's), and checked where they are there.
//!
//! It deliberately knows neither catalog nor Parquet: rows come as a stream of batches, from a source that can be
//! opened again.

mod columns;
mod connections;
mod encode;
mod error;
mod insert;
mod load;
mod numeric;
mod table;
mod target;

pub use columns::PgType;
pub use error::SinkError;
pub use load::{Batches, Commit, Loaded, PostgresSink, Source};
pub use target::{SinkTarget, SinkUrl};
