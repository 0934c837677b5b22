use crate::support::{CLINICAL, Scratch, patients};

#[test]
fn the_clinical_recipe_makes_three_tables_and_withholds_what_is_protected() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(500));
    let outcome = scratch.forebay(&["run", "clinical", &input, "--output", "out"]);
    outcome.expect(0).conserved();
    assert_eq!(outcome.records_in(), 500);
    for table in CLINICAL {
        assert_eq!(scratch.rows("out", table).len() as u64, outcome.rows_out(table), "{table}");
        assert!(outcome.stdout.contains(table), "{}", outcome.stdout);
    }
    assert!(outcome.stdout.contains("delta_scan("), "{}", outcome.stdout);
    let everything: String = CLINICAL.iter().flat_map(|table| scratch.rows("out", table)).collect();
    for identifier in ["Ana 7", "555-0007", "p7@example.org", "Oak St", "Tampa", "00000007", "1917-05-17", "33601"] {
        assert!(!everything.contains(identifier), "{identifier} is in the tables");
    }
    scratch.clean("out", &CLINICAL);
}

#[test]
fn protection_off_keeps_every_value_as_it_came() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(30));
    scratch.forebay(&["run", "clinical", &input, "--output", "out", "--set", "protect=off"]).expect(0).conserved();
    let patients = scratch.rows("out", "patients");
    let seventh = patients.iter().find(|row| row.starts_with("P0000007")).unwrap();
    assert_eq!(seventh, "P0000007|00000007|Ana 7|1917-05-17|female|555-0007|p7@example.org|7 Oak St|Tampa|FL|33601");
    let observations = scratch.rows("out", "observations");
    let one = observations.iter().find(|row| row.starts_with("O0000007-0-0")).unwrap();
    assert!(one.contains("said \"fine\", café  \\ 7"), "{one}");
    assert!(one.ends_with("|E0000007-0|P0000007"), "{one}");
    assert!(scratch.rows("out", "encounters").iter().any(|row| row.contains("2024-01-08T07:00:00Z")));
}

#[test]
fn the_same_job_again_writes_nothing_and_other_input_is_refused() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(50));
    let args = ["run", "clinical", &input, "--output", "out", "--job", "one"];
    scratch.forebay(&args).expect(0).conserved();
    let before = scratch.tables("out", &CLINICAL);
    let again = scratch.forebay(&args);
    again.expect(0);
    assert!(again.stdout.contains("already complete"), "{}", again.stdout);
    assert_eq!(scratch.tables("out", &CLINICAL), before);
    // Without a key, the same command is the same job.
    let unnamed = ["run", "clinical", &input, "--output", "out2"];
    scratch.forebay(&unnamed).expect(0).conserved();
    assert!(scratch.forebay(&unnamed).stdout.contains("already complete"));
    scratch.write("p.ndjson", patients(51));
    let other = scratch.forebay(&args);
    other.expect(2);
    assert!(other.stderr.contains("one"), "{}", other.stderr);
    assert_eq!(scratch.tables("out", &CLINICAL), before);
    // Another recipe under the same key is refused as well.
    let input = scratch.write("c.csv", "claim_id,line_no\nC1,1\n");
    scratch.forebay(&["run", "claims", &input, "--output", "out", "--job", "one"]).expect(2);
}

#[test]
fn appending_leaves_what_is_there_alone() {
    let scratch = Scratch::new();
    let first = scratch.write("a.ndjson", patients(40));
    let second = scratch.write("b.ndjson", patients(20));
    scratch.forebay(&["run", "clinical", &first, "--output", "out"]).expect(0).conserved();
    scratch.forebay(&["run", "clinical", &second, "--output", "out"]).expect(0).conserved();
    assert_eq!(scratch.rows("out", "patients").len(), 60);
    scratch.clean("out", &CLINICAL);
}

#[test]
fn a_table_with_other_columns_is_refused_before_anything_runs() {
    let scratch = Scratch::new();
    let input = scratch.write("x.csv", "claim_id\nC1\n");
    let recipe =
        |kind: &str| format!("name: mine\nrecord:\n  table: items\n  fields:\n    claim_id: {{type: {kind}}}\n");
    let text = scratch.write("text.yaml", recipe("string"));
    let number = scratch.write("number.yaml", recipe("int"));
    scratch.forebay(&["run", &text, &input, "--output", "out"]).expect(0).conserved();
    let refused = scratch.forebay(&["run", &number, &input, "--output", "out"]);
    refused.expect(2);
    assert!(refused.stderr.contains("claim_id") && refused.stderr.contains("Utf8"), "{}", refused.stderr);
}

#[test]
fn usage_errors_name_the_place_and_the_remedy() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(1));
    for (args, wanted) in [
        (vec!["run", "nope", &input], "clinical"),
        (vec!["run", "clinical", "missing.ndjson"], "missing.ndjson"),
        (vec!["run", "clinical", &input, "--set", "chunks=1"], "chunk.rows"),
        (vec!["run", "clinical", &input, "--memory", "16MiB"], "too small by"),
        (vec!["run", "clinical", &input, "--memory", "lots"], "256MiB"),
        (vec!["run", "clinical", &input, "--output", "gs://x/y"], "s3://"),
        (vec!["plan", "clinical", "--memory", "20MiB"], "too small by"),
        (vec!["rejects", "nope"], "no such job"),
    ] {
        let outcome = scratch.forebay(&args);
        outcome.expect(2);
        assert!(outcome.stderr.contains(wanted), "{args:?}: {}", outcome.stderr);
    }
}

#[test]
fn plan_head_stats_and_jobs_say_what_is_there() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(100));
    scratch.forebay(&["run", "clinical", &input, "--output", "out", "--job", "one"]).expect(0).conserved();
    let plan = scratch.forebay(&["plan", "clinical", "--memory", "256MiB"]);
    assert!(plan.expect(0).stdout.contains("256MiB") && plan.stdout.contains("encoding"), "{}", plan.stdout);
    let head = scratch.forebay(&["head", "out/patients", "-n", "3"]);
    assert!(head.expect(0).stdout.contains("3 of 100 rows"), "{}", head.stdout);
    let stats = scratch.forebay(&["stats", "out/patients", "--json"]);
    let stats: serde_json::Value = serde_json::from_str(&stats.expect(0).stdout).unwrap();
    assert_eq!(stats["rows"], 100);
    assert_eq!(stats["columns"]["patient_id"]["min"], "P0000000");
    assert_eq!(stats["columns"]["name"]["nulls"], 100);
    let jobs = scratch.forebay(&["jobs", "--output", "out", "--json"]);
    let job: serde_json::Value = serde_json::from_str(jobs.expect(0).stdout.trim()).unwrap();
    assert_eq!((job["job"].as_str(), job["state"].as_str()), (Some("one"), Some("done")));
    scratch.forebay(&["recipes", "check", "clinical"]).expect(0);
    assert!(scratch.forebay(&["recipes", "list"]).expect(0).stdout.contains("claims"));
}

#[test]
fn a_small_budget_finishes_and_the_peak_keeps_to_it() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(30_000));
    let outcome = scratch.forebay(&["run", "clinical", &input, "--output", "out", "--memory", "96MiB"]);
    outcome.expect(0).conserved();
    assert!(outcome.peak() < 110 << 20, "{} MiB", outcome.peak() >> 20);
}
