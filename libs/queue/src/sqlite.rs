use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use apalis::prelude::WorkerBuilderExt;
use apalis_core::backend::ext::BackendExt;
use apalis_core::task::builder::TaskBuilder;
use apalis_core::task::task_id::TaskId;
use apalis_core::worker::builder::WorkerBuilder;
use apalis_core::worker::context::WorkerContext;
use apalis_sqlite::queries::push_tasks;
use apalis_sqlite::{Config, SqliteStorage, SqliteTask};
use async_trait::async_trait;
use futures::StreamExt;
use sqlx::ConnectOptions;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::supervisor::{Events, Handlers, Plain, Source, Supervisor};
use crate::wake::OnPushOrTick;
use crate::{JobQueue, QueueError, WorkHandler, WorkItem};

/// The queue's name in apalis' tables.
const QUEUE: &str = "chunks";
/// Most messages of one transaction, so that no writer waits long for another.
const PUSH_PAGE: usize = 500;
/// A worker that shows no life for this often this long is dead, and its messages go to another.
const HEARTBEAT: Duration = Duration::from_secs(2);
const MISSED_HEARTBEATS: usize = 5;

/// The queue in a SQLite file of its own.
#[derive(Debug)]
pub struct SqliteQueue {
    pub(crate) pool: SqlitePool,
    pushes: Arc<Notify>,
}

impl SqliteQueue {
    /// Opens the queue's file, or creates it. A damaged one is replaced by an empty one: nothing is lost with it.
    pub async fn open(path: impl AsRef<Path>) -> Result<Self, QueueError> {
        let path = path.as_ref();
        match Self::connect(path).await {
            Err(QueueError::Unusable(problem)) => {
                tracing::warn!(path = %path.display(), problem, "replacing the queue's file");
                delete(path)?;
                Self::connect(path).await
            }
            opened => opened,
        }
    }

    async fn connect(path: &Path) -> Result<Self, QueueError> {
        // The file is disposable, so that a commit need not reach the disk; NORMAL still never damages it.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(4).test_before_acquire(false).connect_with(options).await;
        let pool = pool.map_err(unusable)?;
        match prepare(&pool).await {
            Ok(()) => Ok(Self { pool, pushes: Arc::new(Notify::new()) }),
            Err(error) => {
                pool.close().await;
                Err(error)
            }
        }
    }

    /// Forgets all messages and workers. For a process that has the queue for itself, before it runs workers: what
    /// a dead one had taken would come late, and the catalog dispatches it at once.
    pub async fn clear(&self) -> Result<(), QueueError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("DELETE FROM Jobs").execute(&mut *tx).await?;
        sqlx::query("DELETE FROM Workers").execute(&mut *tx).await?;
        Ok(tx.commit().await?)
    }
}

#[async_trait]
impl JobQueue for SqliteQueue {
    async fn push(&self, items: &[WorkItem]) -> Result<(), QueueError> {
        for page in items.chunks(PUSH_PAGE) {
            let tasks: Vec<SqliteTask> = page.iter().map(task).collect();
            let mut tx = self.pool.begin().await?;
            push_tasks(&mut *tx, QUEUE, &tasks).await.map_err(database)?;
            tx.commit().await?;
            self.pushes.notify_one();
        }
        Ok(())
    }

    async fn outstanding(&self) -> Result<u64, QueueError> {
        let query = "SELECT COUNT(*) FROM Jobs WHERE job_type = ? AND status IN ('Pending', 'Queued', 'Running')";
        let count: i64 = sqlx::query_scalar(query).bind(QUEUE).fetch_one(&self.pool).await?;
        Ok(count.unsigned_abs())
    }

    /// Always the same: the file has one process, which clears it when it starts.
    async fn generation(&self) -> Result<String, QueueError> {
        Ok(String::new())
    }

