use forebay_api::{
    Accepted, Constraint, InputFrame, JobProgress, JobSummary, RecipeSource, RejectRow, ResumePoint, StreamedInput,
    SubmitEvent, SubmitRequest, TableRows,
};
use forebay_proto::gateway::v1 as wire;
use forebay_types::{ChunkId, JobState};

use super::{FromWire, ProtocolError, ToWire, cut, required};
use crate::limits::{RAW_LIMIT, TEXT_LIMIT};

impl ToWire for SubmitRequest {
    type Wire = wire::SubmitHeader;

    fn to_wire(self) -> Self::Wire {
        let recipe = match self.recipe {
            RecipeSource::Shipped(name) => wire::submit_header::Recipe::Shipped(name),
            RecipeSource::Inline { name, text } => {
                wire::submit_header::Recipe::Inline(wire::InlineRecipe { name, text })
            }
        };
        wire::SubmitHeader {
            key: self.key,
            recipe: Some(recipe),
            settings: self.settings,
            format: self.format,
            output: self.output,
            inputs: self.inputs,
            max_rejects: self.max_rejects,
            streams: self.streams.into_iter().map(ToWire::to_wire).collect(),
        }
    }
}

impl FromWire for SubmitRequest {
    type Wire = wire::SubmitHeader;

    fn from_wire(header: Self::Wire) -> Result<Self, ProtocolError> {
        let recipe = match required(header.recipe, "recipe")? {
            wire::submit_header::Recipe::Shipped(name) => RecipeSource::Shipped(name),
            wire::submit_header::Recipe::Inline(recipe) => {
                RecipeSource::Inline { name: recipe.name, text: recipe.text }
            }
        };
        Ok(Self {
            key: header.key,
            recipe,
            settings: header.settings,
            format: header.format,
            output: header.output,
            inputs: header.inputs,
            max_rejects: header.max_rejects,
            streams: header.streams.into_iter().map(FromWire::from_wire).collect::<Result<_, _>>()?,
        })
    }
}

impl ToWire for StreamedInput {
    type Wire = wire::StreamedInput;

    fn to_wire(self) -> Self::Wire {
        wire::StreamedInput { name: self.name, size: self.size, version: self.version }
    }
}

impl FromWire for StreamedInput {
    type Wire = wire::StreamedInput;

    fn from_wire(input: Self::Wire) -> Result<Self, ProtocolError> {
        Ok(Self { name: input.name, size: input.size, version: input.version })
    }
}

impl ToWire for InputFrame {
    type Wire = wire::Frame;

    fn to_wire(self) -> Self::Wire {
        wire::Frame { input: self.input, offset: self.offset, data: self.data }
    }
}

impl FromWire for InputFrame {
    type Wire = wire::Frame;

    fn from_wire(frame: Self::Wire) -> Result<Self, ProtocolError> {
        Ok(Self { input: frame.input, offset: frame.offset, data: frame.data })
    }
}

impl ToWire for ResumePoint {
    type Wire = wire::ResumePoint;

    fn to_wire(self) -> Self::Wire {
        wire::ResumePoint { input: self.input, offset: self.offset, complete: self.complete }
    }
}

impl FromWire for ResumePoint {
    type Wire = wire::ResumePoint;

    fn from_wire(point: Self::Wire) -> Result<Self, ProtocolError> {
        Ok(Self { input: point.input, offset: point.offset, complete: point.complete })
    }
}

impl ToWire for Constraint {
    type Wire = wire::Constraint;

    fn to_wire(self) -> Self::Wire {
        match self {
            Self::Client => wire::Constraint::Client,
            Self::Budget => wire::Constraint::Budget,
            Self::Workers => wire::Constraint::Workers,
            Self::ObjectStore => wire::Constraint::ObjectStore,
            Self::Quota => wire::Constraint::Quota,
        }
    }
}

/// What a newer server names and is not known here is no constraint that could be shown.
fn constraint(number: i32) -> Option<Constraint> {
    match wire::Constraint::try_from(number).ok()? {
        wire::Constraint::Unspecified => None,
        wire::Constraint::Client => Some(Constraint::Client),
        wire::Constraint::Budget => Some(Constraint::Budget),
        wire::Constraint::Workers => Some(Constraint::Workers),
        wire::Constraint::ObjectStore => Some(Constraint::ObjectStore),
        wire::Constraint::Quota => Some(Constraint::Quota),
    }
}

impl ToWire for SubmitEvent {
    type Wire = wire::SubmitResponse;

    fn to_wire(self) -> Self::Wire {
        use wire::submit_response::Event;
        let event = match self {
            Self::Accepted(accepted) => Event::Accepted(wire::Accepted {
                job: accepted.job,
                resumed: accepted.resumed,
                ended: accepted.ended.map(|state| state.to_wire().into()),
                resume: accepted.resume.into_iter().map(ToWire::to_wire).collect(),
            }),
            Self::ChunkDurable { chunk, input, durable_bytes, records } => {
                Event::ChunkDurable(wire::ChunkDurable { chunk: chunk.0, input, durable_bytes, records })
            }
            Self::Complete { chunks } => Event::Complete(wire::Complete { chunks }),
        };
        wire::SubmitResponse { event: Some(event) }
    }
}

