//! What separate services do beside their tables: a sink, and staging that is encrypted.

use std::path::PathBuf;
use std::time::Instant;

use forebay_testing::postgres::Postgres;

use super::{Fleet, SMALL, SOON, Suite};
use crate::sealed::{CANARY, found, marked};
use crate::sink::equal_to;
use crate::support::{CLINICAL, patients};

#[test]
fn the_sink_has_once_what_several_writers_commit_while_one_dies_and_it_restarts() {
    let sink = Postgres::start();
    let url = sink.database();
    let (_, place) = url.split_once('@').unwrap();
    let (database, asked) = (place.split_once('/').unwrap().1, format!("sink=postgres://{place}"));
    let mut suite = Suite::start_with(
        Fleet { gateways: 1, transforms: 2, storages: 2 },
        &[("FOREBAY_SINK_URL", &url), ("FOREBAY_COMMIT_INTERVAL", "300ms"), ("FOREBAY_LEASE", "2s")],
    );
    let input = suite.scratch.write("p.ndjson", patients(12_000));
    let args = ["--set", "protect=off", "--set", "chunk.rows=600", "--set", &asked];
    let client = suite.submission("clinical", &input, "a", &args).spawn().unwrap();
    let loaded = || {
        let there = sink.query_in(database, "SELECT to_regclass('_forebay_commits') IS NOT NULL") == "t";
        there && sink.query_in(database, "SELECT coalesce(max(last_commit), 0) > 1 FROM _forebay_commits") == "t"
    };
    let since = Instant::now();
    while !loaded() && since.elapsed() < SOON {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let victim = suite.of("storage")[0];
    suite.services[victim].kill();
    sink.stop();
    sink.start_again();
    suite.restart(victim);
    let outcome = suite.finish(client.wait_with_output().unwrap(), "a");
    outcome.expect(0).conserved_elsewhere();
    equal_to(|table| suite.rows("a", table), &sink, database);
    suite.clean("a", &CLINICAL);
    assert!(!suite.logs().contains(forebay_testing::postgres::PASSWORD), "a password was logged");
    // The service's password is for its own database only.
    let foreign = ["--set", "protect=off", "--set", "sink=postgres://127.0.0.1:1/other"];
    let refused = suite.submit("clinical", &input, "b", &foreign);
    assert!(refused.expect(2).stderr.contains("ask for that one"), "{}", refused.stderr);
}

#[test]
fn what_clients_send_of_protected_records_waits_encrypted() {
    let key = "07".repeat(32);
    let suite = Suite::start_with(SMALL, &[("FOREBAY_KEYS", &key), ("FOREBAY_COMMIT_INTERVAL", "5s")]);
    let text = marked(3_000) + "{\"patient_id\": \"P1\", \"name\": [\"Zebrafinch\"\n";
    let input = suite.scratch.write("p.ndjson", &text);
    let args = ["--job", "one", "--set", "chunk.rows=300"];
    let mut client = suite.submission("clinical", &input, "a", &args).spawn().unwrap();
    let bucket = suite.s3.bucket();
    let mut copies = 0;
    while client.try_wait().unwrap().is_none() {
        let staging = bucket.join("store/a/_forebay/staging");
        copies = copies.max(forebay_testing::s3::files_below(&staging).len());
        assert_eq!(found(bucket.clone()), Vec::<PathBuf>::new());
    }
    assert!(copies > 3, "nothing was seen to wait");
    let outcome = suite.finish(client.wait_with_output().unwrap(), "a");
    outcome.expect(3).conserved_elsewhere();
    suite.scratch.forebay(&["run", "clinical", &input, "--output", "alone"]).expect(3);
    for table in CLINICAL {
        assert_eq!(suite.rows("a", table), suite.scratch.rows("alone", table), "{table}");
    }
    assert_eq!(found(bucket), Vec::<PathBuf>::new());
    let written = suite.postgres.query("SELECT string_agg(c::text, '') FROM chunk c");
    assert!(!suite.logs().contains(CANARY) && !suite.logs().contains(&key) && !written.contains(CANARY));
    // Who has the key can read what was rejected, and mend it.
    let mut command = suite.client(&["rejects", "one", "--raw"]);
    let raw = suite.finish(command.env("FOREBAY_KEYS", &key).output().unwrap(), "none");
    assert!(raw.expect(0).stdout.contains(CANARY), "{}", raw.stderr);
    let raw = suite.finish(suite.client(&["rejects", "one", "--raw"]).output().unwrap(), "none");
    assert!(raw.stdout.is_empty() && raw.stderr.contains("FOREBAY_KEY_FILE"), "{}", raw.stdout);
}

#[test]
fn without_a_key_what_clients_send_of_protected_records_is_refused() {
    let suite = Suite::start(SMALL);
    let input = suite.scratch.write("p.ndjson", marked(100));
    let refused = suite.submit("clinical", &input, "a", &[]);
    refused.expect(2);
    assert!(refused.stderr.contains("FOREBAY_KEY_FILE"), "{}", refused.stderr);
    assert_eq!(found(suite.s3.bucket()), Vec::<PathBuf>::new());
}
