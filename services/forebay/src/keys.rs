//! Where a process has its keys from.

use std::path::{Path, PathBuf};

use forebay_seal::Keys;

use crate::commands::Usage;

/// Keys of a service: those that it is given, or none.
pub(crate) fn given(text: Option<&str>, file: Option<&Path>) -> Result<Keys, Usage> {
    let given = Keys::given(text, file).map_err(|error| Usage(error.to_string()))?;
    Ok(given.unwrap_or_else(Keys::none))
}

/// Keys of a person at a terminal: those that the environment gives, or else a file of the user's own, which is made
/// when something is encrypted first.
pub(crate) fn of_user() -> Result<Keys, Usage> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
    let (text, file) = (set("FOREBAY_KEYS"), set("FOREBAY_KEY_FILE").map(PathBuf::from));
    let given = Keys::given(text.as_deref(), file.as_deref()).map_err(|error| Usage(error.to_string()))?;
    Ok(given.or_else(|| forebay_seal::home().map(Keys::at_home)).unwrap_or_else(Keys::none))
}
