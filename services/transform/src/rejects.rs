use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use forebay_lake::rejects_schema;
use forebay_types::Reject;

/// Rejects as rows.
pub(crate) fn rejects_batch(job: &str, input: &str, rejects: &[Reject]) -> Result<RecordBatch, ArrowError> {
    let rows = rejects.len();
    let texts = |value: &dyn Fn(&Reject) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rejects.iter().map(value)))
    };
    let numbers = |value: &dyn Fn(&Reject) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(rejects.iter().map(|reject| value(reject) as i64)))
    };
    let raw = BinaryArray::from_iter(rejects.iter().map(|reject| reject.raw.as_deref()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(std::iter::repeat_n(job, rows))),
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
