//! The processes of one world, and the order in which they run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, UNIX_EPOCH};

use forebay_budget::Budget;
use forebay_catalog::Catalog;
use forebay_runtime::simulation;
use forebay_types::JobState;
use object_store::ObjectStore;
use object_store::memory::InMemory;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::audit;
use crate::input::{Plan, Submission, make_tables};
use crate::process::Process;
use crate::queue::Queue;
use crate::remote::Addresses;
use crate::store::Store;
use crate::watch::Watch;
use crate::world::{Malice, Random, Sim};

const GATEWAYS: usize = 2;
const WORKERS: usize = 3;
pub(crate) const WRITERS: usize = 2;

/// Leases are short, so that little has to be simulated until they run out.
pub(crate) const LEASE: Duration = Duration::from_secs(2);

/// How long everything may take when the faults are over.
const PATIENCE: Duration = Duration::from_secs(200);

/// How long what is left of the dead may stay.
const SETTLE: Duration = Duration::from_secs(4);

/// Runs of processes in one seed, beyond which nothing moves any more.
const RUNS: u64 = 2_000_000;

/// How often the catalog is looked at while the world goes on.
const LOOK: Duration = Duration::from_secs(1);

/// Points at which calls may linger in a world.
const LINGERING: [&str; 6] = ["catalog begin", "catalog committed", "catalog read", "store", "call", "queue"];

pub(crate) const MIB: u64 = 1 << 20;

/// What became of a seed.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) problems: Vec<String>,
    pub(crate) trace: u64,
    pub(crate) events: u64,
    pub(crate) faults: u64,
    pub(crate) crashes: u64,
    pub(crate) pauses: u64,
    pub(crate) failed_calls: u64,
    pub(crate) retries: u64,
    pub(crate) commits: u64,
    pub(crate) reopened: u64,
    pub(crate) seconds: f64,
}

/// What a process is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client(usize),
    Gateway,
    Worker,
    Writer(usize),
}

impl Role {
    pub(crate) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other)
    }
}

/// Sizes that differ from seed to seed.
pub(crate) struct Sizes {
    pub(crate) file_bytes: u64,
    pub(crate) part_bytes: usize,
    pub(crate) row_group_bytes: u64,
    pub(crate) commit_interval: Duration,
    pub(crate) in_flight: usize,
}

pub(crate) struct Slot {
    pub(crate) role: Role,
    pub(crate) process: Option<Process>,
    pub(crate) budget: Option<Budget>,
    pub(crate) incarnation: u32,
    pub(crate) restart_at: Duration,
    /// The owner before, if its supervisor saw it die.
    pub(crate) died: Option<String>,
}

pub(crate) struct Cluster {
    pub(crate) sim: Sim,
    /// Where the audit runs, outside of the world.
    pub(crate) background: Handle,
    pub(crate) store: Arc<InMemory>,
    pub(crate) watch: Watch,
    /// When it looked last, and how many attempts were taken and jobs cancelled by then.
    pub(crate) looked: (Duration, usize),
    /// When processes ended.
    pub(crate) ended: BTreeMap<String, Duration>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) queue: Queue,
    pub(crate) addresses: Addresses,
    pub(crate) sizes: Sizes,
    pub(crate) plans: Vec<Arc<Plan>>,
    pub(crate) submissions: Vec<Arc<Submission>>,
    pub(crate) slots: Vec<Slot>,
    pub(crate) outcome: Outcome,
    pub(crate) runs: u64,
}

/// What one world after the other begins with: it costs more to make than a world does to run.
pub(crate) struct Ground {
    /// Where threads run that are outside of the simulation.
    background: Runtime,
    catalog: Catalog,
    /// The store with the tables, which are empty.
    tables: InMemory,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let background = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let catalog = background.block_on(Box::pin(Catalog::open("sqlite::memory:"))).unwrap();
        let tables = Arc::new(InMemory::new());
        background.block_on(make_tables(Arc::clone(&tables) as Arc<dyn ObjectStore>));
        let tables = tables.fork();
        Self { background, catalog, tables }
    }
}

