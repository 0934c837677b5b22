use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{Field, Schema};
use forebay_api::{EnrichRequest, KeyBatch, ServiceError};
use forebay_proto::enrichment::v1 as wire;

use super::batches::not_sendable;
use super::{FromWire, ProtocolError, ToWire};

impl ToWire for EnrichRequest {
    type Wire = wire::EnrichHeader;

    fn to_wire(self) -> Self::Wire {
        wire::EnrichHeader { enricher: self.enricher, settings: self.settings, columns: self.columns }
    }
}

impl FromWire for EnrichRequest {
    type Wire = wire::EnrichHeader;

    fn from_wire(header: Self::Wire) -> Result<Self, ProtocolError> {
        Ok(Self { enricher: header.enricher, settings: header.settings, columns: header.columns })
    }
}

/// Keys as the batch of one column that is sent.
pub(crate) fn key_record_batch(KeyBatch { keys }: KeyBatch) -> Result<RecordBatch, ServiceError> {
    let field = Field::new("key", keys.data_type().clone(), true);
    RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![keys]).map_err(|error| not_sendable(&error))
}

/// Keys out of the batch that was received.
pub(crate) fn key_batch(batch: &RecordBatch) -> Result<KeyBatch, ProtocolError> {
    let [keys] = batch.columns() else {
        return Err(ProtocolError::invalid("keys", format!("have {} columns, not one", batch.num_columns())));
    };
    if keys.null_count() > 0 {
        return Err(ProtocolError::invalid("keys", "have nulls"));
    }
    Ok(KeyBatch { keys: Arc::clone(keys) })
}
