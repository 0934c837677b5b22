use std::collections::VecDeque;

use arrow_array::RecordBatch;
use forebay_api::{BoxStream, ServiceError};
use forebay_proto::common::v1::ArrowPart;
use futures::stream::{self, StreamExt};

use super::{BatchDecoder, BatchEncoder, ProtocolError};

/// Whole batches as parts, one batch in work at a time.
pub(crate) fn encode_batches(
    batches: BoxStream<Result<RecordBatch, ServiceError>>,
) -> BoxStream<Result<ArrowPart, ServiceError>> {
    let state = (batches, BatchEncoder::default(), VecDeque::new());
    stream::try_unfold(state, |(mut batches, mut encoder, mut ready)| async move {
        loop {
            if let Some(part) = ready.pop_front() {
                return Ok(Some((part, (batches, encoder, ready))));
            }
            let Some(batch) = batches.next().await else {
                return Ok(None);
            };
            ready.extend(encoder.encode(&batch?)?);
        }
    })
    .boxed()
}

/// Parts as whole batches. `explain` says whose fault a part is that cannot be read.
pub(crate) fn decode_batches(
    parts: BoxStream<Result<ArrowPart, ServiceError>>,
    explain: fn(ProtocolError) -> ServiceError,
) -> BoxStream<Result<RecordBatch, ServiceError>> {
    stream::try_unfold((parts, BatchDecoder::default()), move |(mut parts, mut decoder)| async move {
        while let Some(part) = parts.next().await {
            if let Some(batch) = decoder.push(part?).map_err(explain)? {
                return Ok(Some((batch, (parts, decoder))));
            }
        }
        if decoder.is_incomplete() { Err(explain(ProtocolError::Missing("body"))) } else { Ok(None) }
    })
    .boxed()
}
