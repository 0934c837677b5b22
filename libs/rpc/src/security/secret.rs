use std::fmt;
use std::path::{Path, PathBuf};

use forebay_api::ServiceError;

use super::wrong;

/// A token or password. It is not shown by `Debug`, and has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Keeps a text secret from here on.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The content of a file, without white space around it. `setting` names it in errors.
    pub fn from_file(setting: &str, path: &Path) -> Result<Self, ServiceError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| wrong(setting, &format!("'{}' cannot be read: {error}", path.display())))?;
        let text = text.trim();
        if text.is_empty() {
            return Err(wrong(setting, &format!("'{}' is empty", path.display())));
        }
        Ok(Self::new(text))
    }

    /// The value of an environment variable. `setting` names it in errors.
    pub fn from_env(setting: &str, variable: &str) -> Result<Self, ServiceError> {
        match std::env::var(variable) {
            Ok(text) if !text.trim().is_empty() => Ok(Self::new(text.trim())),
            Ok(_) => Err(wrong(setting, &format!("is empty: the environment variable {variable} holds nothing"))),
            Err(_) => Err(wrong(setting, &format!("is missing: set the environment variable {variable}"))),
        }
    }

    /// The text, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a token comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenSource {
    /// It is known already.
    Value(Secret),
    /// A file, read again when it changes.
    File(PathBuf),
    /// An environment variable.
    Env(String),
}

impl TokenSource {
    /// The token now.
    pub(crate) fn read(&self) -> Result<Secret, ServiceError> {
        match self {
            Self::Value(secret) => Ok(secret.clone()),
            Self::File(path) => Secret::from_file("token file", path),
            Self::Env(variable) => Secret::from_env("token", variable),
        }
    }

    /// The file to watch.
    pub(crate) fn file(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Value(_) | Self::Env(_) => None,
        }
    }
}
