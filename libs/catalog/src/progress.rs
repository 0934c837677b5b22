use std::collections::BTreeMap;

use forebay_types::{ChunkState, GroupState, JobId};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, Condition, ConnectionTrait, EntityTrait, PaginatorTrait, QueryFilter, QuerySelect};

use crate::catalog::{Catalog, Result, unsigned};
use crate::entity::{chunk, commit_group, input, job, job_total};
use crate::jobs::job_row;
use crate::{CatalogError, JobProgressRow};

/// What a running total counts. Stored as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Total {
    Rows,
    Rejects,
    Stages,
    Counts,
}

impl Total {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Rejects => "rejects",
            Self::Stages => "stages",
            Self::Counts => "counts",
        }
    }
}

impl Catalog {
    /// How far a job is, at one moment. Its cost does not grow with the number of chunks.
    pub async fn progress(&self, job: JobId) -> Result<JobProgressRow> {
        let snapshot = self.snapshot().await?;
        let row = job_row(&snapshot, job).await?;
        let mut totals: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for total in job_total::Entity::find().filter(job_total::Column::Job.eq(job.0)).all(&snapshot).await? {
            totals.entry(total.kind).or_default().insert(total.name, unsigned(total.total));
        }
        let mut total = |kind: Total| totals.remove(kind.as_str()).unwrap_or_default();
        let progress = JobProgressRow {
            framed: row.framed,
            records_in: unsigned(row.records_in),
            rows: total(Total::Rows),
            rejects: total(Total::Rejects),
            stages: total(Total::Stages),
            counts: total(Total::Counts),
            bytes_framed: unsigned(row.bytes_framed),
            bytes_total: input_bytes(&snapshot, job).await?,
            bytes_out: unsigned(row.bytes_out),
            chunks: chunk_counts(&snapshot, &row).await?,
            retries: unsigned(row.retries),
            summary: row.try_into()?,
        };
        snapshot.commit().await?;
        Ok(progress)
    }

    /// How many chunks of a job wait for a worker or are at work: what intake must not let grow without bound.
    pub async fn backlog(&self, job: JobId) -> Result<u64> {
        let mut written = Query::select();
        written
            .expr(Expr::col((chunk::Entity, chunk::Column::Id)).count())
            .from(chunk::Entity)
            .and_where(chunk::Column::Job.eq(job.0))
            .and_where(chunk::Column::State.eq(ChunkState::Written.as_str()));
        let left = Expr::col(job::Column::Chunks)
            .sub(Expr::col(job::Column::ChunksCommitted))
            .sub(Expr::col(job::Column::ChunksSplit))
            .sub(Expr::from(written));
        // One statement, and so one moment.
        let left: Option<i64> =
            job::Entity::find_by_id(job.0).select_only().column_as(left, "left").into_tuple().one(&self.db).await?;
        left.map(unsigned).ok_or_else(|| CatalogError::NotFound(format!("job {job}")))
    }

    /// True if a job has nothing left to do: it is framed, all its chunks are committed, and all its groups are in
    /// the Delta logs, and in its sink if it has one.
    pub async fn job_complete(&self, job: JobId) -> Result<bool> {
        let snapshot = self.snapshot().await?;
        let framed = job_row(&snapshot, job).await?.framed;
        let unfinished = [ChunkState::Staged, ChunkState::Claimed, ChunkState::Written].map(ChunkState::as_str);
        let chunk = chunk::Entity::find()
            .filter(chunk::Column::Job.eq(job.0))
            .filter(chunk::Column::State.is_in(unfinished))
            .limit(1)
            .one(&snapshot)
            .await?;
        let unpublished = commit_group::Entity::find()
            .filter(commit_group::Column::Job.eq(job.0))
            .filter(
                Condition::any()
                    .add(commit_group::Column::State.eq(GroupState::Committed.as_str()))
                    .add(commit_group::Column::ToLoad.eq(true)),
            )
            .count(&snapshot)
            .await?;
        snapshot.commit().await?;
        Ok(framed && chunk.is_none() && unpublished == 0)
    }
}

/// A job's chunks by state. Only the claimed and the written are counted, because there are few of those.
async fn chunk_counts(db: &impl ConnectionTrait, row: &job::Model) -> Result<BTreeMap<String, u64>> {
    let few = [ChunkState::Claimed, ChunkState::Written].map(ChunkState::as_str);
    let counted: Vec<(String, i64)> = chunk::Entity::find()
        .select_only()
        .column(chunk::Column::State)
        .column_as(chunk::Column::Id.count(), "n")
        .filter(chunk::Column::Job.eq(row.id))
        .filter(chunk::Column::State.is_in(few))
        .group_by(chunk::Column::State)
        .into_tuple()
        .all(db)
        .await?;
    let staged = row.chunks - row.chunks_committed - row.chunks_split - counted.iter().map(|(_, n)| n).sum::<i64>();
    let mut counts: BTreeMap<String, u64> = few.map(|state| (state.to_owned(), 0)).into();
    for (state, n) in [
        (ChunkState::Staged, staged),
        (ChunkState::Committed, row.chunks_committed),
        (ChunkState::Split, row.chunks_split),
    ] {
        counts.insert(state.as_str().to_owned(), unsigned(n));
    }
    counts.extend(counted.into_iter().map(|(state, n)| (state, unsigned(n))));
    Ok(counts)
}

/// The bytes of a job's inputs, if all are known.
async fn input_bytes(db: &impl ConnectionTrait, job: JobId) -> Result<Option<u64>> {
    // A sum of 64-bit integers is a decimal on some databases.
    let sum = Expr::col(input::Column::Size).sum().cast_as("bigint");
    let sums: Option<(i64, i64, Option<i64>)> = input::Entity::find()
        .select_only()
        .column_as(input::Column::Number.count(), "inputs")
        .column_as(input::Column::Size.count(), "sizes")
        .column_as(sum, "bytes")
        .filter(input::Column::Job.eq(job.0))
        .into_tuple()
        .one(db)
        .await?;
    Ok(sums.and_then(|(inputs, sizes, bytes)| if inputs == sizes { bytes.map(unsigned) } else { None }))
}
