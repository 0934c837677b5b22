//! Who gets bytes, when, and that all of them come back.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use forebay_budget::{Budget, PlanError, Pool, Pressure, Reservation, ReserveError};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

type Waiting = Pin<Box<dyn Future<Output = Result<Reservation, ReserveError>>>>;

fn pool(capacity: u64) -> Pool {
    Budget::new(capacity).pool("test", capacity).expect("the whole budget")
}

/// A reservation that is asked for now.
fn ask(pool: &Pool, bytes: u64) -> Result<Result<Reservation, ReserveError>, Waiting> {
    let pool = pool.clone();
    let mut waiting: Waiting = Box::pin(async move { pool.reserve(bytes).await });
    poll(&mut waiting).map_or_else(|| Err(waiting), Ok)
}

fn poll<T>(future: &mut Pin<Box<dyn Future<Output = T>>>) -> Option<T> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => Some(value),
        Poll::Pending => None,
    }
}

fn granted(asked: Result<Result<Reservation, ReserveError>, Waiting>) -> Reservation {
    asked.ok().expect("no wait").expect("bytes")
}

fn waits(asked: Result<Result<Reservation, ReserveError>, Waiting>) -> Waiting {
    asked.expect_err("a wait")
}

#[test]
fn pools_share_the_budget_and_no_more() {
    let budget = Budget::new(100 << 20);
    let frames = budget.pool("frames", 60 << 20).expect("a pool");
    let error = budget.pool("files", 50 << 20).expect_err("too much");
    assert_eq!(error, PlanError { pool: "files", capacity: 50 << 20, free: 40 << 20, limit: 100 << 20 });
    assert_eq!(error.to_string(), "pool 'files' of 50MiB is 10MiB more than what is left of the budget of 100MiB");
    assert_eq!(budget.unplanned(), 40 << 20);
    let files = budget.pool("files", 40 << 20).expect("a pool");
    assert!(budget.pool("more", 1).is_err() && budget.pool("nothing", 0).is_ok());

    let held = frames.try_reserve(1 << 20).expect("bytes");
    let more = files.try_reserve(2 << 20).expect("bytes");
    assert_eq!((frames.used(), files.used(), budget.used()), (1 << 20, 2 << 20, 3 << 20));
    drop(held);
    assert_eq!((frames.used(), frames.peak(), budget.used(), budget.peak()), (0, 1 << 20, 2 << 20, 3 << 20));
    let usage = budget.usage();
    assert_eq!((usage[1].name, usage[1].capacity, usage[1].used, usage[1].peak), ("files", 40 << 20, 2 << 20, 2 << 20));
    drop(more);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_can_never_fit_fails_at_once_and_says_by_how_much() {
    let pool = pool(1 << 20);
    let error = ask(&pool, 3 << 20).ok().expect("no wait").expect_err("too much");
    assert_eq!(error, ReserveError::ExceedsLimit { pool: "test", requested: 3 << 20, limit: 1 << 20 });
    assert_eq!(error.to_string(), "3MiB are needed at once, which is 2MiB more than pool 'test' may ever hold (1MiB)");
    assert_eq!(pool.try_reserve(3 << 20).expect_err("too much"), error);
    let mut held = pool.try_reserve(1 << 20).expect("bytes");
    assert!(matches!(held.try_grow(1), Err(ReserveError::ExceedsLimit { .. })));
    assert!(matches!(held.try_grow(u64::MAX), Err(ReserveError::ExceedsLimit { .. })));
    let error = pool.try_reserve(1).expect_err("full");
    assert_eq!(error, ReserveError::Exhausted { pool: "test", requested: 1, used: 1 << 20, limit: 1 << 20 });
    assert_eq!(error.to_string(), "pool 'test' has no room for 1B more: 1MiB of 1MiB are in use");
    assert_eq!(held.bytes(), 1 << 20);
}

#[test]
fn nobody_overtakes_a_large_request() {
    let pool = pool(100);
    let held = granted(ask(&pool, 60));
    let mut large = waits(ask(&pool, 80));
    let mut small = waits(ask(&pool, 10));
    assert!(matches!(pool.try_reserve(10), Err(ReserveError::Exhausted { used: 60, .. })));
    assert_eq!(pool.try_reserve(0).expect("nothing is always there").bytes(), 0);
    assert!(poll(&mut large).is_none() && poll(&mut small).is_none());
    drop(held);
    assert_eq!(pool.used(), 90);
    let large = poll(&mut large).expect("granted").expect("bytes");
    assert_eq!((large.bytes(), poll(&mut small).expect("granted").expect("bytes").bytes()), (80, 10));
}

#[test]
fn giving_up_a_wait_leaks_nothing_and_lets_the_next_in() {
    let pool = pool(100);
    let held = granted(ask(&pool, 60));
    let large = waits(ask(&pool, 80));
    let mut small = waits(ask(&pool, 40));
    drop(large);
    let small = poll(&mut small).expect("granted").expect("bytes");
    let late = waits(ask(&pool, 100));
    drop((held, small));
    assert_eq!(pool.used(), 100);
    // Granted, but nobody has seen it.
    drop(late);
    assert_eq!(pool.used(), 0);
    drop(pool.reserve(100));
    assert_eq!(granted(ask(&pool, 100)).bytes(), 100);
}

#[test]
fn reservations_shrink_grow_split_and_merge() {
    let pool = pool(100);
    let mut held = granted(ask(&pool, 80));
    held.shrink_to(90);
    assert_eq!(held.bytes(), 80);
    held.shrink_to(50);
    held.try_grow(20).expect("bytes");
    assert!(matches!(held.try_grow(30), Ok(())));
    assert_eq!((held.bytes(), pool.used()), (100, 100));
    let mut part = held.split(30);
    assert_eq!((held.bytes(), part.bytes(), pool.used()), (70, 30, 100));
    assert!(matches!(part.try_grow(1), Err(ReserveError::Exhausted { .. })));
    let rest = part.split(500);
    assert_eq!((part.bytes(), rest.bytes()), (0, 30));
    held.merge(rest);
    drop(part);
    assert_eq!((held.bytes(), pool.used()), (100, 100));
    drop(held);
    assert_eq!((pool.used(), pool.peak()), (0, 100));
}

#[test]
#[should_panic(expected = "pool 'a' can't take bytes of pool 'b'")]
fn bytes_stay_in_their_pool() {
    let budget = Budget::new(100);
    let (a, b) = (budget.pool("a", 50).expect("a pool"), budget.pool("b", 50).expect("a pool"));
    a.try_reserve(1).expect("bytes").merge(b.try_reserve(1).expect("bytes"));
}

#[test]
fn growing_waits_its_turn() {
    let pool = pool(100);
    let other = granted(ask(&pool, 60));
    let mut held = granted(ask(&pool, 40));
    let mut growing: Pin<Box<dyn Future<Output = Reservation>>> = Box::pin(async move {
        held.grow(30).await.expect("bytes");
        held
    });
    assert!(poll(&mut growing).is_none());
    drop(other);
    let held = poll(&mut growing).expect("granted");
    assert_eq!((held.bytes(), pool.used()), (70, 70));
}

#[test]
fn pressure_follows_the_ledger() {
    let budget = Budget::new(1000);
    let pool = budget.pool("test", 1000).expect("a pool");
    let mut held = pool.try_reserve(0).expect("nothing");
    for (bytes, pressure) in
        [(799, Pressure::Normal), (800, Pressure::High), (899, Pressure::High), (900, Pressure::Critical)]
    {
        held.try_grow(bytes - held.bytes()).expect("bytes");
        assert_eq!(budget.pressure(), pressure, "{bytes}");
    }
    drop(held);
    assert_eq!(budget.pressure(), Pressure::Normal);
    assert_eq!(Budget::new(0).pressure(), Pressure::Normal);
}

#[test]
fn intake_pauses_at_85_percent_and_goes_on_at_75() {
    let budget = Budget::new(1000);
    let pool = budget.pool("test", 1000).expect("a pool");
    let waiting = || -> Pin<Box<dyn Future<Output = ()>>> {
        let budget = budget.clone();
        Box::pin(async move { budget.wait_for_intake().await })
    };
    let mut held = pool.try_reserve(849).expect("bytes");
    assert!(!budget.intake_paused() && poll(&mut waiting()).is_some());
    held.try_grow(1).expect("bytes");
    let mut early = waiting();
    assert!(budget.intake_paused() && poll(&mut early).is_none());
    held.shrink_to(751);
    assert!(budget.intake_paused() && poll(&mut early).is_none() && poll(&mut waiting()).is_none());
    held.shrink_to(750);
    assert!(!budget.intake_paused() && poll(&mut early).is_some() && poll(&mut waiting()).is_some());
    held.try_grow(99).expect("bytes");
    assert!(!budget.intake_paused());
}

/// A small generator, so that a run can be told by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

async fn hold(budget: Budget, pool: Pool, seed: u64) {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    for _ in 0..200 {
        let bytes = random.below(pool.capacity() + 1);
        let patience = Duration::from_micros(random.below(300));
        let reserved = match random.below(3) {
            0 => match tokio::time::timeout(patience, pool.reserve(bytes)).await {
                Ok(reserved) => reserved,
                Err(_elapsed) => continue,
            },
            1 => pool.try_reserve(bytes),
            _ => {
                budget.wait_for_intake().await;
                pool.reserve(bytes).await
            }
        };
        let Ok(mut held) = reserved else { continue };
        assert!(pool.used() <= pool.capacity() && budget.used() <= budget.limit());
        let part = held.split(random.below(held.bytes() + 1));
        tokio::task::yield_now().await;
        held.shrink_to(bytes / 2);
        let _full = held.try_grow(random.below(20)).is_err();
        drop(part);
        if random.below(2) == 0 {
            tokio::task::yield_now().await;
        }
    }
}

#[test]
fn many_tasks_that_come_go_and_give_up_leave_nothing_behind() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_time().build().expect("a runtime");
    let budget = Budget::new(2000);
    let pools = [budget.pool("a", 500).expect("a pool"), budget.pool("b", 1500).expect("a pool")];
    runtime.block_on(async {
        let tasks: Vec<_> = (0..64)
            .map(|seed| tokio::spawn(hold(budget.clone(), pools[seed as usize % 2].clone(), seed + 1)))
            .collect();
        tokio::time::sleep(Duration::from_millis(3)).await;
        tasks.iter().step_by(8).for_each(tokio::task::JoinHandle::abort);
        for task in tasks {
            let ended = tokio::time::timeout(Duration::from_secs(60), task).await.expect("nobody waits for ever");
            assert!(ended.map_or_else(|error| error.is_cancelled(), |()| true));
        }
        budget.wait_for_intake().await;
    });
    assert_eq!((budget.used(), budget.intake_paused()), (0, false));
    assert!(budget.usage().iter().all(|pool| pool.used == 0 && 0 < pool.peak && pool.peak <= pool.capacity));
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u64),
    Try(u64),
    GiveUp(Index),
    Drop(Index),
    Shrink(Index, u64),
    Grow(Index, u64),
    Split(Index, u64),
    Merge(Index, Index),
}