/// Runs one seed to its end, and looks at what is left.
pub(crate) fn run(ground: &Ground, seed: u64, verbose: bool) -> Outcome {
    let background = &ground.background;
    let catalog = background.block_on(ground.catalog.of_new_world()).unwrap();
    let mut random = Random::new(seed ^ 0x5eed);
    let jobs = if random.below(4) == 0 { 2 } else { 1 };
    let sim = Sim::new(seed, jobs + GATEWAYS + WORKERS + WRITERS, background.handle().clone(), verbose);
    let store = Store::new(&sim, ground.tables.fork());
    forebay_objects::simulation::bring("sim", Arc::new(store.clone()) as Arc<dyn ObjectStore>);
    let mut cluster = Cluster::new(&sim, background.handle().clone(), &store, catalog, jobs, &mut random);
    sim.enter();
    cluster.play(&mut random);
    let Cluster { catalog, plans, mut outcome, slots, addresses, .. } = cluster;
    addresses.lock().unwrap().fill(None);
    for (index, slot) in slots.into_iter().enumerate() {
        drop(slot.process);
        sim.forget(index);
    }
    simulation::set(None);
    let left = background.block_on(audit::problems(Arc::clone(store.inner()), &catalog, &plans));
    // What did not end can't be whole.
    if outcome.problems.is_empty() {
        outcome.problems = left;
    }
    for plan in &plans {
        let progress = background.block_on(async {
            let job = catalog.job_by_key("local", &plan.key).await.ok()?.id;
            Some((catalog.progress(job).await.ok()?.retries, catalog.commit_places(job).await.ok()?.len() as u64))
        });
        let (retries, commits) = progress.unwrap_or_default();
        outcome.retries += retries;
        outcome.commits += commits;
    }
    let catalog = Arc::into_inner(catalog).unwrap();
    background.block_on(catalog.end_world()).unwrap();
    (outcome.trace, outcome.events, outcome.failed_calls) = sim.trace();
    outcome.seconds = sim.time().as_secs_f64();
    outcome
}

impl Cluster {
    fn new(sim: &Sim, background: Handle, store: &Store, catalog: Catalog, jobs: usize, random: &mut Random) -> Self {
        let plans: Vec<_> = (0..jobs).map(|job| Arc::new(Plan::new(["a", "b"][job], random))).collect();
        let mut roles: Vec<Role> = (0..jobs).map(Role::Client).collect();
        roles.extend([Role::Gateway; GATEWAYS]);
        roles.extend([Role::Worker; WORKERS]);
        roles.extend((0..WRITERS).map(Role::Writer));
        let slot =
            |role| Slot { role, process: None, budget: None, incarnation: 0, restart_at: Duration::ZERO, died: None };
        Self {
            sim: sim.clone(),
            background,
            store: Arc::clone(store.inner()),
            watch: Watch::default(),
            looked: (Duration::ZERO, 0),
            ended: BTreeMap::new(),
            catalog: Arc::new(catalog),
            queue: Queue::new(sim),
            addresses: Arc::new(std::sync::Mutex::new(vec![None; WRITERS])),
            sizes: Sizes {
                file_bytes: [2_000, MIB][random.below(2) as usize],
                part_bytes: [700, 1 << 20][random.below(2) as usize],
                row_group_bytes: [1, MIB][random.below(2) as usize],
                commit_interval: random.millis(200, 3_000),
                in_flight: random.within(1, 3) as usize,
            },
            submissions: plans.iter().map(|_| Arc::default()).collect(),
            plans,
            slots: roles.into_iter().map(slot).collect(),
            outcome: Outcome::default(),
            runs: 0,
        }
    }

    /// Faults for a while, then none until all is done, then time to clear up.
    fn play(&mut self, random: &mut Random) {
        let until = random.millis(2_000, 7_000);
        self.sim.set_malice(Malice {
            fails: [0.0, 0.01, 0.03, 0.08][random.below(4) as usize],
            messages: [0.0, 0.1, 0.4][random.below(3) as usize],
            between: Some([Duration::from_millis(150), Duration::from_millis(500)][random.below(2) as usize]),
            kinds: random.next(),
            lingers: (random.below(2) == 0).then(|| LINGERING[random.below(LINGERING.len() as u64) as usize]),
        });
        self.drive(random, until, |_| false);
        self.sim.set_malice(Malice::default());
        for slot in &mut self.slots {
            slot.restart_at = Duration::ZERO;
            if let Some(process) = &mut slot.process {
                process.paused_until = Duration::ZERO;
            }
        }
        let all_done = |cluster: &Self| cluster.submissions.iter().all(|job| job.done.load(Ordering::Relaxed));
        self.drive(random, until + PATIENCE, all_done);
        if !all_done(self) {
            let problem = format!("not done {} s after the last fault", PATIENCE.as_secs());
            self.outcome.problems.push(problem);
            return;
        }
        self.drive(random, self.sim.time() + SETTLE, |_| false);
        // Janitors leave alone what is young.
        self.sim.advance(self.sim.time() + Duration::from_secs(2 * 3600));
        self.drive(random, self.sim.time() + SETTLE, |_| false);
        self.check_budgets();
        // A writer that lost the answer to opening a group has it until its own end.
        for index in 0..self.slots.len() {
            self.end(index);
        }
        self.drive(random, self.sim.time() + SETTLE, |_| false);
        self.outcome.reopened = self.submissions.iter().map(|job| job.reopened.load(Ordering::Relaxed)).sum();
    }

