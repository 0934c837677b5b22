use std::io::Write as _;
use std::process::Stdio;

use crate::support::Scratch;

/// A patient whose note names everything that the record holds, and more.
fn patient(n: u32) -> String {
    format!(
        r#"{{"patient_id":"P{n:04}","mrn":"AX-{:06}","name":"Zbigniew Kowalczyk{}","birth_date":"{}-05-17","gender":"male","phone":"(212) 555-{n:04}","email":"zk{n}@example.org","address":{{"line":"{n} Crow Hollow","city":"Zzyzx","state":"CA","zip":"{}"}},"encounters":[{{"encounter_id":"E{n}","class":"AMB","start":"2024-03-14T07:00:00Z","end":"2024-03-15T08:00:00Z","npi":"1234567893","reason":"I10","observations":[{{"observation_id":"O{n}-1","effective":"2024-03-14T07:30:00Z","note":"Z. KOWALCZYK came from {n} Crow Hollow in Zzyzx on 3/14/2024, BP 120/80. Chart AX{:06}. Call 212.555.{n:04}. Seen by Dr. Quillfeather, aged 93 years."}},{{"observation_id":"O{n}-2","note":null}}]}}]}}"#,
        700_000 + n,
        "ski".repeat((n % 2) as usize),
        if n.is_multiple_of(3) { 1920 } else { 1980 },
        if n.is_multiple_of(2) { "92309" } else { "03601" },
        700_000 + n,
    ) + "\n"
}

const IDENTIFIERS: [&str; 9] =
    ["owalczyk", "KOWALCZYK", "Crow", "Zzyzx", "555", "AX-7", "AX7", "example.org", "Quillfeather"];

#[test]
fn notes_and_fields_lose_what_identifies_and_the_report_says_by_which_profile() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", (0..200).map(patient).collect::<String>());
    for (profile, kept, lost) in [
        (
            "safe-harbor",
            vec!["1980-01-01", "1936-01-01", "923", "000", "2024-01-01", "|CA|"],
            vec!["92309", "2024-03-14", "3/14/2024", "1980-05-17", "aged 93"],
        ),
        ("limited", vec!["1980-05-17", "1920-05-17", "92309", "2024-03-14", "3/14/2024"], vec![]),
    ] {
        let setting = format!("profile={profile}");
        let outcome = scratch.run("clinical", &input, profile, &[&setting]);
        outcome.expect(0).conserved();
        assert_eq!(outcome.report.as_ref().unwrap()["profile"], profile);
        let rows: String =
            ["patients", "encounters", "observations"].iter().flat_map(|table| scratch.rows(profile, table)).collect();
        for identifier in
            IDENTIFIERS.iter().filter(|identifier| profile != "limited" || **identifier != "Zzyzx").chain(&lost)
        {
            assert!(!rows.contains(identifier), "{profile}: {identifier} is in the tables");
        }
        for value in kept {
            assert!(rows.contains(value), "{profile}: {value} is not in the tables");
        }
        assert!(rows.contains("BP 120/80. Chart [MRN]. Call [PHONE]. Seen by Dr. [NAME]"), "{profile}");
    }
    let outcome = scratch.forebay(&["run", "clinical", &input, "--output", "public", "--set", "profile=public"]);
    outcome.expect(0).conserved();
    assert!(scratch.rows("public", "observations").iter().any(|row| row.contains("Z. KOWALCZYK came from")));
}

#[test]
fn redacted_notes_do_not_depend_on_chunks() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", (0..300).map(patient).collect::<String>());
    scratch.run("clinical", &input, "whole", &[]).expect(0).conserved();
    scratch.run("clinical", &input, "cut", &["chunk.rows=70", "workers=1"]).expect(0).conserved();
    let sorted = |output: &str| {
        let mut rows = scratch.rows(output, "observations");
        rows.sort();
        rows
    };
    assert_eq!(sorted("whole"), sorted("cut"));
}

