use forebay_types::JobState;
use sea_orm::{DbErr, RuntimeErr};

/// Why the catalog did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// What the call names does not exist.
    #[error("{0} is not in the catalog")]
    NotFound(String),
    /// The call contradicts what the catalog says. Nothing was changed.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A row or the file itself cannot be understood.
    #[error("the catalog is damaged: {0}")]
    Corrupt(String),
    /// A newer version of this program has written the catalog. Nothing was changed.
    #[error("the catalog was written by a newer version of forebay (it has '{0}'): use that version")]
    Newer(String),
    /// The database failed. The outcome of a write is unknown; every write may be repeated.
    #[error("the catalog's database failed: {0}")]
    Database(DbErr),
}

/// How a call contradicts the catalog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The job's key was used with another recipe or other settings.
    #[error("job '{0}' exists with another recipe or other settings: use another key")]
    OtherRecipe(String),
    /// The job's key was used with another output.
    #[error("job '{key}' exists with the output '{output}': use another key")]
    OtherOutput {
        /// The job's key.
        key: String,
        /// The output that it writes to.
        output: String,
    },
    /// The job's key was used with another input format.
    #[error("job '{key}' exists with the input format '{format}': use another key")]
    OtherFormat {
        /// The job's key.
        key: String,
        /// The format that its inputs are read as.
        format: String,
    },
    /// The job's key was used with other inputs, or an input has changed since.
    #[error("job '{key}' exists with other inputs ({difference}): use another key")]
    OtherInputs {
        /// The job's key.
        key: String,
        /// What is different, for people.
        difference: String,
    },
    /// The job is not in a state in which this can be done.
    #[error("job '{key}' is {}", state.as_str())]
    JobState {
        /// The job's key.
        key: String,
        /// The state that it is in.
        state: JobState,
    },
    /// Chunks that do not continue where the input's cursor is, or halves that do not cover their chunk.
    #[error("records are not covered exactly once: {0}")]
    Coverage(String),
    /// A commit group that is not in a state in which this can be done, or that holds other chunks than the call.
    #[error("commit group: {0}")]
    Group(String),
}

/// Result codes of SQLite for a malformed file and for a file that is no database.
const SQLITE_CORRUPT: &str = "11";
const SQLITE_NOTADB: &str = "26";

impl From<DbErr> for CatalogError {
    fn from(error: DbErr) -> Self {
        if let DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) = &error
            && let Some(code) = cause.as_database_error().and_then(|cause| cause.code())
            && (code == SQLITE_CORRUPT || code == SQLITE_NOTADB)
        {
            return Self::Corrupt(error.to_string());
        }
        Self::Database(error)
    }
}
