use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep_until};

use crate::call::CallError;
use crate::pace::{Pace, Turn};

/// The last calls, by which the upstream is judged.
const JUDGED: usize = 20;
/// Fewest calls that it is judged by, and the share of failures that opens the circuit.
const FEWEST: usize = 8;
const SICK: f64 = 0.8;

/// First time that a circuit stays open; it doubles with each probe that fails, up to [`LONGEST_OPEN`].
const FIRST_OPEN: Duration = Duration::from_millis(500);
const LONGEST_OPEN: Duration = Duration::from_secs(15);

/// First wait after a failed call; it doubles up to [`LONGEST_BACKOFF`].
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LONGEST_BACKOFF: Duration = Duration::from_secs(5);

/// Wait after a 429 that names none.
const LIMITED: Duration = Duration::from_secs(1);

/// Repeats that may be made: so many at first, one more with each call that succeeds, never more than the last.
const BUDGET: (f64, f64) = (20.0, 100.0);

/// The way to one upstream for those who ask it in the same manner: how many at a time, and whether at all.
#[derive(Debug)]
pub(crate) struct Gate {
    concurrency: Arc<Semaphore>,
    health: Mutex<Health>,
    changed: Notify,
}

#[derive(Debug)]
struct Health {
    /// Whether the last calls succeeded.
    recent: VecDeque<bool>,
    open: Option<Open>,
    repeats: f64,
}

/// An open circuit.
#[derive(Debug)]
struct Open {
    since: Instant,
    /// When one call may try.
    probe: Instant,
    wait: Duration,
    probing: bool,
}

/// The circuit is open, and the caller has waited long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CircuitOpen;

/// One call that may be made. Dropped without a verdict, it was cancelled.
#[derive(Debug)]
pub(crate) struct Pass {
    gate: Arc<Gate>,
    /// The pace of everybody who asks there.
    pace: Arc<Pace>,
    probe: bool,
    judged: bool,
    _turns: Vec<Turn>,
    _permit: OwnedSemaphorePermit,
}

impl Gate {
    pub(crate) fn new(concurrency: usize) -> Arc<Self> {
        let health = Health { recent: VecDeque::new(), open: None, repeats: BUDGET.0 };
        Arc::new(Self {
            concurrency: Arc::new(Semaphore::new(concurrency)),
            health: Mutex::new(health),
            changed: Notify::new(),
        })
    }

    /// Waits until a call may be made at all these paces, of which the last is everybody's. While the circuit is open,
    /// it waits until that has lasted for `patience`.
    pub(crate) async fn enter(self: &Arc<Self>, paces: &[Arc<Pace>], patience: Duration) -> Result<Pass, CircuitOpen> {
        let Some(pace) = paces.last() else { return Err(CircuitOpen) };
        loop {
            self.admitted(patience).await?;
            // The semaphore is never closed.
            let Ok(permit) = Arc::clone(&self.concurrency).acquire_owned().await else { return Err(CircuitOpen) };
            let mut turns = Vec::with_capacity(paces.len());
            for pace in paces {
                turns.push(pace.turn().await);
            }
            // Much may have happened meanwhile.
            if let Some(probe) = self.admit() {
                turns.iter().for_each(Turn::sent);
                let (gate, pace) = (Arc::clone(self), Arc::clone(pace));
                return Ok(Pass { gate, pace, probe, judged: false, _turns: turns, _permit: permit });
            }
        }
    }

    /// Waits until the circuit lets a call through.
    async fn admitted(&self, patience: Duration) -> Result<(), CircuitOpen> {
        loop {
            let changed = self.changed.notified();
            let until = {
                let health = self.health();
                let now = Instant::now();
                match &health.open {
                    Some(open) if now.duration_since(open.since) >= patience && open.probe > now => {
                        return Err(CircuitOpen);
                    }
                    Some(open) if open.probing => Some(now + LONGEST_OPEN.min(patience.max(FIRST_OPEN))),
                    Some(open) => Some(open.probe).filter(|probe| *probe > now),
                    None => None,
                }
            };
            let Some(until) = until else { return Ok(()) };
            tokio::select! {
                () = sleep_until(until) => {}
                () = changed => {}
            }
        }
    }

    /// Lets a call through now, if it may; says whether it is the probe of an open circuit.
    fn admit(&self) -> Option<bool> {
        let mut health = self.health();
        let now = Instant::now();
        match &mut health.open {
            None => Some(false),
            Some(open) if open.probing || open.probe > now => None,
            Some(open) => {
                open.probing = true;
                Some(true)
            }
        }
    }

    /// How long to wait before a call is made again for the n-th time; none if too many are repeated already.
    pub(crate) fn repeat(&self, n: u32) -> Option<Duration> {
        let mut health = self.health();
        if health.repeats < 1.0 {
            return None;
        }
        health.repeats -= 1.0;
        Some(jittered(FIRST_BACKOFF.saturating_mul(1 << n.min(10)).min(LONGEST_BACKOFF)))
    }

