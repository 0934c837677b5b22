use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutMode, PutPayload};
use uuid::Uuid;

use crate::place::answer;
use crate::retry::{TRIES, backoff};
use crate::{Place, StoreError};

/// What the names of the objects begin with, in the state folder of an output, by which many writers find out what
/// its store can do.
pub const PROBE_PREFIX: &str = "probe-";

/// Who may commit to the tables of a place at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// This process alone: it holds the lock of the catalog that has the tables.
    One,
    /// Several processes.
    Many,
}

/// What a store was seen to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It refuses to create an object that is there, so that of two writers of one commit exactly one succeeds.
    pub creates_once: bool,
}

/// What became of an object that was to be created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Creation {
    Mine,
    Theirs,
}

impl Place {
    /// Finds out what the store can do, by creating an object twice, reading it, and deleting it: a
    /// wrong endpoint or key, a missing bucket and a right that is lacking are told here, before there is work.
    ///
    /// # Errors
    /// A store that overwrites what it was asked to create is refused if there are many writers: they would overwrite
    /// each other's commits. One writer is warned.
    pub async fn probe(&self, writers: Writers) -> Result<Abilities, StoreError> {
        // One writer always uses the same name, so that a kill in between leaves nothing that the next time does not
        // delete. Many must not meet; what they leave is the janitor's.
        let name = match writers {
            Writers::One => "_forebay/probe".to_owned(),
            Writers::Many => format!("_forebay/{PROBE_PREFIX}{}", Uuid::new_v4().simple()),
        };
        let probed = answer(&self.display(), self.create_twice(&name)).await?;
        // Also after an error: the object may be there all the same. The first error is the one to show.
        let removed = answer(&self.display(), self.remove(&name)).await?;
        let creates_once = probed?;
        removed?;
        if !creates_once && writers == Writers::Many {
            return Err(StoreError::Store {
                place: self.display(),
                message: "the store ignores If-None-Match, so that several writers would overwrite each other's \
                          commits: use a store that honours it, or write with forebay run alone"
                    .to_owned(),
                transient: false,
            });
        }
        if !creates_once {
            tracing::warn!(
                place = %self.display(),
                "the store ignores If-None-Match: nothing but this process may write to these tables"
            );
        }
        Ok(Abilities { creates_once })
    }

    async fn create_twice(&self, name: &str) -> Result<bool, StoreError> {
        self.create(name, Bytes::from_static(b"first")).await?;
        Ok(self.create(name, Bytes::from_static(b"second")).await? == Creation::Theirs)
    }

    /// Creates an object. An answer that the object is there, or none, tells little: it may be our own, of a try
    /// whose answer was lost, or nobody's, where two writers got into each other's way (409). So it is read: with our
    /// content it is ours, with other content it is not, and if there is none we try again.
    async fn create(&self, name: &str, content: Bytes) -> Result<Creation, StoreError> {
        let path = Path::from(name);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let payload = PutPayload::from(content.clone());
            let error = match self.store().put_opts(&path, payload, PutMode::Create.into()).await {
                Ok(_) => return Ok(Creation::Mine),
                Err(error) => error,
            };
            let taken = matches!(error, object_store::Error::AlreadyExists { .. });
            let error = self.error(&error);
            if !taken && !error.is_transient() {
                return Err(error);
            }
            match self.content(&path, content.len() as u64).await? {
                Some(found) if found == content => return Ok(Creation::Mine),
                Some(_) => return Ok(Creation::Theirs),
                None if attempt == TRIES => return Err(error),
                None => forebay_runtime::sleep(backoff(attempt)).await,
            }
        }
    }

    /// An object's first bytes, if there is one.
    async fn content(&self, path: &Path, bytes: u64) -> Result<Option<Bytes>, StoreError> {
        match self.store().get_range(path, 0..bytes).await {
            Ok(content) => Ok(Some(content)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.error(&error)),
        }
    }
}
