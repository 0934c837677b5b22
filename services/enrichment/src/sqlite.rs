use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::answer::{Entry, now_millis};
use crate::keys::CacheKey;
use crate::store::{Claim, Store, StoreError, StoreStats};

/// Keys of one query.
const PAGE: usize = 2_000;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS answers (key TEXT PRIMARY KEY NOT NULL, entry BLOB NOT NULL, \
                      keep_until INTEGER NOT NULL) WITHOUT ROWID";

/// The cache of one process at a time, in a SQLite file that survives it.
#[derive(Debug)]
pub(crate) struct SqliteStore(SqlitePool);

fn failed(error: sqlx::Error) -> StoreError {
    StoreError(error.to_string())
}

impl SqliteStore {
    /// Opens the file, or makes it. A damaged one is replaced: what it knew can be asked for again.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        match Self::connect(path).await {
            Err(sqlx::Error::Database(error)) if matches!(error.code().as_deref(), Some("11" | "26")) => {
                tracing::warn!(path = %path.display(), "the enrichment cache is damaged: starting with an empty one");
                for end in ["", "-wal", "-shm"] {
                    let mut file = path.as_os_str().to_owned();
                    file.push(end);
                    match std::fs::remove_file(&file) {
                        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                            return Err(StoreError(format!("{}: {error}", path.display())));
                        }
                        Ok(()) | Err(_) => {}
                    }
                }
                Self::connect(path).await.map_err(failed)
            }
            opened => opened.map_err(failed),
        }
    }

    async fn connect(path: &Path) -> Result<Self, sqlx::Error> {
        // What the last second wrote may be lost with the machine's power: it is asked for again then.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new().max_connections(2).test_before_acquire(false).connect_with(options).await?;
        sqlx::query(SCHEMA).execute(&pool).await?;
        let store = Self(pool);
        store.forget_old().await?;
        Ok(store)
    }

    /// Deletes what is no use any more, not even in need.
    async fn forget_old(&self) -> Result<u64, sqlx::Error> {
        let query = sqlx::query("DELETE FROM answers WHERE keep_until < ?").bind(now_millis() as i64);
        Ok(query.execute(&self.0).await?.rows_affected())
    }

    async fn page(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>, sqlx::Error> {
        // One statement for any number of keys. Its rows say which key they are, by its place.
        let names: Vec<&str> = keys.iter().map(CacheKey::as_str).collect();
        let list = serde_json::to_string(&names).unwrap_or_default();
        let rows = sqlx::query(
            "SELECT asked.key, answers.entry FROM json_each(?) AS asked CROSS JOIN answers ON answers.key = asked.value",
        )
        .bind(list)
        .fetch_all(&self.0)
        .await?;
        let mut entries = vec![None; keys.len()];
        for row in rows {
            let place: i64 = row.try_get(0)?;
            let bytes: &[u8] = row.try_get(1)?;
            if let Some(entry) = usize::try_from(place).ok().and_then(|place| entries.get_mut(place)) {
                *entry = Entry::from_bytes(bytes);
            }
        }
        Ok(entries)
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>, StoreError> {
        let mut entries = Vec::with_capacity(keys.len());
        for page in keys.chunks(PAGE) {
            entries.extend(self.page(page).await.map_err(failed)?);
        }
        Ok(entries)
    }

    /// There is nobody else.
    async fn claim(&self, keys: &[CacheKey]) -> Result<Vec<Claim>, StoreError> {
        Ok(vec![Claim::Mine; keys.len()])
    }

    async fn settle(&self, key: &CacheKey, entry: &Entry, keep: Duration) -> Result<(), StoreError> {
        let until = now_millis().saturating_add(keep.as_millis() as u64);
        let query = "INSERT INTO answers (key, entry, keep_until) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET \
                     entry = excluded.entry, keep_until = excluded.keep_until";
        let query = sqlx::query(query).bind(key.as_str()).bind(entry.as_bytes()).bind(until as i64);
        query.execute(&self.0).await.map(|_| ()).map_err(failed)
    }

    async fn give_up(&self, _keys: &[CacheKey]) -> Result<(), StoreError> {
        Ok(())
    }

    fn forget(&self, _key: &CacheKey) {}

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let query = "SELECT key, entry FROM answers";
        let mut stats = StoreStats::default();
        let mut rows = sqlx::query(query).fetch(&self.0);
        let now = now_millis();
        while let Some(row) = futures::TryStreamExt::try_next(&mut rows).await.map_err(failed)? {
            let (key, bytes): (&str, &[u8]) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
            stats.entries += 1;
            stats.bytes += (key.len() + bytes.len()) as u64;
            stats.expired += u64::from(Entry::from_bytes(bytes).is_none_or(|entry| !entry.is_fresh(now)));
        }
        Ok(stats)
    }

    async fn purge(&self, expired_only: bool) -> Result<u64, StoreError> {
        if expired_only {
            return self.forget_old().await.map_err(failed);
        }
        let deleted = sqlx::query("DELETE FROM answers").execute(&self.0).await.map_err(failed)?;
        Ok(deleted.rows_affected())
    }
}