#[test]
fn text_is_redacted_and_scored_from_the_command_line() {
    let scratch = Scratch::new();
    let mut child = scratch
        .command(&["redact", "-", "--explain", "--known", "Quenby"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let text = "Pt Maria Lopez on 3/14/2020, quenby too; BP 120/80.\n{\"text\": \"MRN 12345678\", \"known\": []}\n";
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
    assert!(
        output.contains("Pt [NAME] on [DATE], [NAME] too; BP 120/80.") && output.contains("known from the record"),
        "{output}"
    );
    assert!(output.contains("\"text\":\"MRN [MRN]\""), "{output}");

    let labelled = scratch.write("l.jsonl", "{\"text\": \"Caf\u{e9}: Dr. Quillfeather called.\", \"spans\": [{\"start\": 10, \"end\": 22, \"class\": \"DOCTOR\"}]}\n{\"text\": \"BP 120/80.\", \"spans\": []}\n");
    let outcome = scratch.forebay(&["redact", "eval", &labelled, "--json"]);
    outcome.expect(0);
    for part in ["\"all\"", "\"DOCTOR\"", "\"clean\"", "\"touched\": 0", "\"notes_per_second\"", "\"recall\": 1.0"] {
        assert!(outcome.stdout.contains(part), "{part}: {}", outcome.stdout);
    }
    let broken = scratch.write("b.jsonl", "{\"text\": \"Maria Lopez\", \"spans\": 3}\n");
    let refused = scratch.forebay(&["redact", "eval", &broken]);
    refused.expect(2);
    assert!(refused.stderr.contains("line 1") && !refused.stderr.contains("Maria"), "{}", refused.stderr);
}

#[test]
fn spans_say_where_something_was_replaced_and_never_what() {
    let scratch = Scratch::new();
    let recipe =
        include_str!("../../recipes/clinical.yaml").replace("column: note}", "column: note, spans: note_spans}");
    let recipe = scratch.write("spans.yaml", recipe);
    let note = "Caf\u{e9}: Dr. Quillfeather called 212-555-0100. \u{1f600} BP 120/80.";
    let record = |n: u32, note: &str| {
        format!(
            r#"{{"patient_id":"P{n:05}","encounters":[{{"encounter_id":"E{n}","observations":[{{"observation_id":"O{n:05}","note":{note}}}]}}]}}"#
        ) + "\n"
    };
    // More rows than a batch holds, and texts with nothing to replace, and none at all.
    let notes = [format!("\"{note}\""), "\"BP 120/80.\"".to_owned(), "null".to_owned()];
    let input = scratch.write("p.ndjson", (0..9000).map(|n| record(n, &notes[n as usize % 3])).collect::<String>());
    scratch.run(&recipe, &input, "out", &[]).expect(0).conserved();
    let rows = scratch.rows("out", "observations");
    assert_eq!(rows.len(), 9000);
    for (n, row) in rows.iter().enumerate() {
        let spans = match n % 3 {
            0 => "[{start: 10, end: 22, class: NAME}, {start: 30, end: 42, class: PHONE}]",
            1 => "[]",
            _ => "\u{2205}",
        };
        assert!(row.starts_with(&format!("O{n:05}|")) && row.ends_with(&format!("|{spans}")), "{row}");
    }
    let part = |start: usize, end: usize| note.chars().skip(start).take(end - start).collect::<String>();
    assert_eq!((part(10, 22).as_str(), part(30, 42).as_str()), ("Quillfeather", "212-555-0100"));
    // Appending finds the same type, and a job that redacts nothing has the column too.
    scratch.forebay(&["run", &recipe, &input, "--output", "out", "--job", "again"]).expect(0);
    scratch.run(&recipe, &input, "public", &["profile=public"]).expect(0).conserved();
    assert!(scratch.rows("public", "observations").iter().all(|row| row.ends_with("|\u{2205}")));
    assert_eq!(scratch.rows("out", "observations").len(), 18_000);
}
