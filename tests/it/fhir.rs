//! FHIR as EHRs export it: resources of several types, one a line, in files of their own or mixed, and in Bundles.

use std::path::Path;

use crate::canary::{held, leaks};
use crate::support::{Outcome, Scratch};

const TABLES: [&str; 6] = ["patients", "encounters", "observations", "components", "reports", "notes"];

/// Patients of a test.
const COUNT: usize = 120;

/// Base64 of RFC 4648, section 4.
fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in text.as_bytes().chunks(3) {
        let bits = three.iter().enumerate().fold(0_u32, |bits, (at, byte)| bits | u32::from(*byte) << (16 - 8 * at));
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize] as char;
            out.push(if at <= three.len() { letter } else { '=' });
        }
    }
    out
}

/// The names of a patient: nobody's, and in no list.
fn names(n: usize) -> (String, String) {
    let tag = ["al", "be", "ce", "do", "em", "fi", "go"][n % 7];
    (format!("Zyqvox{tag}"), format!("Zyqvoxworth{tag}"))
}

fn note(n: usize) -> String {
    let (given, family) = names(n);
    let day = n % 10;
    format!(
        "# History\n{given} {family} came from {n} Zyqvoxfield Road, Zyqvoxville, TX 77310-1{n:03} on 2023-11-2{day}.\n\
         MRN 77310773{n:04}, phone (773) 107-{n:04}, zyqvox{n}@zyqvox.example. {family}'s blood pressure was 120/80.\n"
    )
}

fn patient(n: usize) -> String {
    let (given, family) = names(n);
    format!(
        r#"{{"resourceType":"Patient","id":"p{n}","text":{{"status":"generated","div":"<div>{given} {family}</div>"}},"extension":[{{"url":"http://hl7.org/fhir/us/core/StructureDefinition/us-core-race","extension":[{{"url":"ombCategory","valueCoding":{{"code":"2106-3","display":"White"}}}},{{"url":"text","valueString":"White"}}]}},{{"url":"http://hl7.org/fhir/StructureDefinition/patient-mothersMaidenName","valueString":"Zyqvoxmother"}},{{"url":"http://hl7.org/fhir/StructureDefinition/geolocation","extension":[{{"url":"latitude","valueDecimal":42.1}}]}}],"identifier":[{{"system":"urn:x","value":"77310773x{n}"}},{{"type":{{"coding":[{{"system":"v2","code":"MR"}}],"text":"Medical Record Number"}},"value":"77310773{n:04}"}}],"name":[{{"use":"official","family":"{family}","given":["{given}","Q."],"prefix":["Ms."]}},{{"use":"maiden","family":"Zyqvoxborn{}"}}],"telecom":[{{"system":"email","value":"zyqvox{n}@zyqvox.example"}},{{"system":"phone","value":"(773) 107-{n:04}","use":"home"}}],"gender":"female","birthDate":"1957-03-1{}","deceasedDateTime":"2023-11-2{}T10:00:00-05:00","address":[{{"line":["{n} Zyqvoxfield Road"],"city":"Zyqvoxville","state":"TX","postalCode":"77310-1{:03}","country":"US"}}],"maritalStatus":{{"coding":[{{"code":"M"}}]}}}}"#,
        n % 7,
        n % 10,
        n % 10,
        n % 1000,
    )
}

