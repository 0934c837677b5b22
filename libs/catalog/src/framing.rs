use forebay_types::{ChunkId, ChunkSource, ChunkState, JobId};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveValue::NotSet, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, Insert, PaginatorTrait,
    QueryFilter, QueryOrder, QueryTrait,
};

use crate::catalog::{Catalog, PAGE, Result, Write, signed, small, unsigned};
use crate::entity::{chunk, input, job};
use crate::jobs::identity;
use crate::staging::{Kept, keep_staged};
use crate::{AddedChunk, CatalogError, Conflict, Cursor, Input, NewChunk};

impl Catalog {
    /// A job's inputs in their order, each with its cursor.
    pub async fn inputs(&self, job: JobId) -> Result<Vec<Input>> {
        let rows = input::Entity::find()
            .filter(input::Column::Job.eq(job.0))
            .order_by_asc(input::Column::Number)
            .all(&self.db)
            .await?;
        rows.into_iter().map(Input::try_from).collect()
    }

    /// Makes chunks of one input durable, and moves the input's cursor past them, in one step. The chunks must
    /// follow each other and the stored cursor. Repeating the last call changes nothing and gives the same answer.
    ///
    /// # Errors
    /// [`Conflict::Coverage`] if a record would be covered twice or not at all; [`Conflict::JobState`] if the job
    /// has ended.
    pub async fn add_chunks(&self, job: JobId, chunks: &[NewChunk], cursor: Cursor) -> Result<Vec<AddedChunk>> {
        let tx = self.write().await?;
        let row = tx.lock_job(job).await?;
        let stored = input::Entity::find_by_id((job.0, i64::from(cursor.input))).one(&*tx).await?;
        let stored = stored.ok_or_else(|| CatalogError::NotFound(format!("input {} of job {job}", cursor.input)))?;
        let first_record = first_record(chunks, &cursor)?;
        if first_record != unsigned(stored.records) {
            let added = repeated(&tx, &stored, chunks, &cursor).await?;
            tx.rollback().await?;
            let place = format!("input {} goes on at record {}", cursor.input, stored.records);
            return added.ok_or_else(|| Conflict::Coverage(format!("{place}, not at {first_record}")).into());
        }
        if row.state != forebay_types::JobState::Running.as_str() {
            let job = crate::Job::try_from(row)?;
            return Err(Conflict::JobState { key: job.key, state: job.state }.into());
        }
        let batch_seq = if chunks.is_empty() { stored.batch_seq } else { row.next_seq };
        let added = insert_chunks(&tx, job, chunks, Lineage::Fresh { first_seq: row.next_seq }).await?;
        count_chunks(&tx, job, chunks).await?;
        move_cursor(&tx, &stored, cursor, batch_seq).await?;
        tx.commit().await?;
        Ok(added)
    }

    /// Marks a job as framed if all its inputs are complete. True if it is framed now.
    pub async fn finish_input(&self, job: JobId) -> Result<bool> {
        let tx = self.write().await?;
        tx.lock_job(job).await?;
        let open = input::Entity::find()
            .filter(input::Column::Job.eq(job.0))
            .filter(input::Column::Complete.eq(false))
            .count(&*tx)
            .await?;
        if open == 0 {
            job::Entity::update_many()
                .col_expr(job::Column::Framed, Expr::value(true))
                .filter(job::Column::Id.eq(job.0))
                .exec(&*tx)
                .await?;
        }
        tx.commit().await?;
        Ok(open == 0)
    }
}

/// Where new chunks come from, which decides their place.
pub(crate) enum Lineage<'a> {
    /// Framed from the input.
    Fresh { first_seq: i64 },
    /// Halves of a chunk that a worker died of. They take its place in the order.
    Split { parent: &'a chunk::Model, deaths: i64, first_seq: i64 },
}

