use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileTypeExt;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use forebay_types::InputIdentity;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use tokio::io::AsyncReadExt;
use url::Url;

use crate::StoreError;
use crate::bucket::Bucket;

/// Most bytes in one frame of an input.
pub const FRAME_BYTES: usize = 1 << 20;

/// An input that records are read from.
#[derive(Clone, Debug)]
pub struct Input {
    identity: InputIdentity,
    /// None for a stream, which can be read once and only from its start.
    object: Option<(Arc<dyn ObjectStore>, Path)>,
    /// The same, if it is a local file.
    file: Option<Arc<FsPath>>,
}

/// An input's absolute URI: `-` for standard input, `file://...` for a path.
pub fn absolute(input: &str) -> Result<String, StoreError> {
    if input == "-" || input.contains("://") {
        return Ok(input.to_owned());
    }
    let unreadable = |message: String| StoreError::Unreadable { uri: input.to_owned(), message };
    let path = FsPath::new(input).canonicalize().map_err(|error| unreadable(error.to_string()))?;
    let url = Url::from_file_path(path).map_err(|()| unreadable("it is no absolute path".to_owned()))?;
    Ok(url.into())
}

/// Begins the URI of an input that a client sends; its name follows.
const UPLOAD: &str = "upload:";

impl Input {
    /// What the catalog knows an input by that a client sends.
    pub fn sent(name: &str, size: Option<u64>, version: Option<String>) -> InputIdentity {
        InputIdentity { uri: format!("{UPLOAD}{name}"), size, version }
    }

    /// True if an input is one that a client sends, so that only a client can continue it.
    pub fn is_sent(identity: &InputIdentity) -> bool {
        identity.uri.starts_with(UPLOAD)
    }

