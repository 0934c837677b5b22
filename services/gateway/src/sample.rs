use std::sync::Arc;

use forebay_decode::{Decoder, Dialect, Position};
use forebay_recipe::Layout;

/// Bytes of a chunk that are looked at.
const SAMPLE: usize = 64 << 10;

/// Rows over all tables that a record becomes, as the first records of a chunk show. A layout of one table has one.
///
/// This is what makes chunks of about the same work: patients with three observations and patients with three
/// thousand give chunks with the same number of rows.
pub(crate) fn rows_per_record(layout: &Arc<Layout>, dialect: &Dialect, bytes: &[u8]) -> Option<f64> {
    if layout.is_flat() {
        return Some(1.0);
    }
    let mut decoder = Decoder::new(Arc::clone(layout), Position { record: 1, offset: 1 });
    let mut decoded = Vec::new();
    decoder.decode(dialect, &bytes[..bytes.len().min(SAMPLE)], false, &mut decoded).ok()?;
    decoder.finish(&mut decoded).ok()?;
    let (mut records, mut rows) = (0, 0);
    for run in &decoded {
        records += run.records - run.rejects.len() as u64;
        rows += run.batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>();
    }
    (records > 0).then(|| (rows as f64 / records as f64).max(1.0))
}
