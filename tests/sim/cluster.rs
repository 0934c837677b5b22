//! The processes of one world, what happens to them, and the order in which they run.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay::{RemoteWriters, keep_leases};
use forebay_api::{BoxStream, EnrichRequest, Enrichment, KeyBatch, Observer, ServiceError};
use forebay_budget::Budget;
use forebay_catalog::Catalog;
use forebay_gateway::{Dispatch, Dispatcher};
use forebay_lake::STAGING_FOLDER;
use forebay_queue::{JobQueue, WorkHandler};
use forebay_runtime::simulation;
use forebay_seal::Keys;
use forebay_storage::{Janitor, Storage, StorageConfig};
use forebay_transform::{Transform, TransformConfig};
use object_store::ObjectStore;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::audit;
use crate::input::{Plan, Submission, client, make_tables};
use crate::process::Process;
use crate::queue::Queue;
use crate::remote::{Addresses, Target, Writer};
use crate::store::Store;
use crate::world::{Malice, Random, Sim};

const GATEWAYS: usize = 2;
const WORKERS: usize = 3;
const WRITERS: usize = 2;

/// Leases are short, so that little has to be simulated until they run out.
const LEASE: Duration = Duration::from_secs(2);

/// How long everything may take when the faults are over.
const PATIENCE: Duration = Duration::from_secs(200);

/// How long what is left of the dead may stay.
const SETTLE: Duration = Duration::from_secs(6);

/// Runs of processes in one seed, beyond which nothing moves any more.
const RUNS: u64 = 2_000_000;

const MIB: u64 = 1 << 20;

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
enum Role {
    Client(usize),
    Gateway,
    Worker,
    Writer(usize),
}

/// Sizes that differ from seed to seed.
struct Sizes {
    file_bytes: u64,
    part_bytes: usize,
    row_group_bytes: u64,
    commit_interval: Duration,
    in_flight: usize,
}

struct Slot {
    role: Role,
    process: Option<Process>,
    budget: Option<Budget>,
    incarnation: u32,
    restart_at: Duration,
    /// The owner before, if its supervisor saw it die.
    died: Option<String>,
}

struct Cluster {
    sim: Sim,
    catalog: Arc<Catalog>,
    queue: Queue,
    addresses: Addresses,
    sizes: Sizes,
    plans: Vec<Arc<Plan>>,
    submissions: Vec<Arc<Submission>>,
    slots: Vec<Slot>,
    outcome: Outcome,
    runs: u64,
}

/// Runs one seed to its end, and looks at what is left.
pub(crate) fn run(seed: u64, verbose: bool) -> Outcome {
    let background = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let catalog = background.block_on(Box::pin(Catalog::open("sqlite::memory:"))).unwrap();
    let mut random = Random::new(seed ^ 0x5eed);
    let jobs = if random.below(4) == 0 { 2 } else { 1 };
    let sim = Sim::new(seed, jobs + GATEWAYS + WORKERS + WRITERS, background.handle().clone(), verbose);
    let store = Store::new(&sim);
    forebay_objects::simulation::bring("sim", Arc::new(store.clone()) as Arc<dyn ObjectStore>);
    background.block_on(make_tables(Arc::clone(store.inner()) as Arc<dyn ObjectStore>));
    let mut cluster = Cluster::new(&sim, catalog, jobs, &mut random);
    sim.enter();
    cluster.play(&mut random);
    let Cluster { catalog, plans, mut outcome, slots, .. } = cluster;
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
    (outcome.trace, outcome.events, outcome.failed_calls) = sim.trace();
    outcome.seconds = sim.time().as_secs_f64();
    outcome
}

impl Cluster {
    fn new(sim: &Sim, catalog: Catalog, jobs: usize, random: &mut Random) -> Self {
        let plans: Vec<_> = (0..jobs).map(|job| Arc::new(Plan::new(["a", "b"][job], random))).collect();
        let mut roles: Vec<Role> = (0..jobs).map(Role::Client).collect();
        roles.extend([Role::Gateway; GATEWAYS]);
        roles.extend([Role::Worker; WORKERS]);
        roles.extend((0..WRITERS).map(Role::Writer));
        let slot =
            |role| Slot { role, process: None, budget: None, incarnation: 0, restart_at: Duration::ZERO, died: None };
        Self {
            sim: sim.clone(),
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
                if let Some(process) = &self.slots[index].process {
                    process.run();
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
                self.fault(random);
                next_fault = self.pause_before_fault(random);
            }
        }
    }

