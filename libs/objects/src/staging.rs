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
pub const SEALED: &str = ".sealed";

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

    /// Writes a chunk, compressed, and encrypted if its key ends with [`SEALED`]. When this returns the copy is
    /// durable. Keys carry the content's checksum, or, of encrypted copies, a random number: either way, repeating a
    /// write whose answer was lost does no harm.
    pub async fn put(&self, key: &str, raw: Bytes) -> Result<(), StoreError> {
        let place = self.place.display();
        let sealing = if key.ends_with(SEALED) { Some((self.keys.sealing()?.clone(), context(key))) } else { None };
        let fail = place.clone();
        let packed = move || -> Result<Vec<u8>, StoreError> {
            let compressed = zstd::bulk::compress(&raw, LEVEL).map_err(|error| StoreError::from_io(&fail, &error))?;
            match sealing {
                Some((ring, context)) => Ok(ring.seal(&context, &compressed)?),
                None => Ok(compressed),
            }
        };
        let compressed = forebay_runtime::blocking(packed).await.map_err(|error| StoreError::Store {
            place: place.clone(),
            message: error.to_string(),
            transient: false,
        })??;
        self.place
            .store()
            .put(&Path::from(key), PutPayload::from(compressed))
            .await
            .map_err(|error| self.place.error(&error))?;
        self.place.sync(key).await
    }

    /// A chunk's raw bytes, in frames of at most 1 MiB. Whatever the chunk's size, no more than a few are held.
    pub fn read(&self, key: &str) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let (place, path) = (self.place.clone(), Path::from(key));
        let object = async move {
            let object = place.store().get(&path).await.map_err(|error| place.error(&error))?;
            Ok::<_, StoreError>(object.into_stream().map(move |bytes| bytes.map_err(|error| place.error(&error))))
        };
        let mut compressed: BoxStream<'static, Result<Bytes, StoreError>> =
            futures::stream::once(object).try_flatten().boxed();
        if key.ends_with(SEALED) {
            compressed = match self.keys.opening() {
                Ok(ring) => open_stream(ring, &context(key), compressed),
                Err(error) => return futures::stream::once(async { Err(error.into()) }).boxed(),
            };
        }
        decompress(key.to_owned(), Compression::Zstd, compressed)
    }

    /// Deletes every copy of a job: also those that a crash left without a chunk.
    pub async fn remove_job(&self, job: JobId) -> Result<(), StoreError> {
        let prefix = Path::from(job.to_string());
        let copies: Vec<_> = self.place.store().list(Some(&prefix)).collect().await;
        for copy in copies {
            let copy = copy.map_err(|error| self.place.error(&error))?;
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
