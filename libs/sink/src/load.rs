use std::collections::BTreeSet;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection, Error};

use crate::columns::Column;
use crate::connections::{Connections, Lent};
use crate::encode::{HEADER, Rows, TRAILER};
use crate::error::{refuses_copy, sort};
use crate::table::{COMMITS, Failure, prepare};
use crate::target::quoted;
use crate::{SinkError, SinkTarget, SinkUrl, insert};

/// Bytes that are sent at a time.
const PIECE: usize = 256 << 10;

/// How long the server may take in no data.
const SEND: Duration = Duration::from_secs(60);

/// How long it may work at the end: triggers, keys, the commit itself.
const FINISH: Duration = Duration::from_secs(900);

/// Rows of a table with a key, before they replace others.
const ARRIVED: &str = "pg_temp._forebay_rows";

/// A group of a job's order of commits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose catalog counts: its id.
    pub catalog: String,
    /// The job's row there.
    pub job: i64,
    /// The group's place in the job's order of commits. Groups of a job are loaded in this order.
    pub place: i64,
}

/// What became of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// So many rows were added, or replaced others.
    Rows(u64),
    /// An earlier try had loaded them.
    AlreadyThere,
}

/// Rows, a batch at a time.
pub type Batches = BoxStream<'static, Result<RecordBatch, SinkError>>;

/// Opens the rows of a load, from the first, as often as it is asked.
pub type Source = dyn Fn() -> BoxFuture<'static, Result<Batches, SinkError>> + Send + Sync;

/// A database that takes the tables of jobs.
#[derive(Debug)]
pub struct PostgresSink {
    connections: Connections,
    /// Tables that take no COPY.
    inserted: Mutex<BTreeSet<String>>,
}

impl PostgresSink {
    /// A sink that has so many connections at most: as many tables are loaded at a time. It connects when it is used.
    pub fn new(url: SinkUrl, connections: usize) -> Self {
        Self { connections: Connections::new(url, connections), inserted: Mutex::new(BTreeSet::new()) }
    }

    /// Where it leads, without secrets.
    pub fn target(&self) -> &SinkTarget {
        self.connections.url().target()
    }

    /// Makes tables that are missing, and checks that those that are there take the rows.
    ///
    /// # Errors
    /// [`SinkError`], with what to do about it.
    pub async fn prepare(&self, target: &SinkTarget, tables: &[(String, SchemaRef)]) -> Result<(), SinkError> {
        let mut lent = self.connections.lend().await.map_err(|error| self.sort(None, &error))?;
        for (table, schema) in tables {
            let prepared = prepare(&mut lent.connection, target, table, schema).await;
            prepared.map_err(|failure| self.failed(table, failure))?;
        }
        lent.give_back();
        Ok(())
    }

    /// Loads what a commit group has in a table: all of its rows, once, however often it is called. The groups of one
    /// job are to be loaded in their order, each in all tables before the next.
    ///
    /// # Errors
    /// [`SinkError`]; nothing of the load is visible then, or all of it if the connection was lost at the very end.
    pub async fn load(
        &self,
        target: &SinkTarget,
        commit: &Commit,
        table: &str,
        rows: u64,
        source: &Source,
    ) -> Result<Loaded, SinkError> {
        let full = target.table(table);
        loop {
            let copy = !self.inserted.lock().unwrap_or_else(PoisonError::into_inner).contains(&full);
            let load = Load { target, commit, table, rows, copy };
            let mut lent = self.connections.lend().await.map_err(|error| self.sort(None, &error))?;
            match load.run(&mut lent, source).await {
                Ok(loaded) => {
                    lent.give_back();
                    return Ok(loaded);
                }
                Err(Failure::Sink(SinkError::CopyRefused(problem))) => {
                    tracing::warn!(table, problem, "the sink takes no COPY, so that rows are inserted");
                    self.inserted.lock().unwrap_or_else(PoisonError::into_inner).insert(full.clone());
                }
                Err(failure) => return Err(self.failed(table, failure)),
            }
        }
    }

    fn sort(&self, table: Option<&str>, error: &Error) -> SinkError {
        sort(&self.target().database(), table, error)
    }

    fn failed(&self, table: &str, failure: Failure) -> SinkError {
        match failure {
            Failure::Server(error) => self.sort(Some(table), &error),
            Failure::Sink(error) => error,
        }
    }
}

/// One try at a load.
struct Load<'a> {
    target: &'a SinkTarget,
    commit: &'a Commit,
    table: &'a str,
    rows: u64,
    copy: bool,
}

