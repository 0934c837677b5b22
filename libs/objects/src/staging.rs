use std::io::Read;

use bytes::{Buf, Bytes};
use forebay_types::JobId;
use futures::StreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use crate::{FRAME_BYTES, Place, StoreError};

/// zstd level of staged chunks: they are read once, soon.
const LEVEL: i32 = 1;

/// Checksum of a chunk's raw bytes: XXH3, 128 bits. It finds damage and sources that changed; it is no signature.
pub fn checksum(bytes: &[u8]) -> u128 {
    xxhash_rust::xxh3::xxh3_128(bytes)
}

/// The place where copies of raw chunks wait until they are committed.
#[derive(Clone, Debug)]
pub struct Staging {
    place: Place,
}

impl Staging {
    /// Staging at a place.
    pub fn new(place: Place) -> Self {
        Self { place }
    }

    /// Writes a chunk, compressed. When this returns the copy is durable. Keys carry the content's checksum, so that
    /// repeating a write whose answer was lost overwrites the copy with itself.
    pub async fn put(&self, key: &str, raw: Bytes) -> Result<(), StoreError> {
        let place = self.place.display();
        let compressed = tokio::task::spawn_blocking(move || zstd::encode_all(raw.reader(), LEVEL))
            .await
            .map_err(|error| StoreError::Store { place: place.clone(), message: error.to_string(), transient: false })?
            .map_err(|error| StoreError::from_io(&place, &error))?;
        self.place
            .store()
            .put(&Path::from(key), PutPayload::from(compressed))
            .await
            .map_err(|error| self.place.error(&error))?;
        self.place.sync(key).await
    }

    /// Opens a chunk. What is held is its compressed form and one frame.
    pub async fn open(&self, key: &str) -> Result<StagedReader, StoreError> {
        let object = self.place.store().get(&Path::from(key)).await.map_err(|error| self.place.error(&error))?;
        let compressed = object.bytes().await.map_err(|error| self.place.error(&error))?;
        let corrupt =
            |error: std::io::Error| StoreError::Corrupt { object: key.to_owned(), message: error.to_string() };
        let decoder = zstd::stream::read::Decoder::new(compressed.reader()).map_err(corrupt)?;
        Ok(StagedReader { key: key.to_owned(), decoder: Box::new(decoder) })
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

/// A staged chunk while it is read.
pub struct StagedReader {
    key: String,
    decoder: Box<dyn Read + Send>,
}

impl std::fmt::Debug for StagedReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StagedReader").field("key", &self.key).finish_non_exhaustive()
    }
}

impl StagedReader {
    /// Appends the next frame of raw bytes, at most 1 MiB, and returns how many there were; 0 at the end.
    pub fn read(&mut self, buffer: &mut Vec<u8>) -> Result<usize, StoreError> {
        (&mut self.decoder)
            .take(FRAME_BYTES as u64)
            .read_to_end(buffer)
            .map_err(|error| StoreError::Corrupt { object: self.key.clone(), message: error.to_string() })
    }
}