    fn pause_before_fault(&self, random: &mut Random) -> Option<Duration> {
        let mean = self.sim.malice().between?;
        Some(self.sim.time() + mean.mul_f64(0.1 - (1.0 - random.share()).ln()))
    }

    fn fault(&mut self, random: &mut Random) {
        let now = self.sim.time();
        // Writers have the most to lose.
        let (all, writers) = (self.slots.len() as u64, WRITERS as u64);
        let index =
            if random.below(3) == 0 { random.within(all - writers, all - 1) } else { random.below(all) } as usize;
        let kind = random.below(8);
        // Some kinds of faults are left out in some worlds.
        if kind > 1 && self.sim.malice().kinds >> kind & 1 == 0 {
            return;
        }
        self.outcome.faults += 1;
        match kind {
            0..=2 => self.crash(index, random),
            3 | 4 => {
                if let Some(process) = &mut self.slots[index].process {
                    self.outcome.pauses += 1;
                    // Shorter than a lease, or longer; often just as long as it takes others to notice.
                    let lease = LEASE.as_millis() as u64;
                    let (from, to) = if random.below(2) == 0 { (lease, 2 * lease) } else { (200, 3 * lease) };
                    process.paused_until = now + random.millis(from, to);
                    self.sim.note(&format!("{} is stopped", process.name));
                }
            }
            5 => {
                self.sim.note("the queue forgets");
                self.queue.forget();
            }
            6 => self.sim.take_away("catalog", now + random.millis(100, 4_000)),
            _ => self
                .sim
                .take_away(["store", "call", "queue"][random.below(3) as usize], now + random.millis(100, 4_000)),
        }
    }

    fn crash(&mut self, index: usize, random: &mut Random) {
        if self.slots[index].process.is_none() {
            return;
        }
        self.outcome.crashes += 1;
        self.end(index);
        let slot = &mut self.slots[index];
        slot.restart_at = self.sim.time() + random.millis(0, 3_000);
        if random.below(3) == 0 {
            slot.died = None;
        }
    }

    /// Ends a process in the middle of whatever it does.
    fn end(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        let Some(process) = slot.process.take() else { return };
        self.sim.note(&format!("{} dies", process.name));
        if let Role::Writer(address) = slot.role {
            self.addresses.lock().unwrap()[address] = None;
        }
        slot.died = Some(process.name.clone());
        slot.budget = None;
        drop(process);
        self.sim.forget(index);
        // Whoever waits for an answer gets none.
        self.sim.rouse_all();
    }

    fn start_what_is_due(&mut self) {
        for index in 0..self.slots.len() {
            if self.slots[index].process.is_none() && self.slots[index].restart_at <= self.sim.time() {
                self.start(index);
            }
        }
    }

    fn start(&mut self, index: usize) {
        let slot = &mut self.slots[index];
        slot.incarnation += 1;
        let name = format!("{:?}-{index}-{}", slot.role, slot.incarnation);
        self.sim.note(&format!("{name} starts"));
        let (role, died) = (slot.role, slot.died.take());
        let process = Process::new(name);
        let catalog = Arc::new(self.catalog.of_another_process());
        let budget = Budget::new(64 * MIB);
        match role {
            Role::Client(job) => {
                let (plan, submission) = (Arc::clone(&self.plans[job]), Arc::clone(&self.submissions[job]));
                if !submission.done.load(Ordering::Relaxed) {
                    process.runtime.spawn(client(self.sim.clone(), catalog, plan, submission));
                }
            }
            Role::Gateway => self.start_gateway(&process, catalog),
            Role::Worker => self.start_worker(&process, catalog, &budget, died),
            Role::Writer(address) => self.start_writer(&process, catalog, &budget, index, address),
        }
        let slot = &mut self.slots[index];
        (slot.process, slot.budget) = (Some(process), Some(budget));
        self.sim.rouse(index);
    }

    fn writers(&self) -> Arc<dyn forebay_api::Storage> {
        let writer = |address| {
            let (sim, addresses) = (self.sim.clone(), Arc::clone(&self.addresses));
            Arc::new(Writer { sim, addresses, address }) as Arc<dyn forebay_api::Storage>
        };
        Arc::new(RemoteWriters::new((0..WRITERS).map(writer).collect()).unwrap())
    }

