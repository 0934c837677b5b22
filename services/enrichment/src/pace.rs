use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Time that a slot rests after its request: a second, and what clocks differ.
pub(crate) const REST: Duration = Duration::from_millis(1020);

/// Within this time after it was sent a request has arrived, or has failed. One that ends sooner had arrived by then.
pub(crate) const ARRIVAL: Duration = Duration::from_secs(1);

/// How long a slot is kept for a request that is not sent yet: longer than anybody waits for what else it needs.
const KEPT: Duration = Duration::from_secs(86_400);

/// How much governor lets through at once, as time: less than a timer's precision would be lost between two wake-ups.
const BURST: f64 = 0.005;

/// How far the rate falls when the upstream says that it is too much, and how far below the limit it may fall.
const FALL: f64 = 0.7;
const LOWEST: f64 = 0.05;
/// How much of the limit comes back with an answer.
const RISE: f64 = 0.05;
/// Least time between two changes: answers to what was sent before say nothing about the new rate.
const STEADY: Duration = Duration::from_secs(1);

/// What this process may do of what all replicas may.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Share {
    /// Requests in any time of `rest`.
    pub(crate) slots: usize,
    pub(crate) rest: Duration,
    /// When it ends, if nobody renews it.
    pub(crate) until: Option<Instant>,
}

impl Share {
    /// All of a rate, for a process that is alone.
    pub(crate) fn whole(rate: f64) -> Self {
        Self { slots: (rate.floor() as usize).max(1), rest: REST.max(Duration::from_secs_f64(1.0 / rate)), until: None }
    }

    /// Nothing.
    pub(crate) const NONE: Self = Self { slots: 0, rest: REST, until: None };
}

/// When requests may be sent. Two things say so together:
///
/// - **slots**: each serves one request, and rests for a second from when that request has arrived, which is at the
///   latest when it ends. So no second sees more requests arrive than there are slots, however they are delayed on the
///   way; and since replicas divide the slots, that holds over all of them.
/// - **governor**, which spreads requests over the second, and goes slower than the limit while the upstream says so.
#[derive(Debug)]
pub(crate) struct Pace {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    share: Share,
    /// When each slot is free. Slots beyond the share stay, with what they rest.
    slots: Vec<Instant>,
    /// The slot after the last that was taken.
    next: usize,
    /// Nothing is free before: a process that died a moment ago may have sent requests.
    begin: Instant,
    /// The upstream wants to hear of nobody before.
    paused: Option<Instant>,
    governor: DefaultDirectRateLimiter,
    /// What the upstream lets us have of the share.
    factor: f64,
    learnt: Option<Instant>,
    waiting: usize,
}

/// One request's turn. Its slot is nobody else's until the request is [`sent`](Self::sent), and rests from when that has
/// arrived, or the turn is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    pace: Arc<Pace>,
    slot: usize,
}

