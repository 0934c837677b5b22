use std::path::PathBuf;

use crate::KeyId;

/// Why something could not be sealed or opened. No message holds a part of a key or of what is sealed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is no key.
    #[error(
        "protected records can't be kept here without a key to encrypt them: make one (head -c 32 /dev/urandom | base64 \
         > FILE; chmod 600 FILE) and set FOREBAY_KEY_FILE=FILE"
    )]
    NoKey,
    /// There is no such key.
    #[error(
        "{name} is encrypted with the key {id}, which is not among the keys here: add it to the file that \
         FOREBAY_KEY_FILE names, behind the newer ones"
    )]
    UnknownKey {
        /// What is sealed.
        name: String,
        /// The key's id.
        id: KeyId,
    },
    /// What is sealed is not what was written.
    #[error("{0} can't be decrypted: it was changed, cut off or exchanged since it was written")]
    Damaged(String),
    /// A key can't be understood.
    #[error("{place}, line {line}: a key is 32 bytes as base64 or 64 hexadecimal digits, one a line")]
    BadKey {
        /// Where it is, without the key.
        place: String,
        /// Its line, from 1.
        line: usize,
    },
    /// The file of keys can't be read, or be made.
    #[error("the file of keys {}: {message}", path.display())]
    KeyFile {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        message: String,
    },
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}
