use forebay_gateway::{CHUNKS_HELD, most_held};
use forebay_objects::FRAME_BYTES;
use forebay_recipe::Tuning;
use forebay_transform::ModelNeed;
use forebay_types::ByteSize;

const MIB: u64 = 1 << 20;

/// What the program holds before any record comes: code, the catalog's pages, stacks, the allocator's own.
const PROGRAM: u64 = 40 * MIB;

/// What one stream between services holds: a message that is put together, and its window.
const WIRE: u64 = 6 * MIB;

/// Which services a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Takes input in.
    pub gateway: bool,
    /// Works on chunks.
    pub transform: bool,
    /// Writes tables.
    pub storage: bool,
}

impl Roles {
    /// All of them.
    pub const ALL: Self = Self { gateway: true, transform: true, storage: true };
}

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct PlanRequest {
    /// The services of the process.
    pub roles: Roles,
    /// Submissions that are read at the same time; more of them wait.
    pub submissions: u64,
    /// Whether clients and other services are somewhere else.
    pub remote: bool,
    /// The budget.
    pub memory: ByteSize,
    /// Cores of the machine.
    pub cores: usize,
    /// The job's own sizes, which win over planned ones.
    pub tuning: Tuning,
    /// Longest record.
    pub record_limit: ByteSize,
    /// Tables that the recipe writes, rejects among them.
    pub tables: u64,
    /// Whether the recipe has steps.
    pub steps: bool,
    /// Whether texts are redacted.
    pub redacts: bool,
    /// Whether keys are looked up in this process.
    pub enrichment: bool,
    /// Whether reference files are read for that.
    pub references: bool,
    /// Whether the output is a bucket, whose upload parts must be 5 MiB or more.
    pub bucket: bool,
    /// Whether committed files are loaded into a database.
    pub sink: bool,
    /// Bytes set aside for models of language.
    pub models: Models,
}

/// What models of language need.
#[derive(Clone, Copy, Debug, Default)]
pub enum Models {
    /// There are none.
    #[default]
    None,
    /// Those of a recipe: bytes of their weights, and of one pass.
    Needed(ModelNeed),
    /// Those of whatever recipes come: so many bytes, and no more.
    Allowed(ByteSize),
}

/// Who may hold how much of the budget, at worst.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name, as in metrics.
    pub name: &'static str,
    /// Bytes.
    pub bytes: u64,
    /// How they come about.
    pub how: String,
}

/// Sizes of every part of the process, planned once from capacity. Nothing shrinks them later: see
/// `docs/architecture.md`, "Memory".
#[derive(Clone, Debug)]
pub struct Plan {
    /// The budget.
    pub memory: ByteSize,
    /// Every holder; their sum is at most the budget.
    pub holders: Vec<Holder>,
    /// Chunks decoded, and row groups encoded, at the same time.
    pub workers: usize,
    /// Chunks in work at once.
    pub in_flight: usize,
    /// Input bytes of a chunk.
    pub chunk_bytes: u64,
    /// Budget of one chunk in work.
    pub chunk_memory: u64,
    /// Of that, for SQL.
    pub sql_memory: u64,
    /// Decoded bytes of a row group.
    pub row_group_bytes: u64,
    /// Bytes of an upload's part.
    pub part_bytes: u64,
    /// Budget of one table that is loaded into the sink.
    pub load_memory: u64,
    /// Tables that are loaded at the same time.
    pub loads: u64,
}

