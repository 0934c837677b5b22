//! Places in a bucket of a real S3 server, through faults, and on a disk.

use std::time::{Duration, SystemTime};

use forebay_testing::faults::{Fault, FaultProxy, Kind};
use forebay_testing::s3::{S3Server, files_below};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStoreExt, PutPayload};

use crate::{Place, Writers};

fn place(endpoint: &str, uri: &str) -> Place {
    let mut variables = S3Server::variables(endpoint);
    variables.push(("AWS_TIMEOUT".to_owned(), "1s".to_owned()));
    Place::open_with(uri, &variables).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_creates_once_is_found_out_through_faults_and_nothing_is_left() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.endpoint());
    let faults = [Fault::CutAfter, Fault::CutBefore, Fault::HangAfter, Fault::CONFLICT, Fault::INTERNAL];
    for (number, fault) in faults.into_iter().enumerate() {
        for nth in [1, 2] {
            proxy.once(Kind::Create, "", nth, fault);
            let probed = place(&proxy.endpoint(), "s3://bucket/out").probe(Writers::Many).await.unwrap();
            assert!(probed.creates_once, "{fault:?} at {nth}");
        }
        assert!(proxy.wait_met(2 * (number + 1), Duration::ZERO), "{fault:?}");
    }
    assert_eq!(files_below(&server.bucket().join("out")), Vec::<std::path::PathBuf>::new());

    let folder = tempfile::tempdir().unwrap();
    let disk = Place::open(&folder.path().display().to_string()).unwrap();
    assert!(disk.probe(Writers::Many).await.unwrap().creates_once);
    assert_eq!(files_below(folder.path()), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn a_store_that_overwrites_is_for_one_writer_only() {
    let server = S3Server::start();
    server.ignore_conditions();
    let place = place(server.endpoint(), "s3://bucket/out");
    let refused = place.probe(Writers::Many).await.unwrap_err();
    assert!(refused.to_string().contains("If-None-Match") && !refused.is_transient(), "{refused}");
    assert!(!place.probe(Writers::One).await.unwrap().creates_once);
    assert_eq!(files_below(&server.bucket().join("out")), Vec::<std::path::PathBuf>::new());
}

#[tokio::test]
async fn what_is_wrong_with_a_bucket_is_said_at_once() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.endpoint());
    let started = SystemTime::now();
    let missing = place(&proxy.endpoint(), "s3://nobucket/out").probe(Writers::One).await.unwrap_err();
    assert!(missing.to_string().contains("no such bucket"), "{missing}");
    let place = place(&proxy.endpoint(), "s3://bucket/out");
    for (kind, status, code, says) in [
        (Kind::Create, 403, "AccessDenied", "access is denied"),
        (Kind::Create, 405, "MethodNotAllowed", "read-only"),
        (Kind::Create, 400, "ExpiredToken", "new credentials"),
        (Kind::Delete, 403, "AccessDenied", "access is denied"),
    ] {
        proxy.once(kind, "", 1, Fault::Answer(status, code));
        let error = place.probe(Writers::One).await.unwrap_err();
        assert!(error.to_string().contains(says) && !error.is_transient(), "{error}");
    }
    assert!(started.elapsed().unwrap() < Duration::from_secs(5), "it has tried again what nothing helps");
    assert_eq!(proxy.met().len(), 4);
}

#[tokio::test]
async fn uploads_are_listed_in_pages_and_given_up() {
    let server = S3Server::start();
    let proxy = FaultProxy::start(server.endpoint());
    for uri in ["s3://bucket/a b/out/t", "s3://bucket"] {
        let place = place(&proxy.endpoint(), uri);
        let mut begun = Vec::new();
        for number in 0..5 {
            for name in ["part-x-1.parquet", "part-x-10.parquet", "part-y-1.parquet"] {
                let mut upload = place.store().put_multipart(&Path::from(name)).await.unwrap();
                if number == 0 {
                    upload.put_part(PutPayload::from_static(b"bytes")).await.unwrap();
                }
                begun.push(upload);
            }
        }
        proxy.once(Kind::List, "uploads", 1, Fault::SLOW_DOWN);
        let mut page = place.unfinished("part-x-", None).await.unwrap();
        assert_eq!(page.len(), 10);
        assert!(page.iter().all(|found| found.since.elapsed().unwrap() < Duration::from_secs(60)));
        let behind = place.unfinished("part-x-", Some(&page[3])).await.unwrap();
        assert_eq!(behind, page.split_off(4));

        place.clear("part-x-1.parquet").await.unwrap();
        let left = place.unfinished("part-x-", None).await.unwrap();
        assert!(left.len() == 5 && left.iter().all(|found| found.object == "part-x-10.parquet"), "{left:?}");
        for unfinished in place.unfinished("", None).await.unwrap() {
            place.discard(&unfinished).await.unwrap();
            place.discard(&unfinished).await.unwrap();
        }
        assert!(server.uploads().is_empty() && server.upload_files().is_empty());
        drop(begun);
    }
}

#[tokio::test]
async fn a_disk_has_leftovers_too() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(&folder.path().display().to_string()).unwrap();
    for name in ["part-x-1.parquet#1", "part-x-1.parquet#2", "part-x-10.parquet#1", "part-x-1.parquet", "part-x-#a"] {
        std::fs::write(folder.path().join(name), "x").unwrap();
    }
    let found = place.unfinished("part-x-", None).await.unwrap();
    assert_eq!(found.len(), 3);
    assert_eq!(place.unfinished("part-x-", Some(&found[0])).await.unwrap(), found[1..]);
    place.clear("part-x-1.parquet").await.unwrap();
    let left: Vec<_> = files_below(folder.path()).iter().map(|f| f.file_name().unwrap().to_owned()).collect();
    assert!(left.len() == 2 && !left.iter().any(|name| name == "part-x-1.parquet"), "{left:?}");
}

#[tokio::test]
async fn objects_of_a_prefix_are_found_in_a_bucket_and_on_a_disk() {
    let server = S3Server::start();
    let folder = tempfile::tempdir().unwrap();
    let disk = Place::open(&folder.path().display().to_string()).unwrap();
    for place in [place(server.endpoint(), "s3://bucket/out/t"), disk] {
        for name in ["_delta_log/0.json", "part-w-1", "part-x-1", "part-x-2", "part-x/3", "part-y-1"] {
            place.store().put(&Path::from(name), PutPayload::from_static(b"x")).await.unwrap();
        }
        let mut found: Vec<_> = place.objects("part-x-").map_ok(|stored| stored.object).try_collect().await.unwrap();
        found.sort();
        assert_eq!(found, ["part-x-1", "part-x-2"]);
        assert_eq!(place.folders().await.unwrap().len(), 2);
        assert_eq!(place.child("t2").unwrap().folders().await.unwrap().len(), 0);
    }
}