impl Pace {
    /// A pace that begins after `quiet`.
    pub(crate) fn new(share: Share, quiet: Duration) -> Arc<Self> {
        let state = State {
            share,
            slots: Vec::new(),
            next: 0,
            begin: Instant::now() + quiet,
            paused: None,
            governor: governor(share, 1.0),
            factor: 1.0,
            learnt: None,
            waiting: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    /// Waits until a request may be sent.
    pub(crate) async fn turn(self: &Arc<Self>) -> Turn {
        let _waiting = Waiting::new(self);
        loop {
            // Registered before the look, so that no change is missed in between.
            let changed = self.changed.notified();
            match self.take() {
                Ok(slot) => return Turn { pace: Arc::clone(self), slot },
                Err(Some(until)) => {
                    tokio::select! {
                        () = sleep_until(until) => {}
                        () = changed => {}
                    }
                }
                Err(None) => changed.await,
            }
        }
    }

    /// Takes the slot that has rested longest, or says when to look again.
    fn take(&self) -> Result<usize, Option<Instant>> {
        let mut state = self.state();
        let now = Instant::now();
        if state.begin > now {
            return Err(Some(state.begin));
        }
        if let Some(until) = state.paused.filter(|until| *until > now) {
            return Err(Some(until));
        }
        // What a request needs to arrive must be over when the share is somebody else's.
        if state.share.until.is_some_and(|until| until <= now) {
            return Err(None);
        }
        let usable = state.share.slots;
        if state.slots.len() < usable {
            state.slots.resize(usable, now);
        }
        if usable == 0 {
            return Err(None);
        }
        // The one after the last that was taken has rested longest, unless requests took very different times.
        let next = (state.next % usable, state.slots[state.next % usable]);
        let rested = || state.slots.iter().copied().enumerate().take(usable).min_by_key(|(_, free)| *free);
        let (slot, free) = if next.1 <= now { next } else { rested().unwrap_or(next) };
        if free > now {
            return Err(Some(free));
        }
        if let Err(early) = state.governor.check() {
            return Err(Some(now + early.wait_time_from(DefaultClock::default().now())));
        }
        state.slots[slot] = now + KEPT;
        state.next = slot + 1;
        Ok(slot)
    }

    /// Changes what this process may do.
    pub(crate) fn set_share(&self, share: Share) {
        let mut state = self.state();
        let faster = state.share.slots != share.slots || state.share.rest != share.rest;
        state.share = share;
        if faster {
            state.governor = governor(share, state.factor);
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// The upstream says that it is too much.
    pub(crate) fn slower(&self) {
        self.state().learn(|factor| (factor * FALL).max(LOWEST));
    }

    /// Gives no turns for a time.
    pub(crate) fn pause(&self, time: Duration) {
        let mut state = self.state();
        let until = Instant::now() + time;
        state.paused = Some(state.paused.map_or(until, |paused| paused.max(until)));
    }

    /// The upstream answered: back towards the limit, little by little.
    pub(crate) fn answered(&self) {
        let mut state = self.state();
        if state.factor < 1.0 {
            state.learn(|factor| (factor + RISE).min(1.0));
        }
    }

    /// Slots whose requests are to be sent, may arrive, or have arrived within the last second.
    pub(crate) fn resting(&self) -> usize {
        let now = Instant::now();
        self.state().slots.iter().filter(|free| **free > now).count()
    }

    /// True if a new pace in its place would send nothing earlier: no slot is in use or rests, and there is no pause.
    pub(crate) fn is_forgettable(&self) -> bool {
        self.resting() == 0 && self.state().paused.is_none_or(|until| until <= Instant::now())
    }

    /// True if somebody waits for a turn.
    pub(crate) fn is_wanted(&self) -> bool {
        self.state().waiting > 0
    }

    /// Requests a second, as things are.
    pub(crate) fn rate(&self) -> f64 {
        let state = self.state();
        state.share.slots as f64 / state.share.rest.as_secs_f64() * state.factor
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn learn(&mut self, change: impl FnOnce(f64) -> f64) {
        let now = Instant::now();
        if self.learnt.is_none_or(|learnt| now.duration_since(learnt) >= STEADY) {
            self.learnt = Some(now);
            self.factor = change(self.factor);
            self.governor = governor(self.share, self.factor);
        }
    }
}

impl Turn {
    /// The request is being sent.
    pub(crate) fn sent(&self) {
        self.rest_after(ARRIVAL);
    }

    /// Lets the slot rest, if it does not by then, after what the request still needs to arrive.
    fn rest_after(&self, arrival: Duration) {
        let mut state = self.pace.state();
        let free = Instant::now() + arrival + state.share.rest;
        let slot = &mut state.slots[self.slot];
        *slot = (*slot).min(free);
        drop(state);
        self.pace.changed.notify_waiters();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.rest_after(Duration::ZERO);
    }
}

/// Somebody who waits for a turn, counted.
struct Waiting<'a>(&'a Pace);

impl<'a> Waiting<'a> {
    fn new(pace: &'a Pace) -> Self {
        pace.state().waiting += 1;
        pace.changed.notify_waiters();
        Self(pace)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.state().waiting -= 1;
    }
}

/// A limiter that spreads a share evenly.
fn governor(share: Share, factor: f64) -> DefaultDirectRateLimiter {
    let rate = (share.slots.max(1) as f64 / share.rest.as_secs_f64() * factor).max(1e-6);
    let burst = NonZeroU32::new((rate * BURST) as u32).unwrap_or(NonZeroU32::MIN);
    let period = Duration::from_secs_f64(1.0 / rate).max(Duration::from_nanos(1));
    let quota = Quota::with_period(period).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    RateLimiter::direct(quota.allow_burst(burst))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When `count` requests that take `latency` each were sent and had arrived, `concurrency` at a time.
    async fn run(pace: &Arc<Pace>, count: usize, concurrency: usize, latency: Duration) -> Vec<Instant> {
        let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
        let permits = Arc::new(tokio::sync::Semaphore::new(concurrency));
        for _ in 0..count {
            let (pace, permits, sender) = (Arc::clone(pace), Arc::clone(&permits), sender.clone());
            tokio::spawn(async move {
                let _permit = permits.acquire().await.unwrap();
                let turn = pace.turn().await;
                tokio::time::sleep(latency).await;
                sender.send(Instant::now()).unwrap();
                drop(turn);
            });
        }
        drop(sender);
        let mut arrivals = Vec::new();
        while let Some(arrival) = receiver.recv().await {
            arrivals.push(arrival);
        }
        arrivals.sort();
        arrivals
    }

    fn most_in_a_second(arrivals: &[Instant]) -> usize {
        let within = |first: &Instant| {
            arrivals.iter().filter(|at| *at >= first && **at - *first < Duration::from_secs(1)).count()
        };
        arrivals.iter().map(within).max().unwrap_or(0)
    }

    #[tokio::test]
    async fn no_second_sees_more_than_the_rate_and_it_is_nearly_reached() {
        let pace = Pace::new(Share::whole(20.0), Duration::ZERO);
        let started = Instant::now();
        let arrivals = run(&pace, 60, 5, Duration::from_millis(10)).await;
        assert!(most_in_a_second(&arrivals) <= 20);
        assert!(started.elapsed() < Duration::from_millis(4500), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn a_share_that_ended_gives_no_turns_until_it_is_renewed() {
        let ended = Share { until: Some(Instant::now()), ..Share::whole(10.0) };
        let pace = Pace::new(ended, Duration::ZERO);
        let turn = pace.turn();
        assert!(tokio::time::timeout(Duration::from_millis(50), turn).await.is_err());
        pace.set_share(Share::whole(10.0));
        assert!(tokio::time::timeout(Duration::from_millis(50), pace.turn()).await.is_ok());
    }

    #[tokio::test]
    async fn it_falls_at_once_and_rises_slowly() {
        let pace = Pace::new(Share::whole(100.0), Duration::ZERO);
        let before = pace.rate();
        pace.slower();
        pace.slower();
        let slower = pace.rate();
        assert!((0.69..0.71).contains(&(slower / before)));
        tokio::time::sleep(STEADY).await;
        pace.answered();
        assert!(pace.rate() > slower && pace.rate() < before);
    }

    #[tokio::test]
    async fn it_begins_when_it_may() {
        let pace = Pace::new(Share::whole(10.0), Duration::from_millis(200));
        let started = Instant::now();
        drop(pace.turn().await);
        assert!(started.elapsed() >= Duration::from_millis(200));
    }
}
