//! Time, chance, and who is to be woken when.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use forebay_runtime::simulation::{self, Point};
use tokio::runtime::Handle;

use crate::traps::Traps;

/// Numbers by chance, the same for the same seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(crate) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn within(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    pub(crate) fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(self.within(from * 1000, to * 1000))
    }
}

/// How unfriendly a world is. Differs from seed to seed, so that each fault also comes alone.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Malice {
    /// Share of calls that fail at each point.
    pub(crate) fails: f64,
    /// Share of messages that the queue loses, repeats or delays.
    pub(crate) messages: f64,
    /// Mean time between two larger faults.
    pub(crate) between: Option<Duration>,
    /// Larger faults: which of them may happen, as bits.
    pub(crate) kinds: u64,
    /// Points, as their names begin, at which calls linger, so that much can happen meanwhile.
    pub(crate) lingers: Option<&'static str>,
}

/// How long a call lingers at most, in microseconds: about as long as a lease.
const LINGER: f64 = 2_500_000.0;

struct State {
    now: Duration,
    order: u64,
    timers: BTreeMap<(Duration, u64), (usize, Waker)>,
    random: Random,
    malice: Malice,
    /// What is away, as its points' names begin, and until when.
    away: Vec<(&'static str, Duration)>,
    traps: Traps,
    /// Whose code is running.
    current: usize,
    /// Who has something to do.
    dirty: Vec<bool>,
    trace: sum::Trace,
    events: u64,
    failed_calls: u64,
    verbose: bool,
}

mod sum {
    /// A sum over all that happened, in its order (FNV-1a).
    pub(super) struct Trace(pub(super) u64);

    impl std::hash::Hasher for Trace {
        fn finish(&self) -> u64 {
            self.0
        }

        fn write(&mut self, bytes: &[u8]) {
            for byte in bytes {
                self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        }
    }
}

/// The world of one seed. Clones are the same world.
#[derive(Clone)]
pub(crate) struct Sim {
    state: Arc<Mutex<State>>,
    background: Handle,
}

impl Sim {
    pub(crate) fn new(seed: u64, processes: usize, background: Handle, verbose: bool) -> Self {
        let state = State {
            now: Duration::ZERO,
            order: 0,
            timers: BTreeMap::new(),
            random: Random::new(seed),
            malice: Malice::default(),
            away: Vec::new(),
            traps: Traps::default(),
            current: 0,
            dirty: vec![false; processes],
            trace: sum::Trace(0xcbf2_9ce4_8422_2325),
            events: 0,
            failed_calls: 0,
            verbose,
        };
        Self { state: Arc::new(Mutex::new(state)), background }
    }

