//! Finds what identifies a person in text (the classes of HIPAA's Safe Harbor, 45 CFR 164.514(b)(2)(i)) and replaces it, a
//! column of texts at a time.
//!
//! A text is read once, byte by byte, into words and numbers; each word is looked up in one lexicon of names, places, English
//! and clinical words and cues; rules look at a few neighbours of each. A record's own identifiers ([`KnownSet`]) are
//! looked for in its texts too. Whatever the text, the time is linear in its length and the memory that of a window, plus
//! what was found.
//!
//! What a model of language finds ([`EntityModel`]) is merged with that. Deliberately absent: such a model, and any value of a text in errors and `Debug`.

mod class;
mod cue;
pub mod eval;
mod find;
mod fold;
mod known;
mod lexicon;
mod model;
mod near;
mod policy;
mod redactor;
mod scan;
mod shift;
mod spelling;
mod token;

pub use class::{Class, Classes};
pub use known::{Known, KnownSet};
pub use model::{Entity, EntityModel, ModelFailure};
pub use policy::{Dates, Key, Policy, Style};
pub use redactor::{RedactError, Redacted, Redactor, places_type};
pub use scan::Span;
