use std::path::{Path as FsPath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt};
use url::Url;

use crate::StoreError;

/// Longest wait for the first answer of a store: longer than one of its requests may take.
const FIRST_ANSWER: Duration = Duration::from_secs(45);

/// A folder of objects: a local directory or a prefix of a bucket.
#[derive(Clone, Debug)]
pub struct Place {
    /// The store, with `/` at this place.
    store: Arc<dyn ObjectStore>,
    /// The store, with `/` at the root of the disk or bucket.
    root: Arc<dyn ObjectStore>,
    /// Absolute URI, ending in `/`.
    uri: Url,
    local: Option<PathBuf>,
}

impl Place {
    /// Opens a path, `file://` or `s3://bucket/prefix`. A local directory is made if it is not there; a bucket's
    /// credentials, region and endpoint come from the usual `AWS_...` environment variables.
    pub fn open(uri: &str) -> Result<Self, StoreError> {
        let bad = |message: String| StoreError::BadUri { uri: uri.to_owned(), message };
        if let Some((scheme, _)) = uri.split_once("://") {
            return match scheme {
                "file" => {
                    let url = Url::parse(uri).map_err(|error| bad(error.to_string()))?;
                    let path = url.to_file_path().map_err(|()| bad("it is no local path".to_owned()))?;
                    Self::local(&path)
                }
                "s3" => Self::s3(uri),
                other => Err(bad(format!("'{other}://' is not supported; use a path, file:// or s3://bucket/prefix"))),
            };
        }
        Self::local(FsPath::new(uri))
    }

    fn local(path: &FsPath) -> Result<Self, StoreError> {
        let name = path.display().to_string();
        std::fs::create_dir_all(path).map_err(|error| StoreError::from_io(&name, &error))?;
        let path = path.canonicalize().map_err(|error| StoreError::from_io(&name, &error))?;
        let bad = |message: String| StoreError::BadUri { uri: name.clone(), message };
        let store = LocalFileSystem::new_with_prefix(&path).map_err(|error| bad(error.to_string()))?;
        let uri = Url::from_directory_path(&path).map_err(|()| bad("it is no absolute path".to_owned()))?;
        Ok(Self { store: Arc::new(store), root: Arc::new(LocalFileSystem::new()), uri, local: Some(path) })
    }

    fn s3(uri: &str) -> Result<Self, StoreError> {
        let bad = |message: String| StoreError::BadUri { uri: uri.to_owned(), message };
        let mut url = Url::parse(uri).map_err(|error| bad(error.to_string()))?;
        let root: Arc<dyn ObjectStore> = Arc::new(bucket(&url).map_err(|error| bad(error.to_string()))?);
        let prefix = Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()))?;
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let store = Arc::new(PrefixStore::new(Arc::clone(&root), prefix));
        Ok(Self { store, root, uri: url, local: None })
    }

    /// The place of a folder below.
    pub fn child(&self, folder: &str) -> Result<Self, StoreError> {
        match &self.local {
            Some(path) => Self::local(&path.join(folder)),
            None => Self::s3(&format!("{}{folder}", self.uri)),
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
        self.local.as_deref()
    }

    /// How a person writes the place: a path where it is local.
    pub fn display(&self) -> String {
        match &self.local {
            Some(path) => path.display().to_string(),
            None => self.uri.as_str().trim_end_matches('/').to_owned(),
        }
    }

    /// Sorts a store's error and names this place.
    pub fn error(&self, error: &object_store::Error) -> StoreError {
        StoreError::from_store(&self.display(), error)
    }

    /// Makes sure that the store answers at all, so that a wrong endpoint or key is told soon. Later requests are
    /// more patient: a store that has answered once will again.
    pub async fn reach(&self) -> Result<(), StoreError> {
        if self.local.is_some() {
            return Ok(());
        }
        // No object of this name is ever written; that it is not there is an answer.
        match answer(&self.display(), self.store.head(&Path::from("_forebay/reach"))).await? {
            Ok(_) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.error(&error)),
        }
    }

    /// Waits until an object that was written is safe from a power cut. Bucket stores are when they answer.
    pub async fn sync(&self, object: &str) -> Result<(), StoreError> {
        let Some(directory) = self.local.clone() else { return Ok(()) };
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

    /// Deletes an object, if it is there, and whatever an upload of it that was cut off has left on a local disk.
    pub async fn remove(&self, object: &str) -> Result<(), StoreError> {
        match self.store.delete(&Path::from(object)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(self.error(&error)),
        }
        let Some(directory) = &self.local else { return Ok(()) };
        let target = directory.join(object);
        let (Some(folder), Some(name)) = (target.parent(), target.file_name().and_then(|name| name.to_str())) else {
            return Ok(());
        };
        // The local store writes to `name#1` and renames; a process that is killed leaves that behind.
        let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
        for entry in entries.flatten() {
            let found = entry.file_name();
            let unfinished = found.to_str().and_then(|found| found.strip_prefix(name)).is_some_and(|rest| {
                rest.strip_prefix('#').is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            });
            if unfinished {
                std::fs::remove_file(entry.path()).map_err(|error| StoreError::from_io(&self.display(), &error))?;
            }
        }
        Ok(())
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

/// The bucket of an `s3://` URL, configured from the environment.
pub(crate) fn bucket(url: &Url) -> Result<object_store::aws::AmazonS3, object_store::Error> {
    let mut builder = AmazonS3Builder::from_env().with_url(url.as_str());
    let plain = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    if plain {
        builder = builder.with_allow_http(true);
    }
    builder.build()
}
