//! An object store in memory that is slow, fails, and loses answers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use forebay_runtime::simulation;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::world::Sim;

/// The store. Clones hold the same objects.
#[derive(Clone)]
pub(crate) struct Store {
    inner: Arc<InMemory>,
    sim: Sim,
    /// When each object was written, in the world's time.
    written: Arc<Mutex<BTreeMap<Path, Duration>>>,
}

impl Store {
    /// A store that begins with these objects.
    pub(crate) fn new(sim: &Sim, objects: InMemory) -> Self {
        Self { inner: Arc::new(objects), sim: sim.clone(), written: Arc::default() }
    }

    /// What is in it, without faults.
    pub(crate) fn inner(&self) -> &Arc<InMemory> {
        &self.inner
    }

    /// Threads outside of the simulation can't be told to wait: it stands still while they call.
    async fn point(&self, what: &'static str) -> Result<()> {
        let failed = match simulation::is_on() {
            true => simulation::point(what).await.is_err(),
            false => self.sim.decide(what).fails,
        };
        if failed {
            return Err(Error::Generic { store: "sim", source: format!("{what}: it fails now").into() });
        }
        Ok(())
    }

    fn wrote(&self, path: &Path) {
        self.written.lock().unwrap().insert(path.clone(), self.sim.time());
    }

    fn dated(&self, mut meta: ObjectMeta) -> ObjectMeta {
        let since = self.written.lock().unwrap().get(&meta.location).copied().unwrap_or_default();
        meta.last_modified = (forebay_runtime::system_now() - self.sim.time() + since).into();
        meta
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim")
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sim")
    }
}

#[async_trait]
impl ObjectStore for Store {
    async fn put_opts(&self, path: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.point("store put").await?;
        let put = self.inner.put_opts(path, payload, options).await?;
        self.wrote(path);
        self.point("store has put").await?;
        Ok(put)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.point("store begin").await?;
        let inner = self.inner.put_multipart_opts(path, options).await?;
        Ok(Box::new(Upload { inner, store: self.clone(), path: path.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.point("store get").await?;
        self.inner.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        paths
            .and_then(move |path| {
                let store = store.clone();
                async move {
                    store.point("store delete").await?;
                    let mut deleted = store.inner.delete_stream(futures::stream::iter([Ok(path.clone())]).boxed());
                    while let Some(deleted) = deleted.next().await {
                        deleted?;
                    }
                    store.point("store has deleted").await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, listed) = (self.clone(), self.inner.list(prefix));
        let asked = async move {
            store.point("store list").await?;
            Ok::<_, Error>(listed.map_ok(move |meta| store.dated(meta)))
        };
        asked.into_stream().try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.point("store list").await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.point("store copy").await?;
        self.inner.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct Upload {
    inner: Box<dyn MultipartUpload>,
    store: Store,
    path: Path,
}

#[async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (part, store) = (self.inner.put_part(data), self.store.clone());
        async move {
            store.point("store part").await?;
            part.await
        }
        .boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.point("store complete").await?;
        let put = self.inner.complete().await?;
        self.store.wrote(&self.path);
        self.store.point("store has completed").await?;
        Ok(put)
    }

    async fn abort(&mut self) -> Result<()> {
        self.store.point("store abort").await?;
        self.inner.abort().await
    }
}
