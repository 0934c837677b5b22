//! What the fuzz targets check.

use forebay_framing::{Cut, CutKind, Framer, Framing, Targets, elements, rows};

/// Frames `data` in one piece and in pieces, and panics unless both give the same cuts, with as many records as a
/// decoder finds in them. The first bytes of `data` choose the targets and the length of the pieces.
pub fn check(framing: &Framing, data: &[u8]) {
    let Some(([records, bytes, limit, piece], input)) = data.split_first_chunk() else {
        return;
    };
    let or_none = |byte: u8| if byte == u8::MAX { u64::MAX } else { u64::from(byte) };
    let targets = Targets { records: or_none(*records), bytes: or_none(*bytes), record_limit: or_none(*limit) };
    let whole = cuts(framing, targets, &[input]);
    let pieces: Vec<&[u8]> = input.chunks(usize::from(*piece).max(1)).collect();
    assert_eq!(whole, cuts(framing, targets, &pieces));
    let mut next = 0;
    for cut in &whole {
        assert_eq!(cut.first_record, next);
        assert!(cut.records > 0 && cut.start <= cut.end && cut.end <= input.len() as u64);
        next += cut.records;
        // The rows of a slice with a byte order mark are not what the decoder would see.
        if cut.kind == CutKind::Chunk && !(cut.start == 0 && input.starts_with(b"\xEF\xBB\xBF")) {
            let slice = &input[cut.start as usize..cut.end as usize];
            let found = match *framing {
                Framing::Lines => slice.split_inclusive(|byte| *byte == b'\n').count(),
                Framing::Csv { delimiter, quote } => rows(slice, delimiter, quote).count(),
                Framing::JsonArray => elements(slice).count(),
            };
            assert_eq!(found as u64, cut.records);
        }
    }
}

fn cuts(framing: &Framing, targets: Targets, frames: &[&[u8]]) -> Vec<Cut> {
    let mut framer = Framer::new(framing.clone(), targets);
    let mut cuts = Vec::new();
    for frame in frames {
        framer.push(frame, &mut cuts);
    }
    framer.finish(&mut cuts);
    cuts
}