    /// Makes this world that of the current thread.
    pub(crate) fn enter(&self) {
        simulation::set(Some(Rc::new(self.clone())));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn time(&self) -> Duration {
        self.state().now
    }

    pub(crate) fn random<T>(&self, choose: impl FnOnce(&mut Random) -> T) -> T {
        choose(&mut self.state().random)
    }

    pub(crate) fn malice(&self) -> Malice {
        self.state().malice
    }

    pub(crate) fn set_malice(&self, malice: Malice) {
        let mut state = self.state();
        state.malice = malice;
        state.away.clear();
        state.traps.clear();
    }

    /// True for a share of the times, and never when the faults are over.
    pub(crate) fn unlucky(&self, share: f64) -> bool {
        let mut state = self.state();
        state.malice.between.is_some() && state.random.share() < share
    }

    /// Lets all calls fail for a while whose points' names begin so.
    pub(crate) fn take_away(&self, what: &'static str, until: Duration) {
        self.state().away.push((what, until));
    }

    /// What lies in wait for processes.
    pub(crate) fn traps<T>(&self, change: impl FnOnce(&mut Traps) -> T) -> T {
        change(&mut self.state().traps)
    }

    /// Notes that something happened.
    #[expect(clippy::print_stdout, reason = "whoever runs one seed wants to see what happens")]
    pub(crate) fn note(&self, what: &str) {
        let mut state = self.state();
        state.events += 1;
        let (now, current) = (state.now, state.current);
        state.trace.write(what.as_bytes());
        state.trace.write_u64(now.as_nanos() as u64);
        state.trace.write_usize(current);
        if state.verbose {
            println!("{:>10.3} {current} {what}", now.as_secs_f64());
        }
    }

    /// Notes that something failed. Why is no part of the trace: errors name places, and those the catalog, whose
    /// identity is another in each run.
    #[expect(clippy::print_stdout, reason = "whoever runs one seed wants to see what happens")]
    pub(crate) fn note_failure(&self, what: &str, error: &dyn std::fmt::Display) {
        self.note(what);
        if self.state().verbose {
            println!("           {error}");
        }
    }

    pub(crate) fn trace(&self) -> (u64, u64, u64) {
        let state = self.state();
        (state.trace.finish(), state.events, state.failed_calls)
    }

    /// Wakes a process, because something outside of it has changed.
    pub(crate) fn rouse(&self, process: usize) {
        self.state().dirty[process] = true;
    }

    pub(crate) fn rouse_all(&self) {
        self.state().dirty.fill(true);
    }

    /// Whose code is running.
    pub(crate) fn current(&self) -> usize {
        self.state().current
    }

    /// The next process that has something to do, of those that can.
    pub(crate) fn next_to_run(&self, can: impl Fn(usize) -> bool) -> Option<usize> {
        let dirty = self.state().dirty.clone();
        let ready: Vec<usize> = (0..dirty.len()).filter(|process| dirty[*process] && can(*process)).collect();
        let mut state = self.state();
        if ready.is_empty() {
            return None;
        }
        let chosen = ready[state.random.below(ready.len() as u64) as usize];
        state.dirty[chosen] = false;
        state.current = chosen;
        Some(chosen)
    }

    /// When the next wait ends.
    pub(crate) fn next_timer(&self) -> Option<Duration> {
        self.state().timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Moves the time on, and ends the waits that are over.
    pub(crate) fn advance(&self, to: Duration) {
        let mut due = Vec::new();
        {
            let mut state = self.state();
            state.now = state.now.max(to);
            let now = state.now;
            while let Some(entry) = state.timers.first_entry().filter(|entry| entry.key().0 <= now) {
                due.push(entry.remove());
            }
            for (process, _) in &due {
                state.dirty[*process] = true;
            }
        }
        // Not under the lock: waking may drop what wants to know the time.
        for (_, waker) in due {
            waker.wake();
        }
    }

    /// Forgets the waits of a process that is gone.
    pub(crate) fn forget(&self, process: usize) {
        let forgotten: Vec<_> = {
            let mut state = self.state();
            let keys: Vec<_> = state.timers.iter().filter(|(_, (of, _))| *of == process).map(|(key, _)| *key).collect();
            keys.iter().map(|key| state.timers.remove(key)).collect()
        };
        drop(forgotten);
    }

    /// What happens to a call at a point.
    pub(crate) fn decide(&self, what: &'static str) -> Point {
        let (fails, wait) = {
            let mut state = self.state();
            let now = state.now;
            state.away.retain(|(_, until)| *until > now);
            let is_away = state.away.iter().any(|(away, _)| what.starts_with(away));
            let (share, luck) = (state.malice.fails, state.random.share());
            let fails = what != "thread" && (is_away || luck < share);
            // Mostly quick, seldom slow.
            let (slow, length) = (state.random.share(), state.random.share());
            let lingers = state.malice.lingers.is_some_and(|point| what.starts_with(point));
            let most = match slow {
                slow if lingers && slow < 0.3 => LINGER,
                slow if slow < 0.03 => 300_000.0,
                _ => 15_000.0,
            };
            state.failed_calls += u64::from(fails);
            let current = state.current;
            state.traps.arrive(current, what, now);
            (fails, Duration::from_micros(1 + (length * length * most) as u64))
        };
        self.note(what);
        if fails {
            self.note("fails");
        }
        Point { wait, fails }
    }
}

impl simulation::World for Sim {
    fn now(&self) -> Duration {
        self.time()
    }

    fn wake_at(&self, at: Duration, waker: Waker) {
        let mut state = self.state();
        state.order += 1;
        let (order, current) = (state.order, state.current);
        state.timers.insert((at, order), (current, waker));
    }

    fn chance(&self) -> f64 {
        self.random(Random::share)
    }

    fn point(&self, what: &'static str) -> Point {
        self.decide(what)
    }

    fn background(&self) -> Handle {
        self.background.clone()
    }
}