    fn check_budgets(&mut self) {
        for slot in &self.slots {
            let used = slot.budget.as_ref().map_or(0, Budget::used);
            if used > 0 {
                self.outcome.problems.push(format!("{:?} holds {used} bytes of its budget", slot.role));
            }
        }
    }

    /// Lets processes run, and time go on, until a time or an end.
    fn drive(&mut self, random: &mut Random, until: Duration, is_over: impl Fn(&Self) -> bool) {
        let mut next_fault = self.pause_before_fault(random);
        loop {
            self.start_what_is_due();
            let (sim, slots) = (&self.sim, &self.slots);
            let can = |index: usize| slots[index].process.as_ref().is_some_and(|process| process.can_run(sim));
            if let Some(index) = sim.next_to_run(can) {
                self.runs += 1;
                if self.runs > RUNS {
                    self.outcome.problems.push("processes run and run, and time stands still".to_owned());
                    return;
                }
                self.run_one(index, random);
                if !self.outcome.problems.is_empty() {
                    return;
                }
                continue;
            }
            if is_over(self) {
                return;
            }
            let now = self.sim.time();
            let mut next = self.sim.next_timer().unwrap_or(until).min(next_fault.unwrap_or(until)).min(until);
            for slot in &self.slots {
                let wakes = slot.process.as_ref().map_or(slot.restart_at, |process| process.paused_until);
                if wakes > now {
                    next = next.min(wakes);
                }
            }
            self.sim.advance(next);
            if next >= until {
                return;
            }
            if next_fault.is_some_and(|at| at <= next) {
                self.look();
                self.fault(random);
                next_fault = self.pause_before_fault(random);
            }
        }
    }

    /// Lets a process run, and sees what comes of it.
    fn run_one(&mut self, index: usize, random: &mut Random) {
        let done = |slot: &Slot, submissions: &[Arc<Submission>]| match slot.role {
            Role::Client(job) => submissions[job].done.load(Ordering::Relaxed).then_some(job),
            Role::Gateway | Role::Worker | Role::Writer(_) => None,
        };
        let before = done(&self.slots[index], &self.submissions);
        if let Some(process) = &self.slots[index].process {
            process.run();
        }
        if let (None, Some(job)) = (before, done(&self.slots[index], &self.submissions)) {
            let (store, catalog, plan) = (Arc::clone(&self.store), Arc::clone(&self.catalog), &self.plans[job]);
            let problems = self.outside(audit::not_visible(store, &catalog, plan));
            self.outcome.problems.extend(problems);
        }
        self.spring(random);
        let cancelled = self.submissions.iter().filter(|job| job.cancelled.load(Ordering::Relaxed)).count();
        let changes = self.watch.taken.lock().unwrap().len() + cancelled;
        if changes != self.looked.1 || self.sim.time() >= self.looked.0 + LOOK {
            self.looked = (self.sim.time(), changes);
            self.look();
        }
    }

    /// Does something that takes no time in this world, and meets no fault.
    fn outside<T>(&self, task: impl Future<Output = T>) -> T {
        simulation::set(None);
        let result = self.background.block_on(task);
        self.sim.enter();
        result
    }

    fn look(&mut self) {
        let (now, catalog) = (self.sim.time(), Arc::clone(&self.catalog));
        let (chunks, groups, cancelled) = self.outside(async {
            let mut cancelled = Vec::new();
            for plan in self.plans.iter().filter(|plan| plan.cancelled_at.is_some()) {
                let job = catalog.job_by_key("local", &plan.key).await;
                cancelled.extend(job.ok().filter(|job| job.state == JobState::Cancelled).map(|job| job.id));
            }
            (catalog.audited_chunks().await.unwrap(), catalog.audited_groups().await.unwrap(), cancelled)
        });
        let begun = forebay_runtime::system_now().duration_since(UNIX_EPOCH).unwrap_or_default() - now;
        let (slots, ended) = (&self.slots, &self.ended);
        let latest = |owner: &str| {
            let alive = slots.iter().filter_map(|slot| slot.process.as_ref()).find(|process| process.name == owner);
            let sign = alive.map_or_else(|| ended.get(owner).copied(), |process| Some(process.last_sign(now)));
            (begun + sign.unwrap_or_default() + LEASE).as_micros() as i64
        };
        self.watch.look(&chunks, &groups, latest);
        for job in cancelled {
            self.watch.look_at_cancelled(job, &chunks);
        }
        let found = std::mem::take(&mut self.watch.problems).into_iter().take(3);
        self.outcome.problems.extend(found.map(|problem| format!("at {:.3} s: {problem}", now.as_secs_f64())));
    }
}
