use forebay_api::{AttemptHeader, AttemptOutcome, AttemptReceipt};
use forebay_proto::storage::v1 as wire;
use forebay_types::{ChunkId, GroupId, JobId};

use super::{FromWire, ProtocolError, ToWire};

impl ToWire for AttemptHeader {
    type Wire = wire::AttemptHeader;

    fn to_wire(self) -> Self::Wire {
        wire::AttemptHeader { job: self.job.0, chunk: self.chunk.0, attempt: self.attempt, commit_now: self.commit_now }
    }
}

impl FromWire for AttemptHeader {
    type Wire = wire::AttemptHeader;

    fn from_wire(header: Self::Wire) -> Result<Self, ProtocolError> {
        Ok(Self {
            job: JobId(header.job),
            chunk: ChunkId(header.chunk),
            attempt: header.attempt,
            commit_now: header.commit_now,
        })
    }
}

impl ToWire for AttemptOutcome {
    type Wire = wire::AttemptOutcome;

    fn to_wire(self) -> Self::Wire {
        let Self { records_in, rejects, stages, counts } = self;
        wire::AttemptOutcome { records_in, rejects, stages, counts }
    }
}

impl FromWire for AttemptOutcome {
    type Wire = wire::AttemptOutcome;

    fn from_wire(outcome: Self::Wire) -> Result<Self, ProtocolError> {
        let wire::AttemptOutcome { records_in, rejects, stages, counts } = outcome;
        Ok(Self { records_in, rejects, stages, counts })
    }
}

impl ToWire for AttemptReceipt {
    type Wire = wire::WriteAttemptResponse;

    fn to_wire(self) -> Self::Wire {
        wire::WriteAttemptResponse { group: self.group.0, rows: self.rows }
    }
}

impl FromWire for AttemptReceipt {
    type Wire = wire::WriteAttemptResponse;

    fn from_wire(response: Self::Wire) -> Result<Self, ProtocolError> {
        Ok(Self { group: GroupId(response.group), rows: response.rows })
    }
}
