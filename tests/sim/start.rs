//! How processes begin: as the binary wires them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::RecordBatch;
use async_trait::async_trait;
use forebay::{RemoteWriters, keep_leases};
use forebay_api::{BoxStream, EnrichRequest, Enrichment, KeyBatch, Observer, ServiceError};
use forebay_budget::Budget;
use forebay_catalog::Catalog;
use forebay_gateway::{Dispatch, Dispatcher};
use forebay_queue::{JobQueue, WorkHandler};
use forebay_seal::Keys;
use forebay_storage::{Janitor, Storage, StorageConfig};
use forebay_transform::{Transform, TransformConfig};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::cluster::{Cluster, LEASE, MIB, Role, WRITERS};
use crate::input::{cancel, client};
use crate::process::Process;
use crate::remote::{Target, Writer};

impl Cluster {
    pub(crate) fn start_what_is_due(&mut self) {
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
                    let cancelling =
                        cancel(self.sim.clone(), Arc::clone(&catalog), Arc::clone(&plan), Arc::clone(&submission));
                    process.runtime.spawn(cancelling);
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
                    sim.note_failure(&format!("death of {} not settled", claim.chunk), &error);
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
        let target = Target {
            process: index,
            handle: process.runtime.handle().clone(),
            storage,
            taken: Arc::clone(&self.watch.taken),
        };
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
