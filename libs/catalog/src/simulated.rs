//! Connections that a simulation can stand in the way of. On a thread without one they are what they wrap.
//!
//! SQLite works in threads of its own. The simulation stands still meanwhile, so that a transaction is one step, and a
//! process can die before or after it. What PostgreSQL adds, transactions that meet, is for other tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use forebay_runtime::simulation::{at_once, outside, point};
use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, Statement, TransactionOptions, TransactionTrait,
};

use crate::{Catalog, CatalogError};

impl Catalog {
    /// This catalog as a world finds it that has just begun: what it had before. Of one world at a time.
    pub async fn of_new_world(&self) -> Result<Self, CatalogError> {
        let all = self.db.pool.begin().await?;
        let world = Some(Arc::new(World { all, is_busy: AtomicBool::new(false) }));
        let db = Connection { pool: self.db.pool.clone(), world };
        Ok(self.over(db))
    }

    /// Ends the world, and with it whatever was done to the catalog in it. Nobody else may have it any more.
    pub async fn end_world(self) -> Result<(), CatalogError> {
        match self.db.world.and_then(Arc::into_inner) {
            Some(world) => Ok(world.all.rollback().await?),
            None => Err(CatalogError::Corrupt("somebody still uses a world that ends".to_owned())),
        }
    }
}

/// A pool of connections, or what a world has instead.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    pool: DatabaseConnection,
    world: Option<Arc<World>>,
}

/// All that is done to the catalog in one world is done inside of one transaction, which is rolled back in the end: so
/// the next world finds the catalog empty without migrations, and no statement waits for a pool, which asks each
/// connection whether it still lives.
#[derive(Debug)]
struct World {
    all: DatabaseTransaction,
    /// True while a transaction is open. Another one would be a part of it.
    is_busy: AtomicBool,
}

/// A transaction. Without a commit nothing happened.
#[derive(Debug)]
pub(crate) struct Transaction {
    inner: Option<DatabaseTransaction>,
    world: Option<Arc<World>>,
}

/// The database is away: what the catalog calls transient.
fn away<T>(_: T) -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

impl From<DatabaseConnection> for Connection {
    fn from(pool: DatabaseConnection) -> Self {
        Self { pool, world: None }
    }
}

impl Connection {
    pub(crate) async fn begin_with_options(&self, options: TransactionOptions) -> Result<Transaction, DbErr> {
        point("catalog begin").await.map_err(away)?;
        let begun = match &self.world {
            Some(world) => {
                assert!(!world.is_busy.swap(true, Ordering::Relaxed), "a transaction is no single step");
                at_once(world.all.begin_with_options(options)).await
            }
            None => at_once(self.pool.begin_with_options(options)).await,
        };
        begun.map(|transaction| Transaction { inner: Some(transaction), world: self.world.clone() })
    }
}

#[async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        point("catalog execute").await.map_err(away)?;
        match &self.world {
            Some(world) => at_once(world.all.execute_raw(statement)).await,
            None => at_once(self.pool.execute_raw(statement)).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        point("catalog execute").await.map_err(away)?;
        match &self.world {
            Some(world) => at_once(world.all.execute_unprepared(sql)).await,
            None => at_once(self.pool.execute_unprepared(sql)).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        point("catalog read").await.map_err(away)?;
        match &self.world {
            Some(world) => at_once(world.all.query_one_raw(statement)).await,
            None => at_once(self.pool.query_one_raw(statement)).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        point("catalog read").await.map_err(away)?;
        match &self.world {
            Some(world) => at_once(world.all.query_all_raw(statement)).await,
            None => at_once(self.pool.query_all_raw(statement)).await,
        }
    }
}

impl Transaction {
    fn inner(&self) -> Result<&DatabaseTransaction, DbErr> {
        self.inner.as_ref().ok_or_else(|| away(()))
    }

    /// What it was is over: the next one may begin.
    fn end(&mut self) -> Option<DatabaseTransaction> {
        if let Some(world) = self.world.take() {
            world.is_busy.store(false, Ordering::Relaxed);
        }
        self.inner.take()
    }

    pub(crate) async fn commit(mut self) -> Result<(), DbErr> {
        if let Some(transaction) = self.end() {
            at_once(transaction.commit()).await?;
        }
        // The answer may be lost although the database did it.
        point("catalog committed").await.map_err(away)
    }

    pub(crate) async fn rollback(mut self) -> Result<(), DbErr> {
        match self.end() {
            Some(transaction) => at_once(transaction.rollback()).await,
            None => Ok(()),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(transaction) = self.end() {
            outside(|| drop(transaction));
        }
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.inner.as_ref().map_or(DbBackend::Sqlite, ConnectionTrait::get_database_backend)
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        at_once(self.inner()?.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        at_once(self.inner()?.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        at_once(self.inner()?.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        at_once(self.inner()?.query_all_raw(statement)).await
    }
}
