use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use forebay_api::ServiceError;

/// What tells one content of a file from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    inode: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), length: metadata.len(), inode: metadata.ino() })
    }
}

struct State<T> {
    current: Arc<T>,
    stamps: Vec<Option<Stamp>>,
    checked: Instant,
}

/// What is made from files, and made again when one of them has changed. Whoever asks for it looks, at most once an
/// interval, so that it needs no task of its own.
pub(crate) struct Reloading<T> {
    files: Vec<PathBuf>,
    interval: Duration,
    make: Box<dyn Fn() -> Result<T, ServiceError> + Send + Sync>,
    state: Mutex<State<T>>,
}

impl<T> Reloading<T> {
    /// Makes it, or says why it cannot be made.
    pub(crate) fn new(
        files: Vec<PathBuf>,
        interval: Duration,
        make: impl Fn() -> Result<T, ServiceError> + Send + Sync + 'static,
    ) -> Result<Self, ServiceError> {
        // Before the content: a change in between is then noticed later.
        let stamps = stamps(&files);
        let current = Arc::new(make()?);
        let state = Mutex::new(State { current, stamps, checked: Instant::now() });
        Ok(Self { files, interval, make: Box::new(make), state })
    }

    /// The newest that could be made. Files that are wrong, or half written, are logged and leave it as it was.
    pub(crate) fn current(&self) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.files.is_empty() && state.checked.elapsed() >= self.interval {
            state.checked = Instant::now();
            let stamps = stamps(&self.files);
            if stamps != state.stamps {
                state.stamps = stamps;
                match (self.make)() {
                    Ok(made) => {
                        state.current = Arc::new(made);
                        tracing::info!(files = ?self.files, "changed files were read again");
                    }
                    Err(error) => tracing::error!(%error, "changed files cannot be used, the old content stays"),
                }
            }
        }
        Arc::clone(&state.current)
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    files.iter().map(|file| Stamp::of(file)).collect()
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}
