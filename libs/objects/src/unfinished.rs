use std::path::{Path as FsPath, PathBuf};
use std::time::SystemTime;

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, future};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use serde::Deserialize;

use crate::bucket::Bucket;
use crate::place::Medium;
use crate::{Place, StoreError};

/// Most uploads of one page.
const PAGE: usize = 1_000;

/// What a process began to write and neither finished nor gave up: an upload of a bucket, or the local file that would
/// have been renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Name in its place of the object that it would have become.
    pub object: String,
    /// When it was begun, or a local file last written.
    pub since: SystemTime,
    trace: Trace,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Trace {
    Upload(String),
    File(PathBuf),
}

/// An object in a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its name in the place.
    pub object: String,
    /// When it was last written.
    pub written: SystemTime,
}

impl Place {
    /// What is unfinished of objects whose names begin with `prefix`: a page of at most 1,000, from the first behind
    /// `after`. An empty page is the end. On a disk folders below are left out.
    pub async fn unfinished(&self, prefix: &str, after: Option<&Unfinished>) -> Result<Vec<Unfinished>, StoreError> {
        match &self.medium {
            Medium::Disk(folder) => {
                let (folder, prefix, place) = (folder.clone(), prefix.to_owned(), self.display());
                let behind = after.map(Unfinished::order);
                let found = tokio::task::spawn_blocking(move || leftovers(&folder, &prefix)).await;
                let found = found.map_err(std::io::Error::other).and_then(|found| found);
                let mut found = found.map_err(|error| StoreError::from_io(&place, &error))?;
                found.sort_by_key(Unfinished::order);
                Ok(found.into_iter().filter(|found| Some(found.order()) > behind).take(PAGE).collect())
            }
            Medium::Bucket(bucket, below) => self.uploads(bucket, below, prefix, after).await,
            // What is begun is in the memory of whoever began it.
            #[cfg(feature = "simulation")]
            Medium::Simulated => Ok(Vec::new()),
        }
    }

    async fn uploads(
        &self,
        bucket: &Bucket,
        below: &Path,
        prefix: &str,
        after: Option<&Unfinished>,
    ) -> Result<Vec<Unfinished>, StoreError> {
        let folder = if below.as_ref().is_empty() { String::new() } else { format!("{below}/") };
        let (wanted, page) = (format!("{folder}{prefix}"), PAGE.to_string());
        let mut query = vec![("uploads", ""), ("max-uploads", &page), ("prefix", &wanted)];
        let marker = after.map(|after| (format!("{folder}{}", after.object), after.trace.id()));
        if let Some((key, id)) = &marker {
            query.extend([("key-marker", key.as_str()), ("upload-id-marker", id.as_str())]);
        }
        let place = self.display();
        let body = bucket.query(&place, &query).await?;
        let listing: Listing = quick_xml::de::from_reader(&*body).map_err(|error| StoreError::Store {
            place,
            message: format!("the store's list of uploads is unreadable: {error}"),
            transient: false,
        })?;
        let found = listing.uploads.into_iter().filter_map(|upload| {
            let object = upload.key.strip_prefix(&folder)?.to_owned();
            // An unreadable time is that of an upload that is not old.
            let since =
                upload.initiated.parse::<jiff::Timestamp>().map_or_else(|_| SystemTime::now(), SystemTime::from);
            Some(Unfinished { object, since, trace: Trace::Upload(upload.upload_id) })
        });
        Ok(found.collect())
    }

    /// Gives up what was unfinished: its parts are deleted. That it is gone is no error.
    pub async fn discard(&self, unfinished: &Unfinished) -> Result<(), StoreError> {
        match (&self.medium, &unfinished.trace) {
            (Medium::Bucket(bucket, below), Trace::Upload(id)) => {
                let path = Path::from(format!("{below}/{}", unfinished.object));
                match bucket.store().abort_multipart(&path, id).await {
                    Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                    Err(error) => Err(self.error(&error)),
                }
            }
            (_, Trace::File(file)) => match tokio::fs::remove_file(file).await {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    Err(StoreError::from_io(&self.display(), &error))
                }
                Ok(()) | Err(_) => Ok(()),
            },
            // Uploads are found in buckets only.
            (Medium::Disk(_), Trace::Upload(_)) => Ok(()),
            #[cfg(feature = "simulation")]
            (Medium::Simulated, Trace::Upload(_)) => Ok(()),
        }
    }

    /// Deletes an object, if it is there, and all that was begun of it: first that, so that it can't be finished
    /// afterwards.
    pub async fn clear(&self, object: &str) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = self.unfinished(object, after.as_ref()).await?;
            for unfinished in page.iter().filter(|unfinished| unfinished.object == object) {
                self.discard(unfinished).await?;
            }
            after = page.into_iter().last();
            if after.is_none() {
                return self.delete(object).await;
            }
        }
    }

    /// The objects in this place itself whose names begin with `prefix`.
    pub fn objects(&self, prefix: &str) -> BoxStream<'static, Result<Stored, StoreError>> {
        let (place, prefix) = (self.display(), prefix.to_owned());
        // Buckets list in the order of names, so that what comes before is never asked for; disks in any order.
        let ordered = self.directory().is_none();
        let end = prefix.clone();
        self.store()
            .list_with_offset(None, &Path::from(prefix.as_str()))
            .map_err(move |error| StoreError::from_store(&place, &error))
            .try_take_while(move |meta| future::ok(!ordered || meta.location.as_ref().starts_with(&end)))
            .try_filter_map(move |meta| {
                let object = meta.location.as_ref();
                let wanted = object.starts_with(&prefix) && !object.contains('/');
                let stored = wanted.then(|| Stored { object: object.to_owned(), written: meta.last_modified.into() });
                future::ok(stored)
            })
            .boxed()
    }

    /// Names of the folders in this place.
    pub async fn folders(&self) -> Result<Vec<String>, StoreError> {
        let listed = self.store().list_with_delimiter(None).await.map_err(|error| self.error(&error))?;
        Ok(listed.common_prefixes.iter().filter_map(|folder| folder.filename().map(str::to_owned)).collect())
    }
}

impl Unfinished {
    /// In this order pages follow on each other.
    fn order(&self) -> (String, String) {
        (self.object.clone(), self.trace.id())
    }
}

impl Trace {
    fn id(&self) -> String {
        match self {
            Self::Upload(id) => id.clone(),
            Self::File(file) => file.display().to_string(),
        }
    }
}

/// The local store writes to `name#1` and renames; a process that is killed leaves that behind.
fn leftovers(folder: &FsPath, prefix: &str) -> std::io::Result<Vec<Unfinished>> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some((object, number)) = name.to_str().and_then(|name| name.rsplit_once('#')) else { continue };
        if !object.starts_with(prefix) || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            continue;
        }
        // It may have been finished meanwhile.
        let Ok(since) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        found.push(Unfinished { object: object.to_owned(), since, trace: Trace::File(entry.path()) });
    }
    Ok(found)
}

/// What a bucket answers.
#[derive(Debug, Deserialize)]
struct Listing {
    #[serde(default, rename = "Upload")]
    uploads: Vec<Upload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Upload {
    key: String,
    upload_id: String,
    initiated: String,
}
