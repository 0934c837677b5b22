use std::sync::{Arc, LazyLock, Weak};
use std::time::Duration;

use redis::Script;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::Link;
use crate::pace::{ARRIVAL, Pace, REST, Share};

/// How long a share is a replica's own without a sign of life, and how often one is given.
const LEASE: Duration = Duration::from_secs(3);
const RENEWAL: Duration = Duration::from_millis(800);
/// How often a replica that wants nothing looks whether it does.
const IDLE: Duration = Duration::from_millis(50);
/// A share is kept for a while after the last request: another key is likely to come.
const LINGER: Duration = Duration::from_secs(2);

/// How long after a lease's end its last request may still count at the upstream.
const GRACE: Duration = ARRIVAL.saturating_add(REST);

/// Replicas that the rate is divided by while nobody can divide it.
const REPLICAS: f64 = 8.0;

static SHARE: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("lua/lease.lua")));

/// Keeps this replica's share of a rate, as long as its pace is used. While Redis is away, the share ends with its
/// lease; when everybody's must have ended, an eighth of the rate is gone on with, until Redis is back.
pub(crate) async fn keep_share(link: Arc<Link>, name: String, pace: Weak<Pace>, limit: watch::Receiver<f64>) {
    let key = format!("forebay:pace:{name}");
    let me = uuid::Uuid::new_v4().simple().to_string();
    let (mut used, mut away, mut held) = (Instant::now(), None, false);
    loop {
        let Some(pace) = pace.upgrade() else { return };
        let now = Instant::now();
        if pace.is_wanted() {
            used = now;
        }
        let wanted = now.duration_since(used) < LINGER;
        if !wanted && !held {
            drop(pace);
            sleep(IDLE).await;
            continue;
        }
        let rate = *limit.borrow();
        let (slots, rest) = slots_of(rate);
        let mut share = SHARE.key(&key);
        share.arg(&me).arg(slots).arg(LEASE.as_millis() as u64).arg(GRACE.as_millis() as u64);
        share.arg(u8::from(wanted)).arg(pace.resting());
        let answer: Result<(usize, u64), _> = link.script(&share).await;
        let wait = match answer {
            Ok((slots, ready)) => {
                away = None;
                held = wanted || pace.resting() > 0;
                // The lease began at the latest when it was asked for.
                pace.set_share(Share { slots, rest, until: Some(now + LEASE) });
                if ready > 0 { Duration::from_millis(ready).min(RENEWAL) } else { RENEWAL }
            }
            Err(error) => {
                let since = *away.get_or_insert_with(|| {
                    tracing::warn!(%error, upstream = name, "the pace can't be shared: slowing down");
                    now
                });
                if now.duration_since(since) > LEASE + GRACE {
                    pace.set_share(alone(rate));
                }
                RENEWAL
            }
        };
        drop(pace);
        sleep(wait).await;
    }
}

/// The slots of a rate, and how long each rests.
fn slots_of(rate: f64) -> (usize, Duration) {
    let whole = Share::whole(rate);
    (whole.slots, whole.rest)
}

/// What a replica may do that knows nothing of the others.
fn alone(rate: f64) -> Share {
    Share { until: Some(Instant::now() + RENEWAL * 3), ..Share::whole(rate / REPLICAS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eight_replicas_alone_do_not_exceed_the_rate() {
        for rate in [0.5, 1.0, 4.0, 5.0, 20.0, 1000.0] {
            let share = alone(rate);
            let each = share.slots as f64 / share.rest.as_secs_f64();
            assert!(each * REPLICAS <= rate * 1.001, "{rate}: {each}");
        }
    }
}
