use std::sync::Arc;

use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, Enrichment, KeyBatch, ServiceError};
use forebay_proto::common::v1::ArrowPart;
use forebay_proto::enrichment::v1::enrichment_service_server::EnrichmentService;
use forebay_proto::enrichment::v1::{self as wire, enrich_request::Part};
use futures::stream::{self, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::inbound::{Inbound, Parted, caller_gone, misplaced};
use super::{answers, call};
use crate::convert::{FromWire, ProtocolError, decode_batches, encode_batches, key_batch};
use crate::status::{from_failure, to_status};

/// An enrichment service as the generated server wants it.
pub(super) struct EnrichmentAdapter(pub(super) Arc<dyn Enrichment>);

impl Parted for wire::EnrichRequest {
    type Part = Part;

    fn into_part(self) -> Option<Part> {
        self.part
    }
}

async fn header(inbound: &mut Inbound<wire::EnrichRequest>) -> Result<EnrichRequest, ServiceError> {
    match inbound.next().await? {
        Some(Part::Header(header)) => EnrichRequest::from_wire(header).map_err(ProtocolError::in_request),
        Some(Part::Failure(failure)) => Err(from_failure(failure)),
        Some(Part::Keys(_)) => Err(misplaced("keys")),
        Some(Part::End(_)) => Err(misplaced("end")),
        None => Err(caller_gone()),
    }
}

/// The next part of the keys; none if the caller said that there are no more.
async fn keys_part(inbound: &mut Inbound<wire::EnrichRequest>) -> Result<Option<ArrowPart>, ServiceError> {
    match inbound.next().await? {
        Some(Part::Keys(part)) => Ok(Some(part)),
        Some(Part::Failure(failure)) => Err(from_failure(failure)),
        Some(Part::Header(_)) => Err(misplaced("header")),
        Some(Part::End(_)) => Ok(None),
        None => Err(caller_gone()),
    }
}

fn keys(inbound: Inbound<wire::EnrichRequest>) -> BoxStream<Result<KeyBatch, ServiceError>> {
    let parts = stream::try_unfold(inbound, |mut inbound| async move {
        Ok(keys_part(&mut inbound).await?.map(|part| (part, inbound)))
    });
    let batches = decode_batches(parts.boxed(), ProtocolError::in_request);
    batches.map(|batch| key_batch(&batch?).map_err(ProtocolError::in_request)).boxed()
}

#[async_trait]
impl EnrichmentService for EnrichmentAdapter {
    type EnrichStream = BoxStream<Result<wire::EnrichResponse, Status>>;

    async fn enrich(
        &self,
        request: Request<Streaming<wire::EnrichRequest>>,
    ) -> Result<Response<Self::EnrichStream>, Status> {
        let mut inbound = Inbound(request.into_inner());
        let header = header(&mut inbound).await.map_err(|error| to_status(&error))?;
        let rows = call(self.0.enrich(header, keys(inbound))).await?;
        Ok(Response::new(answers(encode_batches(rows), |part| wire::EnrichResponse { rows: Some(part) })))
    }
}
