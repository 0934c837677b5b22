use forebay_catalog::{Claim, NewChunk};
use forebay_decode::Dialect;
use forebay_framing::{CutKind, Framer, Framing, Targets};
use forebay_objects::checksum;
use forebay_recipe::CsvSpec;
use forebay_types::ChunkSource;

use crate::context::{InputContext, JobContext};
use crate::failure::Failure;
use crate::source::{ChunkReader, Window};

/// The two halves of a chunk that killed its worker, or none if it can't be halved. Its records are counted, not
/// decoded.
pub(crate) async fn halves_of(
    claim: &Claim,
    job: &JobContext,
    input: &InputContext,
) -> Result<Option<[NewChunk; 2]>, Failure> {
    if claim.records < 2 {
        return Ok(None);
    }
    let middle = claim.records / 2;
    match &claim.source {
        ChunkSource::Reject { .. } => Ok(None),
        ChunkSource::Rows { start, end } => {
            let split = start + (end - start) / 2;
            let part = |start: u64, end: u64| NewChunk {
                input: claim.input,
                source: ChunkSource::Rows { start, end },
                first_record: start,
                records: end - start,
                checksum: None,
                bytes: claim.bytes * (end - start) / claim.records.max(1),
            };
            Ok(Some([part(*start, split), part(split, *end)]))
        }
        ChunkSource::Range { .. } | ChunkSource::Staged { .. } => {
            let mut reader = ChunkReader::open(claim, &input.identity, &job.staging).await?;
            let mut bytes = Window::default();
            while reader.read(&mut bytes).await? {}
            let dialect = input.dialect.as_ref();
            Ok(halves(claim, bytes.bytes(), dialect, &job.prepared.recipe.source.csv, middle))
        }
    }
}

/// Cuts a chunk's bytes behind its record `middle`.
fn halves(claim: &Claim, bytes: &[u8], dialect: Option<&Dialect>, csv: &CsvSpec, middle: u64) -> Option<[NewChunk; 2]> {
    let framing = match dialect? {
        Dialect::Lines => Framing::Lines,
        Dialect::JsonArray => Framing::JsonArray,
        Dialect::Csv(_) => Framing::Csv { delimiter: csv.delimiter as u8, quote: csv.quote as u8 },
    };
    let (ChunkSource::Range { start, .. } | ChunkSource::Staged { start, .. }) = claim.source else { return None };
    let targets = Targets { records: middle, bytes: u64::MAX, record_limit: u64::MAX };
    let mut framer = Framer::resume(framing, targets, start, claim.first_record);
    let mut cuts = Vec::new();
    framer.push(bytes, &mut cuts);
    framer.finish(&mut cuts);
    let cuts: Vec<_> = cuts.into_iter().filter(|cut| cut.kind == CutKind::Chunk).collect();
    let (first, second) = (cuts.first()?, cuts.get(1)?);
    let end = cuts.last()?.end;
    let part = |from: u64, to: u64, first_record: u64, records: u64| {
        let source = match &claim.source {
            ChunkSource::Staged { key, start, skip, .. } => {
                ChunkSource::Staged { key: key.clone(), start: from, end: to, skip: skip + (from - start) }
            }
            _ => ChunkSource::Range { start: from, end: to },
        };
        let slice = &bytes[(from - start) as usize..(to - start) as usize];
        NewChunk {
            input: claim.input,
            source,
            first_record,
            records,
            checksum: Some(checksum(slice)),
            bytes: to - from,
        }
    };
    let rest: u64 = claim.records - first.records;
    Some([
        part(first.start, first.end, first.first_record, first.records),
        part(second.start, end, second.first_record, rest),
    ])
}
