use std::collections::BTreeMap;

use arrow_array::{Array, RecordBatch};

/// Bytes that a batch keeps alive: slices count with the whole, and an allocation that columns share, as those of a
/// batch that came in one message do, counts once.
pub fn allocated_bytes(batch: &RecordBatch) -> u64 {
    let mut allocations = BTreeMap::new();
    let mut left: Vec<_> = batch.columns().iter().map(|column| column.to_data()).collect();
    while let Some(data) = left.pop() {
        let nulls = data.nulls().map(|nulls| nulls.buffer());
        for buffer in data.buffers().iter().chain(nulls) {
            allocations.insert(buffer.data_ptr(), buffer.capacity());
        }
        left.extend(data.child_data().iter().cloned());
    }
    allocations.values().sum::<usize>() as u64
}
