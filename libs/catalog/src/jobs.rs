use forebay_types::{InputIdentity, JobId, JobState};
use sea_orm::sea_query::{Expr, LockType};
use sea_orm::{
    ActiveModelTrait, ActiveValue::NotSet, ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, Select,
};

use crate::catalog::{Catalog, PAGE, Result, Write, signed, unsigned};
use crate::entity::{input, job};
use crate::{CatalogError, Conflict, Job, JobSummary, NewJob, OpenedJob};

/// Most jobs of one page of a list.
const LIST_LIMIT: u64 = 1_000;

impl Catalog {
    /// Opens a job: a new one, or the one that has this key. A failed one runs again; a finished or cancelled one
    /// stays as it is. Repeating the call gives the job as resumed.
    ///
    /// # Errors
    /// A [`Conflict`] if the key belongs to a job with another recipe, output, format or inputs.
    pub async fn open_job(&self, new: NewJob) -> Result<OpenedJob> {
        let tx = self.write().await?;
        // What does not exist yet has no row to lock.
        tx.lock_name("jobs").await?;
        let found = job::Entity::find()
            .filter(job::Column::Tenant.eq(&new.tenant))
            .filter(job::Column::Key.eq(&new.key))
            .lock(LockType::NoKeyUpdate)
            .one(&*tx)
            .await?;
        let resumed = found.is_some();
        let row = match found {
            Some(row) => {
                refuse_another_job(&tx, &row, &new).await?;
                resume(&tx, row, new.max_rejects).await?
            }
            None => self.insert_job(&tx, new).await?,
        };
        tx.commit().await?;
        Ok(OpenedJob { job: row.try_into()?, resumed })
    }

    async fn insert_job(&self, tx: &Write<'_>, new: NewJob) -> Result<job::Model> {
        // Creation times page the list of jobs, so that they must differ even if the clock goes back.
        let newest = job::Entity::find().order_by_desc(job::Column::CreatedAt).one(&**tx).await?;
        let created_at = self.now_micros(&**tx).await?.max(newest.map_or(0, |job| job.created_at + 1));
        let row = job::ActiveModel {
            id: NotSet,
            tenant: Set(new.tenant),
            key: Set(new.key),
            recipe_name: Set(new.recipe_name),
            recipe: Set(new.recipe),
            digest: Set(new.digest),
            output: Set(new.output),
            format: Set(new.format),
            settings: Set(new.settings),
            max_rejects: Set(new.max_rejects.map(signed)),
            state: Set(JobState::Running.as_str().to_owned()),
            error: Set(None),
            framed: Set(false),
            created_at: Set(created_at),
            ended_at: Set(None),
            next_seq: Set(0),
            bytes_framed: Set(0),
            records_in: Set(0),
            bytes_out: Set(0),
            chunks: Set(0),
            chunks_committed: Set(0),
            chunks_split: Set(0),
            retries: Set(0),
            commits: Set(0),
            staged_bytes: Set(0),
            traceparent: Set(new.traceparent),
            sink: Set(new.sink),
        };
        let row = row.insert(&**tx).await?;
        let inputs: Vec<_> =
            new.inputs.into_iter().zip(0..).map(|(identity, n)| new_input(row.id, n, identity)).collect();
        for page in inputs.chunks(PAGE) {
            input::Entity::insert_many(page.to_vec()).exec_without_returning(&**tx).await?;
        }
        Ok(row)
    }

    /// A job by its row.
    pub async fn job(&self, job: JobId) -> Result<Job> {
        job_row(&self.db, job).await?.try_into()
    }

    /// The state of a job: all that somebody asks who waits for its end.
    pub async fn job_state(&self, job: JobId) -> Result<JobState> {
        let found = job::Entity::find_by_id(job.0).select_only().column(job::Column::State).into_tuple::<String>();
        let state = found.one(&self.db).await?.ok_or_else(|| CatalogError::NotFound(format!("job {job}")))?;
        job_state(&state)
    }

