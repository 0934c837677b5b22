use std::ops::Deref;
use std::time::{Duration, UNIX_EPOCH};

use forebay_types::{ChunkId, GroupId, JobId};
use sea_orm::sea_query::{Expr, LockType, OnConflict, Query, SelectStatement};
use sea_orm::{
    AccessMode, ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbBackend, EntityTrait,
    IsolationLevel, QueryFilter, QuerySelect, SqliteTransactionMode, Statement, TransactionOptions, Value,
};
use tokio::sync::{Mutex, MutexGuard};
use uuid::Uuid;

use crate::entity::{chunk, commit_group, job, meta};
use crate::{CatalogError, connect, migration};

pub(crate) type Result<T> = std::result::Result<T, CatalogError>;

#[cfg(feature = "simulation")]
pub(crate) use crate::simulated::{Connection, Transaction};
#[cfg(not(feature = "simulation"))]
use sea_orm::TransactionTrait;
#[cfg(not(feature = "simulation"))]
pub(crate) use sea_orm::{DatabaseConnection as Connection, DatabaseTransaction as Transaction};

/// Most rows or ids of one statement: far below any database's limit of bound values.
pub(crate) const PAGE: usize = 500;

/// PostgreSQL's clock when the statement came in. Unlike `clock_timestamp()` it is one value for all rows of a
/// statement, so that an index can serve a comparison with it.
const POSTGRES_NOW: &str = "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint";

/// A row is locked when it comes out of the join, and so after the name.
const LOCK_NAME_AND_JOB: &str = "WITH name AS MATERIALIZED (SELECT pg_advisory_xact_lock(hashtextextended($1, 0))) \
    SELECT job.* FROM name, job WHERE job.id = (SELECT chunk.job FROM chunk WHERE chunk.id = $2) \
    FOR NO KEY UPDATE OF job";

/// The catalog. Share it: all calls take `&self`, and of conflicting calls exactly one succeeds.
///
/// After an error that [`CatalogError::is_transient`], the outcome of a write is unknown. Each call says what
/// repeating it does; where it says nothing, repeating it is harmless and gives the same answer.
#[derive(Debug)]
pub struct Catalog {
    pub(crate) db: Connection,
    /// SQLite has one writer. Who waits here in turn never meets "database is locked". PostgreSQL locks rows.
    writer: Option<Mutex<()>>,
    id: Uuid,
    /// Attempts whose worker does not have them, although the catalog may say so.
    pub(crate) unclaimed: std::sync::Mutex<Vec<(ChunkId, u32)>>,
}

impl Catalog {
    /// Opens the catalog at `sqlite:PATH` (or `sqlite::memory:`) or `postgres://USER:PASSWORD@HOST/DATABASE`, and
    /// creates or migrates its tables. A SQLite file belongs to one process; a PostgreSQL database may be shared.
    ///
    /// # Errors
    /// [`CatalogError::Open`] if the database does not let us in, [`CatalogError::Newer`] if a newer version has
    /// written it, [`CatalogError::Corrupt`] if it is no database.
    pub async fn open(url: &str) -> Result<Self> {
        let db = connect::connect(url).await?;
        migration::migrate(&db).await?;
        let id = catalog_id(&db).await?;
        let writer = (db.get_database_backend() == DbBackend::Sqlite).then(Mutex::default);
        Ok(Self { db: db.into(), writer, id, unclaimed: std::sync::Mutex::default() })
    }

    /// The same database, as another process has it open.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn of_another_process(&self) -> Self {
        self.over(self.db.clone())
    }

    #[cfg(feature = "simulation")]
    pub(crate) fn over(&self, db: Connection) -> Self {
        let writer = self.writer.as_ref().map(|_| Mutex::default());
        Self { db, writer, id: self.id, unclaimed: std::sync::Mutex::default() }
    }

    /// The catalog's identity, made once. Delta transactions carry it.
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// Starts a transaction that writes. Without a [`Write::commit`] nothing happened.
    ///
    /// On PostgreSQL, where many write at once, a transaction locks the job whose rows it changes before it looks at
    /// them (`Write::lock_job...`); whoever does otherwise breaks every check that follows. One transaction changes
    /// one job, and takes a name's lock (`Write::lock_name`) before it, so that none waits in a circle.
    pub(crate) async fn write(&self) -> Result<Write<'_>> {
        let turn = match &self.writer {
            Some(writer) => Some(writer.lock().await),
            None => None,
        };
        let immediate = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        Ok(Write { tx: self.db.begin_with_options(immediate).await?, _turn: turn })
    }

    /// Starts a transaction that reads, and sees one moment.
    pub(crate) async fn snapshot(&self) -> Result<Transaction> {
        let options = match self.writer {
            Some(_) => TransactionOptions::default(),
            None => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                access_mode: Some(AccessMode::ReadOnly),
                ..TransactionOptions::default()
            },
        };
        Ok(self.db.begin_with_options(options).await?)
    }

    /// Microseconds since the epoch, for use inside a statement. With a shared database the time must be the
    /// database's; SQLite is on this host.
    pub(crate) fn now(&self) -> Expr {
        match self.writer {
            Some(_) => {
                Expr::value(micros(forebay_runtime::system_now().duration_since(UNIX_EPOCH).unwrap_or_default()))
            }
            None => Expr::cust(POSTGRES_NOW),
        }
    }

    /// The value of [`Self::now`], for rows to insert.
    pub(crate) async fn now_micros(&self, db: &impl ConnectionTrait) -> Result<i64> {
        let row = db.query_one(Query::select().expr(self.now())).await?;
        let row = row.ok_or_else(|| CatalogError::Corrupt("it does not tell the time".to_owned()))?;
        Ok(row.try_get_by_index(0)?)
    }
}

