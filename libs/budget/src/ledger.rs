use std::collections::VecDeque;
use std::mem;
use std::sync::{Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use crate::PoolUsage;

/// Intake pauses when this much of the limit is used, in percent.
const PAUSE: u8 = 85;
/// It goes on when no more than this is.
const RESUME: u8 = 75;

/// Whether `used` is at least `percent` of `limit`. Nothing is never much, even of nothing.
pub(crate) fn at_least(percent: u8, used: u64, limit: u64) -> bool {
    used > 0 && u128::from(used) * 100 >= u128::from(limit) * u128::from(percent)
}

/// What all clones of a budget, its pools and their reservations share.
pub(crate) struct Shared {
    pub(crate) limit: u64,
    ledger: Mutex<Ledger>,
    intake: watch::Sender<Intake>,
}

/// Whether new input has to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Intake {
    /// Counts the changes, so that an older one that is published late never replaces a newer one.
    change: u64,
    pub(crate) paused: bool,
}

/// Who holds how much, and who waits.
#[derive(Default)]
pub(crate) struct Ledger {
    limit: u64,
    pub(crate) used: u64,
    pub(crate) peak: u64,
    pub(crate) intake: Intake,
    pub(crate) pools: Vec<PoolLedger>,
    /// Waiters who have left a queue because they got their bytes, and who are not woken yet.
    granted: Vec<oneshot::Sender<()>>,
}

/// One pool of the ledger.
pub(crate) struct PoolLedger {
    pub(crate) usage: PoolUsage,
    /// First come, first served: nobody overtakes, so that a large request gets its turn.
    queue: VecDeque<Waiter>,
    next_ticket: u64,
}

struct Waiter {
    ticket: u64,
    bytes: u64,
    granted: oneshot::Sender<()>,
}

/// A place in a pool's queue.
pub(crate) struct Ticket {
    pub(crate) number: u64,
    pub(crate) granted: oneshot::Receiver<()>,
}

impl Shared {
    pub(crate) fn new(limit: u64) -> Self {
        let ledger = Mutex::new(Ledger { limit, ..Ledger::default() });
        Self { limit, ledger, intake: watch::Sender::new(Intake::default()) }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Intake> {
        self.intake.subscribe()
    }

    /// Reads or changes the ledger, and then wakes whom it concerns: not before the lock is free, as what a waker
    /// does is not ours to know.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> T {
        let (result, granted, before, after) = {
            // No change panics between two writes that belong together, so a poisoned ledger is still right.
            let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let before = ledger.intake;
            let result = change(&mut ledger);
            ledger.turn_intake();
            (result, mem::take(&mut ledger.granted), before, ledger.intake)
        };
        for waiter in granted {
            // A waiter who has just gone away gives its bytes back by itself.
            let _gone = waiter.send(()).is_err();
        }
        if after != before {
            self.publish(after);
        }
        result
    }

    /// Tells those who wait for intake, unless they know something newer already: threads come here in any order.
    fn publish(&self, intake: Intake) {
        self.intake.send_if_modified(|published| {
            let newer = intake.change > published.change;
            if newer {
                *published = intake;
            }
            newer
        });
    }
}

impl Ledger {
    /// The bytes that the pools have together.
    pub(crate) fn planned(&self) -> u64 {
        self.pools.iter().map(|pool| pool.usage.capacity).sum()
    }

    /// Adds a pool and says its index, or how many bytes are free if that is not enough.
    pub(crate) fn add_pool(&mut self, name: &'static str, capacity: u64) -> Result<usize, u64> {
        let free = self.limit - self.planned();
        if capacity > free {
            return Err(free);
        }
        let usage = PoolUsage { name, capacity, used: 0, peak: 0 };
        self.pools.push(PoolLedger { usage, queue: VecDeque::new(), next_ticket: 0 });
        Ok(self.pools.len() - 1)
    }

    /// Takes bytes if they are free and nobody waits for them.
    pub(crate) fn try_take(&mut self, pool: usize, bytes: u64) -> bool {
        let PoolLedger { usage, queue, .. } = &self.pools[pool];
        let free = bytes == 0 || (queue.is_empty() && bytes <= usage.capacity - usage.used);
        if free {
            self.take(pool, bytes);
        }
        free
    }

    /// Takes bytes, or queues for them.
    pub(crate) fn take_or_queue(&mut self, pool: usize, bytes: u64) -> Option<Ticket> {
        if self.try_take(pool, bytes) {
            return None;
        }
        let PoolLedger { queue, next_ticket, .. } = &mut self.pools[pool];
        let number = *next_ticket;
        *next_ticket += 1;
        let (sender, granted) = oneshot::channel();
        queue.push_back(Waiter { ticket: number, bytes, granted: sender });
        Some(Ticket { number, granted })
    }

    /// Ends a wait without a reservation: leaves the queue, or gives back what was granted in the meantime.
    pub(crate) fn give_up(&mut self, pool: usize, ticket: u64, bytes: u64) {
        let queue = &mut self.pools[pool].queue;
        match queue.binary_search_by_key(&ticket, |waiter| waiter.ticket) {
            Ok(place) => {
                queue.remove(place);
                self.admit(pool);
            }
            Err(_) => self.give_back(pool, bytes),
        }
    }

    /// Gives bytes back to those who wait.
    pub(crate) fn give_back(&mut self, pool: usize, bytes: u64) {
        self.pools[pool].usage.used -= bytes;
        self.used -= bytes;
        self.admit(pool);
    }

    fn admit(&mut self, pool: usize) {
        loop {
            let PoolLedger { usage, queue, .. } = &mut self.pools[pool];
            let free = usage.capacity - usage.used;
            let Some(waiter) = queue.pop_front_if(|waiter| waiter.bytes <= free) else {
                return;
            };
            self.granted.push(waiter.granted);
            self.take(pool, waiter.bytes);
        }
    }

    fn take(&mut self, pool: usize, bytes: u64) {
        let usage = &mut self.pools[pool].usage;
        usage.used += bytes;
        usage.peak = usage.peak.max(usage.used);
        self.used += bytes;
        self.peak = self.peak.max(self.used);
    }

    fn turn_intake(&mut self) {
        let Intake { change, paused } = self.intake;
        let turn = if paused {
            u128::from(self.used) * 100 <= u128::from(self.limit) * u128::from(RESUME)
        } else {
            at_least(PAUSE, self.used, self.limit)
        };
        if turn {
            self.intake = Intake { change: change + 1, paused: !paused };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_published_late_is_forgotten() {
        let shared = Shared::new(100);
        let waiting = shared.subscribe();
        shared.publish(Intake { change: 2, paused: false });
        shared.publish(Intake { change: 1, paused: true });
        assert_eq!(*waiting.borrow(), Intake { change: 2, paused: false });
        shared.publish(Intake { change: 3, paused: true });
        assert!(waiting.borrow().paused);
    }
}
