//! Time, blocking threads and chance: what code depends on and no input decides. It is asked for here, so that a
//! simulation (feature `simulation`) can decide it, and the same seed gives the same run.
//!
//! Deliberately lacking: spawning and channels. Tokio's own are deterministic on one thread.

pub mod quiet;
#[cfg(feature = "simulation")]
pub mod simulation;

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant, SystemTime};

use tokio::task::JoinError;

/// The time, for measuring how long something takes. It never goes back.
pub fn now() -> Instant {
    #[cfg(feature = "simulation")]
    if let Some(now) = simulation::now() {
        return now;
    }
    Instant::now()
}

/// The time of the day. It may jump.
pub fn system_now() -> SystemTime {
    #[cfg(feature = "simulation")]
    if let Some(now) = simulation::system_now() {
        return now;
    }
    SystemTime::now()
}

/// Waits.
pub async fn sleep(duration: Duration) {
    #[cfg(feature = "simulation")]
    if let Some(sleep) = simulation::sleep(duration) {
        return sleep.await;
    }
    tokio::time::sleep(duration).await;
}

/// A number from 0 to 1, by chance.
pub fn chance() -> f64 {
    #[cfg(feature = "simulation")]
    if let Some(chance) = simulation::chance() {
        return chance;
    }
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// Runs what takes long, or blocks, off the async threads.
///
/// # Errors
/// If it panics.
pub async fn blocking<T: Send + 'static>(task: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    #[cfg(feature = "simulation")]
    if simulation::is_on() {
        return Ok(simulation::blocking(task).await);
    }
    tokio::task::spawn_blocking(task).await
}
