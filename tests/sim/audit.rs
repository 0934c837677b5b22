//! Looks at what is left, without the services' own eyes: the logs are read as text, the files as Parquet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use forebay_catalog::{Catalog, Job};
use forebay_lake::{read_file, table_place};
use forebay_objects::{Place, simulation};
use forebay_types::{ChunkState, JobState, REJECTS_TABLE};
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::input::Plan;

/// A table's log: its files, and the places of the commits by application.
#[derive(Default)]
struct Log {
    files: Vec<String>,
    versions: BTreeMap<String, Vec<i64>>,
}

/// Everything that is wrong.
pub(crate) async fn problems(store: Arc<InMemory>, catalog: &Catalog, plans: &[Arc<Plan>]) -> Vec<String> {
    let mut problems = Vec::new();
    simulation::bring("audit", Arc::clone(&store) as Arc<dyn ObjectStore>);
    let output = Place::open("memory://audit/out").unwrap();
    let mut sequences: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
    let mut rows: BTreeMap<&str, Vec<(String, i64)>> = BTreeMap::new();
    for table in ["orders", "lines", REJECTS_TABLE] {
        let place = table_place(&output, table).unwrap();
        let log = read_log(&place, table, &mut problems).await;
        for (application, versions) in &log.versions {
            if !versions.is_sorted_by(|a, b| a < b) {
                problems.push(format!("{table}: commits of {application} are out of order: {versions:?}"));
            }
            sequences.entry(application.clone()).or_default().extend(versions);
        }
        check_files(&place, table, &log, &mut problems).await;
        let found = rows.entry(table).or_default();
        for file in &log.files {
            found.extend(read_rows(&place, table, file).await);
        }
    }
    let chunks = catalog.audited_chunks().await.unwrap();
    let mut expected = 0;
    for plan in plans {
        let Job { id: job, state, .. } = catalog.job_by_key("local", &plan.key).await.unwrap();
        let committed: BTreeSet<u64> = chunks
            .iter()
            .filter(|chunk| chunk.job == job && chunk.state == ChunkState::Committed)
            .flat_map(|chunk| chunk.first_record + 1..=chunk.first_record + chunk.records)
            .collect();
        expected += committed.iter().map(|record| 1 + plan.lines_of[*record as usize - 1]).sum::<u64>();
        if state == JobState::Done && committed.len() as u64 != plan.records {
            problems.push(format!("{}: done, and only {committed:?} are committed", plan.key));
        }
        let places = catalog.commit_places(job).await.unwrap();
        let published = sequences.remove(&format!("forebay/{}/{job}", catalog.id())).unwrap_or_default();
        // A group without chunks has no files, and is in no log.
        if !places.iter().copied().eq(1..=places.len() as i64) || !published.iter().all(|seq| places.contains(seq)) {
            problems.push(format!("{}: commits {places:?}, published {published:?}", plan.key));
        }
        if !catalog.unpublished_groups(job, 1).await.unwrap().is_empty() {
            problems.push(format!("{}: groups are not published", plan.key));
        }
        check_rows(plan, &committed, &rows, &mut problems);
        check_totals(plan, catalog, committed.len() as u64, &mut problems).await;
    }
    let count: u64 = rows.values().map(|rows| rows.len() as u64).sum();
    if rows["_rejects"].iter().all(|(reason, _)| !reason.contains("quarantined")) && count != expected {
        problems.push(format!("{count} rows in all tables, not {expected}"));
    }
    let staged: Vec<_> = store.list(Some(&Path::from("out/_forebay/staging"))).try_collect().await.unwrap();
    if !staged.is_empty() {
        problems.push(format!("{} objects are left in staging", staged.len()));
    }
    if !catalog.staged_keys_to_delete(10).await.unwrap().is_empty() {
        problems.push("the catalog knows of staged objects that are to be deleted".to_owned());
    }
    problems.extend(sequences.into_keys().map(|of| format!("commits of nobody: {of}")));
    let left = catalog.recover(false).await.unwrap();
    if !left.abandoned.is_empty() || left.unwritten > 0 {
        problems.push(format!("groups are left: {left:?}"));
    }
    problems
}

/// Whoever is told that a job is done sees all of it.
pub(crate) async fn not_visible(store: Arc<InMemory>, catalog: &Catalog, plan: &Plan) -> Vec<String> {
    simulation::bring("audit", store as Arc<dyn ObjectStore>);
    let output = Place::open("memory://audit/out").unwrap();
    let job = catalog.job_by_key("local", &plan.key).await.unwrap();
    let mut problems = Vec::new();
    if job.state == JobState::Done {
        for file in catalog.audited_files(job.id).await.unwrap() {
            let log = read_log(&table_place(&output, &file.table).unwrap(), &file.table, &mut problems).await;
            if !log.files.contains(&file.path) {
                problems.push(format!("{}: done, and {} is not in the log of {}", plan.key, file.path, file.table));
            }
        }
    }
    problems
}