    /// Looks an input up: that it is there, can be read, and which version of it there is.
    pub async fn open(input: &str) -> Result<Self, StoreError> {
        let uri = absolute(input)?;
        if uri == "-" {
            return Ok(Self { identity: InputIdentity { uri, size: None, version: None }, object: None, file: None });
        }
        let bad = |message: String| StoreError::BadUri { uri: input.to_owned(), message };
        let url = Url::parse(&uri).map_err(|error| bad(error.to_string()))?;
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().map_err(|()| bad("it is no local path".to_owned()))?;
                Self::open_file(input, uri, &path)
            }
            "s3" => {
                let bucket = Bucket::open(&url, &[]).map_err(|error| bad(error.to_string()))?;
                let store = Arc::clone(bucket.store()) as Arc<dyn ObjectStore>;
                let path = Path::from_url_path(url.path()).map_err(|error| bad(error.to_string()))?;
                let head = crate::place::answer(&uri, store.head(&path)).await?.map_err(|error| match error {
                    object_store::Error::NotFound { .. } => {
                        StoreError::Unreadable { uri: uri.clone(), message: "there is no such object".to_owned() }
                    }
                    error => StoreError::from_store(&uri, &error),
                })?;
                let identity = InputIdentity { uri, size: Some(head.size), version: head.e_tag };
                Ok(Self { identity, object: Some((store, path)), file: None })
            }
            other => Err(bad(format!("'{other}://' is not supported; use a path, -, file:// or s3://bucket/key"))),
        }
    }

    fn open_file(input: &str, uri: String, path: &FsPath) -> Result<Self, StoreError> {
        let unreadable = |message: String| StoreError::Unreadable { uri: input.to_owned(), message };
        // Opening shows at once what reading would: no such file, no permission.
        let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
        if metadata.is_dir() {
            return Err(unreadable("it is a directory; name its files".to_owned()));
        }
        if metadata.file_type().is_fifo() || metadata.file_type().is_char_device() {
            return Ok(Self { identity: InputIdentity { uri, size: None, version: None }, object: None, file: None });
        }
        std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
        let modified = metadata.modified().map_err(|error| unreadable(error.to_string()))?;
        let version = modified.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let object = Path::from_absolute_path(path).map_err(|error| unreadable(error.to_string()))?;
        let identity = InputIdentity { uri, size: Some(metadata.len()), version: Some(version.to_string()) };
        Ok(Self { identity, object: Some((Arc::new(LocalFileSystem::new()), object)), file: Some(Arc::from(path)) })
    }

    /// Opens an input again, and refuses one that has changed.
    pub async fn reopen(identity: &InputIdentity) -> Result<Self, StoreError> {
        if Self::is_sent(identity) {
            return Ok(Self { identity: identity.clone(), object: None, file: None });
        }
        let input = Self::open(&identity.uri).await?;
        if input.identity != *identity {
            return Err(StoreError::Changed { uri: identity.uri.clone() });
        }
        Ok(input)
    }

    /// What tells this version of the input from others.
    pub fn identity(&self) -> &InputIdentity {
        &self.identity
    }

    /// True if any part of it can be read at any time, so that chunks need not be copied.
    pub fn is_durable(&self) -> bool {
        self.object.is_some()
    }

    /// The object behind a durable input.
    pub fn object(&self) -> Option<(&Arc<dyn ObjectStore>, &Path)> {
        self.object.as_ref().map(|(store, path)| (store, path))
    }

    /// Reads bytes `start..end` of a durable input behind what `into` has. Whoever reads on gives the memory of an
    /// earlier frame: new memory for each costs a local file as much as the reading.
    pub async fn read(&self, start: u64, end: u64, mut into: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let before = into.len();
        match (&self.file, &self.object) {
            (Some(file), _) => into = self.read_file(Arc::clone(file), start..end, into).await?,
            (None, Some((store, path))) => {
                let bytes = store.get_range(path, start..end).await;
                into.extend_from_slice(&bytes.map_err(|error| StoreError::from_store(&self.identity.uri, &error))?);
            }
            (None, None) => return Err(self.unreadable("a stream can't be read from the middle")),
        }
        if (into.len() - before) as u64 != end - start {
            return Err(StoreError::Changed { uri: self.identity.uri.clone() });
        }
        Ok(into)
    }

    async fn read_file(&self, file: Arc<FsPath>, range: Range<u64>, mut into: Vec<u8>) -> Result<Vec<u8>, StoreError> {
        let read = move || {
            let mut file = std::fs::File::open(file)?;
            file.seek(SeekFrom::Start(range.start))?;
            let length = range.end - range.start;
            into.reserve_exact(usize::try_from(length).unwrap_or(FRAME_BYTES));
            file.take(length).read_to_end(&mut into)?;
            Ok::<_, std::io::Error>(into)
        };
        let done = tokio::task::spawn_blocking(read).await.map_err(|error| self.unreadable(&error.to_string()))?;
        done.map_err(|error| self.unreadable(&error.to_string()))
    }

    /// The input from an offset on, in frames of at most 1 MiB. A stream starts at 0.
    pub fn frames(&self, from: u64) -> BoxStream<'static, Result<Bytes, StoreError>> {
        match (&self.object, self.identity.size) {
            (Some(_), Some(size)) => {
                let input = self.clone();
                futures::stream::try_unfold(from, move |at| {
                    let input = input.clone();
                    async move {
                        if at >= size {
                            return Ok(None);
                        }
                        let end = size.min(at + FRAME_BYTES as u64);
                        let frame = input.read(at, end, Vec::new()).await?;
                        Ok(Some((Bytes::from(frame), end)))
                    }
                })
                .boxed()
            }
            _ => self.stream(),
        }
    }

    fn stream(&self) -> BoxStream<'static, Result<Bytes, StoreError>> {
        let uri = self.identity.uri.clone();
        let open = async move {
            let reader: Box<dyn tokio::io::AsyncRead + Send + Unpin> = match Url::parse(&uri) {
                Ok(url) => {
                    let path = url.to_file_path().unwrap_or_default();
                    Box::new(tokio::fs::File::open(path).await?)
                }
                Err(_) => Box::new(tokio::io::stdin()),
            };
            Ok::<_, std::io::Error>(reader)
        };
        let uri = self.identity.uri.clone();
        futures::stream::once(open)
            .flat_map(move |reader| {
                let uri = uri.clone();
                match reader {
                    Err(error) => {
                        let error = StoreError::Unreadable { uri, message: error.to_string() };
                        futures::stream::once(async { Err(error) }).boxed()
                    }
                    Ok(reader) => read_stream(uri, reader),
                }
            })
            .boxed()
    }

    fn unreadable(&self, message: &str) -> StoreError {
        StoreError::Unreadable { uri: self.identity.uri.clone(), message: message.to_owned() }
    }
}

fn read_stream(
    uri: String,
    reader: Box<dyn tokio::io::AsyncRead + Send + Unpin>,
) -> BoxStream<'static, Result<Bytes, StoreError>> {
    futures::stream::try_unfold(reader, move |mut reader| {
        let uri = uri.clone();
        async move {
            let mut frame = Vec::with_capacity(FRAME_BYTES);
            // Whole frames, so that a slow pipe does not make many small ones.
            while frame.len() < FRAME_BYTES {
                let room = (FRAME_BYTES - frame.len()) as u64;
                let read = (&mut reader).take(room).read_buf(&mut frame).await;
                match read {
                    Ok(0) => break,
                    Ok(_) => {}
                    Err(error) => return Err(StoreError::Unreadable { uri, message: error.to_string() }),
                }
            }
            Ok(if frame.is_empty() { None } else { Some((Bytes::from(frame), reader)) })
        }
    })
    .boxed()
}
