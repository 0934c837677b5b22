use std::fmt;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, Pipeline, RedisError, ScriptInvocation};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::StoreError;

/// Longest waits for a connection and for an answer. A cache that is slower than this is no help.
const CONNECT: Duration = Duration::from_secs(1);
const RESPONSE: Duration = Duration::from_secs(2);

/// After a failure nobody tries for this long: callers fail at once, instead of each waiting for the same.
const REST: Duration = Duration::from_millis(500);

/// The way to a Redis server. Connects when it is first asked, and again after a failure.
pub(crate) struct Link {
    client: Client,
    place: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connection: Option<MultiplexedConnection>,
    failed: Option<Instant>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Link {
    /// A way to the server at a URL; none if it is no URL of Redis. Nothing is connected yet.
    pub(crate) fn new(url: &str) -> Option<Self> {
        let client = Client::open(url).ok()?;
        let place = client.get_connection_info().addr().to_string();
        Some(Self { client, place, state: Mutex::default() })
    }

    pub(crate) async fn command<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let answer = command.query_async(&mut connection).await;
        self.heed(answer).await
    }

    pub(crate) async fn pipeline<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let answer = pipeline.query_async(&mut connection).await;
        self.heed(answer).await
    }

    pub(crate) async fn script<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> Result<T, StoreError> {
        let mut connection = self.connection().await?;
        let answer = script.invoke_async(&mut connection).await;
        self.heed(answer).await
    }

    async fn connection(&self) -> Result<MultiplexedConnection, StoreError> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.failed.is_some_and(|failed| failed.elapsed() < REST) {
            return Err(StoreError(format!("Redis at {} is away", self.place)));
        }
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(RESPONSE));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                state.connection = Some(connection.clone());
                state.failed = None;
                Ok(connection)
            }
            Err(error) => {
                state.failed = Some(Instant::now());
                Err(self.failed(&error))
            }
        }
    }

    /// Lets go of a connection that failed: one that was cut silently never fails otherwise.
    async fn heed<T>(&self, answer: Result<T, RedisError>) -> Result<T, StoreError> {
        if let Err(error) = &answer
            && (error.is_io_error() || error.is_timeout() || error.is_unrecoverable_error())
        {
            self.state.lock().await.connection = None;
        }
        answer.map_err(|error| self.failed(&error))
    }

    /// The client's words about a failure, without what it was asked.
    fn failed(&self, error: &RedisError) -> StoreError {
        StoreError(format!("Redis at {}: {}", self.place, error.category()))
    }
}
