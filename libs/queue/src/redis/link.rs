use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{AsyncConnectionConfig, Client, FromRedisValue, RedisError, ScriptInvocation};
use tokio::sync::Mutex;

use crate::QueueError;

/// A server that is slow to start or far away may take this long to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// A server may stall for seconds, while it saves say. The client's own limit, half a second, ends workers for that.
const RESPONSE: Duration = Duration::from_secs(10);

/// The way to a Redis server. Connects when it is first asked something, and again after a failure, so that a server
/// which is not there yet, or not there any more, stops nobody from starting.
pub(crate) struct Link {
    client: Client,
    place: Arc<str>,
    current: Mutex<Option<MultiplexedConnection>>,
}

impl Link {
    /// A way to the server at a URL. Its errors and its `Debug` never show user or password.
    pub(crate) fn new(url: &str) -> Result<Self, QueueError> {
        // The client's words never repeat the URL.
        let client = Client::open(url).map_err(|error| QueueError::Address(error.to_string()))?;
        let place = client.get_connection_info().addr().to_string().into();
        Ok(Self { client, place, current: Mutex::new(None) })
    }

    /// A connection of the caller's own.
    pub(crate) async fn connect(&self) -> Result<MultiplexedConnection, QueueError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(RESPONSE));
        let connected = self.client.get_multiplexed_async_connection_with_config(&config).await;
        connected.map_err(|source| self.failed(source))
    }

    /// A connection that hears what is published on a channel.
    pub(crate) async fn subscribe(&self, channel: &str) -> Result<PubSub, QueueError> {
        let subscribed = async {
            let mut connection = self.client.get_async_pubsub().await?;
            connection.subscribe(channel).await?;
            Ok(connection)
        };
        let in_time = tokio::time::timeout(CONNECT, subscribed).await;
        in_time
            .unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()))
            .map_err(|source: RedisError| self.failed(source))
    }

    /// Runs a script. All of ours may run twice, so that one whose connection was found closed is sent again.
    pub(crate) async fn ask<T: FromRedisValue>(&self, question: &ScriptInvocation<'_>) -> Result<T, QueueError> {
        let (mut connection, fresh) = self.connection().await?;
        let mut answer = question.invoke_async(&mut connection).await;
        if !fresh && answer.as_ref().is_err_and(RedisError::is_connection_dropped) {
            *self.current.lock().await = None;
            let (mut connection, _) = self.connection().await?;
            answer = question.invoke_async(&mut connection).await;
        }
        if answer.as_ref().is_err_and(|error| error.is_io_error() || error.is_unrecoverable_error()) {
            // Also after a time-out: a connection that was cut silently never fails otherwise.
            *self.current.lock().await = None;
        }
        answer.map_err(|source| self.failed(source))
    }

    /// The connection that all questions share, and whether it is new.
    async fn connection(&self) -> Result<(MultiplexedConnection, bool), QueueError> {
        let mut current = self.current.lock().await;
        if let Some(connection) = &*current {
            return Ok((connection.clone(), false));
        }
        let connection = self.connect().await?;
        *current = Some(connection.clone());
        Ok((connection, true))
    }

    fn failed(&self, source: RedisError) -> QueueError {
        QueueError::Redis { place: Arc::clone(&self.place), source }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("place", &self.place).finish_non_exhaustive()
    }
}
