use forebay_objects::Place;

use super::{DeltaLog, Publication};
use crate::rejects_schema;

fn add(name: &str) -> String {
    format!(r#"{{"path":"{name}","partitionValues":{{}},"size":1,"modificationTime":0,"dataChange":true}}"#)
}

/// Two writers that publish the same groups of a job, in the same order and at the same moments, as after a commit
/// that both saw: each group is in the table once, in its order.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_writers_publish_each_group_once() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place::open(folder.path().to_str().unwrap()).unwrap();
    DeltaLog::open(place.clone()).await.unwrap().ensure(&rejects_schema()).await.unwrap();
    let writers = [(); 2].map(|()| {
        let place = place.clone();
        tokio::spawn(async move {
            let mut log = DeltaLog::open(place).await.unwrap();
            let mut published = 0;
            for seq in 1..=20 {
                match log.publish("forebay/one/1", seq, &[add(&format!("{seq}.parquet"))]).await.unwrap() {
                    Publication::Published(version) => {
                        // Its version is its place: nobody overtook it.
                        assert_eq!(version, seq as u64);
                        published += 1;
                    }
                    Publication::AlreadyThere => {}
                }
            }
            published
        })
    });
    let mut published = 0;
    for writer in writers {
        published += writer.await.unwrap();
    }
    assert_eq!(published, 20);
    let mut files = DeltaLog::open(place).await.unwrap().files().await.unwrap();
    files.sort();
    let mut expected: Vec<_> = (1..=20).map(|seq| (format!("{seq}.parquet"), 0)).collect();
    expected.sort();
    assert_eq!(files, expected);
}
