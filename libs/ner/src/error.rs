use std::path::{Path, PathBuf};

use forebay_budget::ReserveError;

/// Why a model can't be used. It names the file and what to do; no text of a record is ever in it.
#[derive(Debug, thiserror::Error)]
pub enum NerError {
    /// A file that can't be read.
    #[error("can't read {path}: {error}; a model's folder holds config.json, tokenizer.json or vocab.txt, and model.safetensors", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// A file that is not what it should be.
    #[error("{path}: {message}", path = path.display())]
    Bad {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The weights are larger than what the budget sets aside for models.
    #[error("the model in {path} does not fit: {error}; give more memory to models", path = path.display())]
    TooLarge {
        /// The folder.
        path: PathBuf,
        /// By how much.
        error: ReserveError,
    },
    /// The thread that loaded it was lost.
    #[error("loading the model in {path} did not come to an end", path = .0.display())]
    Interrupted(PathBuf),
}

impl NerError {
    pub(crate) fn bad(path: &Path, message: impl Into<String>) -> Self {
        Self::Bad { path: path.to_owned(), message: message.into() }
    }
}
