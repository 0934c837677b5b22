//! Transform workers. A worker claims a chunk, reads its bytes, decodes them into the recipe's tables, runs the
//! recipe's steps, and streams the batches to the storage writer. It holds a slice of the chunk and a few batches,
//! never the chunk.

mod context;
mod failure;
#[cfg(feature = "faults")]
mod faults;
mod jobs;
mod model;
mod process;
mod quarantine;
mod redaction;
mod rejects;
mod source;
mod split;
mod worker;

pub use model::{ModelNeed, check_models, find_entities, open_model};
pub use worker::{Transform, TransformConfig};
