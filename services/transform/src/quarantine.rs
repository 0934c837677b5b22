use forebay_decode::Dialect;
use forebay_framing::{Framer, Framing, Targets};
use forebay_types::{ChunkSource, Reason, Reject};

use crate::failure::Failure;
use crate::process::Attempt;
use crate::source::{ChunkReader, Window};

const MESSAGE: &str = "the chunk that holds this record killed its worker three times";

/// Turns every record of a chunk into a reject, without running what it died of: its records are only found, not
/// decoded.
pub(crate) async fn reject_all(attempt: &mut Attempt) -> Result<(), Failure> {
    if let ChunkSource::Rows { start, end } = attempt.claim.source {
        for row in start..end {
            send(attempt, row + 1, row, 0).await?;
        }
        return Ok(());
    }
    let (ChunkSource::Range { start, .. } | ChunkSource::Staged { start, .. } | ChunkSource::Reject { start, .. }) =
        attempt.claim.source
    else {
        return Ok(());
    };
    let mut reader = ChunkReader::open(&attempt.claim, &attempt.input.identity, &attempt.job.staging).await?;
    let framing = framing(attempt.input.dialect.as_ref(), attempt);
    let mut framer = Framer::resume(framing, one_by_one(), start, attempt.claim.first_record);
    let mut cuts = Vec::new();
    let mut window = Window::default();
    loop {
        let more = reader.read(&mut window).await?;
        if more {
            framer.push(window.bytes(), &mut cuts);
        } else {
            framer.finish(&mut cuts);
        }
        window.clear();
        for cut in cuts.drain(..) {
            send(attempt, cut.first_record + 1, cut.start, cut.end - cut.start).await?;
        }
        if !more {
            return Ok(());
        }
    }
}

async fn send(attempt: &mut Attempt, record: u64, offset: u64, length: u64) -> Result<(), Failure> {
    attempt.outcome.records_in += 1;
    let reject = Reject {
        reason: Reason::Quarantined,
        path: String::new(),
        message: MESSAGE.to_owned(),
        record,
        offset,
        length,
        raw: None,
    };
    attempt.send_rejects(&[reject]).await
}

/// Targets that make every record a cut of its own.
pub(crate) fn one_by_one() -> Targets {
    Targets { records: 1, bytes: u64::MAX, record_limit: u64::MAX }
}

fn framing(dialect: Option<&Dialect>, attempt: &Attempt) -> Framing {
    match dialect {
        Some(Dialect::Csv(_)) => {
            let csv = &attempt.job.prepared.recipe.source.csv;
            Framing::Csv { delimiter: csv.delimiter as u8, quote: csv.quote as u8 }
        }
        Some(Dialect::JsonArray) => Framing::JsonArray,
        Some(Dialect::Lines) | None => Framing::Lines,
    }
}
