//! Deaths on order, for tests of what happens after them. Built with the feature `faults` only.

/// Aborts the process when the record that the environment names is among those decoded, as a bug in a decoder or a
/// library would.
pub(crate) fn abort_at_record(first: u64, records: u64) {
    let wanted = std::env::var("FOREBAY_FAULT_ABORT_AT_RECORD").ok().and_then(|text| text.parse::<u64>().ok());
    if wanted.is_some_and(|record| (first..first + records).contains(&record)) {
        std::process::abort();
    }
}

/// Panics instead.
pub(crate) fn panic_at_record(first: u64, records: u64) {
    let wanted = std::env::var("FOREBAY_FAULT_PANIC_AT_RECORD").ok().and_then(|text| text.parse::<u64>().ok());
    assert!(!wanted.is_some_and(|record| (first..first + records).contains(&record)), "a panic on order");
}
