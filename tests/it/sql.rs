use crate::support::{Scratch, patients};

/// A small recipe with two tables, and some steps.
fn recipe(steps: &str) -> String {
    format!(
        "
name: visits
record:
  table: patients
  key: patient_id
  fields:
    patient_id: {{type: string, required: true}}
    gender: {{type: string}}
    birth_date: {{type: date}}
    encounters:
      type: list
      table: encounters
      key: encounter_id
      fields:
        encounter_id: {{type: string, required: true}}
        class: {{type: string}}
        start: {{type: timestamp}}
        end: {{type: timestamp}}
steps:
{steps}"
    )
}

fn step(table: &str, query: &str) -> String {
    format!("  - sql:\n      table: {table}\n      query: >\n        {query}\n")
}

#[test]
fn steps_make_new_tables_and_replace_old_ones_whatever_the_chunks() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(2_000));
    let visits = step(
        "visits",
        "SELECT e.encounter_id, p.patient_id, p.gender, p.birth_date, e.start, \
         CAST(date_part('year', e.start) AS INT) AS year, 1.5 AS factor, e.end > e.start AS forward \
         FROM encounters e JOIN patients p ON e.patient_id = p.patient_id",
    );
    let late = step(
        "encounters",
        "SELECT encounter_id, upper(class) AS class, patient_id FROM encounters WHERE encounter_id LIKE '%-1'",
    );
    let again = step("last", "SELECT encounter_id, class FROM encounters");
    let recipe = scratch.write("visits.yaml", recipe(&(visits + &late + &again)));
    let tables = ["patients", "encounters", "visits", "last"];
    let mut expected = None;
    for (chunk, workers) in [("7", "2"), ("500", "1"), ("50000", "2")] {
        let (rows, threads) = (format!("chunk.rows={chunk}"), format!("workers={workers}"));
        let output = format!("out-{chunk}");
        let outcome =
            scratch.forebay(&["run", &recipe, &input, "--output", &output, "--set", &rows, "--set", &threads]);
        outcome.expect(0).conserved();
        assert_eq!(outcome.records_in(), 2_000);
        let found = scratch.tables(&output, &tables);
        for table in tables {
            assert_eq!(found[table].len() as u64, outcome.rows_out(table), "{table}");
        }
        assert_eq!(&found, expected.get_or_insert_with(|| found.clone()), "{chunk}");
        scratch.clean(&output, &tables);
    }
    let found = expected.unwrap();
    let encounters = (0..2_000).map(|n| n % 3 + 1).sum::<usize>();
    assert_eq!((found["visits"].len(), found["patients"].len()), (encounters, 2_000));
    // Patients with two encounters or more have a second one.
    assert_eq!(found["encounters"].len(), (0..2_000).filter(|n| n % 3 >= 1).count());
    assert!(found["encounters"].contains(&"E0000007-1|AMB|P0000007".to_owned()), "{:?}", found["encounters"][0]);
    assert!(found["last"].contains(&"E0000007-1|AMB".to_owned()));
    let visit = "E0000007-0|P0000007|female|1917-05-17|2024-01-08T07:00:00Z|2024|1.5|false";
    assert!(found["visits"].contains(&visit.to_owned()), "{:?}", found["visits"][0]);
}

#[test]
fn records_that_are_rejected_never_reach_a_step() {
    let scratch = Scratch::new();
    let text = patients(300).replace("\"E0000009-0\"", "null").replace("\"1925-05-17\"", "\"x\"");
    let input = scratch.write("p.ndjson", text);
    let copy = step("copies", "SELECT patient_id, encounter_id FROM encounters WHERE patient_id IS NOT NULL");
    let recipe = scratch.write("visits.yaml", recipe(&copy));
    let outcome = scratch.forebay(&["run", &recipe, &input, "--output", "out", "--set", "chunk.rows=50"]);
    outcome.expect(3).conserved();
    assert_eq!(outcome.rejects("missing_field"), 1);
    let rows = scratch.rows("out", "copies");
    assert_eq!(rows.len(), scratch.rows("out", "encounters").len());
    assert!(
        !rows.iter().any(|row| row.starts_with("P0000009|")) && rows.iter().any(|row| row.starts_with("P0000010|"))
    );
}

