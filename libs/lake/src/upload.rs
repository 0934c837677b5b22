use bytes::Bytes;
use forebay_objects::{Place, StoreError};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;

/// An object while it is written: parts go out as they fill, one at a time, so that at most two are held.
#[derive(Debug)]
pub(crate) struct Upload {
    place: Place,
    name: String,
    part_bytes: usize,
    buffer: Vec<u8>,
    multipart: Option<Box<dyn MultipartUpload>>,
    in_flight: Option<JoinHandle<object_store::Result<()>>>,
    sent: u64,
}

impl Upload {
    pub(crate) fn new(place: Place, name: String, part_bytes: usize) -> Self {
        Self { place, name, part_bytes, buffer: Vec::new(), multipart: None, in_flight: None, sent: 0 }
    }

    /// Takes bytes over, and waits while the store is slower than they come.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.buffer.extend_from_slice(bytes);
        while self.buffer.len() >= self.part_bytes {
            let rest = self.buffer.split_off(self.part_bytes);
            let part = std::mem::replace(&mut self.buffer, rest);
            self.send(part.into()).await?;
        }
        Ok(())
    }

    async fn send(&mut self, part: Bytes) -> Result<(), StoreError> {
        self.wait().await?;
        if self.multipart.is_none() {
            let upload = self.place.store().put_multipart(&Path::from(self.name.as_str())).await;
            self.multipart = Some(upload.map_err(|error| self.place.error(&error))?);
        }
        if let Some(multipart) = &mut self.multipart {
            self.sent += part.len() as u64;
            self.in_flight = Some(tokio::spawn(multipart.put_part(PutPayload::from_bytes(part))));
        }
        Ok(())
    }

    async fn wait(&mut self) -> Result<(), StoreError> {
        let Some(task) = self.in_flight.take() else { return Ok(()) };
        match task.await {
            Ok(result) => result.map_err(|error| self.place.error(&error)),
            Err(error) => Err(StoreError::Store {
                place: self.place.display(),
                message: format!("an upload task failed: {error}"),
                transient: true,
            }),
        }
    }

    /// Makes the object visible, whole, and safe from a power cut.
    pub(crate) async fn finish(&mut self) -> Result<u64, StoreError> {
        let last = std::mem::take(&mut self.buffer);
        let path = Path::from(self.name.as_str());
        if self.multipart.is_none() {
            self.sent = last.len() as u64;
            self.place.store().put(&path, PutPayload::from(last)).await.map_err(|error| self.place.error(&error))?;
        } else {
            if !last.is_empty() {
                self.send(last.into()).await?;
            }
            self.wait().await?;
            if let Some(multipart) = &mut self.multipart
                && let Err(error) = multipart.complete().await
            {
                // The answer may have been lost although the store did it.
                match self.place.store().head(&path).await {
                    Ok(head) if head.size == self.sent => {}
                    _ => return Err(self.place.error(&error)),
                }
            }
            self.multipart = None;
        }
        self.place.sync(&self.name).await?;
        Ok(self.sent)
    }

    /// Gives the object up and takes back what was sent. Its own failure is only logged: the caller has a better
    /// error to show, and recovery deletes what is left.
    pub(crate) async fn abort(&mut self) {
        if let Some(task) = self.in_flight.take() {
            // Whether the part got there does not matter any more.
            drop(task.await);
        }
        if let Some(mut multipart) = self.multipart.take()
            && let Err(error) = multipart.abort().await
        {
            tracing::warn!(object = %self.name, %error, "failed to abort an upload");
        }
    }
}