async fn read_log(place: &Place, table: &str, problems: &mut Vec<String>) -> Log {
    let mut log = Log::default();
    for version in 0.. {
        let path = Path::from(format!("_delta_log/{version:020}.json"));
        let Ok(object) = place.store().get(&path).await else { break };
        let text = object.bytes().await.unwrap();
        for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let action: serde_json::Value = serde_json::from_slice(line).unwrap();
            if let Some(path) = action["add"]["path"].as_str() {
                if log.files.iter().any(|known| known == path) {
                    problems.push(format!("{table}: {path} is in the log twice"));
                }
                log.files.push(path.to_owned());
            }
            if let (Some(id), Some(version)) = (action["txn"]["appId"].as_str(), action["txn"]["version"].as_i64()) {
                log.versions.entry(id.to_owned()).or_default().push(version);
            }
        }
    }
    log
}

async fn check_files(place: &Place, table: &str, log: &Log, problems: &mut Vec<String>) {
    let listed: Vec<_> = place.store().list(None).try_collect().await.unwrap();
    let there: BTreeSet<String> =
        listed.into_iter().map(|meta| meta.location.to_string()).filter(|name| name.ends_with(".parquet")).collect();
    for file in there.iter().filter(|file| !log.files.contains(*file) && !file.contains('/')) {
        problems.push(format!("{table}: {file} is no part of the table"));
    }
    for file in log.files.iter().filter(|file| !there.contains(*file)) {
        problems.push(format!("{table}: {file} is missing"));
    }
}

/// A row's id, or its reject's reason and job, and its record's number.
async fn read_rows(place: &Place, table: &str, file: &str) -> Vec<(String, i64)> {
    let Ok(stream) = read_file(place, file).await else { return Vec::new() };
    let batches: Vec<_> = stream.try_collect().await.unwrap();
    let mut rows = Vec::new();
    for batch in batches {
        let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().clone();
        for row in 0..batch.num_rows() {
            rows.push(match table {
                "orders" => (text("id").value(row).to_owned(), 0),
                "lines" => (text("line").value(row).to_owned(), 0),
                _ => {
                    let record = batch.column_by_name("record").unwrap().as_primitive::<Int64Type>().value(row);
                    (format!("{} {}", text("job").value(row), text("reason").value(row)), record)
                }
            });
        }
    }
    rows
}

/// Every record of a committed chunk is in its table once, or rejected once; no other is. What was quarantined is
/// rejected whole.
fn check_rows(
    plan: &Plan,
    committed: &BTreeSet<u64>,
    rows: &BTreeMap<&str, Vec<(String, i64)>>,
    problems: &mut Vec<String>,
) {
    let of_job = |text: &str| text.split(['-', ' ']).next() == Some(plan.key.as_str());
    let mut rejected: BTreeMap<i64, u32> = BTreeMap::new();
    let mut quarantined = BTreeSet::new();
    for (text, record) in rows[REJECTS_TABLE].iter().filter(|(text, _)| of_job(text)) {
        *rejected.entry(*record).or_default() += 1;
        if text.ends_with("quarantined") {
            quarantined.insert(*record as u64);
        }
    }
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for (id, _) in rows["orders"].iter().chain(&rows["lines"]).filter(|(id, _)| of_job(id)) {
        *seen.entry(id).or_default() += 1;
    }
    for (id, times) in seen.iter().filter(|(_, times)| **times != 1) {
        problems.push(format!("{id} arrived {times} times"));
    }
    for (record, times) in rejected.iter().filter(|(_, times)| **times != 1) {
        problems.push(format!("record {record} of {} was rejected {times} times", plan.key));
    }
    for record in 1..=plan.records {
        let id = format!("{}-{record}", plan.key);
        let is_bad = plan.bad.contains(&record) || quarantined.contains(&record);
        let (rejects, arrives) = (committed.contains(&record) && is_bad, committed.contains(&record) && !is_bad);
        if rejects != rejected.contains_key(&(record as i64)) {
            problems.push(format!("record {record} of {}: rejected is {}, and should not", plan.key, !rejects));
        }
        if arrives != seen.contains_key(id.as_str()) {
            problems.push(format!("{id}: arrived is {}, and should not", !arrives));
        }
        for line in 0..plan.lines_of[record as usize - 1] {
            if arrives != seen.contains_key(format!("{id}-{line}").as_str()) {
                problems.push(format!("{id}-{line}: arrived is {}, and should not", !arrives));
            }
        }
    }
}

async fn check_totals(plan: &Plan, catalog: &Catalog, committed: u64, problems: &mut Vec<String>) {
    let Job { id: job, state, .. } = catalog.job_by_key("local", &plan.key).await.unwrap();
    let progress = catalog.progress(job).await.unwrap();
    if progress.records_in != committed {
        problems.push(format!("{}: {} records in, not {committed}", plan.key, progress.records_in));
    }
    let rejects: u64 = progress.rejects.values().sum();
    if progress.rows.get("orders").copied().unwrap_or_default() + rejects != committed {
        problems.push(format!("{}: rows and rejects are not all records: {progress:?}", plan.key));
    }
    let at_work = progress.chunks["claimed"] + progress.chunks["written"];
    let is_done = state == JobState::Done;
    if at_work > 0 || is_done && (progress.chunks["staged"] > 0 || !catalog.job_complete(job).await.unwrap()) {
        problems.push(format!("{}: {state:?}, and not complete: {:?}", plan.key, progress.chunks));
    }
}
