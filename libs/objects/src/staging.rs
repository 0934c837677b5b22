use std::io::{ErrorKind, Write};

use bytes::Bytes;
use forebay_seal::{Keys, open_stream};
use forebay_types::JobId;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::{Compression, Place, StoreError, decompress};

/// zstd level of staged chunks: they are read once, soon. A negative one gives up some size for speed.
const LEVEL: i32 = -3;

/// What the keys of encrypted copies end with.
const SEALED: &str = ".sealed";

/// What the keys of copies end with that are as they came.
const RAW: &str = ".raw";

/// What the keys of compressed copies end with.
const COMPRESSED: &str = ".zst";

/// Checksum of a chunk's raw bytes: XXH3, 128 bits. It finds damage and sources that changed; it is no signature.
pub fn checksum(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// The place where copies of raw chunks wait until they are committed.
#[derive(Clone, Debug)]
pub struct Staging {
    place: Place,
    keys: Keys,
}

impl Staging {
    /// Staging at a place, where no copy is encrypted.
    pub fn new(place: Place) -> Self {
        Self { place, keys: Keys::none() }
    }

    /// The same with keys for copies that are encrypted.
    pub fn with_keys(self, keys: Keys) -> Self {
        Self { keys, ..self }
    }

    /// The key of a copy. How it ends says in which form the copy is: encrypted and compressed; as it came, on a local
    /// disk, where compressing costs more than it saves; or compressed.
    pub fn key(&self, name: &str, sealed: bool) -> String {
        match (sealed, self.place.directory()) {
            (true, _) => format!("{name}{COMPRESSED}{SEALED}"),
            (false, Some(_)) => format!("{name}{RAW}"),
            (false, None) => format!("{name}{COMPRESSED}"),
        }
    }

    /// Writes a chunk in the form that its [key](Self::key) tells. When this returns the copy is durable. Keys carry
    /// the content's checksum, or, of encrypted copies, a random number: either way, repeating a write whose answer was
    /// lost does no harm.
    pub async fn put(&self, key: &str, raw: impl Into<PutPayload>) -> Result<(), StoreError> {
        let raw = raw.into();
        let packed = if key.ends_with(RAW) { raw } else { self.packed(key, raw).await? };
        self.place.store().put(&Path::from(key), packed).await.map_err(|error| self.place.error(&error))?;
        self.place.sync(key).await
    }

    /// A chunk as it is stored, compressed off the async threads.
    async fn packed(&self, key: &str, raw: PutPayload) -> Result<PutPayload, StoreError> {
        let place = self.place.display();
        let sealing = if key.ends_with(SEALED) { Some((self.keys.sealing()?.clone(), context(key))) } else { None };
        let fail = place.clone();
        let packed = move || -> Result<Vec<u8>, StoreError> {
            let compressed = compress(&raw).map_err(|error| StoreError::from_io(&fail, &error))?;
            match sealing {
                Some((ring, context)) => Ok(ring.seal(&context, &compressed)?),
                None => Ok(compressed),
            }
        };
        let packed = forebay_runtime::blocking(packed).await.map_err(|error| StoreError::Store {
            place,
            message: error.to_string(),
            transient: false,
        })??;
        Ok(packed.into())
    }

    /// A chunk's raw bytes, in frames of at most 1 MiB. Whatever the chunk's size, no more than a few are held.
    pub fn read(&self, key: &str) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let (place, name) = (self.place.clone(), key.to_owned());
        let object = async move { place.frames(&name).await };
        let mut compressed: BoxStream<'static, Result<Bytes, StoreError>> =
            futures::stream::once(object).try_flatten().boxed();
        if key.ends_with(RAW) {
            return compressed;
        }
        if key.ends_with(SEALED) {
            compressed = match self.keys.opening() {
                Ok(ring) => open_stream(ring, &context(key), compressed),
                Err(error) => return futures::stream::once(async { Err(error.into()) }).boxed(),
            };
        }
        decompress(key.to_owned(), Compression::Zstd, compressed)
    }

    /// Deletes every copy of a job: also those that a crash left without a chunk, and on a disk what a process that was
    /// killed had begun to write.
    pub async fn remove_job(&self, job: JobId) -> Result<(), StoreError> {
        if let Some(staging) = self.place.directory() {
            let folder = staging.join(job.to_string());
            return match tokio::fs::remove_dir_all(&folder).await {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(StoreError::from_io(&folder.display().to_string(), &error))
                }
                _ => Ok(()),
            };
        }
        let mut copies = self.place.store().list(Some(&Path::from(job.to_string())));
        while let Some(copy) = copies.try_next().await.map_err(|error| self.place.error(&error))? {
            self.place.remove(copy.location.as_ref()).await?;
        }
        Ok(())
    }

    /// Deletes a chunk's copy.
    pub async fn remove(&self, key: &str) -> Result<(), StoreError> {
        self.place.remove(key).await
    }
}

/// What an encrypted copy is bound to: its key, which names job, input and place in it.
fn context(key: &str) -> String {
    format!("staged {key}")
}

fn compress(raw: &PutPayload) -> std::io::Result<Vec<u8>> {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::with_capacity(raw.content_length() / 3), LEVEL)?;
    encoder.set_pledged_src_size(Some(raw.content_length() as u64))?;
    for part in raw {
        encoder.write_all(part)?;
    }
    encoder.finish()
}
