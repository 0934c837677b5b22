//! Submissions to separate services give what one process gives.

use std::time::{Duration, Instant};

use super::{Fleet, SMALL, SOON, Suite};
use crate::formats::{arrow_file, arrow_stream, claims_batch, gzip, parquet_file, zstd};
use crate::support::{CLINICAL, claims, patients};

#[test]
fn two_clients_at_once_get_what_one_process_gives() {
    let suite = Suite::start(SMALL);
    let (first, second) =
        (suite.scratch.write("p.ndjson", patients(3_000)), suite.scratch.write("c.csv", claims(20_000)));
    let clinical = suite.submission("clinical", &first, "a", &["--set", "protect=off"]).spawn().unwrap();
    let flat = suite.submission("claims", &second, "b", &[]).spawn().unwrap();
    let (clinical, flat) = (clinical.wait_with_output().unwrap(), flat.wait_with_output().unwrap());
    let clinical = suite.finish(clinical, "a");
    clinical.expect(0).conserved_elsewhere();
    assert_eq!(clinical.records_in(), 3_000);
    suite.finish(flat, "b").expect(0).conserved_elsewhere();
    suite.scratch.run("clinical", &first, "alone", &["protect=off"]).expect(0).conserved();
    suite.scratch.run("claims", &second, "alone", &[]).expect(0).conserved();
    for table in CLINICAL {
        assert_eq!(suite.rows("a", table), suite.scratch.rows("alone", table), "{table}");
        assert_eq!(suite.rows("a", table).len() as u64, clinical.rows_out(table), "{table}");
    }
    assert_eq!(suite.rows("b", "claims"), suite.scratch.rows("alone", "claims"));
    suite.clean("a", &CLINICAL);
    suite.clean("b", &["claims"]);
    for service in &suite.services {
        assert!(service.peak() < 192 << 20, "{} had {} bytes resident", service.kind, service.peak());
    }
}

#[test]
fn columnar_and_compressed_files_are_sent_too() {
    let suite = Suite::start(SMALL);
    let batch = claims_batch(6_000);
    let text = claims(6_000);
    let parquet = suite.scratch.write("c.parquet", parquet_file(&batch, 2_500));
    suite.scratch.run("claims", &parquet, "columns", &[]).expect(0).conserved();
    let lines = suite.scratch.write("c.csv", &text);
    suite.scratch.run("claims", &lines, "text", &[]).expect(0).conserved();
    for (output, input, format, alone) in [
        ("a", parquet, "auto", "columns"),
        ("b", suite.scratch.path("c.parquet").display().to_string(), "parquet", "columns"),
        ("c", suite.scratch.write("c.arrow", arrow_file(&batch, 1_000)), "auto", "columns"),
        ("d", suite.scratch.write("c.arrows", arrow_stream(&batch, 1_000)), "arrow", "columns"),
        ("e", suite.scratch.write("c.csv.gz", gzip(text.as_bytes())), "auto", "text"),
        ("f", suite.scratch.write("c.csv.zst", zstd(text.as_bytes())), "auto", "text"),
    ] {
        let more = ["--format", format, "--set", "chunk.rows=1000"];
        suite.submit("claims", &input, output, &more).expect(0).conserved_elsewhere();
        assert_eq!(suite.rows(output, "claims"), suite.scratch.rows(alone, "claims"), "{output}");
        suite.clean(output, &["claims"]);
    }
}

#[test]
fn the_same_submission_again_writes_nothing_and_other_input_is_refused() {
    let suite = Suite::start(SMALL);
    let input = suite.scratch.write("p.ndjson", patients(100));
    suite.submit("clinical", &input, "a", &["--job", "one", "--set", "protect=off"]).expect(0).conserved_elsewhere();
    let before = suite.rows("a", "patients");
    let again = suite.submit("clinical", &input, "a", &["--job", "one", "--set", "protect=off"]);
    again.expect(0);
    assert!(again.stderr.contains("ended before"), "{}", again.stderr);
    assert_eq!(suite.rows("a", "patients"), before);
    let other = suite.scratch.write("q.ndjson", patients(101));
    let refused = suite.submit("clinical", &other, "a", &["--job", "one", "--set", "protect=off"]);
    refused.expect(2);
    assert!(refused.stderr.contains("one"), "{}", refused.stderr);
    // What is not below the store, and what only the gateway's machine has, is refused.
    for output in ["/tmp/x", "s3://other/x", "../x", "a/../../x", "_forebay"] {
        suite
            .client(&["submit", "clinical", &input, "--output", output])
            .output()
            .map(|out| suite.finish(out, "no"))
            .unwrap()
            .expect(2);
    }
}