    #[cfg(test)]
    fn is_open(&self) -> bool {
        self.health().open.is_some()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between half of a time and all of it, so that replicas do not come together.
pub(crate) fn jittered(time: Duration) -> Duration {
    // Any bits that differ from process to process and from call to call will do.
    let bits = uuid::Uuid::new_v4().as_u128() as u32;
    time.mul_f64(0.5 + f64::from(bits) / f64::from(u32::MAX) / 2.0)
}

impl Health {
    fn judge(&mut self, success: bool, probe: bool) {
        if self.recent.len() >= JUDGED {
            self.recent.pop_front();
        }
        self.recent.push_back(success);
        let now = Instant::now();
        if success {
            self.repeats = (self.repeats + 1.0).min(BUDGET.1);
            if self.open.take().is_some() {
                self.recent.clear();
                tracing::info!("the upstream answers again");
            }
            return;
        }
        match &mut self.open {
            Some(open) if probe => {
                open.wait = (open.wait * 2).min(LONGEST_OPEN);
                open.probe = now + jittered(open.wait);
                open.probing = false;
            }
            // It was under way when the circuit opened.
            Some(_) => {}
            None => {
                let failed = self.recent.iter().filter(|success| !**success).count();
                if self.recent.len() >= FEWEST && failed as f64 >= SICK * self.recent.len() as f64 {
                    let probe = now + jittered(FIRST_OPEN);
                    self.open = Some(Open { since: now, probe, wait: FIRST_OPEN, probing: false });
                    tracing::warn!("the upstream is out of order: calls wait");
                }
            }
        }
    }
}

impl Pass {
    /// Tells the gate how the call went. True if a failure counts against the key: not while the upstream is out of
    /// order, which is no fault of the key's.
    pub(crate) fn judge(mut self, error: Option<&CallError>) -> bool {
        self.judged = true;
        let mut health = self.gate.health();
        let counts = match error {
            None | Some(CallError::Refused(_) | CallError::NotFound) => {
                health.judge(true, self.probe);
                self.pace.answered();
                true
            }
            Some(CallError::Limited { retry_after }) => {
                // It answers, so it is well; but a probe that was turned away has proved nothing.
                if self.probe
                    && let Some(open) = &mut health.open
                {
                    open.probing = false;
                }
                self.pace.pause(retry_after.unwrap_or_else(|| jittered(LIMITED * 2)));
                self.pace.slower();
                false
            }
            Some(CallError::Unavailable(_)) => {
                health.judge(false, self.probe);
                !self.probe
            }
        };
        drop(health);
        self.gate.changed.notify_waiters();
        counts
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.probe && !self.judged {
            if let Some(open) = &mut self.gate.health().open {
                open.probing = false;
            }
            self.gate.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::pace::{ARRIVAL, REST, Share};

    /// A gate, with a pace of its own.
    struct Way(Arc<Gate>, [Arc<Pace>; 1]);

    impl Way {
        async fn enter(&self, patience: Duration) -> Result<Pass, CircuitOpen> {
            self.0.enter(&self.1, patience).await
        }
    }

    fn gate() -> Way {
        Way(Gate::new(5), [Pace::new(Share::whole(10_000.0), Duration::ZERO)])
    }

    async fn call(gate: &Way, error: Option<CallError>) {
        gate.enter(Duration::from_secs(60)).await.unwrap().judge(error.as_ref());
    }

    async fn open(gate: &Way) {
        for _ in 0..FEWEST {
            call(gate, Some(CallError::unavailable("down"))).await;
        }
        assert!(gate.0.is_open());
    }

    #[tokio::test]
    async fn a_circuit_opens_when_most_fail_and_a_probe_closes_it() {
        let gate = gate();
        open(&gate).await;
        assert_eq!(gate.enter(Duration::ZERO).await.unwrap_err(), CircuitOpen);
        let probe = gate.enter(Duration::from_secs(60)).await.unwrap();
        assert!(probe.probe);
        probe.judge(None);
        assert!(!gate.0.is_open());
        call(&gate, None).await;
    }

    #[tokio::test]
    async fn a_probe_that_is_dropped_leaves_its_place_to_another() {
        let gate = gate();
        open(&gate).await;
        drop(gate.enter(Duration::from_secs(60)).await.unwrap());
        assert!(gate.enter(Duration::from_secs(60)).await.unwrap().probe);
    }

    #[tokio::test]
    async fn some_failures_open_nothing() {
        let gate = gate();
        for n in 0..100 {
            call(&gate, (n % 2 == 0).then(|| CallError::unavailable("now and then"))).await;
        }
        assert!(!gate.0.is_open());
    }

    #[tokio::test]
    async fn a_limit_is_waited_out() {
        let gate = gate();
        let started = Instant::now();
        call(&gate, Some(CallError::Limited { retry_after: Some(Duration::from_millis(300)) })).await;
        call(&gate, None).await;
        assert!(started.elapsed() >= Duration::from_millis(300) && !gate.0.is_open());
    }

    #[tokio::test]
    async fn a_turn_of_the_first_pace_is_not_given_away_while_the_second_is_waited_for() {
        let own = Pace::new(Share::whole(2.0), Duration::ZERO);
        let everybodys = Pace::new(Share::whole(10_000.0), Duration::ZERO);
        everybodys.pause(ARRIVAL + REST * 2);
        let (paces, gate, started) = ([own, everybodys], Gate::new(10), Instant::now());
        let calls = (0..3).map(|_| gate.enter(&paces, Duration::ZERO).map(|pass| (pass.is_ok(), started.elapsed())));
        let calls = futures::future::join_all(calls).await;
        let (early, late): (Vec<_>, Vec<_>) =
            calls.into_iter().partition(|(_, time)| *time < ARRIVAL + REST * 2 + REST / 2);
        assert_eq!((early.len(), late.len()), (2, 1), "{early:?} {late:?}");
    }

    #[tokio::test]
    async fn repeats_have_a_budget() {
        let gate = gate();
        let repeats = (0..1000).take_while(|_| gate.0.repeat(0).is_some()).count();
        assert_eq!(repeats, BUDGET.0 as usize);
        call(&gate, None).await;
        assert!(gate.0.repeat(9).is_some_and(|wait| wait <= LONGEST_BACKOFF) && gate.0.repeat(0).is_none());
    }
}
