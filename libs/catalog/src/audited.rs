//! What the catalog has, row by row, for an audit of a simulation: its worlds are small.

use forebay_types::{ChunkId, ChunkState, GroupId, GroupState, JobId};
use sea_orm::sea_query::ExprTrait;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use crate::catalog::{Catalog, Result, small, unsigned};
use crate::entity::{chunk, commit_group, file};
use crate::{CatalogError, File};

/// A chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedChunk {
    /// Its row.
    pub chunk: ChunkId,
    /// Its job.
    pub job: JobId,
    /// How far it is.
    pub state: ChunkState,
    /// How often it has gone back to waiting.
    pub epoch: u32,
    /// Its newest attempt.
    pub attempt: u32,
    /// Who is at work on it.
    pub owner: Option<String>,
    /// Until when, in microseconds since the epoch.
    pub lease_until: Option<i64>,
    /// The group that it is written to.
    pub group: Option<GroupId>,
    /// Place of its first record, from 0.
    pub first_record: u64,
    /// Its records.
    pub records: u64,
}

/// A commit group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditedGroup {
    /// Its row.
    pub group: GroupId,
    /// How far it is.
    pub state: GroupState,
    /// Whose it is.
    pub owner: String,
    /// Until when, in microseconds since the epoch.
    pub lease_until: i64,
    /// Its place in its job's order of commits.
    pub commit_seq: Option<i64>,
}

impl Catalog {
    /// All chunks.
    pub async fn audited_chunks(&self) -> Result<Vec<AuditedChunk>> {
        let rows = chunk::Entity::find().order_by_asc(chunk::Column::Id).all(&self.db).await?;
        let audited = |row: chunk::Model| {
            let unknown = || CatalogError::Corrupt(format!("chunk {} is in the state '{}'", row.id, row.state));
            Ok(AuditedChunk {
                chunk: ChunkId(row.id),
                job: JobId(row.job),
                state: ChunkState::parse(&row.state).ok_or_else(unknown)?,
                epoch: small(row.epoch)?,
                attempt: small(row.attempt)?,
                owner: row.owner,
                lease_until: row.lease_until,
                group: row.group_id.map(GroupId),
                first_record: unsigned(row.first_record),
                records: unsigned(row.records),
            })
        };
        rows.into_iter().map(audited).collect()
    }

    /// All groups that are not forgotten.
    pub async fn audited_groups(&self) -> Result<Vec<AuditedGroup>> {
        let rows = commit_group::Entity::find().order_by_asc(commit_group::Column::Id).all(&self.db).await?;
        let audited = |row: commit_group::Model| {
            let unknown = || CatalogError::Corrupt(format!("group {} is in the state '{}'", row.id, row.state));
            Ok(AuditedGroup {
                group: GroupId(row.id),
                state: GroupState::parse(&row.state).ok_or_else(unknown)?,
                owner: row.owner,
                lease_until: row.lease_until,
                commit_seq: row.commit_seq,
            })
        };
        rows.into_iter().map(audited).collect()
    }

    /// The files of all of a job's groups that are committed, published or not.
    pub async fn audited_files(&self, job: JobId) -> Result<Vec<File>> {
        let committed = [GroupState::Committed, GroupState::Published].map(GroupState::as_str);
        let groups = commit_group::Entity::find()
            .select_only()
            .column(commit_group::Column::Id)
            .filter(commit_group::Column::Job.eq(job.0).and(commit_group::Column::State.is_in(committed)));
        let groups: Vec<i64> = groups.into_tuple().all(&self.db).await?;
        let rows = file::Entity::find().filter(file::Column::GroupId.is_in(groups)).all(&self.db).await?;
        Ok(rows.into_iter().map(File::from).collect())
    }

    /// The places of all of a job's commits in their order: from 1 and without a gap.
    pub async fn commit_places(&self, job: JobId) -> Result<Vec<i64>> {
        let places = commit_group::Entity::find()
            .select_only()
            .column(commit_group::Column::CommitSeq)
            .filter(commit_group::Column::Job.eq(job.0))
            .filter(commit_group::Column::CommitSeq.is_not_null())
            .order_by_asc(commit_group::Column::CommitSeq);
        Ok(places.into_tuple().all(&self.db).await?)
    }
}
