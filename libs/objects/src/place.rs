use std::io::Read;
use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt};
use url::Url;

use crate::bucket::Bucket;
use crate::{FRAME_BYTES, StoreError};

/// Longest wait for the first answer of a store: longer than one of its requests may take.
const FIRST_ANSWER: Duration = Duration::from_secs(45);

/// Most parts of an object in a bucket.
const PARTS: u64 = 10_000;

/// A folder of objects: a local directory or a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store, with `/` at this place.
    store: Arc<dyn ObjectStore>,
    /// The store, with `/` at the root of the disk or bucket.
    root: Arc<dyn ObjectStore>,
    /// Absolute URI, ending in `/`.
    uri: Url,
    pub(crate) medium: Medium,
}

/// What a place is on.
#[derive(Clone, Debug)]
pub(crate) enum Medium {
    /// A local directory.
    Disk(PathBuf),
    /// What is below a prefix of a bucket.
    Bucket(Bucket, Path),
    /// What is below a prefix of a store that a simulation brings.
    #[cfg(feature = "simulation")]
    Simulated,
}

impl Place {
    /// Opens a path, `file://` or `s3://bucket/prefix`. A local directory is made if it is not there; a bucket's
    /// credentials, region and endpoint come from the usual `AWS_...` environment variables.
    pub fn open(uri: &str) -> Result<Self, StoreError> {
        Self::open_with(uri, &[])
    }

    /// As [`Place::open`], with settings that win over the environment's, by the same names.
    pub fn open_with(uri: &str, settings: &[(String, String)]) -> Result<Self, StoreError> {
        let bad = |message: String| StoreError::BadUri { uri: uri.to_owned(), message };
        if let Some((scheme, _)) = uri.split_once("://") {
            return match scheme {
                "file" => {
                    let url = Url::parse(uri).map_err(|error| bad(error.to_string()))?;
                    let path = url.to_file_path().map_err(|()| bad("it is no local path".to_owned()))?;
                    Self::local(&path)
                }
                "s3" => {
                    let url = Url::parse(uri).map_err(|error| bad(error.to_string()))?;
                    let bucket = Bucket::open(&url, settings).map_err(|error| bad(error.to_string()))?;
                    Self::in_bucket(bucket, url)
                }
                #[cfg(feature = "simulation")]
                "memory" => crate::simulation::open(Url::parse(uri).map_err(|error| bad(error.to_string()))?),
                other => Err(bad(format!("'{other}://' is not supported; use a path, file:// or s3://bucket/prefix"))),
            };
        }
        Self::local(FsPath::new(uri))
    }

    /// As [`Place::open`], but where a local directory is gone it stays so.
    pub fn open_if_there(uri: &str) -> Result<Option<Self>, StoreError> {
        let path = match Url::parse(uri) {
            Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
            Ok(_) => None,
            Err(_) => Some(PathBuf::from(uri)),
        };
        if path.is_some_and(|path| !path.is_dir()) {
            return Ok(None);
        }
        Self::open(uri).map(Some)
    }

