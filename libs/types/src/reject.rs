use serde::{Deserialize, Serialize};

/// Longest message kept with a reject, in bytes.
pub const MESSAGE_LIMIT: usize = 500;

macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident = $code:literal,)*) => {
        /// Why a record was rejected: a stable code that scripts may rely on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])* #[serde(rename = $code)] $name,)* }

        impl Reason {
            /// Every reason, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable code.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// Reads a stable code.
            pub fn parse(code: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.code() == code)
            }
        }
    };
}

reasons! {
    /// The bytes are not UTF-8.
    InvalidUtf8 = "invalid_utf8",
    /// The bytes are not one well-formed JSON value or CSV row.
    Syntax = "syntax",
    /// Objects and arrays are nested deeper than the limit.
    TooDeep = "too_deep",
    /// The record is longer than the record limit.
    TooLarge = "too_large",
    /// One object has the same key twice.
    DuplicateKey = "duplicate_key",
    /// The record is no object, or has another number of columns than the header.
    NotARecord = "not_a_record",
    /// The record is of a kind that the recipe does not name.
    UnknownKind = "unknown_kind",
    /// A field that must be there is missing or null.
    MissingField = "missing_field",
    /// A field that the recipe does not know, where the recipe says to reject those.
    UnknownField = "unknown_field",
    /// A value of another type than the recipe's.
    WrongType = "wrong_type",
    /// A number outside what its type can hold.
    OutOfRange = "out_of_range",
    /// A value that breaks a rule of the recipe: range, length, pattern or list of values.
    Invalid = "invalid",
    /// The end of the input came in the middle of the record.
    Truncated = "truncated",
    /// The record is in a chunk that killed its worker three times.
    Quarantined = "quarantined",
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

/// A record that could not be processed. It is kept, with its place and the reason; it is never dropped silently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject {
    /// Why.
    pub reason: Reason,
    /// Path of the field that is wrong, such as `encounters[2].start`; empty if the record as a whole is.
    pub path: String,
    /// What is wrong and what was expected, without any value of a protected field.
    pub message: String,
    /// Number of the record in its input: the line, row or array element, counted from 1.
    pub record: u64,
    /// Offset of its first byte in the decompressed input, or its row in a columnar file.
    pub offset: u64,
    /// Its length in bytes; 0 for a columnar file.
    pub length: u64,
    /// The record as it came, unless it is too large to keep. Of a protected one it may rest encrypted only.
    pub raw: Option<Vec<u8>>,
}

/// Name under which rejects travel to the storage writer. No recipe can have a table of this name.
pub const REJECTS_TABLE: &str = "_rejects";

/// Name under which records of kinds that a recipe leaves out are counted.
pub const RECORDS_IGNORED: &str = "records.ignored";
