//! A real S3 protocol server over HTTP, in the test's process, over a folder that is deleted with it.
//!
//! It is `s3s-fs` with what that lacks: creation that is atomic, a list of unfinished uploads, and on request the
//! manners of stores that do not know `If-None-Match`.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

use std::collections::BTreeMap;
use std::future::Future;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::dto::*;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{S3, S3Request, S3Response, S3Result};
use s3s_fs::FileSystem;
use tokio::sync::oneshot;

/// The bucket that there is.
pub const BUCKET: &str = "bucket";
const KEY: &str = "key";
const SECRET: &str = "secret";

/// The server. It ends when it is dropped.
#[derive(Debug)]
pub struct S3Server {
    folder: tempfile::TempDir,
    endpoint: String,
    state: Arc<State>,
    /// The server ends when this is gone.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    log: Mutex<Vec<(String, String)>>,
    /// By key and id.
    uploads: Mutex<BTreeMap<(String, String), SystemTime>>,
    overwrites: AtomicBool,
}

impl S3Server {
    /// Starts a server on a free port, with one empty bucket.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join(BUCKET)).unwrap();
        let state = Arc::new(State::default());
        let files = FileSystem::new(folder.path()).unwrap();
        let mut builder =
            S3ServiceBuilder::new(Store { files, state: Arc::clone(&state), turn: tokio::sync::Mutex::new(()) });
        builder.set_auth(SimpleAuth::from_single(KEY, SECRET));
        builder.set_access(Recorder(Arc::clone(&state)));
        let service = builder.build();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = oneshot::channel();
        // On a thread of its own, so that tests with and without a runtime can start and drop it.
        let thread = std::thread::spawn(move || serve(listener, service, stopped));
        Self { folder, endpoint, state, stop: Some(stop), thread: Some(thread) }
    }

    /// Where it listens, as a URL.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// The variables by which a client reaches it, or what stands before it at another endpoint.
    pub fn variables(endpoint: &str) -> Vec<(String, String)> {
        [
            ("AWS_ENDPOINT_URL", endpoint),
            ("AWS_ACCESS_KEY_ID", KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET),
            ("AWS_REGION", "us-east-1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }

    /// The folder behind the bucket. It may be read and written.
    pub fn bucket(&self) -> PathBuf {
        self.folder.path().join(BUCKET)
    }

    /// Puts an object there, past the protocol.
    pub fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        let path = self.bucket().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// From now on it overwrites what a client asks it to create, as stores do that do not know `If-None-Match`.
    pub fn ignore_conditions(&self) {
        self.state.overwrites.store(true, Ordering::Relaxed);
    }

    /// How often an operation was asked for, by its name in the S3 API.
    pub fn count(&self, operation: &str) -> usize {
        self.state.log.lock().unwrap().iter().filter(|(name, _)| name == operation).count()
    }

    /// Keys of the uploads that were begun, and neither completed nor aborted.
    pub fn uploads(&self) -> Vec<String> {
        self.state.uploads.lock().unwrap().keys().map(|(key, _)| key.clone()).collect()
    }

    /// Makes every unfinished upload older.
    pub fn age_uploads(&self, by: Duration) {
        for since in self.state.uploads.lock().unwrap().values_mut() {
            *since -= by;
        }
    }

    /// Files of unfinished uploads: what a store would have them paid for.
    pub fn upload_files(&self) -> Vec<PathBuf> {
        let is_upload =
            |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(".upload"));
        files_below(self.folder.path()).into_iter().filter(is_upload).collect()
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn serve(listener: TcpListener, service: S3Service, stopped: oneshot::Receiver<()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let accept = async move {
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let service = service.clone();
            tokio::spawn(async move {
                // A client that hangs up is no error of the server's.
                drop(Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(socket), service).await);
            });
        }
    };
    runtime.block_on(async {
        tokio::select! {
            _ = accept => {}
            _ = stopped => {}
        }
    });
}

/// Every file below a folder; none if it is not there.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Writes down every request; lets in who has the key.
struct Recorder(Arc<State>);

impl S3Access for Recorder {
    fn check<'this, 'cx, 'inner, 'future>(
        &'this self,
        cx: &'cx mut S3AccessContext<'inner>,
    ) -> Pin<Box<dyn Future<Output = S3Result<()>> + Send + 'future>>
    where
        'this: 'future,
        'cx: 'future,
        'inner: 'future,
        Self: 'future,
    {
        self.0.log.lock().unwrap().push((cx.s3_op().name().to_owned(), cx.uri().path().to_owned()));
        let known = cx.credentials().is_some();
        Box::pin(async move { if known { Ok(()) } else { Err(s3s::s3_error!(AccessDenied)) } })
    }
}

struct Store {
    files: FileSystem,
    state: Arc<State>,
    /// Held while an object is created: `s3s-fs` itself looks first and writes then.
    turn: tokio::sync::Mutex<()>,
}

type Answer<T> = S3Result<S3Response<T>>;

#[async_trait]
impl S3 for Store {
    async fn put_object(&self, mut request: S3Request<PutObjectInput>) -> Answer<PutObjectOutput> {
        if self.state.overwrites.load(Ordering::Relaxed) {
            request.input.if_none_match = None;
        }
        // `s3s-fs` would make it.
        if request.input.bucket != BUCKET {
            return Err(s3s::s3_error!(NoSuchBucket));
        }
        if request.input.if_none_match.is_none() {
            return self.files.put_object(request).await;
        }
        let _turn = self.turn.lock().await;
        self.files.put_object(request).await
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> Answer<CreateMultipartUploadOutput> {
        let key = request.input.key.clone();
        let answer = self.files.create_multipart_upload(request).await?;
        let id = answer.output.upload_id.clone().unwrap_or_default();
        self.state.uploads.lock().unwrap().insert((key, id), SystemTime::now());
        Ok(answer)
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> Answer<CompleteMultipartUploadOutput> {
        let upload = (request.input.key.clone(), request.input.upload_id.clone());
        if !self.state.uploads.lock().unwrap().contains_key(&upload) {
            return Err(s3s::s3_error!(NoSuchUpload));
        }
        let answer = self.files.complete_multipart_upload(request).await?;
        self.state.uploads.lock().unwrap().remove(&upload);
        Ok(answer)
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> Answer<AbortMultipartUploadOutput> {
        let upload = (request.input.key.clone(), request.input.upload_id.clone());
        if !self.state.uploads.lock().unwrap().contains_key(&upload) {
            return Err(s3s::s3_error!(NoSuchUpload));
        }
        let answer = self.files.abort_multipart_upload(request).await?;
        self.state.uploads.lock().unwrap().remove(&upload);
        Ok(answer)
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> Answer<ListMultipartUploadsOutput> {
        let input = request.input;
        let prefix = input.prefix.unwrap_or_default();
        let after = input.key_marker.map(|key| (key, input.upload_id_marker.unwrap_or_default()));
        let most = input.max_uploads.map_or(1_000, |most| usize::try_from(most).unwrap().min(1_000));
        let uploads = self.state.uploads.lock().unwrap();
        let page: Vec<MultipartUpload> = uploads
            .iter()
            .filter(|(upload, _)| upload.0.starts_with(&prefix) && Some(*upload) > after.as_ref())
            .take(most)
            .map(|((key, id), since)| MultipartUpload {
                key: Some(key.clone()),
                upload_id: Some(id.clone()),
                initiated: Some(Timestamp::from(*since)),
                ..MultipartUpload::default()
            })
            .collect();
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            uploads: Some(page),
            ..ListMultipartUploadsOutput::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> Answer<UploadPartOutput> {
        self.files.upload_part(request).await
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> Answer<GetObjectOutput> {
        self.files.get_object(request).await
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> Answer<HeadObjectOutput> {
        self.files.head_object(request).await
    }

    async fn list_objects_v2(&self, request: S3Request<ListObjectsV2Input>) -> Answer<ListObjectsV2Output> {
        self.files.list_objects_v2(request).await
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> Answer<DeleteObjectOutput> {
        self.files.delete_object(request).await
    }

    async fn delete_objects(&self, request: S3Request<DeleteObjectsInput>) -> Answer<DeleteObjectsOutput> {
        self.files.delete_objects(request).await
    }
}