    /// A tenant's job by its key.
    pub async fn job_by_key(&self, tenant: &str, key: &str) -> Result<Job> {
        let found = job::Entity::find()
            .filter(job::Column::Tenant.eq(tenant))
            .filter(job::Column::Key.eq(key))
            .one(&self.db)
            .await?;
        found.ok_or_else(|| CatalogError::NotFound(format!("job '{key}'")))?.try_into()
    }

    /// Jobs that are running, by their rows: at most `limit` after `after`.
    pub async fn running_jobs(&self, after: Option<JobId>, limit: u32) -> Result<Vec<JobId>> {
        let ids: Vec<i64> = running_page(after, limit).into_tuple().all(&self.db).await?;
        Ok(ids.into_iter().map(JobId).collect())
    }

    /// Jobs of a tenant, or of all, newest first: at most `limit` of them (and 1,000) that are older than `before`, a
    /// creation time.
    pub async fn list_jobs(&self, tenant: Option<&str>, limit: u32, before: Option<i64>) -> Result<Vec<JobSummary>> {
        use job::Column::{CreatedAt, EndedAt, Error, Id, Key, RecipeName, State};
        type Line = (i64, String, String, String, Option<String>, i64, Option<i64>);
        let lines: Vec<Line> = job::Entity::find()
            .select_only()
            .columns([Id, Key, RecipeName, State, Error, CreatedAt, EndedAt])
            .filter(CreatedAt.lt(before.unwrap_or(i64::MAX)))
            .apply_if(tenant, |jobs, tenant| jobs.filter(job::Column::Tenant.eq(tenant)))
            .order_by_desc(CreatedAt)
            .limit(u64::from(limit).min(LIST_LIMIT))
            .into_tuple()
            .all(&self.db)
            .await?;
        lines
            .into_iter()
            .map(|(id, key, recipe_name, state, error, created_at, ended_at)| {
                let state = job_state(&state)?;
                Ok(JobSummary { id: JobId(id), key, recipe_name, state, error, created_at, ended_at })
            })
            .collect()
    }