fn step() -> impl Strategy<Value = Step> {
    let bytes = || 0..=110u64;
    prop_oneof![
        4 => bytes().prop_map(Step::Ask),
        1 => bytes().prop_map(Step::Try),
        1 => any::<Index>().prop_map(Step::GiveUp),
        3 => any::<Index>().prop_map(Step::Drop),
        1 => (any::<Index>(), bytes()).prop_map(|(which, bytes)| Step::Shrink(which, bytes)),
        1 => (any::<Index>(), bytes()).prop_map(|(which, bytes)| Step::Grow(which, bytes)),
        1 => (any::<Index>(), bytes()).prop_map(|(which, bytes)| Step::Split(which, bytes)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(into, from)| Step::Merge(into, from)),
    ]
}

/// A pool, and what a plain list of its holders and waiters says about it.
struct Model {
    pool: Pool,
    held: Vec<Reservation>,
    waiting: Vec<(u64, Waiting)>,
}

impl Model {
    fn take(&mut self, step: Step) {
        match step {
            Step::Ask(bytes) => match ask(&self.pool, bytes) {
                Ok(Ok(reservation)) => self.held.push(reservation),
                Ok(Err(_)) => assert!(bytes > self.pool.capacity()),
                Err(waiting) => self.waiting.push((bytes, waiting)),
            },
            Step::Try(bytes) => self.held.extend(self.pool.try_reserve(bytes)),
            Step::GiveUp(which) if !self.waiting.is_empty() => {
                drop(self.waiting.remove(which.index(self.waiting.len())));
            }
            Step::GiveUp(_) => {}
            _ if self.held.is_empty() => {}
            Step::Drop(which) => drop(self.held.swap_remove(which.index(self.held.len()))),
            Step::Shrink(which, bytes) => which.get_mut(&mut self.held).shrink_to(bytes),
            Step::Grow(which, bytes) => {
                let (held, free) = (which.get_mut(&mut self.held), self.pool.capacity() - self.pool.used());
                let may = bytes == 0 || (self.waiting.is_empty() && bytes <= free);
                assert_eq!(held.try_grow(bytes).is_ok(), may);
            }
            Step::Split(which, bytes) => {
                let part = which.get_mut(&mut self.held).split(bytes);
                self.held.push(part);
            }
            Step::Merge(into, from) => {
                let from = self.held.swap_remove(from.index(self.held.len()));
                if self.held.is_empty() {
                    self.held.push(from);
                } else {
                    into.get_mut(&mut self.held).merge(from);
                }
            }
        }
    }

    /// Whoever is granted is first in the queue, and whoever is first and fits is granted.
    fn settle(&mut self) {
        let mut passed_over = false;
        let held = &mut self.held;
        self.waiting.retain_mut(|(_, waiting)| match poll(waiting) {
            Some(reservation) => {
                assert!(!passed_over, "someone overtook");
                held.push(reservation.expect("bytes"));
                false
            }
            None => {
                passed_over = true;
                true
            }
        });
        let used: u64 = self.held.iter().map(Reservation::bytes).sum();
        assert_eq!(self.pool.used(), used);
        assert!(used <= self.pool.capacity());
        if let Some((first, _)) = self.waiting.first() {
            assert!(used + first > self.pool.capacity(), "the first in the queue fits and still waits");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_ledger_agrees_with_its_holders(steps in vec(step(), 0..60)) {
        let mut model = Model { pool: pool(100), held: Vec::new(), waiting: Vec::new() };
        for step in steps {
            model.take(step);
            model.settle();
        }
        let Model { pool, held, waiting } = model;
        drop(waiting);
        drop(held);
        prop_assert_eq!(pool.used(), 0);
    }
}
