use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use forebay_api::{ErrorKind, ServiceError};
use futures::task::AtomicWaker;
use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::status::{refused, to_status};

/// Why a server ends a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The client does nothing.
    Idle,
    /// The connection ends.
    Leaving,
    /// It took too long.
    TooLong,
}

impl End {
    pub(super) fn status(self) -> Status {
        match self {
            Self::Idle => refused(
                tonic::Code::DeadlineExceeded,
                "IDLE",
                "the client neither sent nor read for too long: call again, and go on from what is durable",
            ),
            Self::Leaving => to_status(&ServiceError::new(
                ErrorKind::Unreachable,
                "SHUTTING_DOWN",
                "this connection of the server ends: call again, on another one",
            )),
            Self::TooLong => refused(tonic::Code::DeadlineExceeded, "TIMEOUT", "the call took too long"),
        }
    }

    /// The status as the end of an answer.
    pub(super) fn trailers(self) -> HeaderMap {
        let mut trailers = HeaderMap::new();
        let status = self.status();
        if status.add_header(&mut trailers).is_err() {
            // It has no metadata and its message is ours: the code alone will do.
            trailers.insert(Status::GRPC_STATUS, http::HeaderValue::from(status.code() as i32));
        }
        trailers
    }
}

/// What a call waits for. Times are milliseconds since it began, plus one; zero is never.
#[derive(Debug)]
pub(super) struct Activity {
    began: Instant,
    /// Since when the service waits for the client's next bytes.
    unsent: AtomicU64,
    /// Since when an answer waits for the client to make room for more.
    unread: AtomicU64,
    /// When the last bytes of the answer were taken.
    answered: AtomicU64,
    end: OnceLock<End>,
    /// Cancelled when the call is ended by the server.
    pub(super) ended: CancellationToken,
    pub(super) inbound: AtomicWaker,
    pub(super) outbound: AtomicWaker,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            unsent: AtomicU64::new(0),
            unread: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            end: OnceLock::new(),
            ended: CancellationToken::new(),
            inbound: AtomicWaker::new(),
            outbound: AtomicWaker::new(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    /// The service asked for bytes and there were none.
    pub(super) fn wait_for_client(&self) {
        if self.unsent.load(Ordering::Relaxed) == 0 {
            self.unsent.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Bytes came, or their end.
    pub(super) fn client_sent(&self) {
        self.unsent.store(0, Ordering::Relaxed);
    }

    /// Bytes of the answer were handed to the connection, which asks for more when the client has made room.
    pub(super) fn answer_sent(&self) {
        let now = self.now();
        self.answered.store(now, Ordering::Relaxed);
        self.unread.store(now, Ordering::Relaxed);
    }

    /// The connection has room for more of the answer.
    pub(super) fn client_reads(&self) {
        self.unread.store(0, Ordering::Relaxed);
    }

    /// How long the client has held the call up.
    fn held_up(&self) -> Duration {
        let now = self.now();
        let since = |mark: u64| if mark == 0 { 0 } else { now.saturating_sub(mark) };
        let unread = since(self.unread.load(Ordering::Relaxed));
        let unsent = match since(self.unsent.load(Ordering::Relaxed)) {
            0 => 0,
            // A client that is being answered is not idle, whatever else is expected of it.
            unsent => match since(self.answered.load(Ordering::Relaxed)) {
                0 => unsent,
                answered => unsent.min(answered),
            },
        };
        Duration::from_millis(unread.max(unsent))
    }

    /// Waits until the client has held the call up for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let left = limit.saturating_sub(self.held_up());
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }

    /// Ends the call, once.
    pub(super) fn finish(&self, end: End) {
        // Whoever was first has said why.
        self.end.get_or_init(|| end);
        self.ended.cancel();
        self.inbound.wake();
        self.outbound.wake();
    }

    /// Why it was ended, if the server did.
    pub(super) fn end(&self) -> Option<End> {
        self.end.get().copied()
    }
}