    /// Ends a running job. False if it had ended in the same way before.
    ///
    /// # Errors
    /// [`Conflict::JobState`] if it had ended in another way.
    pub async fn end_job(&self, job: JobId, state: JobState, error: Option<String>) -> Result<bool> {
        let tx = self.write().await?;
        let row = tx.lock_job(job).await?;
        let was = job_state(&row.state)?;
        if was != JobState::Running || state == JobState::Running {
            tx.rollback().await?;
            return if was == state { Ok(false) } else { Err(Conflict::JobState { key: row.key, state: was }.into()) };
        }
        job::Entity::update_many()
            .col_expr(job::Column::State, Expr::value(state.as_str()))
            .col_expr(job::Column::Error, Expr::value(error))
            .col_expr(job::Column::EndedAt, self.now())
            .filter(job::Column::Id.eq(job.0))
            .exec(&*tx)
            .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// Rows of running jobs: at most `limit` after `after`.
pub(crate) fn running_page(after: Option<JobId>, limit: u32) -> Select<job::Entity> {
    job::Entity::find()
        .select_only()
        .column(job::Column::Id)
        .filter(job::Column::State.eq(JobState::Running.as_str()))
        .filter(job::Column::Id.gt(after.map_or(0, |job| job.0)))
        .order_by_asc(job::Column::Id)
        .limit(u64::from(limit))
}

/// A job's row.
pub(crate) async fn job_row(db: &impl ConnectionTrait, job: JobId) -> Result<job::Model> {
    let found = job::Entity::find_by_id(job.0).one(db).await?;
    found.ok_or_else(|| CatalogError::NotFound(format!("job {job}")))
}

fn job_state(text: &str) -> Result<JobState> {
    JobState::parse(text).ok_or_else(|| CatalogError::Corrupt(format!("a job is in the state '{text}'")))
}

impl TryFrom<job::Model> for Job {
    type Error = CatalogError;

    fn try_from(row: job::Model) -> Result<Self> {
        Ok(Self {
            id: JobId(row.id),
            tenant: row.tenant,
            key: row.key,
            recipe_name: row.recipe_name,
            recipe: row.recipe,
            digest: row.digest,
            output: row.output,
            format: row.format,
            settings: row.settings,
            max_rejects: row.max_rejects.map(unsigned),
            traceparent: row.traceparent,
            sink: row.sink,
            state: job_state(&row.state)?,
            error: row.error,
            framed: row.framed,
            created_at: row.created_at,
            ended_at: row.ended_at,
        })
    }
}

impl TryFrom<job::Model> for JobSummary {
    type Error = CatalogError;

    fn try_from(row: job::Model) -> Result<Self> {
        let state = job_state(&row.state)?;
        let (created_at, ended_at) = (row.created_at, row.ended_at);
        let (key, recipe_name, error) = (row.key, row.recipe_name, row.error);
        Ok(Self { id: JobId(row.id), key, recipe_name, state, error, created_at, ended_at })
    }
}

fn new_input(job: i64, number: i64, identity: InputIdentity) -> input::ActiveModel {
    input::ActiveModel {
        job: Set(job),
        number: Set(number),
        uri: Set(identity.uri),
        size: Set(identity.size.map(signed)),
        version: Set(identity.version),
        offset: Set(0),
        records: Set(0),
        complete: Set(false),
        header: Set(None),
        info: Set(None),
        batch_seq: Set(0),
    }
}

async fn refuse_another_job(tx: &Write<'_>, row: &job::Model, new: &NewJob) -> Result<()> {
    let key = || row.key.clone();
    if row.digest != new.digest {
        return Err(Conflict::OtherRecipe(key()).into());
    }
    if row.output != new.output {
        return Err(Conflict::OtherOutput { key: key(), output: row.output.clone() }.into());
    }
    if row.format != new.format {
        return Err(Conflict::OtherFormat { key: key(), format: row.format.clone() }.into());
    }
    let stored = input::Entity::find()
        .filter(input::Column::Job.eq(row.id))
        .order_by_asc(input::Column::Number)
        .all(&**tx)
        .await?;
    let stored: Vec<_> = stored.into_iter().map(|row| identity(row.uri, row.size, row.version)).collect();
    match difference(&stored, &new.inputs) {
        Some(difference) => Err(Conflict::OtherInputs { key: key(), difference }.into()),
        None => Ok(()),
    }
}

/// An input's identity from its stored parts.
pub(crate) fn identity(uri: String, size: Option<i64>, version: Option<String>) -> InputIdentity {
    InputIdentity { uri, size: size.map(unsigned), version }
}

fn difference(stored: &[InputIdentity], given: &[InputIdentity]) -> Option<String> {
    if stored.len() != given.len() {
        return Some(format!("it has {} inputs, not {}", stored.len(), given.len()));
    }
    let (was, is) = stored.iter().zip(given).find(|(was, is)| was != is)?;
    Some(if was.uri != is.uri {
        format!("it has {}, not {}", was.uri, is.uri)
    } else if was.size != is.size {
        let size = |size: Option<u64>| size.map_or("unknown".to_owned(), |size| size.to_string());
        format!("{} was {} bytes long and is {} now", was.uri, size(was.size), size(is.size))
    } else {
        format!("{} was changed since", was.uri)
    })
}

/// Lets a failed job run again. The limit of rejects is the caller's own and not part of what the job is.
async fn resume(tx: &Write<'_>, row: job::Model, max_rejects: Option<u64>) -> Result<job::Model> {
    let state = job_state(&row.state)?;
    if matches!(state, JobState::Done | JobState::Cancelled) {
        return Ok(row);
    }
    let mut changed: job::ActiveModel = row.into();
    changed.max_rejects = Set(max_rejects.map(signed));
    changed.state = Set(JobState::Running.as_str().to_owned());
    changed.error = Set(None);
    changed.ended_at = Set(None);
    Ok(changed.update(&**tx).await?)
}
