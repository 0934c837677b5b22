use std::sync::Arc;

use async_trait::async_trait;
use forebay_api::{BoxStream, Gateway, InputFrame, ServiceError, SubmitRequest};
use forebay_proto::gateway::v1::gateway_service_server::GatewayService;
use forebay_proto::gateway::v1::{self as wire, submit_request::Part};
use futures::stream::{self, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::inbound::{Inbound, Parted, caller_gone, misplaced};
use super::{answers, call, caller_of, sendable};
use crate::convert::{FromWire, ProtocolError, ToWire};
use crate::limits::FRAME_LIMIT;
use crate::status::{from_failure, to_status};

/// A gateway as the generated server wants it.
pub(super) struct GatewayAdapter(pub(super) Arc<dyn Gateway>);

impl Parted for wire::SubmitRequest {
    type Part = Part;

    fn into_part(self) -> Option<Part> {
        self.part
    }
}

async fn header(inbound: &mut Inbound<wire::SubmitRequest>) -> Result<SubmitRequest, ServiceError> {
    match inbound.next().await? {
        Some(Part::Header(header)) => SubmitRequest::from_wire(header).map_err(ProtocolError::in_request),
        Some(Part::Failure(failure)) => Err(from_failure(failure)),
        Some(Part::Frame(_)) => Err(misplaced("frame")),
        Some(Part::End(_)) => Err(misplaced("end")),
        None => Err(caller_gone()),
    }
}

/// The next frame; none if the caller said that there are no more. An empty one only says that the caller is there.
async fn frame(inbound: &mut Inbound<wire::SubmitRequest>) -> Result<Option<InputFrame>, ServiceError> {
    let mut part = inbound.next().await?;
    while matches!(&part, Some(Part::Frame(frame)) if frame.data.is_empty()) {
        part = inbound.next().await?;
    }
    match part {
        Some(Part::Frame(frame)) if frame.data.len() > FRAME_LIMIT => Err(ServiceError::invalid(
            "FRAME_TOO_LARGE",
            format!("a frame of {} bytes is over the limit of {FRAME_LIMIT} bytes: cut it", frame.data.len()),
        )),
        Some(Part::Frame(frame)) => InputFrame::from_wire(frame).map(Some).map_err(ProtocolError::in_request),
        Some(Part::End(_)) => Ok(None),
        Some(Part::Failure(failure)) => Err(from_failure(failure)),
        Some(Part::Header(_)) => Err(misplaced("header")),
        None => Err(caller_gone()),
    }
}

#[async_trait]
impl GatewayService for GatewayAdapter {
    type SubmitStream = BoxStream<Result<wire::SubmitResponse, Status>>;
    type ListJobsStream = BoxStream<Result<wire::ListJobsResponse, Status>>;
    type WatchJobStream = BoxStream<Result<wire::WatchJobResponse, Status>>;
    type RejectsStream = BoxStream<Result<wire::RejectsResponse, Status>>;

    async fn submit(
        &self,
        request: Request<Streaming<wire::SubmitRequest>>,
    ) -> Result<Response<Self::SubmitStream>, Status> {
        let caller = caller_of(&request);
        let mut inbound = Inbound(request.into_inner());
        let header = header(&mut inbound).await.map_err(|error| to_status(&error))?;
        let frames = stream::try_unfold(inbound, |mut inbound| async move {
            Ok(frame(&mut inbound).await?.map(|frame| (frame, inbound)))
        });
        let events = call(self.0.submit(&caller, header, frames.boxed())).await?;
        Ok(Response::new(answers(events, ToWire::to_wire)))
    }

    async fn get_job(&self, request: Request<wire::GetJobRequest>) -> Result<Response<wire::GetJobResponse>, Status> {
        let caller = caller_of(&request);
        let progress = call(self.0.get_job(&caller, &request.into_inner().job)).await?;
        sendable(wire::GetJobResponse { progress: Some(progress.to_wire()) }).map(Response::new)
    }

    async fn list_jobs(
        &self,
        request: Request<wire::ListJobsRequest>,
    ) -> Result<Response<Self::ListJobsStream>, Status> {
        let caller = caller_of(&request);
        let wire::ListJobsRequest { limit, before } = request.into_inner();
        let jobs = call(self.0.list_jobs(&caller, limit, before)).await?;
        let jobs = stream::iter(jobs).map(Ok).boxed();
        Ok(Response::new(answers(jobs, |job| wire::ListJobsResponse { job: Some(job.to_wire()) })))
    }

    async fn watch_job(
        &self,
        request: Request<wire::WatchJobRequest>,
    ) -> Result<Response<Self::WatchJobStream>, Status> {
        let caller = caller_of(&request);
        let progress = call(self.0.watch_job(&caller, &request.into_inner().job)).await?;
        let wrap = |progress: forebay_api::JobProgress| wire::WatchJobResponse { progress: Some(progress.to_wire()) };
        Ok(Response::new(answers(progress, wrap)))
    }

    async fn cancel_job(
        &self,
        request: Request<wire::CancelJobRequest>,
    ) -> Result<Response<wire::CancelJobResponse>, Status> {
        let caller = caller_of(&request);
        call(self.0.cancel_job(&caller, &request.into_inner().job)).await?;
        Ok(Response::new(wire::CancelJobResponse {}))
    }

    async fn rejects(&self, request: Request<wire::RejectsRequest>) -> Result<Response<Self::RejectsStream>, Status> {
        let caller = caller_of(&request);
        let rejects = call(self.0.rejects(&caller, &request.into_inner().job)).await?;
        let wrap = |reject: forebay_api::RejectRow| wire::RejectsResponse { reject: Some(reject.to_wire()) };
        Ok(Response::new(answers(rejects, wrap)))
    }
}
