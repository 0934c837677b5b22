use std::io;
use std::path::{Path, PathBuf};

/// What went wrong with a store of providers or with a file that should be loaded into it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused something.
    #[error("can't {action} '{}': {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The file is no store, or was written by another version, or was cut off.
    #[error("'{}' is no complete store of providers of this version: load the dissemination file again", .0.display())]
    NotAStore(PathBuf),
    /// A part of the store does not have the checksum that was written with it.
    #[error("the store '{}' is damaged at byte {at}: load the dissemination file again", path.display())]
    Damaged {
        /// The store.
        path: PathBuf,
        /// Where the damaged block starts.
        at: u64,
    },
    /// Another process loads into the same store.
    #[error("another load into '{}' is under way: wait for it, or end it", .0.display())]
    Busy(PathBuf),
    /// A file to be loaded is not what it should be. The store stays as it was.
    #[error("can't load '{}': {problem}", path.display())]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong, where, and what to do. It repeats nothing of the file but column and member names.
        problem: String,
    },
    /// The memory allowed is not enough.
    #[error("loading needs more memory: {needed} bytes at least, {allowed} are allowed")]
    Memory {
        /// Bytes that are needed.
        needed: u64,
        /// Bytes that are allowed.
        allowed: u64,
    },
}

impl StoreError {
    /// Makes an error out of the operating system's.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }

    pub(crate) fn source(path: &Path, problem: impl Into<String>) -> Self {
        Self::Source { path: path.to_owned(), problem: problem.into() }
    }
}
