//! Connections that a simulation can stand in the way of. On a thread without one they are what they wrap.
//!
//! SQLite works in threads of its own. The simulation stands still meanwhile, so that a transaction is one step, and a
//! process can die before or after it. What PostgreSQL adds, transactions that meet, is for other tests.

use async_trait::async_trait;
use forebay_runtime::simulation::{at_once, outside, point};
use forebay_types::JobId;
use sea_orm::{
    ColumnTrait, ConnAcquireErr, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, ExecResult, QueryFilter, QueryOrder, QueryResult, QuerySelect, Statement, TransactionOptions,
    TransactionTrait,
};

use crate::entity::commit_group;
use crate::{Catalog, CatalogError};

impl Catalog {
    /// The places of all of a job's commits in their order, for an audit: from 1 and without a gap.
    pub async fn commit_places(&self, job: JobId) -> Result<Vec<i64>, CatalogError> {
        let places = commit_group::Entity::find()
            .select_only()
            .column(commit_group::Column::CommitSeq)
            .filter(commit_group::Column::Job.eq(job.0))
            .filter(commit_group::Column::CommitSeq.is_not_null())
            .order_by_asc(commit_group::Column::CommitSeq);
        Ok(places.into_tuple().all(&self.db).await?)
    }
}

/// A pool of connections.
#[derive(Clone, Debug)]
pub(crate) struct Connection(DatabaseConnection);

/// A transaction. Without a commit nothing happened.
#[derive(Debug)]
pub(crate) struct Transaction(Option<DatabaseTransaction>);

/// The database is away: what the catalog calls transient.
fn away<T>(_: T) -> DbErr {
    DbErr::ConnectionAcquire(ConnAcquireErr::Timeout)
}

impl From<DatabaseConnection> for Connection {
    fn from(connection: DatabaseConnection) -> Self {
        Self(connection)
    }
}

impl Connection {
    pub(crate) async fn begin_with_options(&self, options: TransactionOptions) -> Result<Transaction, DbErr> {
        point("catalog begin").await.map_err(away)?;
        at_once(self.0.begin_with_options(options)).await.map(|transaction| Transaction(Some(transaction)))
    }
}

#[async_trait]
impl ConnectionTrait for Connection {
    fn get_database_backend(&self) -> DbBackend {
        self.0.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        point("catalog execute").await.map_err(away)?;
        at_once(self.0.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        point("catalog execute").await.map_err(away)?;
        at_once(self.0.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        point("catalog read").await.map_err(away)?;
        at_once(self.0.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        point("catalog read").await.map_err(away)?;
        at_once(self.0.query_all_raw(statement)).await
    }
}

impl Transaction {
    fn inner(&self) -> Result<&DatabaseTransaction, DbErr> {
        self.0.as_ref().ok_or_else(|| away(()))
    }

    pub(crate) async fn commit(mut self) -> Result<(), DbErr> {
        if let Some(transaction) = self.0.take() {
            at_once(transaction.commit()).await?;
        }
        // The answer may be lost although the database did it.
        point("catalog committed").await.map_err(away)
    }

    pub(crate) async fn rollback(mut self) -> Result<(), DbErr> {
        match self.0.take() {
            Some(transaction) => at_once(transaction.rollback()).await,
            None => Ok(()),
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(transaction) = self.0.take() {
            outside(|| drop(transaction));
        }
    }
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DbBackend {
        self.0.as_ref().map_or(DbBackend::Sqlite, ConnectionTrait::get_database_backend)
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