/// A transaction that writes, and on SQLite the right to.
pub(crate) struct Write<'a> {
    tx: Transaction,
    _turn: Option<MutexGuard<'a, ()>>,
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

    /// Locks a job until the transaction ends. What is read afterwards is the newest.
    pub(crate) async fn lock_job(&self, job: JobId) -> Result<job::Model> {
        let found = self.lock_job_where(job::Column::Id.eq(job.0)).await?;
        found.ok_or_else(|| CatalogError::NotFound(format!("job {job}")))
    }

    /// Locks the job of a chunk. A chunk stays with its job.
    pub(crate) async fn lock_job_of_chunk(&self, chunk: ChunkId) -> Result<Option<job::Model>> {
        let mut job = Query::select();
        job.column(chunk::Column::Job).from(chunk::Entity).and_where(chunk::Column::Id.eq(chunk.0));
        self.lock_job_where(is_job(job)).await
    }

    /// Locks a name and then the job of a chunk: in one statement where there are locks at all, because each claim of a
    /// chunk begins with these.
    pub(crate) async fn lock_name_and_job_of_chunk(&self, name: &str, chunk: ChunkId) -> Result<Option<job::Model>> {
        match self.tx.get_database_backend() {
            DbBackend::Postgres => {
                let values = [Value::from(format!("forebay {name}")), Value::from(chunk.0)];
                let lock = Statement::from_sql_and_values(DbBackend::Postgres, LOCK_NAME_AND_JOB, values);
                Ok(job::Entity::find().from_raw_sql(lock).one(&self.tx).await?)
            }
            _ => self.lock_job_of_chunk(chunk).await,
        }
    }

    /// Locks the job of a commit group. None if the group is forgotten.
    pub(crate) async fn lock_job_of_group(&self, group: GroupId) -> Result<Option<job::Model>> {
        let mut job = Query::select();
        job.column(commit_group::Column::Job)
            .from(commit_group::Entity)
            .and_where(commit_group::Column::Id.eq(group.0));
        self.lock_job_where(is_job(job)).await
    }

    async fn lock_job_where(&self, which: Expr) -> Result<Option<job::Model>> {
        // Weaker than FOR UPDATE: rows that refer to the job may be inserted meanwhile.
        Ok(job::Entity::find().filter(which).lock(LockType::NoKeyUpdate).one(&self.tx).await?)
    }

    /// Locks a name that is no row, until the transaction ends. On SQLite the transaction is alone already.
    pub(crate) async fn lock_name(&self, name: &str) -> Result<()> {
        match self.tx.get_database_backend() {
            DbBackend::Postgres => lock_name(&self.tx, name).await,
            _ => Ok(()),
        }
    }
}

impl Deref for Write<'_> {
    type Target = Transaction;

    fn deref(&self) -> &Self::Target {
        &self.tx
    }
}

fn is_job(select: SelectStatement) -> Expr {
    job::Column::Id.in_subquery(select)
}

/// Locks a name on PostgreSQL until the transaction ends.
pub(crate) async fn lock_name(tx: &impl ConnectionTrait, name: &str) -> Result<()> {
    let lock = Expr::cust_with_values("pg_advisory_xact_lock(hashtextextended($1, 0))", [format!("forebay {name}")]);
    tx.execute(Query::select().expr(lock)).await?;
    Ok(())
}

/// A duration as the catalog stores it. The longest is such that the time and it can be added.
pub(crate) fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX).min(i64::MAX / 2)
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
