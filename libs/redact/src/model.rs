use std::fmt::Debug;
use std::time::Instant;

use crate::Class;

/// What a model takes a run of bytes of a text for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entity {
    /// First byte.
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// What it is.
    pub class: Class,
    /// How likely that is, from 0 to 1.
    pub score: f32,
}

/// Why there is no answer of a model about a text. The text is withheld then: what a model has not seen is not passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModelFailure {
    /// It took longer than it may.
    #[error("the model took longer than its deadline")]
    Timeout,
    /// Its scores are no numbers.
    #[error("the model's scores are no numbers")]
    NotFinite,
    /// What it says does not fit the text.
    #[error("the model's answer does not fit the text")]
    Invalid,
    /// It panicked.
    #[error("the model panicked")]
    Panicked,
}

impl ModelFailure {
    /// A stable code, for the column that tells why a text was withheld.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Timeout => "model_timeout",
            Self::NotFinite => "model_not_finite",
            Self::Invalid => "model_invalid",
            Self::Panicked => "model_panicked",
        }
    }
}

/// A model of language that finds entities in texts.
pub trait EntityModel: Send + Sync + Debug {
    /// Bytes that one call of [`EntityModel::find`] works in, besides what it returns. Its caller reserves them.
    fn working_bytes(&self) -> u64;

    /// The entities of each text, in the order of the texts; those of a text in the order of their beginnings. What is found in a
    /// text does not depend on the others. It blocks, and gives up soon after `deadline`.
    ///
    /// # Errors
    /// If there is no answer about one of the texts.
    fn find(&self, texts: &[&str], deadline: Instant) -> Result<Vec<Vec<Entity>>, ModelFailure>;
}
