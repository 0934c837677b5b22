use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use forebay_api::{AttemptHeader, AttemptItem, AttemptOutcome, ServiceError, Storage};
use forebay_proto::storage::v1::storage_service_server::StorageService;
use forebay_proto::storage::v1::{self as wire, write_attempt_request::Part};
use forebay_types::JobId;
use futures::stream::{self, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::inbound::{Inbound, Parted, caller_gone, misplaced};
use super::{call, sendable};
use crate::convert::{BatchDecoder, FromWire, ProtocolError, ToWire, required};
use crate::limits::TABLE_LIMIT;
use crate::status::{from_failure, to_status};

/// A storage writer as the generated server wants it.
pub(super) struct StorageAdapter(pub(super) Arc<dyn Storage>);

impl Parted for wire::WriteAttemptRequest {
    type Part = Part;

    fn into_part(self) -> Option<Part> {
        self.part
    }
}

async fn header(inbound: &mut Inbound<wire::WriteAttemptRequest>) -> Result<AttemptHeader, ServiceError> {
    match inbound.next().await? {
        Some(Part::Header(header)) => AttemptHeader::from_wire(header).map_err(ProtocolError::in_request),
        Some(Part::Failure(failure)) => Err(from_failure(failure)),
        Some(Part::Rows(_)) => Err(misplaced("rows")),
        Some(Part::Outcome(_)) => Err(misplaced("outcome")),
        None => Err(caller_gone()),
    }
}

/// Makes items out of parts.
struct AttemptDecoder {
    inbound: Inbound<wire::WriteAttemptRequest>,
    tables: HashMap<String, BatchDecoder>,
    is_done: bool,
}

impl AttemptDecoder {
    async fn next(&mut self) -> Result<Option<AttemptItem>, ServiceError> {
        while !self.is_done {
            match self.inbound.next().await? {
                Some(Part::Rows(rows)) => {
                    if let Some(item) = self.rows(rows).map_err(ProtocolError::in_request)? {
                        return Ok(Some(item));
                    }
                }
                Some(Part::Outcome(outcome)) => {
                    self.is_done = true;
                    return self.outcome(outcome).map(Some).map_err(ProtocolError::in_request);
                }
                Some(Part::Failure(failure)) => return Err(from_failure(failure)),
                Some(Part::Header(_)) => return Err(misplaced("header")),
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    fn rows(&mut self, rows: wire::TablePart) -> Result<Option<AttemptItem>, ProtocolError> {
        let part = required(rows.part, "part")?;
        if !self.tables.contains_key(&rows.table) {
            if self.tables.len() == TABLE_LIMIT {
                return Err(ProtocolError::invalid("table", format!("is one more than {TABLE_LIMIT}")));
            }
            self.tables.insert(rows.table.clone(), BatchDecoder::default());
        }
        let batch = self.tables.get_mut(&rows.table).map(|decoder| decoder.push(part)).transpose()?.flatten();
        Ok(batch.map(|batch| AttemptItem::Batch { table: rows.table, batch }))
    }

    fn outcome(&self, outcome: wire::AttemptOutcome) -> Result<AttemptItem, ProtocolError> {
        if self.tables.values().any(BatchDecoder::is_incomplete) {
            return Err(ProtocolError::Missing("body"));
        }
        AttemptOutcome::from_wire(outcome).map(AttemptItem::Done)
    }
}

#[async_trait]
impl StorageService for StorageAdapter {
    async fn write_attempt(
        &self,
        request: Request<Streaming<wire::WriteAttemptRequest>>,
    ) -> Result<Response<wire::WriteAttemptResponse>, Status> {
        let mut inbound = Inbound(request.into_inner());
        let header = header(&mut inbound).await.map_err(|error| to_status(&error))?;
        let decoder = AttemptDecoder { inbound, tables: HashMap::new(), is_done: false };
        let items =
            stream::try_unfold(
                decoder,
                |mut decoder| async move { Ok(decoder.next().await?.map(|item| (item, decoder))) },
            );
        let receipt = call(self.0.write_attempt(header, items.boxed())).await?;
        sendable(receipt.to_wire()).map(Response::new)
    }

    async fn flush(&self, request: Request<wire::FlushRequest>) -> Result<Response<wire::FlushResponse>, Status> {
        call(self.0.flush(JobId(request.into_inner().job))).await?;
        Ok(Response::new(wire::FlushResponse {}))
    }
}
