use forebay_catalog::NewChunk;
use forebay_framing::{BrokenArray, Cut, CutKind};
use forebay_types::{ByteSize, ChunkSource, Reason};
use xxhash_rust::xxh3::Xxh3;

/// Checksum of the chunk that is being cut, kept up as its bytes go by.
#[derive(Default)]
pub(crate) struct RunningChecksum {
    hash: Xxh3,
    /// Where the chunk begins, and up to where it is hashed.
    start: u64,
    end: u64,
}

impl RunningChecksum {
    pub(crate) fn at(offset: u64) -> Self {
        Self { hash: Xxh3::new(), start: offset, end: offset }
    }

    /// Takes the part of a frame (whose first byte is at `offset`) up to `to`.
    pub(crate) fn take(&mut self, frame: &[u8], offset: u64, to: u64) {
        if to > self.end && self.end >= offset {
            self.hash.update(&frame[(self.end - offset) as usize..(to - offset) as usize]);
            self.end = to;
        }
    }

    /// The checksum of exactly `start..end`, if that is what went by.
    pub(crate) fn finish(&mut self, start: u64, end: u64) -> Option<u128> {
        let exact = self.start == start && self.end == end;
        let digest = self.hash.digest128();
        *self = Self::at(end);
        exact.then_some(digest)
    }
}

/// The chunk of a cut. Cuts that hold no readable record become chunks that are only a reject.
pub(crate) fn chunk_of(cut: &Cut, input: u32, record_limit: ByteSize, source: ChunkSource) -> NewChunk {
    let (start, end) = (cut.start, cut.end);
    let source = match cut.kind {
        CutKind::Chunk => source,
        CutKind::Oversize => ChunkSource::Reject {
            start,
            end,
            reason: Reason::TooLarge,
            message: format!("the record has {} bytes, the limit is {record_limit}", end - start),
        },
        CutKind::Broken(broken) => {
            let (reason, message) = match broken {
                BrokenArray::NotAnArray => (Reason::NotARecord, "the input is no JSON array"),
                BrokenArray::TrailingData => (Reason::Syntax, "more text after the end of the array"),
                BrokenArray::Mismatched => (Reason::Syntax, "a bracket closes what was not opened"),
                BrokenArray::Unclosed => (Reason::Truncated, "the array is not closed: the input is cut off"),
            };
            ChunkSource::Reject { start, end, reason, message: message.to_owned() }
        }
    };
    NewChunk {
        input,
        source,
        first_record: cut.first_record,
        records: cut.records.max(1),
        checksum: None,
        bytes: end - start,
    }
}
