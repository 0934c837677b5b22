use forebay_objects::StoreError;

/// Encoding, writing, publishing or reading a table failed.
#[derive(Debug, thiserror::Error)]
pub enum LakeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table has other columns than the rows to be written.
    #[error("table {table} does not fit: {message}")]
    SchemaMismatch {
        /// The table's place.
        table: String,
        /// Which columns, and how.
        message: String,
    },
    /// There is no table at the place.
    #[error("there is no table at {0}")]
    NoTable(String),
    /// Encoding or decoding Parquet failed.
    #[error("{context}: {message}")]
    Parquet {
        /// What was being done.
        context: String,
        /// What the library says.
        message: String,
    },
    /// Reading or writing the Delta log failed.
    #[error("the Delta log of {table}: {message}")]
    Log {
        /// The table's place.
        table: String,
        /// What the library says.
        message: String,
    },
}

impl LakeError {
    pub(crate) fn parquet(context: impl Into<String>, error: impl std::fmt::Display) -> Self {
        Self::Parquet { context: context.into(), message: error.to_string() }
    }
}