impl Load<'_> {
    async fn run(&self, lent: &mut Lent<'_>, source: &Source) -> Result<Loaded, Failure> {
        let connection = &mut lent.connection;
        if self.is_there(connection).await? {
            return Ok(Loaded::AlreadyThere);
        }
        let mut batches = source().await?.peekable();
        let schema = match std::pin::Pin::new(&mut batches).peek().await {
            Some(Ok(first)) => first.schema(),
            Some(Err(_)) | None => {
                // The error itself, or nothing to load.
                batches.try_next().await?;
                return self.complete(0).map(|()| Loaded::Rows(0));
            }
        };
        let columns = prepare(connection, self.target, self.table, &schema).await?;
        let mut tx = connection.begin().await?;
        if !self.claim(&mut tx).await? {
            tx.rollback().await?;
            return Ok(Loaded::AlreadyThere);
        }
        let sent = self.send(&mut tx, &columns, batches.boxed()).await?;
        self.complete(sent)?;
        patient(FINISH, tx.commit()).await?;
        Ok(Loaded::Rows(sent))
    }

    fn complete(&self, sent: u64) -> Result<(), Failure> {
        if sent == self.rows {
            return Ok(());
        }
        let message = format!("a file of table {} has {sent} rows, and {} were written", self.table, self.rows);
        Err(Failure::Sink(SinkError::Source { message, transient: false }))
    }

    /// True if this group, or a later one of its job, is there already.
    async fn is_there(&self, connection: &mut PgConnection) -> Result<bool, Failure> {
        let table = self.target.table(COMMITS);
        let known: bool =
            sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(&table).fetch_one(&mut *connection).await?;
        if !known {
            return Ok(false);
        }
        let sql = format!(
            "SELECT count(*) FROM {table} WHERE catalog = $1 AND job = $2 AND table_name = $3 AND last_commit >= $4"
        );
        let found: i64 = sqlx::query_scalar(AssertSqlSafe(sql))
            .bind(&self.commit.catalog)
            .bind(self.commit.job)
            .bind(self.table)
            .bind(self.commit.place)
            .fetch_one(connection)
            .await?;
        Ok(found > 0)
    }

    /// Notes the load in its own transaction. False if it is there already.
    async fn claim(&self, tx: &mut PgConnection) -> Result<bool, Failure> {
        let commit = self.commit;
        let name = format!("forebay/{}/{}/{}", commit.catalog, commit.job, self.target.table(self.table));
        let ours: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock(hashtextextended($1, 0))")
            .bind(name)
            .fetch_one(&mut *tx)
            .await?;
        if !ours {
            return Err(SinkError::Busy(self.table.to_owned()).into());
        }
        let sql = format!(
            "INSERT INTO {} AS c (catalog, job, table_name, last_commit, rows, loaded_at) \
             VALUES ($1, $2, $3, $4, $5, now()) ON CONFLICT (catalog, job, table_name) DO UPDATE \
             SET last_commit = excluded.last_commit, rows = c.rows + excluded.rows, loaded_at = excluded.loaded_at \
             WHERE c.last_commit < excluded.last_commit",
            self.target.table(COMMITS)
        );
        let noted = sqlx::query(AssertSqlSafe(sql))
            .bind(&commit.catalog)
            .bind(commit.job)
            .bind(self.table)
            .bind(commit.place)
            .bind(i64::try_from(self.rows).unwrap_or(i64::MAX))
            .execute(tx)
            .await?;
        Ok(noted.rows_affected() > 0)
    }

    /// Sends all rows. Those of a table with a key arrive in a table of their own first.
    async fn send(&self, tx: &mut PgConnection, columns: &[Column], batches: Batches) -> Result<u64, Failure> {
        let full = self.target.table(self.table);
        let list = columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>().join(", ");
        let key = self.target.key(self.table);
        let place = if key.is_some() { ARRIVED.to_owned() } else { full.clone() };
        if key.is_some() {
            let name = ARRIVED.trim_start_matches("pg_temp.");
            let sql = format!("CREATE TEMPORARY TABLE {name} ON COMMIT DROP AS SELECT {list} FROM {full} WITH NO DATA");
            sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx).await?;
        }
        let (sent, altered) = if self.copy {
            copy(tx, &format!("COPY {place} ({list}) FROM STDIN (FORMAT binary)"), columns, batches).await?
        } else {
            insert::all(tx, &format!("INSERT INTO {place} ({list}) VALUES"), columns, batches).await?
        };
        if let Some(key) = key {
            self.replace(tx, key, columns).await?;
        }
        if altered > 0 {
            tracing::warn!(
                table = self.table,
                values = altered,
                "values that PostgreSQL can't hold were replaced: U+0000 in texts by U+FFFD, dates beyond its range by infinity"
            );
        }
        Ok(sent)
    }

    /// Moves the rows that have arrived to where they belong. Of several with one key the last one stays.
    async fn replace(&self, tx: &mut PgConnection, key: &[String], columns: &[Column]) -> Result<(), Failure> {
        let full = self.target.table(self.table);
        let names = |names: &mut dyn Iterator<Item = &String>| names.map(|name| quoted(name)).collect::<Vec<_>>();
        let list = names(&mut columns.iter().map(|column| &column.name)).join(", ");
        let key_list = names(&mut key.iter()).join(", ");
        let others: Vec<String> = columns
            .iter()
            .filter(|column| !key.contains(&column.name))
            .map(|column| format!("{0} = excluded.{0}", quoted(&column.name)))
            .collect();
        let then = if others.is_empty() { "NOTHING".to_owned() } else { format!("UPDATE SET {}", others.join(", ")) };
        let no_key = names(&mut key.iter()).join(" IS NULL OR ") + " IS NULL";
        let statements = [
            // Null is no key: such rows replace nothing.
            format!("INSERT INTO {full} ({list}) SELECT {list} FROM {ARRIVED} WHERE {no_key}"),
            format!(
                "INSERT INTO {full} ({list}) SELECT DISTINCT ON ({key_list}) {list} FROM {ARRIVED} \
                 WHERE NOT ({no_key}) ORDER BY {key_list}, ctid DESC ON CONFLICT ({key_list}) DO {then}"
            ),
        ];
        for sql in statements {
            patient(FINISH, sqlx::query(AssertSqlSafe(sql)).execute(&mut *tx)).await?;
        }
        Ok(())
    }
}

