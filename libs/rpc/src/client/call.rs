use std::pin::Pin;
use std::task::{Context, Poll};

use forebay_api::{BoxStream, ServiceError};
use forebay_proto::common::v1::Failure;
use futures::stream::{self, Stream, StreamExt};
use prost::Message;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{CancellationHandle, Request, Response, Status, Streaming};

use crate::convert::ProtocolError;
use crate::limits::MESSAGE_LIMIT;
use crate::status::{from_status, to_failure};

/// A message of a request stream, which can say that its sender failed.
pub(super) trait RequestPart: Message + 'static {
    fn failure(failure: Failure) -> Self;
}

/// A request stream on its way. An error, or a message that is too large, is sent as the last part, so that the
/// service learns why; it then ends the call with that error, or another.
pub(super) struct Outbound<M> {
    parts: Option<BoxStream<Result<M, ServiceError>>>,
    _sending: DropGuard,
}

impl<M: RequestPart> Outbound<M> {
    /// The token is cancelled when the stream is dropped: all of it is sent, or nobody wants it.
    fn new(parts: BoxStream<Result<M, ServiceError>>) -> (Self, CancellationToken) {
        let sent = CancellationToken::new();
        (Self { parts: Some(parts), _sending: sent.clone().drop_guard() }, sent)
    }

    fn fail(&mut self, error: &ServiceError) -> Poll<Option<M>> {
        self.parts = None;
        Poll::Ready(Some(M::failure(to_failure(error))))
    }
}

impl<M: RequestPart> Stream for Outbound<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<M>> {
        let Some(parts) = &mut self.parts else {
            return Poll::Ready(None);
        };
        match std::task::ready!(parts.poll_next_unpin(context)) {
            Some(Ok(part)) => match check_size(&part) {
                Ok(()) => Poll::Ready(Some(part)),
                Err(error) => self.fail(&error),
            },
            Some(Err(error)) => self.fail(&error),
            None => {
                self.parts = None;
                Poll::Ready(None)
            }
        }
    }
}

fn check_size(message: &impl Message) -> Result<(), ServiceError> {
    let size = message.encoded_len();
    if size <= MESSAGE_LIMIT {
        return Ok(());
    }
    Err(ServiceError::invalid(
        "MESSAGE_TOO_LARGE",
        format!("a message of {size} bytes cannot be sent: the limit is {MESSAGE_LIMIT} bytes"),
    ))
}

/// A request of one message.
pub(super) fn request<M: Message>(message: M) -> Result<Request<M>, ServiceError> {
    check_size(&message)?;
    Ok(Request::new(message))
}

/// A request of many messages that has one answer. Dropping the future cancels the call.
pub(super) async fn upload<M: RequestPart, A>(
    parts: BoxStream<Result<M, ServiceError>>,
    call: impl AsyncFnOnce(Request<Outbound<M>>) -> Result<Response<A>, Status>,
) -> Result<A, ServiceError> {
    let (outbound, _) = Outbound::new(parts);
    let response = call(Request::new(outbound)).await.map_err(|status| from_status(&status))?;
    Ok(response.into_inner())
}

/// The answers to a request of one message.
pub(super) fn answers<A: Send + 'static, T: Send + 'static>(
    answers: Streaming<A>,
    read: fn(A) -> Result<T, ProtocolError>,
) -> BoxStream<Result<T, ServiceError>> {
    answers.map(move |answer| read_answer(answer, read)).boxed()
}

fn read_answer<A, T>(answer: Result<A, Status>, read: fn(A) -> Result<T, ProtocolError>) -> Result<T, ServiceError> {
    read(answer.map_err(|status| from_status(&status))?).map_err(ProtocolError::in_answer)
}

/// A request and answers, both of many messages. Dropping the future or the answers cancels the call.
pub(super) async fn exchange<M: RequestPart, A: Send + 'static, T: Send + 'static>(
    parts: BoxStream<Result<M, ServiceError>>,
    call: impl AsyncFnOnce(Request<Outbound<M>>) -> Result<Response<Streaming<A>>, Status>,
    read: fn(A) -> Result<T, ProtocolError>,
) -> Result<BoxStream<Result<T, ServiceError>>, ServiceError> {
    let (outbound, sent) = Outbound::new(parts);
    let mut request = Request::new(outbound);
    let abort = request.cancellation_handle();
    let response = call(request).await.map_err(|status| from_status(&status))?;
    let (sink, source) = mpsc::channel(1);
    // It ends with the call, or when the answers are dropped; nobody needs to wait for it.
    drop(tokio::spawn(relay(response.into_inner(), sink, abort, sent)));
    let answers = stream::unfold(source, |mut source| async move { Some((source.recv().await?, source)) });
    Ok(answers.map(move |answer| read_answer(answer, read)).boxed())
}

/// Hands answers on until there are no more, or nobody wants them.
///
/// HTTP/2 does not reset a stream while its request is still open, and a request that waits for room cannot be told
/// to stop. So what is left of the answers is read, until the service takes the bytes that wait for it.
async fn relay<A>(
    mut answers: Streaming<A>,
    sink: mpsc::Sender<Result<A, Status>>,
    abort: CancellationHandle,
    sent: CancellationToken,
) {
    loop {
        let answer = tokio::select! {
            () = sink.closed() => break,
            answer = answers.message() => answer,
        };
        let Some(answer) = answer.transpose() else {
            return;
        };
        let is_last = answer.is_err();
        if sink.send(answer).await.is_err() {
            break;
        }
        if is_last {
            return;
        }
    }
    abort.cancel();
    tokio::select! {
        () = sent.cancelled() => {}
        () = async { while let Ok(Some(_)) = answers.message().await {} } => {}
    }
}
