use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Status};
use tracing::Span;

use super::activity::Activity;
use super::record::Record;

/// Wakes whoever waits for the client's next bytes, and notes that the client has sent them: a service that is busy
/// elsewhere may not look for long.
struct Sent {
    activity: Arc<Activity>,
    waker: Waker,
}

impl Wake for Sent {
    fn wake(self: Arc<Self>) {
        self.activity.client_sent();
        self.waker.wake_by_ref();
    }
}

/// A request as it is read by a service.
pub(super) struct Received<B> {
    body: B,
    activity: Arc<Activity>,
}

impl<B> Received<B> {
    pub(super) const fn new(body: B, activity: Arc<Activity>) -> Self {
        Self { body, activity }
    }
}

impl<B> Drop for Received<B> {
    fn drop(&mut self) {
        // Nobody waits for the client any more.
        self.activity.client_sent();
    }
}

impl<B> Body for Received<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Data = Bytes;
    type Error = tonic::codegen::StdError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.activity.end().is_some() {
            return Poll::Ready(Some(Err(Status::cancelled("the server ended the call").into())));
        }
        self.activity.inbound.register(context.waker());
        let sent = Waker::from(Arc::new(Sent { activity: Arc::clone(&self.activity), waker: context.waker().clone() }));
        // Before the poll, so that bytes that come meanwhile clear it.
        self.activity.wait_for_client();
        let frame = ready!(Pin::new(&mut self.body).poll_frame(&mut Context::from_waker(&sent)));
        self.activity.client_sent();
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an answer holds until it ends: the service's stream, its place among the calls, and its entry in the metrics.
pub(super) struct Held {
    pub(super) body: tonic::body::Body,
    pub(super) record: Record,
    pub(super) _place: Box<dyn Send>,
}

/// What both the connection and whoever watches the call can reach: a client that reads nothing must not keep it.
#[derive(Clone, Default)]
pub(super) struct Holder(Arc<Mutex<Option<Held>>>);

impl Holder {
    fn lock(&self) -> MutexGuard<'_, Option<Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn put(&self, held: Held) {
        *self.lock() = Some(held);
    }

    /// Lets go of it, with the code that the call ended with.
    pub(super) fn release(&self, code: Code) {
        let held = self.lock().take();
        if let Some(mut held) = held {
            held.record.ends_with(code);
        }
    }
}

/// An answer as it is sent.
pub(super) struct Answered {
    pub(super) holder: Holder,
    pub(super) activity: Arc<Activity>,
    pub(super) span: Span,
    pub(super) is_over: bool,
    pub(super) _watch: AbortOnDropHandle<()>,
}

impl Body for Answered {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if this.is_over {
            return Poll::Ready(None);
        }
        let _entered = this.span.enter();
        this.activity.client_reads();
        this.activity.outbound.register(context.waker());
        if let Some(end) = this.activity.end() {
            // Before the service is asked: it may have noticed, and would say so in its own words.
            this.is_over = true;
            this.holder.release(end.status().code());
            return Poll::Ready(Some(Ok(Frame::trailers(end.trailers()))));
        }
        let mut held = this.holder.lock();
        let Some(answer) = &mut *held else {
            this.is_over = true;
            return Poll::Ready(None);
        };
        let frame = ready!(Pin::new(&mut answer.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) if frame.is_data() => this.activity.answer_sent(),
            Some(Ok(frame)) => {
                this.is_over = true;
                if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                    answer.record.ends_with(status.code());
                }
            }
            Some(Err(status)) => {
                this.is_over = true;
                answer.record.ends_with(status.code());
            }
            None => this.is_over = true,
        }
        if this.is_over {
            let ended = held.take();
            drop(held);
            drop(ended);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.is_over || self.holder.lock().as_ref().is_some_and(|held| held.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.holder.lock().as_ref().map_or_else(SizeHint::default, |held| held.body.size_hint())
    }
}