    async fn collect_finished(&self, limit: u32) -> Result<u64, QueueError> {
        // apalis keeps what is done for ever. Its own vacuum rewrites the file each time.
        let query = "DELETE FROM Jobs WHERE id IN \
            (SELECT id FROM Jobs WHERE job_type = ? AND status IN ('Done', 'Killed') LIMIT ?)";
        let deleted = sqlx::query(query).bind(QUEUE).bind(limit).execute(&self.pool).await?;
        Ok(deleted.rows_affected())
    }

    async fn run(
        &self,
        worker_name_prefix: &str,
        concurrency: usize,
        handler: Arc<dyn WorkHandler>,
        shutdown: CancellationToken,
    ) -> Result<(), QueueError> {
        Supervisor::new(worker_name_prefix, concurrency, handler, shutdown).run(self).await;
        Ok(())
    }
}

#[async_trait]
impl Source for SqliteQueue {
    async fn start(&self, worker: WorkerContext, concurrency: usize, handlers: Handlers) -> Result<Events, QueueError> {
        // One message a fetch: a worker that holds more shows no life and acknowledges nothing. Without a lock a
        // message costs two transactions and not three; results stay on, because without them nothing is
        // acknowledged.
        let config = Config::default()
            .queue(QUEUE)
            .batch_size(1)
            .lock_tasks(false)
            .persist_results(true)
            .heartbeat_interval(HEARTBEAT)
            .missed_heartbeats(MISSED_HEARTBEATS);
        let storage = SqliteStorage::<Vec<u8>>::new(&self.pool).with_config(config);
        let backend = storage.with_codec(Plain).poll_with_strategy(OnPushOrTick::new(Arc::clone(&self.pushes)));
        let worker = WorkerBuilder::new(worker)
            .backend(backend)
            .concurrency(concurrency)
            .build(move |message: Vec<u8>| handlers.clone().handle(message));
        Ok(worker.stream().boxed())
    }

    /// Leaves it to apalis: what a worker of this process had taken goes to the next once it counts as dead.
    async fn end(&self, _: &str) -> Result<(), QueueError> {
        Ok(())
    }
}

/// A message as apalis stores it. Its id doubles as idempotency key: the same id with another key is an error
/// that fails the whole push.
fn task(item: &WorkItem) -> SqliteTask {
    let id = item.task_id();
    let args = serde_json::to_vec(item).unwrap_or_default();
    TaskBuilder::new(args).task_id(TaskId::from_string(id.clone())).idempotency_key(id).build()
}

async fn prepare(pool: &SqlitePool) -> Result<(), QueueError> {
    // Not `SqliteStorage::setup`, which also sets PRAGMAs on whichever connection it gets, `synchronous` among them.
    SqliteStorage::migrations().run(pool).await.map_err(|error| match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => unusable(error),
        error => QueueError::Unusable(error.to_string()),
    })?;
    // With this index an acknowledgement looks through all that its worker ever took; without it, it goes by the id.
    sqlx::query("DROP INDEX IF EXISTS LIdx").execute(pool).await.map_err(unusable)?;
    let check: String = sqlx::query_scalar("PRAGMA quick_check(1)").fetch_one(pool).await.map_err(unusable)?;
    if check == "ok" { Ok(()) } else { Err(QueueError::Unusable(check)) }
}

fn database(error: apalis_sqlite::Error) -> QueueError {
    match error {
        apalis_sqlite::Error::Database(error) => QueueError::Database(error),
        error => QueueError::Unusable(error.to_string()),
    }
}

/// Tells a file that is damaged or no database from a failure that will pass.
fn unusable(error: sqlx::Error) -> QueueError {
    const CORRUPT: &str = "11";
    const NOTADB: &str = "26";
    match error.as_database_error().and_then(|error| error.code()) {
        Some(code) if code == CORRUPT || code == NOTADB => QueueError::Unusable(error.to_string()),
        _ => QueueError::Database(error),
    }
}

fn delete(path: &Path) -> io::Result<()> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(PathBuf::from(file)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