impl Plan {
    /// Plans a process, or says by how much the budget is too small.
    pub fn new(request: &PlanRequest) -> Result<Self, String> {
        let memory = request.memory.0;
        let data = memory.saturating_sub(PROGRAM);
        let frame = FRAME_BYTES as u64;
        let limit = request.record_limit.0;
        let workers = request.tuning.workers.unwrap_or(request.cores).max(1);
        let chunk_bytes =
            request.tuning.chunk_bytes.map_or((data.saturating_sub(16 * MIB) / 32).clamp(MIB, 32 * MIB), |size| size.0);
        let sql_memory = if request.steps { chunk_bytes * 2 } else { 0 };
        let batch = (data / 64).clamp(MIB, 8 * MIB);
        let collected = if request.steps { chunk_bytes * 2 } else { 0 };
        let wire = if request.remote { WIRE } else { 0 };
        // A redacted column stands beside the one that it replaces until all of a batch's are done.
        let redacted = if request.redacts { batch } else { 0 };
        let chunk_memory = 2 * frame + 2 * batch + redacted + sql_memory + collected + wire;
        // A process that does nothing else has more for them.
        let share = if request.roles.storage { data / 5 } else { data.saturating_sub(limit * 2) };
        let fitting = (share / chunk_memory).max(1) as usize;
        // A second one hides the waits for whoever is somewhere else. On one machine there are none, and it only makes
        // more rows wait.
        let far = request.remote || request.bucket;
        let planned = if far { workers * 2 } else { workers.max(2) };
        let in_flight = request.tuning.max_in_flight.unwrap_or(planned).min(fitting).max(1);
        let row_group_bytes = request
            .tuning
            .row_group_bytes
            .map_or((data.saturating_sub(40 * MIB) / 16).clamp(MIB, 16 * MIB), |size| size.0);
        let part_bytes = if request.bucket { 5 * MIB } else { MIB / 4 };
        let encoders = workers as u64;
        let large = limit * 2;
        let mut holders =
            vec![Holder { name: "program", bytes: PROGRAM, how: "code, catalog, stacks, allocator".to_owned() }];
        if request.enrichment {
            holders.push(Holder {
                name: "answers",
                bytes: (data / 16).clamp(4 * MIB, 64 * MIB),
                how: "the enrichment cache of this process".to_owned(),
            });
        }
        if request.references {
            holders.push(Holder {
                name: "references",
                bytes: (data / 8).clamp(8 * MIB, 128 * MIB),
                how: "reference files of enrichers".to_owned(),
            });
        }
        if request.roles.gateway {
            let each = 2 * frame + most_held(chunk_bytes, limit) + wire;
            holders.push(Holder {
                name: "intake",
                bytes: request.submissions * each,
                how: format!(
                    "{} x (2 frames + {CHUNKS_HELD} chunks of {} + a record of {})",
                    request.submissions,
                    ByteSize(chunk_bytes),
                    ByteSize(limit)
                ),
            });
        }
        if request.roles.transform {
            holders.push(Holder {
                name: "large_records",
                bytes: large,
                how: format!("one record of {}, twice", ByteSize(limit)),
            });
            holders.extend(models(request.models, workers as u64));
            holders.push(Holder {
                name: "chunks",
                bytes: in_flight as u64 * chunk_memory,
                how: format!("{in_flight} chunks in work x {}", ByteSize(chunk_memory)),
            });
        }
        if request.roles.storage {
            holders.push(Holder {
                name: "encoding",
                bytes: encoders * row_group_bytes * 3 / 2,
                how: format!("{encoders} row groups of {} x 1.5", ByteSize(row_group_bytes)),
            });
            holders.push(Holder {
                name: "uploads",
                bytes: request.tables * 2 * part_bytes,
                how: format!("{} files x 2 parts of {}", request.tables, ByteSize(part_bytes)),
            });
        }
        // A row group as written, its columns decoded, and what is on its way to the server.
        let load_memory = row_group_bytes * 2 + MIB;
        let loads = if request.sink && request.roles.storage { (data / 8 / load_memory).clamp(1, 4) } else { 0 };
        if loads > 0 {
            holders.push(Holder {
                name: "loads",
                bytes: loads * load_memory,
                how: format!("{loads} tables x (2 row groups + 1MiB on the way to the sink)"),
            });
        }
        let planned: u64 = holders.iter().map(|holder| holder.bytes).sum();
        // Rows of more tables than these go to disk earlier.
        let least = if request.roles.storage { request.tables.min(4) * row_group_bytes } else { 0 };
        if planned + least > memory {
            return Err(format!(
                "the budget of {} is too small by {}: {} are needed at least (forebay plan shows the sum); give more, or \
                 set source.record_limit, chunk.bytes, row_group.bytes or workers lower",
                request.memory,
                ByteSize(planned + least - memory),
                ByteSize(planned + least),
            ));
        }
        if request.roles.storage {
            holders.push(Holder {
                name: "held",
                bytes: memory - planned,
                how: "rows that wait for their row group; beyond it they go to disk".to_owned(),
            });
        }
        Ok(Self {
            memory: request.memory,
            holders,
            workers,
            in_flight,
            chunk_bytes,
            chunk_memory,
            sql_memory,
            row_group_bytes,
            part_bytes,
            load_memory,
            loads,
        })
    }

