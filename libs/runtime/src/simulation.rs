//! What a simulation decides. It holds for the thread that set it, and for the runtimes that the thread drives.

use std::cell::RefCell;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::Handle;

/// The day on which every simulation begins, in seconds since the epoch.
const FIRST_DAY: u64 = 1_900_000_000;

/// Decides what code can't know.
pub trait World {
    /// The time since the simulation began.
    fn now(&self) -> Duration;

    /// Wakes a task at a time.
    fn wake_at(&self, at: Duration, waker: Waker);

    /// A number from 0 to 1.
    fn chance(&self) -> f64;

    /// A call to the outside comes to the point `what`: how long it waits there, and whether it fails.
    fn point(&self, what: &'static str) -> Point;

    /// Where everything runs that has threads of its own. The simulation stands still meanwhile.
    fn background(&self) -> Handle;
}

/// What happens to a call at a point.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// How long it waits there.
    pub wait: Duration,
    /// If it fails there. What it did before stays done.
    pub fails: bool,
}

/// A call that failed where the simulation wanted it to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

thread_local! {
    static WORLD: RefCell<Option<Rc<dyn World>>> = const { RefCell::new(None) };
}

/// Sets who decides on this thread; none for the machine itself.
pub fn set(world: Option<Rc<dyn World>>) {
    // What is dropped may ask for the time.
    let before = WORLD.with(|current| std::mem::replace(&mut *current.borrow_mut(), world));
    drop(before);
}

fn world() -> Option<Rc<dyn World>> {
    WORLD.try_with(|world| world.borrow().clone()).ok().flatten()
}

/// True on a thread whose time is simulated.
pub fn is_on() -> bool {
    world().is_some()
}

pub(crate) fn now() -> Option<Instant> {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    world().map(|world| *BEGAN.get_or_init(Instant::now) + world.now())
}

pub(crate) fn system_now() -> Option<SystemTime> {
    world().map(|world| UNIX_EPOCH + Duration::from_secs(FIRST_DAY) + world.now())
}

pub(crate) fn chance() -> Option<f64> {
    world().map(|world| world.chance())
}

pub(crate) fn sleep(duration: Duration) -> Option<Sleep> {
    world().map(|world| Sleep { until: world.now() + duration, waker: None })
}

/// A wait of simulated length.
#[derive(Debug)]
pub(crate) struct Sleep {
    until: Duration,
    waker: Option<Waker>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(world) = world().filter(|world| world.now() < self.until) else { return Poll::Ready(()) };
        if !self.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            world.wake_at(self.until, cx.waker().clone());
            self.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// A point at which a call to the outside may be delayed, fail, or never come back because its process dies.
///
/// # Errors
/// If the simulation wants it. Nothing else fails.
pub async fn point(what: &'static str) -> Result<(), Interrupted> {
    let Some(point) = world().map(|world| world.point(what)) else { return Ok(()) };
    crate::sleep(point.wait).await;
    if point.fails { Err(Interrupted) } else { Ok(()) }
}

/// Runs a task on this thread, in one go.
pub(crate) async fn blocking<T>(task: impl FnOnce() -> T) -> T {
    // That it may fail there is not meant: a thread does not.
    point("thread").await.ok();
    outside(task)
}

/// Waits for something that threads outside of the simulation do, and lets nothing else happen meanwhile.
pub async fn at_once<T>(future: impl Future<Output = T>) -> T {
    if !is_on() {
        return future.await;
    }
    let background = world().map(|world| world.background());
    let _entered = background.as_ref().map(Handle::enter);
    // This thread waits itself, so that a task that has used up its turn is not told to wait for the next.
    let mut future = pin!(tokio::task::unconstrained(future));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// Runs something where it may leave tasks behind that threads outside of the simulation finish.
pub fn outside<T>(task: impl FnOnce() -> T) -> T {
    let background = world().map(|world| world.background());
    let _entered = background.as_ref().map(Handle::enter);
    task()
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
