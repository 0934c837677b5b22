//! Entities in texts, found with a token classification model from a local folder in the layout of Hugging Face:
//! `config.json` with `id2label`, `tokenizer.json` or `vocab.txt`, and `model.safetensors`. BERT and DistilBERT, in 32-bit floats.
//!
//! Sequences of one pass lie behind each other, without padding, and every sum is taken in an order that depends on the
//! sequence alone: so what is found in a text does not depend on the texts beside it. A pass runs on the thread that asks for
//! it, and holds no more than [`Need`] says.
//!
//! Deliberately absent: downloads, training, other tokenizers than WordPiece, graphics processors, threads of its own.

mod config;
mod encoder;
mod error;
mod finder;
mod folder;
mod label;
mod math;
mod models;
mod tensors;
mod wordpiece;

pub use config::Options;
pub use error::NerError;
pub use folder::{Need, check};
pub use models::Models;
