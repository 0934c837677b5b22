use std::time::Duration;

/// Tries at what a store may fail at for a moment, beyond those of a single request.
pub(crate) const TRIES: u32 = 5;

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);

/// How long to wait after try number `attempt`, from 1: up to twice as long each time, at most 5 s. A part of it is
/// chance, so that those who were refused together do not come back together.
pub fn backoff(attempt: u32) -> Duration {
    let most = FIRST.saturating_mul(1 << attempt.min(10)).min(LONGEST);
    most.mul_f64(0.5 + forebay_runtime::chance() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_a_bound_and_differ() {
        for (attempt, most) in [(1, 100), (2, 200), (5, 1_600), (7, 5_000), (u32::MAX, 5_000)] {
            let waits: Vec<_> = (0..20).map(|_| backoff(attempt)).collect();
            let most = Duration::from_millis(most);
            assert!(waits.iter().all(|wait| *wait >= most / 2 && *wait <= most), "{attempt}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "{attempt}: {waits:?}");
        }
    }
}
