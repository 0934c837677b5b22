use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::ConnectOptions;
use sqlx::Row;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};

use crate::answer::{Entry, Patience, now_millis};
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
            // A page comes from the connection's thread without a wait for its rows to be taken.
            .row_buffer_size(PAGE)
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

    /// Puts what is known of the keys in these places into `entries`.
    async fn page(
        &self,
        keys: &[CacheKey],
        places: &[usize],
        entries: &mut [Option<Entry>],
    ) -> Result<(), sqlx::Error> {
        // One statement for any number of keys. Its rows say which key they are, by its place in the list.
        let names: Vec<&str> = places.iter().map(|place| keys[*place].as_str()).collect();
        let list = serde_json::to_string(&names).unwrap_or_default();
        let rows = sqlx::query(
            "SELECT asked.key, answers.entry FROM json_each(?) AS asked CROSS JOIN answers ON answers.key = asked.value",
        )
        .bind(list)
        .fetch_all(&self.0)
        .await?;
        for row in rows {
            let listed: i64 = row.try_get(0)?;
            let bytes: &[u8] = row.try_get(1)?;
            if let Some(place) = usize::try_from(listed).ok().and_then(|listed| places.get(listed)) {
                entries[*place] = Entry::from_bytes(bytes);
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn get(&self, keys: &[CacheKey]) -> Result<Vec<Option<Entry>>, StoreError> {
        // In the order of the table, so that a page reads neighbours.
        let mut places: Vec<usize> = (0..keys.len()).collect();
        places.sort_unstable_by_key(|place| keys[*place].as_str());
        let mut entries = vec![None; keys.len()];
        for page in places.chunks(PAGE) {
            self.page(keys, page, &mut entries).await.map_err(failed)?;
        }
        Ok(entries)
    }

    /// There is nobody else.
    async fn claim(&self, keys: &[CacheKey], _patience: Patience) -> Result<Vec<Claim>, StoreError> {
        Ok(vec![Claim::Mine(None); keys.len()])
    }

    async fn settle(&self, key: &CacheKey, entry: &Entry, keep: Duration) -> Result<(), StoreError> {
        let now = now_millis();
        let until = now.saturating_add(keep.as_millis() as u64);
        // An entry's first byte says what it is.
        let query = "INSERT INTO answers (key, entry, keep_until) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET \
                     entry = excluded.entry, keep_until = excluded.keep_until \
                     WHERE ? OR answers.keep_until < ? OR substr(answers.entry, 1, 1) = substr(excluded.entry, 1, 1)";
        let query = sqlx::query(query).bind(key.as_str()).bind(entry.as_bytes()).bind(until as i64);
        let query = query.bind(entry.is_answer()).bind(now as i64);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Outcome;
    use crate::keys::{Key, Namespace};

    const MINUTE: Duration = Duration::from_secs(60);

    fn key(name: &str) -> CacheKey {
        Key::one(name).cache_key(&Namespace::new("n".to_owned()))
    }

    fn missing(reason: &str) -> Entry {
        Entry::new(&Outcome::Missing(reason.to_owned().into()), MINUTE, Patience::default())
    }

    #[tokio::test]
    async fn keys_are_found_in_whatever_order_they_are_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("cache.db")).await.unwrap();
        let names: Vec<String> = (0..2 * PAGE).map(|n| (n * 7_919 % (2 * PAGE)).to_string()).collect();
        for name in names.iter().step_by(100) {
            store.settle(&key(name), &missing(name), MINUTE).await.unwrap();
        }
        let found = store.get(&names.iter().map(|name| key(name)).collect::<Vec<_>>()).await.unwrap();
        for (place, (name, entry)) in names.iter().zip(&found).enumerate() {
            let known = (place % 100 == 0).then_some(name.as_str());
            assert_eq!(entry.as_ref().and_then(Entry::reason), known, "{place}");
        }
    }

    #[tokio::test]
    async fn a_failure_takes_the_place_of_no_answer() {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&folder.path().join("cache.db")).await.unwrap();
        let failed = |reason: &'static str| Entry::new(&Outcome::Failed(reason.into()), MINUTE, Patience::default());
        let mut seen = Vec::new();
        for (entry, keep) in [
            (failed("first"), MINUTE),
            (failed("second"), MINUTE),
            (missing("answer"), MINUTE),
            (failed("third"), MINUTE),
            (missing("short"), Duration::ZERO),
            (failed("fourth"), MINUTE),
        ] {
            store.settle(&key("a"), &entry, keep).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            let found = store.get(&[key("a")]).await.unwrap().remove(0).unwrap();
            seen.push(found.reason().unwrap().to_owned());
        }
        assert_eq!(seen, ["first", "second", "answer", "answer", "short", "fourth"]);
    }
}
