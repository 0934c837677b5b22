use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::SinkUrl;

/// How long to wait for a new connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A connection that was idle for this long is asked whether it still lives. The server may have gone meanwhile.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);

/// Connections to one database, as many as there may be. The driver's own pool waits in silence for a server that is
/// away; here the caller hears of it at once, and says how long it waits.
#[derive(Debug)]
pub(crate) struct Connections {
    url: SinkUrl,
    permits: Semaphore,
    idle: Mutex<Vec<(Instant, PgConnection)>>,
}

/// A connection in use. One that is not given back is closed: after an error nobody knows its state.
pub(crate) struct Lent<'a> {
    pub(crate) connection: PgConnection,
    from: &'a Connections,
    _permit: SemaphorePermit<'a>,
}

impl Connections {
    pub(crate) fn new(url: SinkUrl, most: usize) -> Self {
        Self { url, permits: Semaphore::new(most.max(1)), idle: Mutex::new(Vec::new()) }
    }

    pub(crate) fn url(&self) -> &SinkUrl {
        &self.url
    }

    /// A connection that lives.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>, Error> {
        let permit = self.permits.acquire().await.map_err(|_| Error::PoolClosed)?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some((since, mut connection)) = idle
            && (since.elapsed() < TRUSTED_IDLE || matches!(timely(connection.ping()).await, Ok(())))
        {
            return Ok(Lent { connection, from: self, _permit: permit });
        }
        let connection = timely(PgConnection::connect_with(self.url.options())).await?;
        Ok(Lent { connection, from: self, _permit: permit })
    }
}

impl Lent<'_> {
    /// Gives the connection back, between transactions.
    pub(crate) fn give_back(self) {
        let mut idle = self.from.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push((Instant::now(), self.connection));
    }
}

async fn timely<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(CONNECT, work).await {
        Ok(result) => result,
        Err(_) => Err(Error::Io(std::io::Error::new(
            std::io::ErrorKind::TimedOut,
            format!("no answer within {} s", CONNECT.as_secs()),
        ))),
    }
}
