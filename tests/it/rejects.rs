use crate::support::{CLINICAL, Scratch, patient, patients};

fn with_bad_lines(count: u64) -> (String, u64) {
    let mut text = String::new();
    let mut bad = 0;
    for n in 0..count {
        let line = patient(n);
        let line = match n % 100 {
            13 => line[..line.len() * 2 / 3].to_owned(),
            37 => line.replacen(r#""patient_id""#, r#""patient""#, 1),
            59 => line.replacen("-05-17", "-17-05", 1),
            83 => line.replacen(r#""encounters":["#, r#""encounters":"none","x":["#, 1),
            _ => {
                text.push_str(&(line + "\n"));
                continue;
            }
        };
        bad += 1;
        text.push_str(&(line + "\n"));
    }
    (text, bad)
}

#[test]
fn bad_records_become_rejects_with_place_and_reason_and_no_value() {
    let scratch = Scratch::new();
    let (text, bad) = with_bad_lines(1_000);
    let input = scratch.write("p.ndjson", text);
    let outcome = scratch.forebay(&["run", "clinical", &input, "--output", "out", "--job", "one"]);
    outcome.expect(3).conserved();
    assert_eq!(outcome.records_in(), 1_000);
    assert_eq!(scratch.rows("out", "patients").len() as u64, 1_000 - bad);
    for reason in ["truncated", "missing_field", "wrong_type"] {
        assert!(outcome.rejects(reason) >= 10, "{reason}: {:?}", outcome.report);
    }
    let listed = scratch.forebay(&["rejects", "one", "--output", "out", "--json"]);
    let first: serde_json::Value = serde_json::from_str(listed.expect(0).stdout.lines().next().unwrap()).unwrap();
    assert_eq!(listed.stdout.lines().count() as u64, bad);
    assert!(first["record"].as_u64().unwrap() >= 14, "{first}");
    // The recipe protects names: neither they nor the records are in the rejects.
    assert!(first["raw"].is_null() && !listed.stdout.contains("Ana "), "{first}");
    scratch.clean("out", &CLINICAL);
}

#[test]
fn mended_rejects_are_replayed_once() {
    let scratch = Scratch::new();
    let (text, bad) = with_bad_lines(400);
    let input = scratch.write("p.ndjson", text);
    let run = ["run", "clinical", &input, "--output", "out", "--job", "one", "--set", "protect=off"];
    scratch.forebay(&run).expect(3).conserved();
    // Sent as they are, they fail again, in a job of their own.
    let again = scratch.forebay(&["rejects", "one", "--output", "out", "--replay"]);
    again.expect(3).conserved();
    assert_eq!(again.records_in(), bad);
    let mended: String =
        (0..400).filter(|n| [13, 37, 59, 83].contains(&(n % 100))).map(|n| patient(n) + "\n").collect();
    let mended = scratch.write("mended.ndjson", mended);
    let second = scratch.forebay(&["rejects", "one", "--output", "out", "--replay", "--from", &mended]);
    second.expect(0).conserved();
    assert_eq!(second.records_in(), bad);
    assert_eq!(scratch.rows("out", "patients").len(), 400);
    let nothing = scratch.forebay(&["rejects", "one", "--output", "out", "--replay"]);
    assert!(nothing.expect(0).stdout.contains("nothing to replay"), "{}", nothing.stdout);
    // Together they are what a job without faults makes.
    let whole = scratch.write("whole.ndjson", patients(400));
    scratch.forebay(&["run", "clinical", &whole, "--output", "whole", "--set", "protect=off"]).expect(0).conserved();
    assert_eq!(scratch.tables("out", &CLINICAL), scratch.tables("whole", &CLINICAL));
}

#[test]
fn a_job_can_fail_at_the_first_reject_or_at_too_many() {
    let scratch = Scratch::new();
    let (text, _) = with_bad_lines(300);
    let input = scratch.write("p.ndjson", text);
    let strict = scratch.forebay(&["run", "clinical", &input, "--output", "a", "--set", "on_error=fail"]);
    strict.expect(1);
    assert!(strict.stderr.contains("record 14"), "{}", strict.stderr);
    let limited = scratch.forebay(&["run", "clinical", &input, "--output", "b", "--max-rejects", "3"]);
    limited.expect(1);
    assert!(limited.stderr.contains("--max-rejects 3"), "{}", limited.stderr);
}
