use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_api::{BoxStream, EnrichRequest, Enrichment, KeyBatch, ServiceError};
use forebay_proto::common::v1::Failure;
use forebay_proto::enrichment::v1::enrichment_service_client::EnrichmentServiceClient;
use forebay_proto::enrichment::v1::{self as wire, enrich_request::Part};
use futures::stream::{self, StreamExt, TryStreamExt};

use super::Channel;
use super::call::{RequestPart, exchange};
use crate::convert::{ProtocolError, ToWire, decode_batches, encode_batches, key_record_batch, required};
use crate::limits::MESSAGE_LIMIT;

/// An enrichment service at the other end of a channel.
#[derive(Clone, Debug)]
pub struct EnrichmentClient(EnrichmentServiceClient<Channel>);

impl EnrichmentClient {
    /// A client over `channel`.
    pub fn new(channel: Channel) -> Self {
        let client = EnrichmentServiceClient::new(channel);
        Self(client.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
    }
}

impl RequestPart for wire::EnrichRequest {
    fn failure(failure: Failure) -> Self {
        Self { part: Some(Part::Failure(failure)) }
    }
}

#[async_trait]
impl Enrichment for EnrichmentClient {
    async fn enrich(
        &self,
        request: EnrichRequest,
        keys: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        let header = stream::once(async { Ok(Part::Header(request.to_wire())) });
        let keys = keys.map(|keys| key_record_batch(keys?)).boxed();
        let end = stream::once(async { Ok(Part::End(wire::EnrichEnd {})) });
        let parts = header.chain(encode_batches(keys).map_ok(Part::Keys)).chain(end);
        let parts = parts.map_ok(|part| wire::EnrichRequest { part: Some(part) }).boxed();
        let mut client = self.0.clone();
        let read = |response: wire::EnrichResponse| required(response.rows, "rows");
        let answers = exchange(parts, async move |request| client.enrich(request).await, read).await?;
        Ok(decode_batches(answers, ProtocolError::in_answer))
    }
}
