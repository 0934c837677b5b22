use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Schema, SchemaRef};
use delta_kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use deltalake_core::DeltaTableError;
use deltalake_core::kernel::transaction::{CommitData, TransactionError};
use deltalake_core::kernel::{Action, Add, StructType, Transaction};
use deltalake_core::logstore::{CommitOrBytes, LogStoreRef, StorageConfig, default_logstore};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use forebay_objects::{Place, backoff};
use serde_json::Value;

use crate::LakeError;

/// Commits between two checkpoints of a log: what a reader replays at most.
const CHECKPOINT_EVERY: u64 = 50;

/// Tries at a version that other writers take first.
const TRIES: u32 = 100;

/// The wait between them grows no longer than after this many.
const LONGEST_WAIT: u32 = 4;

/// Tries of which nobody knows how they ended.
const UNKNOWN: u32 = 4;

/// The Delta log of one table.
///
/// Appending needs the table's schema and version, and the last transaction of this application, but never its data
/// nor its list of files: the cost of a commit does not grow with the table.
#[derive(Debug)]
pub struct DeltaLog {
    place: Place,
    store: LogStoreRef,
    snapshot: Option<SnapshotRef>,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Publication {
    /// The files are visible, as of this version of the table.
    Published(u64),
    /// An earlier try had made them visible.
    AlreadyThere,
}

impl DeltaLog {
    /// Opens the log of the table at a place, where there may be none yet.
    pub async fn open(place: Place) -> Result<Self, LakeError> {
        let store = default_logstore(
            Arc::clone(place.store()),
            Arc::clone(place.root_store()),
            place.uri(),
            &StorageConfig::default(),
        );
        let mut log = Self { place, store, snapshot: None };
        if log.exists().await? {
            log.refresh().await?;
        }
        Ok(log)
    }

    async fn exists(&self) -> Result<bool, LakeError> {
        self.store.is_delta_table_location().await.map_err(|error| self.sort(error))
    }

    fn fail(&self, error: impl std::fmt::Display) -> LakeError {
        LakeError::Log { table: self.place.display(), message: error.to_string() }
    }

    /// Tells failures of the store, which may pass, from others.
    fn sort(&self, error: DeltaTableError) -> LakeError {
        match error {
            DeltaTableError::ObjectStore { source } => self.place.error(&source).into(),
            error => self.fail(error),
        }
    }

    /// Runs a task of the kernel, which blocks, off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        task: impl FnOnce() -> delta_kernel::DeltaResult<T> + Send + 'static,
    ) -> Result<T, LakeError> {
        match forebay_runtime::blocking(task).await {
            Ok(Err(delta_kernel::Error::ObjectStore(error))) => Err(self.place.error(&error).into()),
            Ok(result) => result.map_err(|error| self.fail(error)),
            Err(error) => Err(self.fail(error)),
        }
    }

    /// Reads what other writers have added.
    async fn refresh(&mut self) -> Result<(), LakeError> {
        let engine = self.store.engine(None);
        let root = self.store.transaction_url(None).map_err(|error| self.fail(error))?;
        let known = self.snapshot.clone();
        let snapshot = self
            .blocking(move || match known {
                Some(known) => Snapshot::builder_from(known).build(engine.as_ref()),
                None => Snapshot::builder_for(root).build(engine.as_ref()),
            })
            .await?;
        self.snapshot = Some(snapshot);
        Ok(())
    }

    /// The table's version, if there is a table.
    pub fn version(&self) -> Option<u64> {
        self.snapshot.as_ref().map(|snapshot| snapshot.version())
    }

    /// The table's place.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The table's columns, if there is a table.
    pub fn schema(&self) -> Result<Option<SchemaRef>, LakeError> {
        let Some(snapshot) = &self.snapshot else { return Ok(None) };
        let schema: Schema = snapshot.schema().as_ref().try_into_arrow().map_err(|error| self.fail(error))?;
        Ok(Some(Arc::new(schema)))
    }

    /// Makes the table if it is not there, and checks that rows of a schema can be appended if it is: every column
    /// must be in the table, with the same type. Columns that only the table has are null in the new rows.
    pub async fn ensure(&mut self, schema: &SchemaRef) -> Result<(), LakeError> {
        if self.snapshot.is_none() {
            self.create(schema).await?;
        }
        let Some(known) = self.schema()? else { return Err(LakeError::NoTable(self.place.display())) };
        for field in schema.fields() {
            let mismatch = |message| Err(LakeError::SchemaMismatch { table: self.place.display(), message });
            match known.field_with_name(field.name()) {
                Err(_) => return mismatch(format!("it has no column '{}'", field.name())),
                Ok(there) if !same(there.data_type(), field.data_type()) => {
                    return mismatch(format!(
                        "its column '{}' is {}, the recipe's is {}",
                        field.name(),
                        there.data_type(),
                        field.data_type()
                    ));
                }
                Ok(_) => {}
            }
        }
        if let Some(needed) =
            known.fields().iter().find(|f| !f.is_nullable() && schema.field_with_name(f.name()).is_err())
        {
            return Err(LakeError::SchemaMismatch {
                table: self.place.display(),
                message: format!("its column '{}' may not be null, and the recipe does not have it", needed.name()),
            });
        }
        Ok(())
    }

