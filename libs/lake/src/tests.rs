//! Commits to a Delta log in a bucket, through faults.

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::{DataType, Field, Schema};
use forebay_objects::Place;
use forebay_testing::faults::{Fault, FaultProxy, Kind};
use forebay_testing::s3::S3Server;

use crate::{DeltaLog, Publication};

struct Table {
    server: S3Server,
    proxy: FaultProxy,
    place: Place,
}

impl Table {
    async fn create() -> Self {
        let server = S3Server::start();
        let proxy = FaultProxy::start(server.endpoint());
        let mut variables = S3Server::variables(&proxy.endpoint());
        variables.push(("AWS_TIMEOUT".to_owned(), "1s".to_owned()));
        let place = Place::open_with("s3://bucket/t", &variables).unwrap();
        let table = Self { server, proxy, place };
        let schema = Schema::new(vec![Field::new("n", DataType::Int64, true)]);
        table.log().await.ensure(&Arc::new(schema)).await.unwrap();
        table
    }

    async fn log(&self) -> DeltaLog {
        DeltaLog::open(self.place.clone()).await.unwrap()
    }

    /// Names of the files that the log has, each as often as it has it.
    async fn files(&self) -> Vec<String> {
        let mut files: Vec<_> = self.log().await.files().await.unwrap().into_iter().map(|(name, _)| name).collect();
        files.sort();
        files
    }
}

fn add(name: &str) -> [String; 1] {
    [format!(
        r#"{{"path":"{name}","partitionValues":{{}},"size":1,"modificationTime":1,"dataChange":true,"stats":"{{\"numRecords\":1}}"}}"#
    )]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_there_once() {
    let table = Table::create().await;
    let mut log = table.log().await;
    let mut expected = Vec::new();
    let faults = [Fault::CutAfter, Fault::HangAfter, Fault::CutBefore, Fault::Hang, Fault::CONFLICT, Fault::INTERNAL];
    for (number, fault) in (1..).zip(faults) {
        table.proxy.once(Kind::Create, "_delta_log", 1, fault);
        let name = format!("f{number}");
        let published = log.publish("a", number, &add(&name)).await.unwrap();
        assert!(table.proxy.wait_met(number as usize, Duration::ZERO), "{fault:?}");
        let lost = matches!(fault, Fault::CutAfter | Fault::HangAfter);
        assert_eq!(published == Publication::AlreadyThere, lost, "{fault:?}: {published:?}");
        expected.push(name);
        assert_eq!(table.files().await, expected, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_that_commit_at_once_lose_and_double_nothing() {
    let table = Arc::new(Table::create().await);
    table.proxy.often(0x5eed, 20, &[Fault::CutAfter, Fault::INTERNAL, Fault::CutBefore]);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..3 {
        let table = Arc::clone(&table);
        writers.spawn(async move {
            let mut log = table.log().await;
            for number in 0..6 {
                log.publish(&format!("w{writer}"), number, &add(&format!("f{writer}-{number}"))).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    table.proxy.pass();
    let expected: Vec<_> = (0..3).flat_map(|w| (0..6).map(move |n| format!("f{w}-{n}"))).collect();
    assert_eq!(table.files().await, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_forbidden_fails_at_once() {
    let table = Table::create().await;
    table.proxy.once(Kind::Create, "", 1, Fault::Answer(403, "AccessDenied"));
    let error = table.log().await.publish("a", 1, &add("f")).await.unwrap_err();
    assert!(error.to_string().contains("access is denied"), "{error}");
    assert_eq!(table.server.count("PutObject"), 1, "only the table's own creation came through");
}
