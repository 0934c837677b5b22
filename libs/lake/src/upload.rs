use bytes::Bytes;
use forebay_objects::{Place, StoreError, backoff};
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStoreExt, PutPayload};
use tokio::task::JoinHandle;

/// How often an object is looked for whose completion failed: for up to three seconds.
const LOOKS: u32 = 5;

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
    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<(), StoreError> {
        while !bytes.is_empty() {
            let (now, rest) = bytes.split_at(bytes.len().min(self.part_bytes - self.buffer.len()));
            self.take(now);
            bytes = rest;
            if self.buffer.len() == self.part_bytes {
                let part = std::mem::take(&mut self.buffer);
                self.send(part.into()).await?;
            }
        }
        Ok(())
    }

    /// Adds bytes to the part that fills. It grows as vectors do, but never beyond a part.
    fn take(&mut self, bytes: &[u8]) {
        let needed = self.buffer.len() + bytes.len();
        if needed > self.buffer.capacity() {
            let room = needed.max(2 * self.buffer.capacity()).min(self.part_bytes);
            self.buffer.reserve_exact(room - self.buffer.len());
        }
        self.buffer.extend_from_slice(bytes);
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
        if self.multipart.is_none() {
            let path = Path::from(self.name.as_str());
            self.sent = last.len() as u64;
            self.place.store().put(&path, PutPayload::from(last)).await.map_err(|error| self.place.error(&error))?;
        } else {
            if !last.is_empty() {
                self.send(last.into()).await?;
            }
            self.wait().await?;
            self.complete().await?;
        }
        self.place.sync(&self.name).await?;
        Ok(self.sent)
    }

    async fn complete(&mut self) -> Result<(), StoreError> {
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        let Err(error) = multipart.complete().await else {
            self.multipart = None;
            return Ok(());
        };
        // The answer may have been lost although the store did it, or was still at it, and the client that asked again
        // was told that there is no such upload. An object of this size is ours: nobody else uses the name, and an
        // upload is completed with all its parts or not at all.
        let error = self.place.error(&error);
        for attempt in 1..=LOOKS {
            let found = self.place.store().head(&Path::from(self.name.as_str())).await;
            if found.is_ok_and(|found| found.size == self.sent) {
                tracing::info!(object = %self.name, %error, "an upload was completed although its answer was lost");
                self.multipart = None;
                return Ok(());
            }
            forebay_runtime::sleep(backoff(attempt)).await;
        }
        Err(error)
    }

    /// Gives the object up and takes back what was sent. Its own failure is only logged: the caller has a better
    /// error to show, and [`Place::clear`] deletes what is left.
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use forebay_testing::faults::{Fault, FaultProxy, Kind};
    use forebay_testing::s3::S3Server;

    use super::*;

    const PART: usize = 5 << 20;

    fn place(server: &S3Server, proxy: &FaultProxy, timeout: &str) -> Place {
        let mut variables = S3Server::variables(&proxy.endpoint());
        variables.push(("AWS_TIMEOUT".to_owned(), timeout.to_owned()));
        assert!(server.uploads().is_empty());
        Place::open_with("s3://bucket/t", &variables).unwrap()
    }

    async fn write(place: &Place, bytes: usize) -> Upload {
        let mut upload = Upload::new(place.clone(), "f".to_owned(), PART);
        let all: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
        for some in all.chunks(3 << 20) {
            upload.write(some).await.unwrap();
            assert!(upload.buffer.capacity() <= PART, "{}", upload.buffer.capacity());
        }
        upload
    }

    #[tokio::test]
    async fn an_answer_that_is_lost_is_no_failure_and_leaves_nothing() {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.endpoint());
        for fault in [Fault::CutAfter, Fault::HangAfter, Fault::CutBefore, Fault::SLOW_DOWN] {
            for kind in [Kind::Begin, Kind::Part, Kind::Complete] {
                // A store that hung at the beginning has made an upload that nobody knows: see `Place::clear`.
                if kind == Kind::Begin && matches!(fault, Fault::CutAfter | Fault::HangAfter) {
                    continue;
                }
                let place = place(&server, &proxy, "2s");
                proxy.once(kind, "", 1, fault);
                let size = write(&place, PART + 17).await.finish().await.unwrap();
                assert_eq!(size, PART as u64 + 17);
                assert!(proxy.wait_met(1, Duration::ZERO), "{kind:?} {fault:?}");
                let stored = std::fs::read(server.bucket().join("t/f")).unwrap();
                assert!(stored.len() as u64 == size && stored.iter().enumerate().all(|(n, b)| *b == (n % 251) as u8));
                assert_eq!(server.upload_files(), Vec::<std::path::PathBuf>::new(), "{kind:?} {fault:?}");
                place.clear("f").await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn a_failure_is_the_first_one_and_what_was_sent_is_taken_back() {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.endpoint());
        let place = place(&server, &proxy, "5s");
        proxy.once(Kind::Complete, "", 1, Fault::Answer(403, "AccessDenied"));
        proxy.once(Kind::Abort, "", 1, Fault::Answer(400, "InvalidRequest"));
        let mut upload = write(&place, 2 * PART).await;
        let error = upload.finish().await.unwrap_err();
        assert!(error.to_string().contains("AccessDenied") && !error.is_transient(), "{error}");
        upload.abort().await;
        assert_eq!(server.uploads(), ["t/f"], "the abort has failed");
        place.clear("f").await.unwrap();
        assert!(server.uploads().is_empty() && server.upload_files().is_empty());
    }
}
