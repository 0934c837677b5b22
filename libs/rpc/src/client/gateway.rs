use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use forebay_api::{
    BoxStream, Caller, Gateway, InputFrame, JobProgress, JobSummary, RejectRow, ServiceError, SubmitEvent,
    SubmitRequest,
};
use forebay_proto::common::v1::Failure;
use forebay_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use forebay_proto::gateway::v1::{self as wire, submit_request::Part};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::Channel;
use super::call::{RequestPart, answers, exchange, request};
use crate::convert::{FromWire, ProtocolError, ToWire};
use crate::limits::{FRAME_LIMIT, KEEPALIVE_INTERVAL, MESSAGE_LIMIT};
use crate::status::from_status;

/// A gateway at the other end of a channel.
#[derive(Clone, Debug)]
pub struct GatewayClient(GatewayServiceClient<Channel>);

impl GatewayClient {
    /// A client over `channel`.
    pub fn new(channel: Channel) -> Self {
        let client = GatewayServiceClient::new(channel);
        Self(client.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
    }
}

impl RequestPart for wire::SubmitRequest {
    fn failure(failure: Failure) -> Self {
        Self { part: Some(Part::Failure(failure)) }
    }
}

/// The header, the frames if the gateway wants them, and the end.
fn submission(
    request: SubmitRequest,
    frames: BoxStream<Result<InputFrame, ServiceError>>,
) -> BoxStream<Result<wire::SubmitRequest, ServiceError>> {
    let frames = if request.inputs.is_empty() { frames } else { stream::empty().boxed() };
    let header = stream::once(async { Ok(Part::Header(request.to_wire())) });
    let frames =
        attended(frames.map_ok(|frame| stream::iter(pieces(frame).map(Ok))).try_flatten().boxed(), KEEPALIVE_INTERVAL);
    let end = stream::once(async { Ok(Part::End(wire::SubmitEnd {})) });
    let parts = header.chain(frames.map_ok(|frame| Part::Frame(frame.to_wire()))).chain(end);
    parts.map_ok(|part| wire::SubmitRequest { part: Some(part) }).boxed()
}

/// The frames, and empty ones while there are none: a server does not wait without end for a client that is silent.
fn attended(
    frames: BoxStream<Result<InputFrame, ServiceError>>,
    interval: Duration,
) -> BoxStream<Result<InputFrame, ServiceError>> {
    let frames = stream::unfold(frames, move |mut frames| async move {
        match tokio::time::timeout(interval, frames.next()).await {
            Ok(frame) => frame.map(|frame| (frame, frames)),
            Err(_) => Some((Ok(InputFrame { input: 0, offset: 0, data: Bytes::new() }), frames)),
        }
    });
    frames.boxed()
}

fn pieces(mut frame: InputFrame) -> impl Iterator<Item = InputFrame> {
    std::iter::from_fn(move || {
        let data = frame.data.split_to(frame.data.len().min(FRAME_LIMIT));
        let piece = InputFrame { input: frame.input, offset: frame.offset, data };
        frame.offset += piece.data.len() as u64;
        (!piece.data.is_empty()).then_some(piece)
    })
}

#[async_trait]
impl Gateway for GatewayClient {
    async fn submit(
        &self,
        _: &Caller,
        request: SubmitRequest,
        frames: BoxStream<Result<InputFrame, ServiceError>>,
    ) -> Result<BoxStream<Result<SubmitEvent, ServiceError>>, ServiceError> {
        let mut client = self.0.clone();
        exchange(submission(request, frames), async move |request| client.submit(request).await, SubmitEvent::from_wire)
            .await
    }

    async fn get_job(&self, _: &Caller, job: &str) -> Result<JobProgress, ServiceError> {
        let request = request(wire::GetJobRequest { job: job.to_owned() })?;
        let response = self.0.clone().get_job(request).await.map_err(|status| from_status(&status))?;
        JobProgress::from_wire(response.into_inner().progress).map_err(ProtocolError::in_answer)
    }

    async fn list_jobs(&self, _: &Caller, limit: u32, before: Option<i64>) -> Result<Vec<JobSummary>, ServiceError> {
        let request = request(wire::ListJobsRequest { limit, before })?;
        let response = self.0.clone().list_jobs(request).await.map_err(|status| from_status(&status))?;
        let jobs = answers(response.into_inner(), |response| JobSummary::from_wire(response.job));
        // Bounded by the caller's limit, whatever the other side sends.
        jobs.take(limit.try_into().unwrap_or(usize::MAX)).try_collect().await
    }

    async fn watch_job(
        &self,
        _: &Caller,
        job: &str,
    ) -> Result<BoxStream<Result<JobProgress, ServiceError>>, ServiceError> {
        let request = request(wire::WatchJobRequest { job: job.to_owned() })?;
        let response = self.0.clone().watch_job(request).await.map_err(|status| from_status(&status))?;
        Ok(answers(response.into_inner(), |response| JobProgress::from_wire(response.progress)))
    }

    async fn cancel_job(&self, _: &Caller, job: &str) -> Result<(), ServiceError> {
        let request = request(wire::CancelJobRequest { job: job.to_owned() })?;
        self.0.clone().cancel_job(request).await.map_err(|status| from_status(&status))?;
        Ok(())
    }

    async fn rejects(&self, _: &Caller, job: &str) -> Result<BoxStream<Result<RejectRow, ServiceError>>, ServiceError> {
        let request = request(wire::RejectsRequest { job: job.to_owned() })?;
        let response = self.0.clone().rejects(request).await.map_err(|status| from_status(&status))?;
        Ok(answers(response.into_inner(), |response| RejectRow::from_wire(response.reject)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(data: &'static [u8]) -> InputFrame {
        InputFrame { input: 0, offset: 0, data: Bytes::from_static(data) }
    }

    #[tokio::test]
    async fn a_source_that_pauses_is_attended_and_nothing_of_it_is_lost() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let late = stream::once(async { Ok(receiver.await.unwrap()) });
        let frames = stream::iter([Ok(frame(b"first"))]).chain(late).boxed();
        let mut frames = attended(frames, Duration::from_millis(5));
        assert_eq!(frames.next().await.unwrap().unwrap().data, "first");
        for _ in 0..3 {
            assert!(frames.next().await.unwrap().unwrap().data.is_empty());
        }
        sender.send(frame(b"late")).unwrap();
        while let Some(frame) = frames.next().await {
            assert!(matches!(&*frame.unwrap().data, b"" | b"late"));
        }
    }
}
