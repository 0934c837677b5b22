//! Keeps the allocator from hoarding. jemalloc returns freed pages after a while; a busy job frees gigabytes a second,
//! so that its pages on the way back would be a large and random part of resident memory. Over a threshold they go
//! back at once: what is resident then follows the budget's ledger, however long the job is.

use std::time::Duration;

use forebay_budget::memory::resident;
use tikv_jemalloc_ctl::{Access, AsName};

/// How often resident memory is looked at when it is near the threshold. A look costs some ten microseconds.
const TICK: Duration = Duration::from_millis(4);

/// How often at least.
const LONGEST_TICK: Duration = Duration::from_millis(32);

/// Bytes that a process may come to hold in a millisecond: a gigabyte a second.
const GROWTH: u64 = 1 << 20;

/// Resident memory from which on the pages of one job's process go back at once, in percent of the budget: a little
/// above what a job that has reached its pace holds. Lower costs time, higher makes long jobs larger than short ones.
pub(crate) const OF_A_JOB: u64 = 58;

/// The same of a service, which is there for many jobs: it may come near to its budget, and a storage writer, whose
/// rows wait for their groups, does.
pub(crate) const OF_A_SERVICE: u64 = 80;

/// Where more than that is in use, pages go back whenever this part of the budget has come on top.
const STEP: u64 = 64;

/// Starts to watch the process, for its life. `budget` is in bytes, `percent` of it the threshold.
pub(crate) fn start(budget: u64, percent: u64) {
    let (threshold, step) = (budget / 100 * percent, budget / STEP);
    let watch = move || {
        let mut trigger = threshold;
        loop {
            let now = resident();
            if now > trigger {
                purge();
                trigger = threshold.max(resident() + step);
            } else {
                trigger = threshold.max(trigger.min(now + step));
            }
            let left = Duration::from_millis(trigger.saturating_sub(now) / GROWTH);
            std::thread::sleep(left.clamp(TICK, LONGEST_TICK));
        }
    };
    // Without it the job is only less thrifty.
    drop(std::thread::Builder::new().name("trim".to_owned()).stack_size(64 << 10).spawn(watch));
}

/// Returns every page that no allocation uses. A decay of zero does that; then the usual one is set again.
fn purge() {
    let arenas: u32 = b"arenas.narenas\0"[..].name().read().unwrap_or_default();
    for arena in 0..arenas {
        let name = format!("arena.{arena}.dirty_decay_ms\0");
        let decay = name.as_bytes().name();
        // An arena that is not in use yet has no pages to return.
        if let Ok(usual) = decay.update(0_isize) {
            let _unused = decay.write(usual).is_err();
        }
    }
}