    fn start_gateway(&self, process: &Process, catalog: Arc<Catalog>) {
        let dispatcher = Dispatcher::new(Dispatch {
            catalog,
            queue: Arc::new(self.queue.clone()),
            storage: self.writers(),
            changed: Arc::new(Notify::new()),
            staging_folder: STAGING_FOLDER.to_owned(),
        });
        process.runtime.spawn(async move { dispatcher.run(CancellationToken::new()).await });
    }

    fn keep_leases(&self, process: &Process, catalog: &Arc<Catalog>, stop: &CancellationToken) {
        let (catalog, owner, stop) = (Arc::clone(catalog), process.name.clone(), stop.clone());
        process.runtime.spawn(keep_leases(catalog, owner, LEASE, Observer::default(), stop));
    }

    fn start_worker(&self, process: &Process, catalog: Arc<Catalog>, budget: &Budget, died: Option<String>) {
        let (stop, queue, in_flight) = (CancellationToken::new(), self.queue.clone(), self.sizes.in_flight);
        let transform = Arc::new(Transform::new(
            Arc::clone(&catalog),
            self.writers(),
            Arc::new(NoEnrichment),
            budget.clone(),
            budget.pool("chunks", 8 * MIB).unwrap(),
            budget.pool("large_records", 8 * MIB).unwrap(),
            TransformConfig {
                models: None,
                owner: process.name.clone(),
                lease: LEASE,
                workers: 2,
                chunk_memory: MIB,
                sql_memory: MIB as usize,
                staging_folder: STAGING_FOLDER.to_owned(),
                keys: Keys::none(),
                observer: Observer::default(),
            },
            Arc::new(Notify::new()),
            stop.clone(),
        ));
        self.keep_leases(process, &catalog, &stop);
        let sim = self.sim.clone();
        process.runtime.spawn(async move {
            // As a supervisor's next worker does. If it fails, leases run out instead.
            let claims = match died {
                Some(owner) => catalog.claimed_by(&owner).await.unwrap_or_default(),
                None => Vec::new(),
            };
            for claim in claims {
                if let Err(error) = transform.settle_death(&claim).await {
                    sim.note(&format!("death of {} not settled: {error}", claim.chunk));
                    break;
                }
            }
            queue.run("transform", in_flight, transform as Arc<dyn WorkHandler>, stop).await.unwrap();
        });
    }

    fn start_writer(&self, process: &Process, catalog: Arc<Catalog>, budget: &Budget, index: usize, address: usize) {
        let stop = CancellationToken::new();
        let storage = Storage::new(
            Arc::clone(&catalog),
            budget.clone(),
            budget.pool("held", 8 * MIB).unwrap(),
            budget.pool("encoding", 8 * MIB).unwrap(),
            StorageConfig {
                owner: process.name.clone(),
                lease: LEASE,
                row_group_bytes: self.sizes.row_group_bytes,
                file_bytes: self.sizes.file_bytes,
                part_bytes: self.sizes.part_bytes,
                commit_interval: self.sizes.commit_interval,
                encoders: 2,
                spill: std::env::temp_dir(),
                observer: Observer::default(),
            },
        );
        let (writer, told) = (Arc::clone(&storage), stop.clone());
        process.runtime.spawn(async move { writer.run(told).await });
        let (writer, told) = (Arc::clone(&storage), stop.clone());
        process.runtime.spawn(async move { writer.take_over(told).await });
        self.keep_leases(process, &catalog, &stop);
        process.runtime.spawn(async move { Janitor::new(catalog).run(stop).await });
        let target = Target { process: index, handle: process.runtime.handle().clone(), storage };
        self.addresses.lock().unwrap()[address] = Some(target);
    }
}

/// The jobs of the simulation look nothing up.
struct NoEnrichment;

#[async_trait]
impl Enrichment for NoEnrichment {
    async fn enrich(
        &self,
        _: EnrichRequest,
        _: BoxStream<Result<KeyBatch, ServiceError>>,
    ) -> Result<BoxStream<Result<RecordBatch, ServiceError>>, ServiceError> {
        Err(ServiceError::internal("nothing is looked up in a simulation"))
    }
}
