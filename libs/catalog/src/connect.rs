use std::time::Duration;

use sea_orm::sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sea_orm::sqlx::sqlite::{SqliteJournalMode, SqliteSynchronous};
use sea_orm::sqlx::{ConnectOptions as _, Connection, Error};
use sea_orm::{ConnectOptions, Database, DatabaseConnection, SqlxPostgresConnector};

use crate::CatalogError;
use crate::catalog::Result;
use crate::error::is_transient;

/// Connections to SQLite: one writes at a time, the others read.
const SQLITE_CONNECTIONS: u32 = 4;

/// How long to wait for another process that writes to the same SQLite file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections of one process to PostgreSQL, so that a fleet stays within the server's usual hundred.
const POSTGRES_CONNECTIONS: u32 = 8;

/// How long to wait for a connection, new or from the pool.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that was idle for this long is asked whether it still lives. The server may have gone meanwhile.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// What the server enforces for us. A process that is stopped in the middle of a transaction holds its job's lock:
/// it must not keep the others waiting for longer than their leases. No statement of ours takes long.
const POSTGRES_LIMITS: [(&str, &str); 5] = [
    ("idle_in_transaction_session_timeout", "5s"),
    ("lock_timeout", "10s"),
    ("statement_timeout", "30s"),
    ("tcp_keepalives_idle", "10"),
    ("tcp_keepalives_interval", "5"),
];

/// Opens a pool of connections.
pub(crate) async fn connect(url: &str) -> Result<DatabaseConnection> {
    match url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://")) {
        Some(rest) => postgres(&format!("postgres://{rest}")).await,
        None if url.starts_with("sqlite:") => sqlite(url).await,
        None => Err(unreadable("it begins with neither sqlite: nor postgres://")),
    }
}

async fn sqlite(url: &str) -> Result<DatabaseConnection> {
    // Each connection to an in-memory database has its own.
    let connections = if url.contains(":memory:") { 1 } else { SQLITE_CONNECTIONS };
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
    // Large, and done once: callers should not carry it.
    Ok(Box::pin(Database::connect(options)).await?)
}

/// Without sea-orm's own connector, which may trace its options, and with them the password.
async fn postgres(url: &str) -> Result<DatabaseConnection> {
    // The parser's own words may repeat parts of the URL.
    let target: PgConnectOptions =
        url.parse().map_err(|_| unreadable("write postgres://USER:PASSWORD@HOST/DATABASE"))?;
    let target = target.application_name("forebay").options(POSTGRES_LIMITS).disable_statement_logging();
    knock(&target).await?;
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .min_connections(1)
        .acquire_timeout(CONNECT_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, known| {
            Box::pin(async move { Ok(known.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok()) })
        })
        .connect_with(target.clone())
        .await
        .map_err(|error| refused(&target, &error))?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// Tries one connection, because a pool would wait in silence for a server that refuses us.
async fn knock(target: &PgConnectOptions) -> Result<()> {
    let error = match tokio::time::timeout(CONNECT_TIMEOUT, PgConnection::connect_with(target)).await {
        Ok(Ok(connection)) => return connection.close().await.map_err(|error| refused(target, &error)),
        Ok(Err(error)) => error,
        Err(_) => Error::PoolTimedOut,
    };
    Err(refused(target, &error))
}

fn refused(target: &PgConnectOptions, error: &Error) -> CatalogError {
    let database = target.get_database().unwrap_or(target.get_username());
    let place = match target.get_socket() {
        Some(socket) => format!("{}/{database}", socket.display()),
        None => format!("{}:{}/{database}", target.get_host(), target.get_port()),
    };
    let code = error.as_database_error().and_then(|cause| cause.code()).unwrap_or_default();
    let remedy = match &*code {
        "3D000" => format!("create the database (createdb {database}), or correct the catalog's URL"),
        "28P01" | "28000" => "correct user and password in the catalog's URL, or the server's pg_hba.conf".to_owned(),
        "53300" => "raise the server's max_connections, or run fewer processes".to_owned(),
        "57P03" => "wait until the server has started".to_owned(),
        _ => "see that PostgreSQL runs there and is reachable, or correct the catalog's URL".to_owned(),
    };
    let problem = match error {
        Error::PoolTimedOut => format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
        error => error.to_string(),
    };
    CatalogError::Open { place: format!("postgres://{place}"), problem, remedy, transient: is_transient(error) }
}

fn unreadable(remedy: &str) -> CatalogError {
    CatalogError::Open {
        place: "its URL".to_owned(),
        problem: "the URL is not understood".to_owned(),
        remedy: remedy.to_owned(),
        transient: false,
    }
}