/// Sends rows by binary COPY. Gives how many there were, and how many values had to be replaced.
async fn copy(
    tx: &mut PgConnection,
    statement: &str,
    columns: &[Column],
    mut batches: Batches,
) -> Result<(u64, u64), Failure> {
    // Some of what takes no COPY says so at once, and some (a view) at the end.
    let refused = |error: Error| match error.as_database_error().filter(|_| refuses_copy(&error)) {
        Some(cause) => Failure::Sink(SinkError::CopyRefused(cause.message().to_owned())),
        None => error.into(),
    };
    let mut copy = tx.copy_in_raw(statement).await.map_err(refused)?;
    let mut buffer = Vec::with_capacity(PIECE + PIECE / 4);
    buffer.extend_from_slice(HEADER);
    let (mut rows, mut altered) = (0, 0);
    while let Some(batch) = batches.next().await {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                copy.abort("the rows could not be read").await?;
                return Err(error.into());
            }
        };
        let mut row = 0;
        while row < batch.num_rows() {
            let piece = encode(&batch, columns, row, &mut buffer)?;
            row = piece.0;
            altered += piece.1;
            if buffer.len() >= PIECE {
                patient(SEND, copy.send(buffer.as_slice())).await?;
                buffer.clear();
            }
        }
        rows += batch.num_rows() as u64;
    }
    buffer.extend_from_slice(&TRAILER);
    patient(SEND, copy.send(buffer.as_slice())).await?;
    let taken = patient(FINISH, copy.finish()).await.map_err(refused)?;
    if taken != rows && !columns.is_empty() {
        let message = format!("PostgreSQL took {taken} of {rows} rows: is there a trigger that drops some?");
        tracing::warn!(message);
    }
    Ok((rows, altered))
}

/// Encodes rows from one on until the buffer is full. Gives the row to go on with, and how many values were replaced.
fn encode(batch: &RecordBatch, columns: &[Column], from: usize, buffer: &mut Vec<u8>) -> Result<(usize, u64), Failure> {
    let mut rows = Rows::new(batch, columns).map_err(|error| unencodable(&error.to_string()))?;
    let next = rows.copy(from, PIECE, buffer);
    Ok((next, rows.altered))
}

pub(crate) fn unencodable(problem: &str) -> Failure {
    Failure::Sink(SinkError::Source { message: format!("a column can't be written: {problem}"), transient: false })
}

/// Does not wait for ever for a server that has stopped.
pub(crate) async fn patient<T>(most: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(most, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Io(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the server has done nothing for {} s", most.as_secs()),
        ))),
    }
}