    async fn create(&mut self, schema: &SchemaRef) -> Result<(), LakeError> {
        let columns: StructType = schema.as_ref().try_into_kernel().map_err(|error| self.fail(error))?;
        for attempt in 1..=UNKNOWN {
            let created = CreateBuilder::new()
                .with_log_store(Arc::clone(&self.store))
                .with_columns(columns.fields().cloned())
                .with_save_mode(SaveMode::Ignore)
                .await;
            let Err(error) = created.map_err(|error| self.sort(error)) else { break };
            // The table may be there all the same: made by another writer at the same moment, or by us, and the answer
            // was lost. Whether its columns fit is looked at either way.
            let lasts = matches!(&error, LakeError::Store(error) if !error.is_transient());
            if lasts {
                return Err(error);
            }
            if self.exists().await? {
                break;
            }
            if attempt == UNKNOWN {
                return Err(error);
            }
            forebay_runtime::sleep(backoff(attempt)).await;
        }
        self.refresh().await
    }

    /// Makes files visible: one commit, which carries `version` of the application's own count. If the table has
    /// that count already, an earlier try came through and nothing is done.
    pub async fn publish(
        &mut self,
        application: &str,
        version: i64,
        adds: &[String],
    ) -> Result<Publication, LakeError> {
        let mut unknown = 0;
        let mut behind = 0;
        for _ in 0..TRIES {
            self.refresh().await?;
            let Some(snapshot) = self.snapshot.clone() else { return Err(LakeError::NoTable(self.place.display())) };
            if self.last_transaction(application).await? >= Some(version) {
                return Ok(Publication::AlreadyThere);
            }
            let next = snapshot.version() + 1;
            let bytes = self.commit_bytes(application, version, adds)?;
            let committed =
                self.store.write_commit_entry(next, CommitOrBytes::LogBytes(bytes), uuid::Uuid::new_v4()).await;
            match committed {
                Ok(()) => {
                    self.place.sync(&format!("_delta_log/{next:020}.json")).await?;
                    self.checkpoint(next).await;
                    return Ok(Publication::Published(next));
                }
                // Another writer was first; or our own try came through, its answer was lost, and the store's client
                // met it when it tried again; or two tries got into each other's way and neither came through.
                // The next look tells: by our count, by a newer version, or by none.
                Err(TransactionError::VersionAlreadyExists(_)) => {
                    behind = (behind + 1).min(LONGEST_WAIT);
                    forebay_runtime::sleep(backoff(behind)).await;
                }
                // No answer: it may have come through, and the same look tells.
                Err(TransactionError::ObjectStore { source }) => {
                    let error = self.place.error(&source);
                    unknown += 1;
                    if !error.is_transient() || unknown == UNKNOWN {
                        return Err(error.into());
                    }
                    forebay_runtime::sleep(backoff(unknown)).await;
                }
                Err(error) => return Err(self.fail(error)),
            }
        }
        Err(self.fail(format!("other writers were first {TRIES} times")))
    }

    /// The application's count that the table has.
    async fn last_transaction(&self, application: &str) -> Result<Option<i64>, LakeError> {
        let Some(snapshot) = self.snapshot.clone() else { return Ok(None) };
        let engine = self.store.engine(None);
        let application = application.to_owned();
        self.blocking(move || snapshot.get_app_id_version(&application, engine.as_ref())).await
    }

    fn commit_bytes(&self, application: &str, version: i64, adds: &[String]) -> Result<bytes::Bytes, LakeError> {
        let mut actions = Vec::with_capacity(adds.len());
        for add in adds {
            let add: Add = serde_json::from_str(add).map_err(|error| self.fail(error))?;
            actions.push(Action::Add(add));
        }
        let operation = DeltaOperation::Write { mode: SaveMode::Append, partition_by: None, predicate: None };
        let metadata = HashMap::from([("forebay".to_owned(), Value::from(env!("CARGO_PKG_VERSION")))]);
        let transactions = vec![Transaction::new(application, version)];
        CommitData::new(actions, operation, metadata, transactions).get_bytes().map_err(|error| self.fail(error))
    }

    /// Writes a checkpoint now and then. The table is whole without it, so a failure is only logged.
    async fn checkpoint(&mut self, version: u64) {
        if !version.is_multiple_of(CHECKPOINT_EVERY) {
            return;
        }
        let result = async {
            self.refresh().await?;
            let engine = self.store.engine(None);
            match self.snapshot.clone() {
                Some(snapshot) => self.blocking(move || snapshot.checkpoint(engine.as_ref(), None).map(|_| ())).await,
                None => Ok(()),
            }
        };
        if let Err(error) = result.await {
            tracing::warn!(table = %self.place.display(), version, %error, "failed to write a checkpoint");
        }
    }

    /// The table's files: path below the table, and rows where the log says how many.
    pub async fn files(&self) -> Result<Vec<(String, u64)>, LakeError> {
        let Some(snapshot) = self.snapshot.clone() else { return Err(LakeError::NoTable(self.place.display())) };
        let engine = self.store.engine(None);
        self.blocking(move || {
            let scan = snapshot.scan_builder().build()?;
            let mut files = Vec::new();
            for metadata in scan.scan_metadata(engine.as_ref())? {
                files = metadata?.visit_scan_files(files, |files: &mut Vec<(String, u64)>, file| {
                    files.push((file.path, file.stats.map_or(0, |stats| stats.num_records)));
                })?;
            }
            Ok(files)
        })
        .await
    }
}

/// Types that are the same once they are written.
fn same(there: &DataType, ours: &DataType) -> bool {
    there == ours
        || matches!((there, ours), (DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View, DataType::Utf8))
}

#[cfg(test)]
mod tests;
