use std::collections::{HashMap, VecDeque};

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptItem, AttemptReceipt, BoxStream, ServiceError, Storage};
use forebay_proto::common::v1::Failure;
use forebay_proto::storage::v1::storage_service_client::StorageServiceClient;
use forebay_proto::storage::v1::{self as wire, write_attempt_request::Part};
use forebay_types::JobId;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::Channel;
use super::call::{RequestPart, request, upload};
use crate::convert::{BatchEncoder, FromWire, ProtocolError, ToWire, slices};
use crate::limits::MESSAGE_LIMIT;
use crate::status::from_status;

/// A storage writer at the other end of a channel.
#[derive(Clone, Debug)]
pub struct StorageClient(StorageServiceClient<Channel>);

impl StorageClient {
    /// A client over `channel`.
    pub fn new(channel: Channel) -> Self {
        let client = StorageServiceClient::new(channel);
        Self(client.max_decoding_message_size(MESSAGE_LIMIT).max_encoding_message_size(MESSAGE_LIMIT))
    }
}

impl RequestPart for wire::WriteAttemptRequest {
    fn failure(failure: Failure) -> Self {
        Self { part: Some(Part::Failure(failure)) }
    }
}

#[async_trait]
impl Storage for StorageClient {
    async fn write_attempt(
        &self,
        header: AttemptHeader,
        items: BoxStream<Result<AttemptItem, ServiceError>>,
    ) -> Result<AttemptReceipt, ServiceError> {
        let header = stream::once(async { Ok(Part::Header(header.to_wire())) });
        let parts = stream::try_unfold(AttemptEncoder::new(items), |mut encoder| async move {
            Ok(encoder.next().await?.map(|part| (part, encoder)))
        });
        let parts = header.chain(parts).map_ok(|part| wire::WriteAttemptRequest { part: Some(part) }).boxed();
        let mut client = self.0.clone();
        let response = upload(parts, async move |request| client.write_attempt(request).await).await?;
        AttemptReceipt::from_wire(response).map_err(ProtocolError::in_answer)
    }

    async fn flush(&self, job: JobId) -> Result<(), ServiceError> {
        let request = request(wire::FlushRequest { job: job.0 })?;
        self.0.clone().flush(request).await.map_err(|status| from_status(&status))?;
        Ok(())
    }
}

/// Makes parts out of items: one slice of one batch is held at a time.
struct AttemptEncoder {
    items: BoxStream<Result<AttemptItem, ServiceError>>,
    tables: HashMap<String, BatchEncoder>,
    /// What is left of the last batch, and of its last slice.
    slices: Option<(String, Box<dyn Iterator<Item = RecordBatch> + Send>)>,
    ready: VecDeque<Part>,
    is_done: bool,
}

impl AttemptEncoder {
    fn new(items: BoxStream<Result<AttemptItem, ServiceError>>) -> Self {
        Self { items, tables: HashMap::new(), slices: None, ready: VecDeque::new(), is_done: false }
    }

    async fn next(&mut self) -> Result<Option<Part>, ServiceError> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Ok(Some(part));
            }
            if let Some((table, mut slices)) = self.slices.take() {
                if let Some(slice) = slices.next() {
                    self.encode(&table, &slice)?;
                    self.slices = Some((table, slices));
                }
                continue;
            }
            if self.is_done {
                return Ok(None);
            }
            match self.items.next().await.transpose()? {
                Some(AttemptItem::Batch { table, batch }) => self.slices = Some((table, Box::new(slices(batch)))),
                Some(AttemptItem::Done(outcome)) => {
                    self.is_done = true;
                    return Ok(Some(Part::Outcome(outcome.to_wire())));
                }
                None => return Ok(None),
            }
        }
    }

    fn encode(&mut self, table: &str, slice: &RecordBatch) -> Result<(), ServiceError> {
        if !self.tables.contains_key(table) {
            self.tables.insert(table.to_owned(), BatchEncoder::default());
        }
        if let Some(encoder) = self.tables.get_mut(table) {
            let parts = encoder.encode(slice)?.into_iter();
            self.ready
                .extend(parts.map(|part| Part::Rows(wire::TablePart { table: table.to_owned(), part: Some(part) })));
        }
        Ok(())
    }
}
