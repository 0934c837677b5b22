use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use apalis_core::backend::ext::poll_strategy::{PollSnapshot, PollStrategy};
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Interval, MissedTickBehavior};

/// How long a message may wait that another process has pushed. Each look costs about 0.7 ms of a core.
const TICK: Duration = Duration::from_millis(100);

/// Looks for messages when this process pushes some, and every now and then.
pub(crate) struct OnPushOrTick {
    pushes: Arc<Notify>,
    next_push: Pin<Box<OwnedNotified>>,
    ticks: Interval,
}

impl OnPushOrTick {
    pub(crate) fn new(pushes: Arc<Notify>) -> Self {
        let next_push = Box::pin(Arc::clone(&pushes).notified_owned());
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { pushes, next_push, ticks }
    }
}

impl PollStrategy for OnPushOrTick {
    fn poll_drive(&mut self, cx: &mut Context<'_>, _: &PollSnapshot) -> Poll<Option<()>> {
        let mut due = false;
        while self.next_push.as_mut().poll(cx).is_ready() {
            self.next_push = Box::pin(Arc::clone(&self.pushes).notified_owned());
            due = true;
        }
        if due {
            // A fetch that is under way may have looked before the push: look once more after it.
            cx.waker().wake_by_ref();
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