    /// Bytes of a holder.
    pub fn of(&self, name: &str) -> u64 {
        self.holders.iter().find(|holder| holder.name == name).map_or(0, |holder| holder.bytes)
    }
}

/// Who holds models of language, if there are any.
fn models(models: Models, workers: u64) -> Option<Holder> {
    let (bytes, how) = match models {
        Models::None => return None,
        Models::Needed(ModelNeed { weights, working }) => (
            weights + workers * working,
            format!("weights of {}, and {workers} passes of {}", ByteSize(weights), ByteSize(working)),
        ),
        Models::Allowed(bytes) => (bytes.0, "weights and passes, as set".to_owned()),
    };
    Some(Holder { name: "models", bytes, how })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(memory: u64) -> PlanRequest {
        PlanRequest {
            roles: Roles::ALL,
            submissions: 1,
            remote: false,
            memory: ByteSize::mib(memory),
            cores: 2,
            tuning: Tuning::default(),
            record_limit: ByteSize::mib(10),
            tables: 4,
            steps: false,
            redacts: false,
            enrichment: false,
            references: false,
            bucket: false,
            sink: false,
            models: Models::None,
        }
    }

    #[test]
    fn what_is_redacted_is_held_twice() {
        let chunks = |redacts| {
            let plan = Plan::new(&PlanRequest { redacts, ..request(1024) }).unwrap();
            plan.of("chunks") / plan.in_flight as u64
        };
        assert_eq!(chunks(true) - chunks(false), 8 << 20);
    }

    #[test]
    fn the_sum_is_the_budget_and_small_budgets_fit() {
        for memory in [96, 128, 256, 1024, 16_384] {
            for sink in [false, true] {
                let plan = Plan::new(&PlanRequest { sink: sink && memory > 96, ..request(memory) }).unwrap();
                assert_eq!(plan.holders.iter().map(|h| h.bytes).sum::<u64>(), memory << 20, "{memory}");
                assert!(plan.in_flight >= 1 && (plan.loads >= 1) == (sink && memory > 96));
            }
        }
    }

    #[test]
    fn a_service_alone_fits_in_its_own_budget() {
        let alone = Roles { gateway: false, transform: false, storage: false };
        for roles in
            [Roles { gateway: true, ..alone }, Roles { transform: true, ..alone }, Roles { storage: true, ..alone }]
        {
            let request = PlanRequest { roles, submissions: 4, remote: true, bucket: true, ..request(256) };
            let plan = Plan::new(&request).unwrap();
            assert!(plan.holders.iter().map(|holder| holder.bytes).sum::<u64>() <= 256 << 20, "{plan:?}");
        }
    }

    #[test]
    fn models_have_their_weights_once_and_a_pass_for_each_worker() {
        let need = ModelNeed { weights: 100 << 20, working: 10 << 20 };
        let plan = Plan::new(&PlanRequest { models: Models::Needed(need), ..request(512) }).unwrap();
        assert_eq!(plan.of("models"), 120 << 20);
        assert_eq!(plan.holders.iter().map(|holder| holder.bytes).sum::<u64>(), 512 << 20);
        let error = Plan::new(&PlanRequest { models: Models::Needed(need), ..request(128) }).unwrap_err();
        assert!(error.contains("too small by"), "{error}");
    }

    #[test]
    fn what_cannot_fit_is_refused_with_the_missing_amount() {
        let error = Plan::new(&request(64)).unwrap_err();
        assert!(error.contains("too small by") && error.contains("MiB"), "{error}");
    }
}
