use std::path::Path;

use arrow_schema::{DataType, Field, Schema};
use forebay_catalog::NewJob;
use forebay_testing::s3::S3Server;
use forebay_types::JobId;
use object_store::ObjectStoreExt;

use super::*;

async fn job(catalog: &Catalog, output: &Place) -> JobId {
    let job = NewJob {
        tenant: "local".to_owned(),
        key: output.uri().to_string(),
        recipe_name: "r".to_owned(),
        recipe: String::new(),
        digest: String::new(),
        output: output.uri().to_string(),
        format: String::new(),
        settings: String::new(),
        inputs: Vec::new(),
        max_rejects: None,
        traceparent: None,
        sink: None,
    };
    catalog.open_job(job).await.unwrap().job.id
}

/// Writes an object, and begins another write of it that nobody ends.
async fn leave(table: &Place, name: &str) {
    table.store().put(&name.into(), "x".into()).await.unwrap();
    match table.directory() {
        Some(folder) => std::fs::write(folder.join(format!("{name}#1")), "x").unwrap(),
        None => drop(table.store().put_multipart(&name.into()).await.unwrap()),
    }
}

/// Names of what is whole, of those given, and of what is unfinished, in a table's folder.
async fn left(table: &Place, folder: &Path, names: &[String]) -> (Vec<String>, Vec<String>) {
    let whole = names.iter().filter(|name| folder.join(name).exists()).cloned().collect();
    let unfinished = table.unfinished("", None).await.unwrap().into_iter().map(|found| found.object).collect();
    (whole, unfinished)
}

/// Makes a table whose log names a file.
async fn table_with(place: &Place, name: &str) {
    let mut log = DeltaLog::open(place.clone()).await.unwrap();
    let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
    log.ensure(&Arc::new(schema)).await.unwrap();
    let add = format!(r#"{{"path":"{name}","partitionValues":{{}},"size":1,"modificationTime":1,"dataChange":true}}"#);
    log.publish("a", 1, &[add]).await.unwrap();
}

async fn sweeps(output: Place, folder: &Path) {
    let catalog = Arc::new(Catalog::open("sqlite::memory:").await.unwrap());
    let mut janitor = Janitor::new(Arc::clone(&catalog));
    let job = job(&catalog, &output).await;
    let open = catalog.open_group(job, "me", Duration::from_secs(60)).await.unwrap();
    let committed = catalog.open_group(job, "me", Duration::from_secs(60)).await.unwrap();
    catalog.commit_group(committed, &[], &[]).await.unwrap();
    let abandoned = catalog.open_group(job, "me", Duration::from_secs(60)).await.unwrap();
    catalog.abandon_group(abandoned).await.unwrap();
    let prefix = file_prefix(&catalog);
    let named = |group: i64| format!("{prefix}-{group}.parquet");
    // The catalog has forgotten 77, and the table has not.
    let dead = [named(abandoned.0), named(66)];
    let mut kept = vec!["other-66.parquet".to_owned(), "part-000000000000-66.parquet".to_owned()];
    kept.extend([named(77), named(open.0), named(committed.0)]);
    let all: Vec<String> = kept.iter().chain(&dead).cloned().collect();
    let table = table_place(&output, "t").unwrap();
    table_with(&table, &named(77)).await;
    for name in &all {
        leave(&table, name).await;
    }
    let rejects = table_place(&output, REJECTS_TABLE).unwrap();
    leave(&rejects, &dead[1]).await;

    let state = output.child(STATE_FOLDER).unwrap();
    state.store().put(&"probe-1".into(), "x".into()).await.unwrap();
    assert_eq!(janitor.sweep(&output).await.unwrap(), Swept::default(), "nothing is old");
    assert!(folder.join("_forebay/probe-1").exists());
    janitor.age = Duration::ZERO;
    assert_eq!(janitor.sweep(&output).await.unwrap(), Swept { unfinished: 4, files: 3 });
    assert_eq!(janitor.sweep(&output).await.unwrap(), Swept::default());

    assert!(!folder.join("_forebay/probe-1").exists());

    let (whole, mut unfinished) = left(&table, &folder.join("t"), &all).await;
    assert_eq!(whole, kept);
    unfinished.sort();
    // Nobody finishes what was begun for 77; the file that the table has is another one.
    kept.retain(|name| *name != named(77));
    kept.sort();
    assert_eq!(unfinished, kept);
    assert_eq!(left(&rejects, &folder.join("_forebay/rejects"), &all).await, (Vec::new(), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_dead_is_deleted_from_a_disk() {
    let folder = tempfile::tempdir().unwrap();
    Box::pin(sweeps(Place::open(&folder.path().display().to_string()).unwrap(), folder.path())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_dead_is_deleted_from_a_bucket() {
    let server = S3Server::start();
    let variables = S3Server::variables(server.endpoint());
    let output = Place::open_with("s3://bucket/out", &variables).unwrap();
    Box::pin(sweeps(output, &server.bucket().join("out"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_cancelled_job_staged_is_deleted_and_not_that_of_another_catalogs_job_of_the_same_number() {
    let folder = tempfile::tempdir().unwrap();
    let output = Place::open(&folder.path().display().to_string()).unwrap();
    let mut staged = Vec::new();
    for _ in 0..2 {
        let catalog = Arc::new(Catalog::open("sqlite::memory:").await.unwrap());
        let job = job(&catalog, &output).await;
        let staging = Staging::new(staging_place(&output, catalog.id()).unwrap());
        let key = staging.key(&format!("{job}/0-0-0"), false);
        staging.put(&key, "x").await.unwrap();
        staged.push((catalog, job, staging, key));
    }
    let (cancelled, job, first, key) = &staged[0];
    assert_eq!(*job, staged[1].1);
    cancelled.end_job(*job, JobState::Cancelled, None).await.unwrap();
    for (catalog, ..) in &staged {
        Janitor::new(Arc::clone(catalog)).sweep(&output).await.unwrap();
    }
    assert!(first.read(key).try_next().await.is_err());
    let (.., second, key) = &staged[1];
    assert_eq!(second.read(key).try_next().await.unwrap().unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_gone_stays_so() {
    let folder = tempfile::tempdir().unwrap();
    let catalog = Arc::new(Catalog::open("sqlite::memory:").await.unwrap());
    let gone = folder.path().join("gone");
    job(&catalog, &Place::open(&gone.display().to_string()).unwrap()).await;
    std::fs::remove_dir(&gone).unwrap();
    Janitor::new(catalog).sweep_all().await;
    assert!(!gone.exists());
}