    fn local(path: &FsPath) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        std::fs::create_dir_all(path).map_err(|error| StoreError::from_io(&name, &error))?;
        let path = path.canonicalize().map_err(|error| StoreError::from_io(&name, &error))?;
        let bad = |message: String| StoreError::BadUri { uri: name.clone(), message };
        let store = LocalFileSystem::new_with_prefix(&path).map_err(|error| bad(error.to_string()))?;
        let uri = Url::from_directory_path(&path).map_err(|()| bad("it is no absolute path".to_owned()))?;
        Ok(Self { store: Arc::new(store), root: Arc::new(LocalFileSystem::new()), uri, medium: Medium::Disk(path) })
    }

    fn in_bucket(bucket: Bucket, mut url: Url) -> Result<Self, StoreError> {
        let bad = |message: String| StoreError::BadUri { uri: url.as_str().to_owned(), message };
        let prefix = Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()))?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let root = Arc::clone(bucket.store()) as Arc<dyn ObjectStore>;
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix.clone()));
        Ok(Self { store, root, uri: url, medium: Medium::Bucket(bucket, prefix) })
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn of(store: Arc<dyn ObjectStore>, root: Arc<dyn ObjectStore>, uri: Url, medium: Medium) -> Self {
        Self { store, root, uri, medium }
    }

    /// The place of a folder below, over the same connections.
    pub fn child(&self, folder: &str) -> Result<Self, StoreError> {
        match &self.medium {
            Medium::Disk(path) => Self::local(&path.join(folder)),
            Medium::Bucket(bucket, _) => {
                let mut url = self.uri.clone();
                url.set_path(&format!("{}{folder}", self.uri.path()));
                Self::in_bucket(bucket.clone(), url)
            }
            #[cfg(feature = "simulation")]
            Medium::Simulated => {
                let mut url = self.uri.clone();
                url.set_path(&format!("{}{folder}", self.uri.path()));
                crate::simulation::open(url)
            }
        }
    }

    /// The store, with `/` at this place.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The store, with `/` at the root of the disk or bucket.
    pub fn root_store(&self) -> &Arc<dyn ObjectStore> {
        &self.root
    }

    /// Absolute URI, ending in `/`.
    pub fn uri(&self) -> &Url {
        &self.uri
    }

    /// The directory, for a local place.
    pub fn directory(&self) -> Option<&FsPath> {
        match &self.medium {
            Medium::Disk(path) => Some(path),
            Medium::Bucket(..) => None,
            #[cfg(feature = "simulation")]
            Medium::Simulated => None,
        }
    }

    /// How a person writes the place: a path where it is local.
    pub fn display(&self) -> String {
        match &self.medium {
            Medium::Disk(path) => path.display().to_string(),
            Medium::Bucket(..) => self.uri.as_str().trim_end_matches('/').to_owned(),
            #[cfg(feature = "simulation")]
            Medium::Simulated => self.uri.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// Bytes at which an object that goes up in parts of a size should be closed. A tenth of what a store allows is
    /// left for what is on its way by then.
    pub fn largest_object(&self, part_bytes: u64) -> u64 {
        match &self.medium {
            Medium::Disk(_) => u64::MAX,
            Medium::Bucket(..) => part_bytes.saturating_mul(PARTS / 10 * 9),
            #[cfg(feature = "simulation")]
            Medium::Simulated => u64::MAX,
        }
    }

    /// Sorts a store's error and names this place.
    pub fn error(&self, error: &object_store::Error) -> StoreError {
        StoreError::from_store(&self.display(), error)
    }

    /// Waits until an object that was written is safe from a power cut. Bucket stores are when they answer.
    pub async fn sync(&self, object: &str) -> Result<(), StoreError> {
        let Medium::Disk(directory) = &self.medium else { return Ok(()) };
        let place = self.display();
        let file = directory.join(object);
        let synced = tokio::task::spawn_blocking(move || {
            std::fs::File::open(&file)?.sync_all()?;
            file.parent().map_or(Ok(()), |folder| std::fs::File::open(folder)?.sync_all())
        })
        .await;
        match synced {
            Ok(result) => result.map_err(|error| StoreError::from_io(&place, &error)),
            Err(error) => Err(StoreError::Store { place, message: error.to_string(), transient: false }),
        }
    }

    /// An object's bytes, in frames of at most 1 MiB. The store's own stream of a local file has frames of 8 KiB, each
    /// read by a thread that has to be woken for it.
    pub(crate) async fn frames(
        &self,
        object: &str,
    ) -> Result<BoxStream<'static, Result<Bytes, StoreError>>, StoreError> {
        let got = self.store.get(&Path::from(object)).await.map_err(|error| self.error(&error))?;
        let place = self.clone();
        let file = match got.payload {
            GetResultPayload::File(file, _) => file,
            GetResultPayload::Stream(stream) => {
                return Ok(stream.map(move |bytes| bytes.map_err(|error| place.error(&error))).boxed());
            }
        };
        let frames = futures::stream::try_unfold((file, place), |(mut file, place)| async move {
            let read = move || {
                let mut frame = Vec::with_capacity(FRAME_BYTES);
                (&mut file).take(FRAME_BYTES as u64).read_to_end(&mut frame).map(|_| (frame, file))
            };
            let failed = |message: String| StoreError::Store { place: place.display(), message, transient: false };
            let done = forebay_runtime::blocking(read).await.map_err(|error| failed(error.to_string()))?;
            let (frame, file) = done.map_err(|error| StoreError::from_io(&place.display(), &error))?;
            Ok((!frame.is_empty()).then(|| (Bytes::from(frame), (file, place))))
        });
        Ok(frames.boxed())
    }

    /// Deletes an object that was written at once, if it is there. A local file may have been cut off all the same.
    pub async fn remove(&self, object: &str) -> Result<(), StoreError> {
        match &self.medium {
            Medium::Disk(_) => self.clear(object).await,
            Medium::Bucket(..) => self.delete(object).await,
            #[cfg(feature = "simulation")]
            Medium::Simulated => self.delete(object).await,
        }
    }

    pub(crate) async fn delete(&self, object: &str) -> Result<(), StoreError> {
        match self.store.delete(&Path::from(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }
}

/// The first answer of a store, if it comes in time.
pub(crate) async fn answer<T>(place: &str, request: impl Future<Output = T>) -> Result<T, StoreError> {
    tokio::time::timeout(FIRST_ANSWER, request).await.map_err(|_| StoreError::Store {
        place: place.to_owned(),
        message: format!("no answer in {} seconds: is the endpoint right?", FIRST_ANSWER.as_secs()),
        transient: true,
    })
}