#[test]
fn rejects_jobs_watch_and_cancel_work_from_afar() {
    let suite = Suite::start(SMALL);
    let mut text = patients(50);
    text.push_str("{\"patient_id\": 7\n");
    let input = suite.scratch.write("p.ndjson", text);
    let outcome = suite.submit("clinical", &input, "a", &["--job", "one", "--set", "protect=off"]);
    outcome.expect(3).conserved_elsewhere();
    let run = |args: &[&str]| suite.finish(suite.client(args).output().unwrap(), "none");
    let jobs = run(&["jobs", "--json"]);
    assert!(jobs.expect(0).stdout.contains("\"job\":\"one\""), "{}", jobs.stdout);
    let rejects = run(&["rejects", "one", "--json"]);
    assert!(rejects.expect(0).stdout.contains("\"record\":51"), "{}", rejects.stdout);
    let watched = run(&["watch", "one", "--json"]);
    watched.expect(3);
    let report: serde_json::Value = serde_json::from_str(watched.stdout.trim()).unwrap();
    assert_eq!(report["records_in"], 51);
    run(&["watch", "nobody"]).expect(2);
    // A job whose input never ends is cancelled, and its client is told.
    let mut endless = suite.client(&["submit", "clinical", "-", "--output", "b", "--job", "two"]);
    let mut endless = endless.stdin(std::process::Stdio::piped()).spawn().unwrap();
    wait_for(|| run(&["jobs", "--json"]).stdout.contains("\"job\":\"two\""));
    run(&["cancel", "two"]).expect(0);
    drop(endless.stdin.take());
    assert!(!endless.wait_with_output().unwrap().status.success());
    run(&["watch", "two"]).expect(1);
}

#[test]
fn a_client_that_dies_goes_on_where_it_stopped() {
    let suite = Suite::start(SMALL);
    let input = suite.scratch.write("p.ndjson", patients(20_000));
    let args = ["--job", "one", "--set", "protect=off", "--set", "chunk.rows=500"];
    let mut kills = 0;
    loop {
        let mut client = suite.submission("clinical", &input, "a", &args).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(150 + 100 * kills));
        if kills == 6 || client.try_wait().unwrap().is_some() {
            let outcome = suite.finish(client.wait_with_output().unwrap(), "a");
            outcome.expect(0).conserved_elsewhere();
            assert_eq!(outcome.records_in(), 20_000);
            break;
        }
        client.kill().unwrap();
        client.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 0);
    suite.scratch.run("clinical", &input, "alone", &["protect=off"]).expect(0);
    for table in CLINICAL {
        assert_eq!(suite.rows("a", table), suite.scratch.rows("alone", table), "{table}");
    }
    suite.clean("a", &CLINICAL);
}

#[test]
fn several_writers_and_workers_share_one_table() {
    let suite = Suite::start_with(
        Fleet { gateways: 1, transforms: 3, storages: 2 },
        &[("FOREBAY_WORKERS", "1"), ("FOREBAY_COMMIT_INTERVAL", "300ms")],
    );
    let input = suite.scratch.write("p.ndjson", patients(12_000));
    let args = ["--set", "protect=off", "--set", "chunk.rows=300"];
    suite.submit("clinical", &input, "a", &args).expect(0).conserved_elsewhere();
    suite.scratch.run("clinical", &input, "alone", &["protect=off"]).expect(0);
    for table in CLINICAL {
        assert_eq!(suite.rows("a", table), suite.scratch.rows("alone", table), "{table}");
    }
    suite.clean("a", &CLINICAL);
}

#[test]
fn services_restart_one_after_the_other_under_load_without_a_failed_call() {
    let mut suite = Suite::start(Fleet { gateways: 1, transforms: 2, storages: 2 });
    let input = suite.scratch.write("p.ndjson", patients(40_000));
    let args = ["--set", "protect=off", "--set", "chunk.rows=400", "--job", "one"];
    let client = suite.submission("clinical", &input, "a", &args).spawn().unwrap();
    for index in 0..suite.services.len() {
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(suite.services[index].terminate(), Some(0), "{}", suite.services[index].log());
        suite.restart(index);
        suite.wait_ready();
    }
    let outcome = suite.finish(client.wait_with_output().unwrap(), "a");
    outcome.expect(0).conserved_elsewhere();
    suite.scratch.run("clinical", &input, "alone", &["protect=off"]).expect(0);
    for table in CLINICAL {
        assert_eq!(suite.rows("a", table), suite.scratch.rows("alone", table), "{table}");
    }
    suite.clean("a", &CLINICAL);
}

#[test]
fn a_client_in_python_submits_from_the_proto_files_alone() {
    let suite = Suite::start(SMALL);
    let input = suite.scratch.write("p.ndjson", patients(4_000));
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/submit.py");
    let address = suite.server().replace("http://", "");
    let run = || {
        let mut command = std::process::Command::new("/usr/bin/python3");
        command.arg(&script).args([&address, "clinical", &input, "a", "one", "protect=off"]).output().unwrap()
    };
    for _ in 0..2 {
        let output = run();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{stdout}{stderr} (tests/run installs what it needs)");
        assert!(stdout.contains("one: JOB_STATE_DONE, 4000 records in"), "{stdout}{stderr}");
    }
    suite.scratch.run("clinical", &input, "alone", &["protect=off"]).expect(0);
    for table in CLINICAL {
        assert_eq!(suite.rows("a", table), suite.scratch.rows("alone", table), "{table}");
    }
}

fn wait_for(condition: impl Fn() -> bool) {
    let since = Instant::now();
    while !condition() {
        assert!(since.elapsed() < SOON, "it did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}
