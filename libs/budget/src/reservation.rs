use std::sync::Arc;
use std::{fmt, mem};

use crate::ReserveError;
use crate::ledger::{Shared, Ticket};

/// A part of a budget for one kind of holder. Clones are the same pool.
#[derive(Clone)]
pub struct Pool {
    shared: Arc<Shared>,
    index: usize,
    name: &'static str,
    capacity: u64,
}

/// Bytes of a pool that someone holds until this is dropped.
#[must_use = "dropping a reservation gives its bytes back"]
pub struct Reservation {
    pool: Pool,
    bytes: u64,
}

/// A wait in a pool's queue, which may be given up at any await.
struct Wait {
    pool: Pool,
    bytes: u64,
    ticket: Ticket,
    done: bool,
}

impl Pool {
    pub(crate) fn new(shared: Arc<Shared>, index: usize, name: &'static str, capacity: u64) -> Self {
        Self { shared, index, name, capacity }
    }

    /// Reserves `bytes`, waiting until they are free and all who asked before were served. The place in the queue is
    /// taken when the future is first polled and left when it is dropped.
    ///
    /// # Errors
    /// [`ReserveError::ExceedsLimit`], at once, if `bytes` is more than the pool's capacity.
    pub async fn reserve(&self, bytes: u64) -> Result<Reservation, ReserveError> {
        self.check(bytes)?;
        match self.shared.with(|ledger| ledger.take_or_queue(self.index, bytes)) {
            None => Ok(self.reservation(bytes)),
            Some(ticket) => Ok(Wait { pool: self.clone(), bytes, ticket, done: false }.granted().await),
        }
    }

    /// Reserves `bytes` without waiting.
    ///
    /// # Errors
    /// [`ReserveError::ExceedsLimit`], or [`ReserveError::Exhausted`] if they are not free or others wait for bytes.
    pub fn try_reserve(&self, bytes: u64) -> Result<Reservation, ReserveError> {
        self.check(bytes)?;
        self.try_take(bytes)?;
        Ok(self.reservation(bytes))
    }

    /// The name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The most bytes that it may hold.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The bytes that are reserved.
    pub fn used(&self) -> u64 {
        self.shared.with(|ledger| ledger.pools[self.index].usage.used)
    }

    /// The most bytes that were ever reserved at once.
    pub fn peak(&self) -> u64 {
        self.shared.with(|ledger| ledger.pools[self.index].usage.peak)
    }

    fn reservation(&self, bytes: u64) -> Reservation {
        Reservation { pool: self.clone(), bytes }
    }

    /// Whether one reservation may have `bytes`.
    fn check(&self, bytes: u64) -> Result<(), ReserveError> {
        if bytes <= self.capacity {
            return Ok(());
        }
        Err(ReserveError::ExceedsLimit { pool: self.name, requested: bytes, limit: self.capacity })
    }

    fn try_take(&self, bytes: u64) -> Result<(), ReserveError> {
        self.shared.with(|ledger| {
            if ledger.try_take(self.index, bytes) {
                return Ok(());
            }
            let used = ledger.pools[self.index].usage.used;
            Err(ReserveError::Exhausted { pool: self.name, requested: bytes, used, limit: self.capacity })
        })
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 {
            self.shared.with(|ledger| ledger.give_back(self.index, bytes));
        }
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared) && self.index == other.index
    }
}

impl Reservation {
    /// How many bytes it holds.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The pool that the bytes are of.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Gives back what is more than `bytes`, such as what an estimate was too high by.
    pub fn shrink_to(&mut self, bytes: u64) {
        let more = self.bytes.saturating_sub(bytes);
        self.bytes -= more;
        self.pool.give_back(more);
    }

    /// Reserves `bytes` more without waiting.
    ///
    /// # Errors
    /// As [`Pool::try_reserve`]. What is held stays held.
    pub fn try_grow(&mut self, bytes: u64) -> Result<(), ReserveError> {
        self.pool.check(self.bytes.saturating_add(bytes))?;
        self.pool.try_take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Reserves `bytes` more, waiting for them while holding what it has.
    ///
    /// This can deadlock: two holders that wait for each other's bytes wait for ever, and so does anyone who queues
    /// behind them. Use it only where at most one holder of the pool grows, or where what the others hold comes
    /// free without this one. Otherwise reserve the most that can be needed first, and [`shrink_to`] what was.
    ///
    /// # Errors
    /// As [`Pool::reserve`], if it would hold more than the pool's capacity. What is held stays held.
    ///
    /// [`shrink_to`]: Self::shrink_to
    pub async fn grow(&mut self, bytes: u64) -> Result<(), ReserveError> {
        self.pool.check(self.bytes.saturating_add(bytes))?;
        let more = self.pool.reserve(bytes).await?;
        self.merge(more);
        Ok(())
    }

    /// Hands `bytes` over to a reservation of their own, or all there are if that is less.
    pub fn split(&mut self, bytes: u64) -> Self {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.pool.reservation(bytes)
    }

    /// Takes over what `other` holds.
    ///
    /// # Panics
    /// If `other` is of another pool. That is a mistake in the code; no input leads to it.
    pub fn merge(&mut self, mut other: Self) {
        assert!(self.pool.is(&other.pool), "pool '{}' can't take bytes of pool '{}'", self.pool.name, other.pool.name);
        self.bytes += mem::take(&mut other.bytes);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.pool.give_back(self.bytes);
    }
}

impl Wait {
    async fn granted(mut self) -> Reservation {
        // Whoever is out of the queue has the bytes, so an answer and a sender that is gone mean the same.
        let _answer = (&mut self.ticket.granted).await.is_ok();
        self.done = true;
        self.pool.reservation(self.bytes)
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        if !self.done {
            self.pool.shared.with(|ledger| ledger.give_up(self.pool.index, self.ticket.number, self.bytes));
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("name", &self.name).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("pool", &self.pool.name).field("bytes", &self.bytes).finish()
    }
}