impl FromWire for SubmitEvent {
    type Wire = wire::SubmitResponse;

    fn from_wire(response: Self::Wire) -> Result<Self, ProtocolError> {
        use wire::submit_response::Event;
        Ok(match required(response.event, "event")? {
            Event::Accepted(accepted) => Self::Accepted(Accepted {
                job: accepted.job,
                resumed: accepted.resumed,
                ended: accepted.ended.map(job_state).transpose()?,
                resume: accepted.resume.into_iter().map(FromWire::from_wire).collect::<Result<_, _>>()?,
            }),
            Event::ChunkDurable(chunk) => Self::ChunkDurable {
                chunk: ChunkId(chunk.chunk),
                input: chunk.input,
                durable_bytes: chunk.durable_bytes,
                records: chunk.records,
            },
            Event::Complete(complete) => Self::Complete { chunks: complete.chunks },
        })
    }
}

impl ToWire for JobState {
    type Wire = wire::JobState;

    fn to_wire(self) -> Self::Wire {
        match self {
            Self::Running => wire::JobState::Running,
            Self::Done => wire::JobState::Done,
            Self::Failed => wire::JobState::Failed,
            Self::Cancelled => wire::JobState::Cancelled,
        }
    }
}

fn job_state(number: i32) -> Result<JobState, ProtocolError> {
    let unknown = || ProtocolError::invalid("state", format!("is {number}, which no state is"));
    match wire::JobState::try_from(number).map_err(|_| unknown())? {
        wire::JobState::Unspecified => Err(ProtocolError::Missing("state")),
        wire::JobState::Running => Ok(JobState::Running),
        wire::JobState::Done => Ok(JobState::Done),
        wire::JobState::Failed => Ok(JobState::Failed),
        wire::JobState::Cancelled => Ok(JobState::Cancelled),
    }
}

impl ToWire for JobSummary {
    type Wire = wire::JobSummary;

    fn to_wire(self) -> Self::Wire {
        wire::JobSummary {
            job: self.job,
            recipe: self.recipe,
            state: self.state.to_wire().into(),
            error: self.error.map(|error| cut(&error, TEXT_LIMIT)),
            created_at: self.created_at,
            ended_at: self.ended_at,
        }
    }
}

impl FromWire for JobSummary {
    type Wire = Option<wire::JobSummary>;

    fn from_wire(summary: Self::Wire) -> Result<Self, ProtocolError> {
        let summary = required(summary, "job")?;
        Ok(Self {
            job: summary.job,
            recipe: summary.recipe,
            state: job_state(summary.state)?,
            error: summary.error,
            created_at: summary.created_at,
            ended_at: summary.ended_at,
        })
    }
}

impl ToWire for JobProgress {
    type Wire = wire::JobProgress;

    fn to_wire(self) -> Self::Wire {
        let rows_out = self.rows_out.into_iter().map(|TableRows { table, rows }| wire::TableRows { table, rows });
        wire::JobProgress {
            summary: Some(self.summary.to_wire()),
            records_in: self.records_in,
            rows_out: rows_out.collect(),
            rejects: self.rejects,
            bytes_in: self.bytes_in,
            bytes_total: self.bytes_total,
            bytes_out: self.bytes_out,
            chunks: self.chunks,
            retries: self.retries,
            stages: self.stages,
            counts: self.counts,
            constraint: self.constraint.map(|constraint| constraint.to_wire().into()),
        }
    }
}

impl FromWire for JobProgress {
    type Wire = Option<wire::JobProgress>;

    fn from_wire(progress: Self::Wire) -> Result<Self, ProtocolError> {
        let progress = required(progress, "progress")?;
        let rows_out = progress.rows_out.into_iter().map(|wire::TableRows { table, rows }| TableRows { table, rows });
        Ok(Self {
            summary: JobSummary::from_wire(progress.summary)?,
            records_in: progress.records_in,
            rows_out: rows_out.collect(),
            rejects: progress.rejects,
            bytes_in: progress.bytes_in,
            bytes_total: progress.bytes_total,
            bytes_out: progress.bytes_out,
            chunks: progress.chunks,
            retries: progress.retries,
            stages: progress.stages,
            counts: progress.counts,
            constraint: progress.constraint.and_then(constraint),
        })
    }
}

impl ToWire for RejectRow {
    type Wire = wire::RejectRow;

    fn to_wire(self) -> Self::Wire {
        wire::RejectRow {
            input: self.input,
            record: self.record,
            offset: self.offset,
            length: self.length,
            reason: self.reason,
            path: cut(&self.path, TEXT_LIMIT),
            message: cut(&self.message, TEXT_LIMIT),
            raw: self.raw.filter(|raw| raw.len() <= RAW_LIMIT).map(Into::into),
        }
    }
}

impl FromWire for RejectRow {
    type Wire = Option<wire::RejectRow>;

    fn from_wire(reject: Self::Wire) -> Result<Self, ProtocolError> {
        let reject = required(reject, "reject")?;
        Ok(Self {
            input: reject.input,
            record: reject.record,
            offset: reject.offset,
            length: reject.length,
            reason: reject.reason,
            path: reject.path,
            message: reject.message,
            raw: reject.raw.map(Into::into),
        })
    }
}
