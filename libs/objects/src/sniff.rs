use forebay_recipe::FormatName;
use serde::{Deserialize, Serialize};

/// How an input is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// gzip, one member or several.
    Gzip,
    /// Zstandard, one frame or several.
    Zstd,
}

impl Compression {
    /// Recognises compression by an input's first bytes.
    pub fn of(prefix: &[u8]) -> Option<Self> {
        if prefix.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if prefix.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else {
            None
        }
    }
}

/// What an input holds, once it is decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    /// One JSON object a line.
    Ndjson,
    /// One JSON array.
    Json,
    /// CSV.
    Csv,
    /// Parquet.
    Parquet,
    /// Arrow IPC file, which has a footer and can be read from the middle.
    ArrowFile,
    /// Arrow IPC stream.
    ArrowStream,
}

/// What was found out about an input when it was opened: kept with it in the catalog, for the workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputInfo {
    /// What it holds.
    pub content: Content,
    /// How it is compressed, if it is.
    pub compression: Option<Compression>,
    /// Whether it is encrypted, by a key of ours.
    #[serde(default)]
    pub sealed: bool,
}

impl Content {
    /// Settles the content of an input from the format asked for and its first bytes.
    pub fn of(format: FormatName, prefix: &[u8]) -> Self {
        match format {
            FormatName::Ndjson => Self::Ndjson,
            FormatName::Json => Self::Json,
            FormatName::Csv => Self::Csv,
            FormatName::Parquet => Self::Parquet,
            FormatName::Arrow if prefix.starts_with(b"ARROW1") => Self::ArrowFile,
            FormatName::Arrow => Self::ArrowStream,
            FormatName::Auto => Self::recognise(prefix),
        }
    }

    fn recognise(prefix: &[u8]) -> Self {
        if prefix.starts_with(b"PAR1") {
            return Self::Parquet;
        }
        if prefix.starts_with(b"ARROW1") {
            return Self::ArrowFile;
        }
        if prefix.starts_with(&[0xff, 0xff, 0xff, 0xff]) {
            return Self::ArrowStream;
        }
        let text = prefix.strip_prefix(b"\xef\xbb\xbf").unwrap_or(prefix);
        match text.trim_ascii_start().first() {
            Some(b'[') => Self::Json,
            Some(b'{') | None => Self::Ndjson,
            Some(_) => Self::Csv,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_recognised_by_its_first_bytes() {
        for (prefix, content) in [
            (&b"PAR1...."[..], Content::Parquet),
            (b"ARROW1\0\0", Content::ArrowFile),
            (&[0xff, 0xff, 0xff, 0xff, 1], Content::ArrowStream),
            (b"\xef\xbb\xbf {\"a\":1}", Content::Ndjson),
            (b"\n\n[{}]", Content::Json),
            (b"a,b\n1,2\n", Content::Csv),
            (b"", Content::Ndjson),
        ] {
            assert_eq!(Content::of(FormatName::Auto, prefix), content, "{prefix:?}");
        }
        assert_eq!(Content::of(FormatName::Csv, b"{"), Content::Csv);
    }
}