/// The resources of one patient. `display` is whether references tell names.
fn resources(n: usize, display: bool) -> Vec<(&'static str, String)> {
    let (given, family) = names(n);
    let named = if display { format!(r#","display":"Ms. {given} Q. {family}""#) } else { String::new() };
    let subject = format!(r#""subject":{{"reference":"Patient/p{n}"{named}}}"#);
    let day = n % 10;
    let text = base64(&note(n));
    let image = base64("\u{1}\u{2}");
    let value = 139.9996742575894 + n as f64;
    vec![
        ("Patient", patient(n)),
        (
            "Encounter",
            format!(
                r#"{{"resourceType":"Encounter","id":"e{n}","status":"finished","class":{{"system":"v3","code":"AMB"}},"type":[{{"coding":[{{"code":"162673000","display":"General examination"}}],"text":"Visit of Zyqvox"}}],{subject},"participant":[{{"individual":{{"reference":"Practitioner?identifier=http://hl7.org/fhir/sid/us-npi|9999974592","display":"Dr. Zyqvoxdoc Zyqvoxmed"}}}}],"period":{{"start":"2023-11-2{day}T07:00:00-05:00","end":"2023-11-2{day}T08:00:00-05:00"}},"location":[{{"location":{{"display":"ZYQVOX CLINIC"}}}}],"serviceProvider":{{"display":"ZYQVOX HOSPITAL"}},"reasonCode":[{{"coding":[{{"code":"444814009","display":"Viral sinusitis"}}],"text":"seen by Dr. Zyqvoxdoc on 2023-11-2{day}"}}]}}"#
            ),
        ),
        (
            "Observation",
            format!(
                r#"{{"resourceType":"Observation","id":"q{n}","status":"final","category":[{{"coding":[{{"code":"vital-signs"}}]}}],"code":{{"coding":[{{"code":"29463-7","display":"Body Weight"}}]}},{subject},"encounter":{{"reference":"Encounter/e{n}"}},"effectiveDateTime":"2023-11","issued":"2023-11-2{day}T07:30:00.123-05:00","valueQuantity":{{"value":{value},"unit":"kg"}},"note":[{{"text":"told (773) 107-{n:04}"}},{{"text":"fine"}}]}}"#
            ),
        ),
        (
            "Observation",
            format!(
                r#"{{"resourceType":"Observation","id":"b{n}","status":"final","code":{{"coding":[{{"code":"85354-9","display":"Blood Pressure"}}]}},{subject},"effectivePeriod":{{"start":"2023-11-2{day}T07:30:00Z"}},"component":[{{"code":{{"coding":[{{"code":"8480-6"}}]}},"valueQuantity":{{"value":{},"unit":"mm[Hg]"}}}},{{"code":{{"coding":[{{"code":"8462-4"}}]}},"valueQuantity":{{"value":80}}}}]}}"#,
                110 + n % 20
            ),
        ),
        (
            "Observation",
            format!(
                r#"{{"resourceType":"Observation","id":"s{n}","status":"final","code":{{"coding":[{{"code":"72166-2"}}]}},{subject},"valueString":"lives with Mr. Zyqvoxhusband","performer":[{{"display":"Zyqvoxnurse Zyqvoxlast"}}]}}"#
            ),
        ),
        (
            "DiagnosticReport",
            format!(
                r#"{{"resourceType":"DiagnosticReport","id":"r{n}","status":"final","code":{{"coding":[{{"code":"34117-2"}}]}},{subject},"issued":"2023-11-2{day}T07:30:00Z","conclusion":"Mrs. {family} is well","presentedForm":[{{"contentType":"text/plain; charset=utf-8","data":"{text}"}}]}}"#
            ),
        ),
        (
            "DocumentReference",
            format!(
                r#"{{"resourceType":"DocumentReference","id":"d{n}","status":"current","type":{{"coding":[{{"code":"34117-2","display":"History and physical note"}}]}},{subject},"date":"2023-11-2{day}T07:30:00Z","author":[{{"reference":"Practitioner/a","display":"Dr. Zyqvoxdoc Zyqvoxmed"}}],"custodian":{{"display":"ZYQVOX HOSPITAL"}},"content":[{{"attachment":{{"contentType":"image/png","data":"{image}"}}}},{{"attachment":{{"contentType":"text/plain; charset=utf-8","title":"Zyqvoxtitle","data":"{text}"}}}}],"context":{{"encounter":[{{"reference":"Encounter/e{n}"}}]}}}}"#
            ),
        ),
        ("Claim", format!(r#"{{"resourceType":"Claim","id":"c{n}",{subject},"total":{{"value":129.16}}}}"#)),
    ]
}

fn bundle(n: usize, display: bool) -> String {
    let entry = |(_, resource): (&str, String)| {
        format!(r#"{{"fullUrl":"urn:uuid:{n}","resource":{resource},"request":{{"method":"POST"}}}}"#)
    };
    let entries: Vec<String> = resources(n, display).into_iter().map(entry).collect();
    format!("{{\"resourceType\":\"Bundle\",\"type\":\"transaction\",\"entry\":[{}]}}\n", entries.join(","))
}

/// Every resource on a line of its own; of one type, if that is asked for.
fn lines(kind: Option<&str>) -> String {
    let all = (0..COUNT).flat_map(|n| resources(n, true));
    all.filter(|(found, _)| kind.is_none_or(|kind| kind == *found)).map(|(_, resource)| resource + "\n").collect()
}

/// Records in are rows of the tables of kinds, rejects, and what was left out.
fn conserved(outcome: &Outcome) {
    let report = outcome.report.as_ref().unwrap();
    assert_eq!(report["state"], "done", "{}", outcome.stderr);
    let rows: u64 = TABLES.iter().filter(|table| **table != "components").map(|table| outcome.rows_out(table)).sum();
    let rejects: u64 = report["rejects"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(outcome.records_in(), rows + rejects + report["records_ignored"].as_u64().unwrap_or(0), "{report}");
}

#[test]
fn resources_become_the_same_rows_from_files_by_type_from_one_file_and_from_bundles() {
    let scratch = Scratch::new();
    let kinds = ["Patient", "Encounter", "Observation", "DiagnosticReport", "DocumentReference", "Claim"];
    let files: Vec<String> =
        kinds.iter().map(|kind| scratch.write(&format!("{kind}.000.ndjson"), lines(Some(kind)))).collect();
    let mut args: Vec<&str> = vec!["run", "clinical-fhir"];
    args.extend(files.iter().map(String::as_str));
    args.extend(["--output", "files", "--set", "profile=public", "--set", "chunk.rows=100"]);
    let outcome = scratch.forebay(&args);
    conserved(outcome.expect(0));
    let count = COUNT as u64;
    assert_eq!(outcome.records_in(), 8 * count);
    assert_eq!(outcome.report.as_ref().unwrap()["records_ignored"], count);
    for (table, rows) in TABLES.iter().zip([count, count, 3 * count, 2 * count, count, count]) {
        assert_eq!(outcome.rows_out(table), rows, "{table}");
    }

    let mixed = scratch.write("mixed.ndjson", lines(None));
    conserved(scratch.run("clinical-fhir", &mixed, "mixed", &["profile=public"]).expect(0));
    let bundles = scratch.write("bundles.ndjson", (0..COUNT).map(|n| bundle(n, true)).collect::<String>());
    let outcome = scratch.run("clinical-fhir", &bundles, "bundles", &["profile=public"]);
    assert_eq!(outcome.expect(0).records_in(), count);
    for table in TABLES {
        let rows = scratch.rows("files", table);
        assert_eq!(rows, scratch.rows("mixed", table), "{table}");
        assert_eq!(rows, scratch.rows("bundles", table), "{table}");
    }

    let row = |table: &str, key: &str| scratch.rows("files", table).into_iter().find(|row| row.starts_with(key));
    assert_eq!(
        row("patients", "p3|").unwrap(),
        "p3|77310773x3\n773107730003|773107730003|∅|∅|Zyqvoxdo Q. Zyqvoxworthdo|Zyqvoxworthdo\nZyqvoxborn3\nZyqvoxdo\nQ.|∅|\
         Zyqvoxmother|∅|1957-03-13|∅|2023-11-23T15:00:00Z|female|M|∅|White|∅|(773) 107-0003|∅|zyqvox3@zyqvox.example|\
         3 Zyqvoxfield Road|Zyqvoxville|∅|TX|77310-1003|US|∅"
    );
    assert_eq!(
        row("encounters", "e3|").unwrap(),
        "e3|p3|Ms. Zyqvoxdo Q. Zyqvoxworthdo|finished|AMB|162673000|General examination|2023-11-23T12:00:00Z|\
         2023-11-23T13:00:00Z|9999974592|Dr. Zyqvoxdoc Zyqvoxmed|ZYQVOX HOSPITAL|ZYQVOX CLINIC|444814009|Viral sinusitis|\
         seen by Dr. Zyqvoxdoc on 2023-11-23|∅"
    );
    let observation = row("observations", "q3|").unwrap();
    for part in [
        "|p3|",
        "|e3|final|vital-signs|29463-7|Body Weight|2023-11-01T00:00:00Z|",
        "|142.9996742575894|kg|",
        "-0003\nfine",
    ] {
        assert!(observation.contains(part), "{part}: {observation}");
    }
    assert_eq!(
        scratch.rows("files", "components").iter().filter(|row| row.ends_with("|b3")).collect::<Vec<_>>(),
        ["8462-4|∅|80.0|∅|∅|∅|∅|b3", "8480-6|∅|113.0|mm[Hg]|∅|∅|∅|b3"]
    );
    assert!(row("notes", "d3|").unwrap().ends_with(&note(3)), "the text is decoded");
}

#[test]
fn nothing_planted_in_a_resource_comes_out_in_any_table_or_file() {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path("in")).unwrap();
    let single = scratch.write("in/lines.ndjson", lines(None));
    // What stands in a Bundle is known to its texts, which need name nobody in their references.
    let bundles = scratch.write("in/bundles.ndjson", (0..COUNT).map(|n| bundle(n, false)).collect::<String>());
    for (input, output) in [(&single, "lines"), (&bundles, "bundles")] {
        scratch.run("clinical-fhir", input, output, &[]).expect(0);
        for table in TABLES {
            let rows = scratch.rows(output, table).join("\n");
            assert!(rows.len() > 1_000, "{output}/{table} is nearly empty");
            assert_eq!(held(rows.as_bytes()), None, "{output}/{table}");
        }
        let notes = scratch.rows(output, "notes").join("\n");
        assert!(notes.contains("[NAME] came from") && notes.contains("blood pressure was 120/80"), "{notes}");
        assert!(scratch.rows(output, "encounters").iter().all(|row| row.contains("|2023-01-01T00:00:00Z|")));
    }
    assert_eq!(leaks(&scratch.path(""), &scratch.path("in")), vec![], "written in the clear");
    assert!(!leaks(&scratch.path("in"), Path::new("")).is_empty(), "what is planted is not found");
}

#[test]
fn tokens_and_moved_dates_are_the_same_in_fields_and_texts() {
    let scratch = Scratch::new();
    let input = scratch.write("b.ndjson", (0..COUNT).map(|n| bundle(n, false)).collect::<String>());
    let run = |output: &str, key: &str| {
        let mut command = scratch.command(&["run", "clinical-fhir", &input, "--output", output]);
        command.args(["--set", "identifiers=pseudonym", "--set", "dates=shift", "--report", "report.json"]);
        if !key.is_empty() {
            command.env("FOREBAY_REDACT_KEY", key);
        }
        scratch.finish(command.output().unwrap())
    };
    let refused = run("none", "");
    assert!(refused.status != 0 && refused.stderr.contains("FOREBAY_REDACT_KEY"), "{}", refused.stderr);
    run("one", "0123456789abcdef0").expect(0);
    run("other", "another key of 16").expect(0);

    let row = |output: &str, table: &str, key: &str| {
        let rows = scratch.rows(output, table);
        // A date that was moved may look like one of another patient: only names and numbers are looked for.
        let all = rows.join("\n").to_lowercase();
        assert!(!["zyqvox", "77310773", "(773)"].iter().any(|gone| all.contains(gone)), "{output}/{table}");
        rows.into_iter().find(|row| row.starts_with(key)).unwrap()
    };
    let patient: Vec<String> = row("one", "patients", "p3|").split('|').map(str::to_owned).collect();
    let note = row("one", "notes", "d3|");
    let (mrn, name) = (&patient[2], &patient[5]);
    assert!(mrn.starts_with("[MRN-") && name.starts_with("[NAME-"), "{patient:?}");
    assert!(note.contains(&format!("{name} came from")) && note.contains(mrn), "{name} {mrn} {note}");
    assert_ne!(row("other", "patients", "p3|").split('|').nth(5).unwrap(), name);

    // The day of the encounter's start, in its field and in the note: both moved, by the same.
    let encounter = row("one", "encounters", "e3|");
    let start = encounter.split('|').nth(7).unwrap();
    assert!(start != "2023-11-23T12:00:00Z" && start.ends_with("T12:00:00Z"), "{start}");
    assert!(note.contains(&format!(" on {}", &start[..10])), "{start} {note}");
}

#[test]
fn a_wrong_resource_is_rejected_with_its_place_and_the_others_come_through() {
    let scratch = Scratch::new();
    let wrong = [
        r#"{"resourceType":"Patient","birthDate":"1957-03-11"}"#,
        r#"{"resourceType":"Observation","id":"o","valueQuantity":{"value":"high"}}"#,
        r#"{"resourceType":"DocumentReference","id":"d","content":[{"attachment":{"contentType":"text/plain","data":"?"}}]}"#,
        r#"{"resourceType":"Encounter","id":"e","period":{"start":"yesterday"}}"#,
        r#"{"id":"nothing"}"#,
    ];
    let input = scratch.write("w.ndjson", wrong.join("\n") + "\n" + &lines(Some("Patient")));
    let outcome = scratch.run("clinical-fhir", &input, "out", &[]);
    conserved(outcome.expect(3));
    assert_eq!(outcome.rows_out("patients"), COUNT as u64);
    assert_eq!(
        (outcome.rejects("missing_field"), outcome.rejects("wrong_type"), outcome.rejects("invalid")),
        (2, 2, 1)
    );
    let rejects = scratch.rows("out", "_forebay/rejects").join("\n");
    for path in ["|id|", "|value|", "|text|", "|start|", "|resourceType|"] {
        assert!(rejects.contains(path), "{path}: {rejects}");
    }
    assert_eq!(scratch.run("clinical-fhir", &input, "strict", &["on_error=fail"]).status, 1);
}
