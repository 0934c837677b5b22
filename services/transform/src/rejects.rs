use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use forebay_lake::rejects_schema;
use forebay_types::Reject;

use crate::context::JobContext;

/// Rejects as rows. The records themselves are kept as they came, unless the recipe protects them: then encrypted,
/// or, where there is no key, not at all.
pub(crate) fn rejects_batch(job: &JobContext, input: &str, rejects: &[Reject]) -> Result<RecordBatch, ArrowError> {
    let rows = rejects.len();
    let texts = |value: &dyn Fn(&Reject) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rejects.iter().map(value)))
    };
    let numbers = |value: &dyn Fn(&Reject) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rejects.iter().map(|reject| value(reject) as i64)))
    };
    let raw = if job.prepared.is_protected() {
        BinaryArray::from_iter(rejects.iter().map(|reject| sealed(job, input, reject)))
    } else {
        BinaryArray::from_iter(rejects.iter().map(|reject| reject.raw.as_deref()))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(&job.key, rows))),
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(input, rows))),
        numbers(&|reject| reject.record),
        numbers(&|reject| reject.offset),
        numbers(&|reject| reject.length),
        texts(&|reject| reject.reason.code().to_owned()),
        texts(&|reject| reject.path.clone()),
        texts(&|reject| reject.message.clone()),
        Arc::new(raw),
    ];
    RecordBatch::try_new(rejects_schema(), columns)
}

fn sealed(job: &JobContext, input: &str, reject: &Reject) -> Option<Vec<u8>> {
    let (raw, ring) = (reject.raw.as_deref()?, job.keys.sealing().ok()?);
    ring.seal(&forebay_seal::reject(&job.key, input, reject.record), raw).ok()
}