/// Inserts chunks that wait for a worker, and counts their staged objects as needed.
pub(crate) async fn insert_chunks(
    tx: &Write<'_>,
    job: JobId,
    chunks: &[NewChunk],
    lineage: Lineage<'_>,
) -> Result<Vec<AddedChunk>> {
    let (Lineage::Fresh { first_seq } | Lineage::Split { first_seq, .. }) = lineage;
    let mut added = Vec::with_capacity(chunks.len());
    let mut kept = Kept::new();
    let mut seq = first_seq;
    for page in chunks.chunks(PAGE) {
        let mut rows = Vec::with_capacity(page.len());
        for chunk in page {
            if let ChunkSource::Staged { key, .. } = &chunk.source {
                let object = kept.entry(key.clone()).or_default();
                object.pending += 1;
                // Halves read the copy that their parent has brought.
                object.bytes += if matches!(lineage, Lineage::Fresh { .. }) { signed(chunk.bytes) } else { 0 };
            }
            rows.push(new_row(job, seq, chunk, &lineage)?);
            seq += 1;
        }
        let mut insert = Insert::many(rows).into_query();
        insert.returning(sea_orm::sea_query::Query::returning().columns([chunk::Column::Seq, chunk::Column::Id]));
        for row in tx.query_all(&insert).await? {
            added
                .push(AddedChunk { seq: unsigned(row.try_get_by_index(0)?), chunk: ChunkId(row.try_get_by_index(1)?) });
        }
    }
    keep_staged(tx, job, kept).await?;
    // The database may return what it inserted in any order.
    added.sort_by_key(|added| added.seq);
    Ok(added)
}

fn new_row(job: JobId, seq: i64, new: &NewChunk, lineage: &Lineage<'_>) -> Result<chunk::ActiveModel> {
    let (origin_seq, parent, deaths) = match lineage {
        Lineage::Fresh { .. } => (seq, None, 0),
        Lineage::Split { parent, deaths, .. } => (parent.origin_seq, Some(parent.id), *deaths),
    };
    let staged_key = match &new.source {
        ChunkSource::Staged { key, .. } => Some(key.clone()),
        _ => None,
    };
    let source = serde_json::to_string(&new.source).map_err(|error| CatalogError::Corrupt(error.to_string()))?;
    Ok(chunk::ActiveModel {
        id: NotSet,
        job: Set(job.0),
        seq: Set(seq),
        origin_seq: Set(origin_seq),
        parent: Set(parent),
        input: Set(i64::from(new.input)),
        source: Set(source),
        staged_key: Set(staged_key),
        first_record: Set(signed(new.first_record)),
        records: Set(signed(new.records)),
        bytes: Set(signed(new.bytes)),
        checksum: Set(new.checksum.map(|sum| format!("{sum:032x}"))),
        state: Set(ChunkState::Staged.as_str().to_owned()),
        epoch: Set(0),
        dispatched_at: Set(None),
        not_before: Set(0),
        attempt: Set(0),
        deaths: Set(deaths),
        lapses: Set(0),
        failures: Set(0),
        quarantined: Set(false),
        owner: Set(None),
        lease_until: Set(None),
        started_at: Set(None),
        group_id: Set(None),
        written: Set(None),
    })
}

impl TryFrom<input::Model> for Input {
    type Error = CatalogError;

    fn try_from(row: input::Model) -> Result<Self> {
        Ok(Self {
            index: small(row.number)?,
            identity: identity(row.uri, row.size, row.version),
            offset: unsigned(row.offset),
            records: unsigned(row.records),
            complete: row.complete,
            header: row.header,
            info: row.info,
        })
    }
}

/// Checks that chunks follow each other up to the cursor, and gives the record that they begin at.
fn first_record(chunks: &[NewChunk], cursor: &Cursor) -> Result<u64> {
    let first = chunks.first().map_or(cursor.records, |chunk| chunk.first_record);
    let mut next = first;
    for chunk in chunks {
        if chunk.input != cursor.input || chunk.first_record != next || chunk.records == 0 {
            let (input, at, n) = (chunk.input, chunk.first_record, chunk.records);
            return Err(Conflict::Coverage(format!("input {input}: {n} records at {at}, after {next}")).into());
        }
        next += chunk.records;
    }
    if next != cursor.records {
        let (input, to) = (cursor.input, cursor.records);
        return Err(Conflict::Coverage(format!("input {input}: the chunks end at {next}, the cursor at {to}")).into());
    }
    Ok(first)
}

