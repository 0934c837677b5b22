use forebay_types::JobState;
use sea_orm::{DbErr, RuntimeErr, sqlx};

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
    /// The database does not let us in.
    #[error("can't open the catalog at {place}: {problem}: {remedy}")]
    Open {
        /// The database, without user and password.
        place: String,
        /// What happened.
        problem: String,
        /// What to do.
        remedy: String,
        /// True if the same attempt may succeed later.
        transient: bool,
    },
    /// The database failed. The outcome of a write is unknown; every write may be repeated.
    #[error("the catalog's database failed: {0}")]
    Database(DbErr),
}

impl CatalogError {
    /// True if the same call may succeed later with nothing changed: the database is away, is starting, or took
    /// another transaction's side. Whoever has a chunk keeps it and tries again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Open { transient, .. } => *transient,
            Self::Database(DbErr::ConnectionAcquire(_)) => true,
            Self::Database(error) => cause(error).is_some_and(is_transient),
            Self::NotFound(_) | Self::Conflict(_) | Self::Corrupt(_) | Self::Newer(_) => false,
        }
    }
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

/// Primary result codes of SQLite for a database or table that somebody else has. The extended ones end in them.
const SQLITE_LOCKED: [i64; 2] = [5, 6];

/// States of PostgreSQL that pass: the connection is gone (class 08), other transactions were in the way (40001,
/// 40P01, 55P03), the server is short of connections (53300), stopping or starting (57P01 to 57P03), has lost patience with
/// us (57014, 25P03, 57P05), or has become a standby (25006).
const POSTGRES_TRANSIENT: [&str; 11] =
    ["40001", "40P01", "55P03", "53300", "57P01", "57P02", "57P03", "57014", "25P03", "57P05", "25006"];

/// True if the same call to the database may succeed later.
pub(crate) fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(cause) => cause.code().is_some_and(|code| {
            let postgres = code.len() == 5;
            if postgres {
                code.starts_with("08") || POSTGRES_TRANSIENT.contains(&&*code)
            } else {
                code.parse::<i64>().is_ok_and(|code| SQLITE_LOCKED.contains(&(code & 0xff)))
            }
        }),
        _ => false,
    }
}

/// The driver's own error.
fn cause(error: &DbErr) -> Option<&sqlx::Error> {
    match error {
        DbErr::Conn(RuntimeErr::SqlxError(cause))
        | DbErr::Exec(RuntimeErr::SqlxError(cause))
        | DbErr::Query(RuntimeErr::SqlxError(cause)) => Some(cause),
        _ => None,
    }
}

impl From<DbErr> for CatalogError {
    fn from(error: DbErr) -> Self {
        let code = cause(&error).and_then(|cause| cause.as_database_error()).and_then(|cause| cause.code());
        if code.is_some_and(|code| code == SQLITE_CORRUPT || code == SQLITE_NOTADB) {
            return Self::Corrupt(error.to_string());
        }
        Self::Database(error)
    }
}
