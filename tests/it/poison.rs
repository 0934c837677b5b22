#![cfg(feature = "faults")]

use crate::support::{CLINICAL, Scratch, patients};

#[test]
fn a_chunk_that_kills_its_worker_is_halved_and_quarantined_and_the_job_goes_on() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(4_000));
    let args = [
        "run",
        "clinical",
        &input,
        "--output",
        "out",
        "--set",
        "chunk.rows=2000",
        "--report",
        "report.json",
        "--progress",
        "none",
    ];
    for (fault, job) in [("FOREBAY_FAULT_ABORT_AT_RECORD", "abort"), ("FOREBAY_FAULT_PANIC_AT_RECORD", "panic")] {
        let output = format!("out-{job}");
        let mut args = args;
        args[4] = &output;
        let ended = scratch.command(&args).env(fault, "1234").output().unwrap();
        let outcome = scratch.finish(ended);
        outcome.expect(3).conserved();
        assert_eq!(outcome.records_in(), 4_000);
        let quarantined = outcome.rejects("quarantined");
        // Halved twice before the third death.
        assert!((1..=200).contains(&quarantined), "{quarantined} records were quarantined");
        assert_eq!(scratch.rows(&output, "patients").len() as u64, 4_000 - quarantined);
        let rejects = scratch.rows(&output, "_forebay/rejects");
        assert_eq!(rejects.len() as u64, quarantined);
        assert!(rejects.iter().any(|row| row.contains("|1234|")), "the record itself is not among them");
        scratch.clean(&output, &CLINICAL);
        // Without the fault they come through.
        let replayed = scratch.forebay(&["jobs", "--output", &output, "--json"]);
        let job: serde_json::Value = serde_json::from_str(replayed.stdout.trim()).unwrap();
        assert_eq!(job["state"], "done");
    }
}