/// The answer to the call that moved the cursor to where it is, if this is the same call again.
async fn repeated(
    tx: &Write<'_>,
    stored: &input::Model,
    chunks: &[NewChunk],
    cursor: &Cursor,
) -> Result<Option<Vec<AddedChunk>>> {
    let place = (unsigned(stored.offset), unsigned(stored.records), stored.complete);
    if place != (cursor.offset, cursor.records, cursor.complete) {
        return Ok(None);
    }
    let mut added = Vec::with_capacity(chunks.len());
    for (page, at) in chunks.chunks(PAGE).zip((stored.batch_seq..).step_by(PAGE)) {
        let rows = chunk::Entity::find()
            .filter(chunk::Column::Job.eq(stored.job))
            .filter(chunk::Column::Seq.between(at, at + page.len() as i64 - 1))
            .order_by_asc(chunk::Column::Seq)
            .all(&**tx)
            .await?;
        let same = |(row, new): (&chunk::Model, &NewChunk)| {
            row.input == stored.number
                && row.first_record == signed(new.first_record)
                && row.records == signed(new.records)
                && serde_json::to_string(&new.source).is_ok_and(|source| source == row.source)
        };
        if rows.len() != page.len() || !rows.iter().zip(page).all(same) {
            return Ok(None);
        }
        added.extend(rows.iter().map(|row| AddedChunk { chunk: ChunkId(row.id), seq: unsigned(row.seq) }));
    }
    Ok(Some(added))
}

async fn count_chunks(tx: &Write<'_>, job: JobId, chunks: &[NewChunk]) -> Result<()> {
    if chunks.is_empty() {
        return Ok(());
    }
    let n = chunks.len() as i64;
    let bytes: u64 = chunks.iter().map(|chunk| chunk.bytes).sum();
    let staged = chunks.iter().filter(|chunk| matches!(chunk.source, ChunkSource::Staged { .. }));
    let staged_bytes: u64 = staged.map(|chunk| chunk.bytes).sum();
    let plus = |column: job::Column, n: i64| Expr::col(column).add(n);
    job::Entity::update_many()
        .col_expr(job::Column::NextSeq, plus(job::Column::NextSeq, n))
        .col_expr(job::Column::Chunks, plus(job::Column::Chunks, n))
        .col_expr(job::Column::BytesFramed, plus(job::Column::BytesFramed, signed(bytes)))
        .col_expr(job::Column::StagedBytes, plus(job::Column::StagedBytes, signed(staged_bytes)))
        .filter(job::Column::Id.eq(job.0))
        .exec(&**tx)
        .await?;
    Ok(())
}

async fn move_cursor(tx: &Write<'_>, stored: &input::Model, cursor: Cursor, batch_seq: i64) -> Result<()> {
    let mut update = input::Entity::update_many()
        .col_expr(input::Column::Offset, Expr::value(signed(cursor.offset)))
        .col_expr(input::Column::Records, Expr::value(signed(cursor.records)))
        .col_expr(input::Column::Complete, Expr::value(cursor.complete))
        .col_expr(input::Column::BatchSeq, Expr::value(batch_seq));
    if let Some(header) = cursor.header {
        update = update.col_expr(input::Column::Header, Expr::value(header));
    }
    if let Some(info) = cursor.info {
        update = update.col_expr(input::Column::Info, Expr::value(info));
    }
    update
        .filter(input::Column::Job.eq(stored.job))
        .filter(input::Column::Number.eq(stored.number))
        .exec(&**tx)
        .await?;
    Ok(())
}