#[test]
fn what_depends_on_chunks_or_on_the_moment_is_refused_before_anything_runs() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(10));
    let target = scratch.path("copied.csv").display().to_string();
    let copy = format!("COPY (SELECT 1 AS a) TO '{target}' STORED AS CSV");
    let outside = format!("CREATE EXTERNAL TABLE o STORED AS CSV LOCATION '{input}'");
    for (query, says) in [
        ("SELECT gender, count(*) AS n FROM patients GROUP BY gender", "per_chunk: true"),
        ("SELECT DISTINCT gender FROM patients", "per_chunk: true"),
        ("SELECT patient_id FROM patients ORDER BY patient_id", "per_chunk: true"),
        ("SELECT patient_id FROM patients LIMIT 3", "per_chunk: true"),
        ("SELECT patient_id, row_number() OVER (ORDER BY patient_id) AS n FROM patients", "per_chunk: true"),
        (
            "SELECT patient_id FROM patients WHERE birth_date = (SELECT max(birth_date) FROM patients)",
            "per_chunk: true",
        ),
        ("SELECT patient_id FROM patients UNION SELECT encounter_id FROM encounters", "per_chunk: true"),
        ("SELECT p.patient_id FROM patients p WHERE EXISTS (SELECT max(e.start) FROM encounters e)", "per_chunk: true"),
        ("SELECT patient_id, random() AS r FROM patients", "random()"),
        ("SELECT patient_id, now() AS t FROM patients", "now()"),
        ("SELECT patient_id, current_date() AS t FROM patients", "current_date()"),
        ("SELECT patient_id, uuid() AS t FROM patients", "uuid()"),
        ("SELECT patient_id FROM patients WHERE birth_date < current_date()", "current_date()"),
        ("CREATE TABLE t AS SELECT * FROM patients", "only queries"),
        ("CREATE VIEW t AS SELECT * FROM patients", "only queries"),
        ("DROP TABLE patients", "only queries"),
        ("INSERT INTO patients SELECT * FROM patients", "only queries"),
        ("DELETE FROM patients", "only queries"),
        ("SET datafusion.execution.batch_size = 1", "only queries"),
        (copy.as_str(), "only queries"),
        (outside.as_str(), "only queries"),
        ("EXPLAIN SELECT * FROM patients", "only queries"),
        ("SELECT 1 AS a; SELECT 2 AS a", "single SQL statement"),
        ("SELECT patient_id FROM", "SQL"),
        ("SELECT nope FROM patients", "nope"),
        ("SELECT * FROM nowhere", "nowhere"),
        ("SELECT * FROM patients p JOIN encounters e ON p.patient_id = e.patient_id", "patient_id"),
        ("SELECT nofunction(patient_id) AS a FROM patients", "nofunction"),
        ("SELECT [patient_id] AS list FROM patients", "list"),
        ("SELECT patient_id + birth_date AS a FROM patients", "steps[0]"),
    ] {
        let recipe = scratch.write("mine.yaml", recipe(&step("made", query)));
        for args in [vec!["recipes", "check", &recipe], vec!["run", &recipe, &input, "--output", "out"]] {
            let outcome = scratch.forebay(&args);
            let said = format!("{query}: {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
            assert_eq!(outcome.status, 2, "{said}");
            assert!(outcome.stderr.contains("steps[0].sql") && outcome.stderr.contains(says), "{said}");
            assert!(!outcome.stderr.contains("panicked"), "{said}");
        }
    }
    assert!(!scratch.path("copied.csv").exists() && !scratch.path("out/made").exists());
}

#[test]
fn the_step_that_is_wrong_is_named() {
    let scratch = Scratch::new();
    let good = step("made", "SELECT patient_id FROM patients");
    let recipe_of = |second: &str| scratch.write("mine.yaml", recipe(&(good.clone() + second)));
    for (second, says) in [
        (step("more", "SELECT gender FROM made"), "steps[1].sql"),
        (step("_hidden", "SELECT patient_id FROM made"), "'_hidden' is no name"),
        (step("\"\"", "SELECT patient_id FROM made"), "steps[1].sql"),
        (step("../up", "SELECT patient_id FROM made"), "'../up' is no name"),
        (step("more", "SELECT patient_id AS a, patient_id AS A FROM made"), "steps[1].sql"),
        ("  - sequel: {table: a, query: b}\n".to_owned(), "sequel"),
        ("  - sql: {table: a}\n".to_owned(), "query"),
    ] {
        let outcome = scratch.forebay(&["recipes", "check", &recipe_of(&second)]);
        assert!(outcome.expect(2).stderr.contains(says), "{second}: {}", outcome.stderr);
    }
    scratch.forebay(&["recipes", "check", &recipe_of(&step("more", "SELECT patient_id FROM made"))]).expect(0);
}

#[test]
fn a_recipe_may_ask_for_results_by_chunk() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(1_000));
    let counts = step("counts", "SELECT gender, count(*) AS patients FROM patients GROUP BY gender");
    let recipe = scratch.write("mine.yaml", recipe(&(counts + "      per_chunk: true\n")));
    let run = ["run", &recipe, &input, "--output", "out", "--set", "chunk.rows=50000"];
    scratch.forebay(&run).expect(0).conserved();
    assert_eq!(scratch.rows("out", "counts"), ["female|1000"]);
    let run = ["run", &recipe, &input, "--output", "small", "--set", "chunk.rows=500"];
    let outcome = scratch.forebay(&run);
    outcome.expect(0).conserved();
    let counted: u64 =
        scratch.rows("small", "counts").iter().map(|row| row.split('|').nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(counted, 1_000);
    assert!(outcome.rows_out("counts") > 1);
}

#[test]
fn a_step_that_fails_on_data_fails_the_job_by_its_name() {
    let scratch = Scratch::new();
    let input = scratch.write("p.ndjson", patients(10));
    let recipe =
        scratch.write("mine.yaml", recipe(&step("made", "SELECT CAST(patient_id AS INT) AS number FROM patients")));
    let outcome = scratch.forebay(&["run", &recipe, &input, "--output", "out"]);
    assert!(outcome.expect(1).stderr.contains("steps[0].sql"), "{}", outcome.stderr);
    assert_eq!(scratch.rows("out", "patients").len(), 0, "part of a failed job's chunk is visible");
}
