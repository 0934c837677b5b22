//! The bytes that one process may hold in record data: one [`Budget`], divided into [`Pool`]s when the process
//! starts, and a [`Reservation`] for whatever holds records.
//!
//! The pools together never exceed the budget, so a reservation only ever waits for others of its own pool, in the
//! order in which they came. Whoever takes from several pools takes in pipeline order and gives back in any.

mod ledger;
pub mod memory;
mod reservation;

use std::fmt;
use std::sync::Arc;

use forebay_types::ByteSize;
use tokio::sync::watch;

use ledger::{Intake, Shared};
pub use reservation::{Pool, Reservation};

/// The bytes that a process may hold. Clones are the same budget.
#[derive(Clone)]
pub struct Budget {
    shared: Arc<Shared>,
}

/// How full a budget is. It changes only what has not started yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pressure {
    /// Less than 80% of the limit is used.
    Normal,
    /// At least 80% is used.
    High,
    /// At least 90% is used.
    Critical,
}

/// What a pool holds, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolUsage {
    /// The pool's name.
    pub name: &'static str,
    /// The most it may hold.
    pub capacity: u64,
    /// What it holds.
    pub used: u64,
    /// The most it ever held.
    pub peak: u64,
}

/// A pool that does not fit in the budget beside the pools that are there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "pool '{pool}' of {} is {} more than what is left of the budget of {}",
    ByteSize(*capacity), ByteSize(capacity - free), ByteSize(*limit)
)]
pub struct PlanError {
    /// The pool.
    pub pool: &'static str,
    /// The bytes it should have.
    pub capacity: u64,
    /// The bytes that no pool has yet.
    pub free: u64,
    /// The budget's limit in bytes.
    pub limit: u64,
}

/// A reservation that can't be had, at all or at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReserveError {
    /// It is larger than its pool, so that waiting is of no use.
    #[error(
        "{} are needed at once, which is {} more than pool '{pool}' may ever hold ({})",
        ByteSize(*requested), ByteSize(requested - limit), ByteSize(*limit)
    )]
    ExceedsLimit {
        /// The pool.
        pool: &'static str,
        /// The bytes that would be held, with those held already by a reservation that should grow.
        requested: u64,
        /// The pool's capacity in bytes.
        limit: u64,
    },
    /// It does not fit now, or others have waited for longer.
    #[error(
        "pool '{pool}' has no room for {} more: {} of {} are in use",
        ByteSize(*requested), ByteSize(*used), ByteSize(*limit)
    )]
    Exhausted {
        /// The pool.
        pool: &'static str,
        /// The bytes asked for.
        requested: u64,
        /// The bytes that the pool holds.
        used: u64,
        /// The pool's capacity in bytes.
        limit: u64,
    },
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self { shared: Arc::new(Shared::new(limit)) }
    }

    /// Sets `capacity` bytes aside for a pool, for as long as the budget lives.
    pub fn pool(&self, name: &'static str, capacity: u64) -> Result<Pool, PlanError> {
        let limit = self.shared.limit;
        let index = self.shared.with(|ledger| ledger.add_pool(name, capacity));
        match index {
            Ok(index) => Ok(Pool::new(Arc::clone(&self.shared), index, name, capacity)),
            Err(free) => Err(PlanError { pool: name, capacity, free, limit }),
        }
    }

    /// The limit in bytes.
    pub fn limit(&self) -> u64 {
        self.shared.limit
    }

    /// The bytes that no pool has yet.
    pub fn unplanned(&self) -> u64 {
        self.shared.with(|ledger| self.shared.limit - ledger.planned())
    }

    /// The bytes that are reserved.
    pub fn used(&self) -> u64 {
        self.shared.with(|ledger| ledger.used)
    }

    /// The most bytes that were ever reserved at once.
    pub fn peak(&self) -> u64 {
        self.shared.with(|ledger| ledger.peak)
    }

    /// What every pool holds, in the order in which the pools were made.
    pub fn usage(&self) -> Vec<PoolUsage> {
        self.shared.with(|ledger| ledger.pools.iter().map(|pool| pool.usage.clone()).collect())
    }

    /// How full the budget is.
    pub fn pressure(&self) -> Pressure {
        let (used, limit) = (self.used(), self.shared.limit);
        if ledger::at_least(90, used, limit) {
            Pressure::Critical
        } else if ledger::at_least(80, used, limit) {
            Pressure::High
        } else {
            Pressure::Normal
        }
    }

    /// Whether new input has to wait: from the moment when 85% of the limit is used until no more than 75% is.
    pub fn intake_paused(&self) -> bool {
        self.shared.with(|ledger| ledger.intake.paused)
    }

    /// Waits until new input may come in. Call it before taking anything in, not while holding a reservation that
    /// the rest of the pipeline waits for.
    pub async fn wait_for_intake(&self) {
        let mut intake: watch::Receiver<Intake> = self.shared.subscribe();
        // It fails only when the sender is gone, and `self` has the sender.
        let _closed = intake.wait_for(|intake| !intake.paused).await.is_err();
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budget").field("limit", &self.limit()).field("used", &self.used()).finish_non_exhaustive()
    }
}
