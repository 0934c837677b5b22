use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Instant, Interval, MissedTickBehavior, Sleep};

/// How long a message may wait that another process has pushed. Each look costs about 0.7 ms of a core.
const TICK: Duration = Duration::from_millis(100);

/// A look that was under way at a push may have been too early: look once more when it is over.
const ONCE_MORE: Duration = Duration::from_millis(5);

/// Looks for messages when this process pushes some, and every now and then.
pub(crate) struct OnPushOrTick {
    pushes: Arc<Notify>,
    next_push: Pin<Box<OwnedNotified>>,
    /// Runs after a push.
    once_more: Option<Pin<Box<Sleep>>>,
    ticks: Interval,
}

impl OnPushOrTick {
    pub(crate) fn new(pushes: Arc<Notify>) -> Self {
        let next_push = Box::pin(Arc::clone(&pushes).notified_owned());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pushes, next_push, once_more: None, ticks }
    }
}

impl PollStrategy for OnPushOrTick {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = false;
        while self.next_push.as_mut().poll(cx).is_ready() {
            self.next_push = Box::pin(Arc::clone(&self.pushes).notified_owned());
            self.once_more = Some(Box::pin(tokio::time::sleep_until(Instant::now() + ONCE_MORE)));
            due = true;
        }
        if self.once_more.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready()) {
            self.once_more = None;
            due = true;
        }
        while self.ticks.poll_tick(cx).is_ready() {
            due = true;
        }
        if due { Poll::Ready(Some(())) } else { Poll::Pending }
    }
}

impl fmt::Debug for OnPushOrTick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnPushOrTick").finish_non_exhaustive()
    }
}
