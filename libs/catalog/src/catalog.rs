use std::ops::Deref;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sea_orm::sea_query::OnConflict;
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::{
    ActiveValue::Set, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, EntityTrait,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::entity::meta;
use crate::{CatalogError, migration};

pub(crate) type Result<T> = std::result::Result<T, CatalogError>;

/// One connection writes at a time; the others read.
const CONNECTIONS: u32 = 4;
/// How long to wait for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Most rows or ids of one statement: far below any database's limit of bound values.
pub(crate) const PAGE: usize = 500;

/// The catalog. Share it: all calls take `&self`, and of conflicting calls exactly one succeeds.
#[derive(Debug)]
pub struct Catalog {
    pub(crate) db: DatabaseConnection,
    /// SQLite has one writer. Who waits here in turn never meets "database is locked".
    writer: Mutex<()>,
    id: Uuid,
}

impl Catalog {
    /// Opens the catalog at `sqlite:PATH` (or `sqlite::memory:`), and creates or migrates it.
    ///
    /// # Errors
    /// [`CatalogError::Newer`] if a newer version has written it, [`CatalogError::Corrupt`] if it is no database.
    pub async fn open(url: &str) -> Result<Self> {
        // Each connection to an in-memory database has its own.
        let connections = if url.contains(":memory:") { 1 } else { CONNECTIONS };
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(connections)
            .min_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .sqlx_logging(false)
            .map_sqlx_sqlite_opts(|sqlite| {
                sqlite
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .busy_timeout(BUSY_TIMEOUT)
                    .foreign_keys(true)
            });
        let db = Database::connect(options).await?;
        migration::migrate(&db).await?;
        let id = catalog_id(&db).await?;
        Ok(Self { db, writer: Mutex::new(()), id })
    }

    /// The catalog's identity, made once. Delta transactions carry it.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Starts a transaction that writes. Without a [`Write::commit`] nothing happened.
    pub(crate) async fn write(&self) -> Result<Write<'_>> {
        let turn = self.writer.lock().await;
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(Write { tx: self.db.begin_with_options(immediate).await?, _turn: turn })
    }

    /// Microseconds since the epoch. The one place where the catalog learns the time, because with a shared
    /// database it must be the database's; SQLite is on this host.
    pub(crate) async fn now_micros(&self, _db: &impl ConnectionTrait) -> Result<i64> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(micros(since))
    }
}

/// A transaction that writes, and the right to.
pub(crate) struct Write<'a> {
    tx: DatabaseTransaction,
    _turn: MutexGuard<'a, ()>,
}

impl Write<'_> {
    /// Makes the transaction's changes durable, and lets the next writer in.
    pub(crate) async fn commit(self) -> Result<()> {
        Ok(self.tx.commit().await?)
    }

    /// Undoes the transaction's changes, and lets the next writer in. Dropping does the same, but later.
    pub(crate) async fn rollback(self) -> Result<()> {
        Ok(self.tx.rollback().await?)
    }
}

impl Deref for Write<'_> {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

/// A duration as the catalog stores it.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// A count, size or offset as the catalog stores it: no real one is beyond 2^63.
pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// The reverse of [`signed`].
pub(crate) fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// A small number as the catalog stores it.
///
/// # Errors
/// [`CatalogError::Corrupt`] if it cannot be one.
pub(crate) fn small(value: i64) -> Result<u32> {
    u32::try_from(value).map_err(|_| CatalogError::Corrupt(format!("{value} where a small count should be")))
}

async fn catalog_id(db: &DatabaseConnection) -> Result<Uuid> {
    const NAME: &str = "catalog_id";
    let fresh = meta::ActiveModel { name: Set(NAME.to_owned()), value: Set(Uuid::new_v4().to_string()) };
    let keep_the_first = OnConflict::column(meta::Column::Name).do_nothing().to_owned();
    meta::Entity::insert(fresh).on_conflict(keep_the_first).exec_without_returning(db).await?;
    let stored = meta::Entity::find_by_id(NAME).one(db).await?;
    let text = stored.map(|row| row.value).unwrap_or_default();
    text.parse().map_err(|_| CatalogError::Corrupt(format!("its id is '{text}'")))
}
