//! Tables in PostgreSQL beside those of the lake.

use std::time::{Duration, Instant};

use forebay_testing::postgres::{PASSWORD, Postgres};

use crate::kill::{Random, wait};
use crate::support::{CLINICAL, Scratch, patients};

/// A column as both sides print it: PostgreSQL on the left, what the tests print of Parquet on the right.
fn shown(column: &str, kind: &str) -> String {
    let text = match kind {
        "timestamp with time zone" => {
            format!("to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')")
        }
        "boolean" => format!("CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"),
        "double precision" => {
            format!("CASE WHEN {column} = trunc({column}) THEN {column}::text || '.0' ELSE {column}::text END")
        }
        _ => format!("{column}::text"),
    };
    format!("coalesce({text}, '∅')")
}

/// Every row of a table of the sink as text, sorted, as [`Scratch::rows`] gives those of the lake.
fn rows(server: &Postgres, database: &str, table: &str) -> Vec<String> {
    let columns = server.query_in(
        database,
        &format!(
            "SELECT quote_ident(column_name) || '=' || data_type FROM information_schema.columns \
             WHERE table_name = '{table}' ORDER BY ordinal_position"
        ),
    );
    let columns: Vec<String> =
        columns.lines().filter_map(|line| line.split_once('=')).map(|(name, kind)| shown(name, kind)).collect();
    let text = server.query_in(database, &format!("SELECT {} FROM {table}", columns.join(" || '|' || ")));
    let mut rows: Vec<String> = text.lines().map(str::to_owned).collect();
    rows.sort();
    rows
}

/// Asserts that the sink has the very rows of the lake.
fn equal(scratch: &Scratch, output: &str, server: &Postgres, database: &str) {
    equal_to(|table| scratch.rows(output, table), server, database);
}

/// Asserts that the sink has these rows of the clinical recipe.
pub(crate) fn equal_to(lake: impl Fn(&str) -> Vec<String>, server: &Postgres, database: &str) {
    for table in CLINICAL {
        let expected = lake(table);
        assert!(!expected.is_empty());
        let there = rows(server, database, table);
        let difference = expected.iter().zip(&there).find(|(expected, there)| expected != there);
        assert_eq!(difference, None, "{table}");
        assert_eq!(there.len(), expected.len(), "{table}");
    }
}

fn name_of(url: &str) -> &str {
    url.rsplit('/').next().unwrap()
}

#[test]
fn the_sink_has_the_rows_of_the_lake_and_takes_them_once() {
    let (scratch, server) = (Scratch::new(), Postgres::shared());
    let url = server.database();
    let input = scratch.write("p.ndjson", patients(3_000));
    let args = ["run", "clinical", &input, "--output", "out", "--set", "protect=off", "--set", "chunk.rows=3000"];
    let mut command = scratch.command(&[&args[..], &["--report", "report.json", "--sink", &url]].concat());
    command.env("RUST_LOG", "debug");
    let first = scratch.finish(command.output().unwrap());
    first.expect(0).conserved();
    equal(&scratch, "out", server, name_of(&url));
    let said = format!("{}{}", first.stdout, first.stderr);
    assert!(!said.contains(PASSWORD), "the password was logged");
    // By the environment, and with the same key: nothing is loaded again.
    let mut command = scratch.command(&args);
    let again = scratch.finish(command.env("FOREBAY_SINK_URL", &url).output().unwrap());
    again.expect(0);
    assert!(again.stdout.contains("already complete"), "{}", again.stdout);
    equal(&scratch, "out", server, name_of(&url));
    scratch.clean("out", &CLINICAL);
    let found =
        std::process::Command::new("grep").args(["-rla", PASSWORD, "out"]).current_dir(scratch.path("")).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "", "files with the password");
}

#[test]
fn what_cannot_be_loaded_is_refused_before_any_record_is_read() {
    let (scratch, server) = (Scratch::new(), Postgres::shared());
    let url = server.database();
    let input = scratch.write("p.ndjson", patients(10));
    server.query_in(name_of(&url), "CREATE TABLE patients (patient_id int)");
    for (url, named) in [
        (url.as_str(), "'patient_id' is integer, and text is needed"),
        ("postgres://me:s3cret@127.0.0.1/", "names no database"),
        ("mysql://me:s3cret@127.0.0.1/d", "postgres://"),
    ] {
        let refused = scratch.forebay(&["run", "clinical", &input, "--output", "out", "--sink", url]);
        refused.expect(2);
        assert!(refused.stderr.contains(named) && !refused.stderr.contains("s3cret"), "{}", refused.stderr);
        assert!(!refused.stderr.contains(PASSWORD), "{}", refused.stderr);
    }
    assert!(!scratch.path("out/patients").exists());
    let setting = ["run", "clinical", &input, "--output", "out", "--set", "sink=postgres://127.0.0.1/d"];
    assert!(scratch.forebay(&setting).expect(2).stderr.contains("--sink"));
}

#[test]
fn kills_at_random_moments_lose_and_double_nothing_in_the_sink() {
    let (scratch, server) = (Scratch::new(), Postgres::shared());
    let seed = 0x51_2026_1121;
    println!("seed {seed}");
    let mut random = Random(seed);
    let input = scratch.write("p.ndjson", patients(4_000));
    let (mut kills, mut round) = (0, 0);
    while kills < 25 {
        round += 1;
        let url = server.database();
        let output = format!("out{round}");
        let args = ["run", "clinical", &input, "--output", &output, "--sink", &url];
        let settings = ["--set", "protect=off", "--set", "chunk.rows=2000", "--set", "commit.interval=100ms"];
        let args = [&args[..], &settings].concat();
        for _ in 0..8 {
            let mut child = scratch.command(&[&args[..], &["--progress", "none"]].concat()).spawn().unwrap();
            if wait(&mut child, Duration::from_millis(50 + random.below(900))).is_some() {
                break;
            }
            child.kill().unwrap();
            child.wait().unwrap();
            kills += 1;
        }
        scratch.forebay(&args).expect(0).conserved();
        equal(&scratch, &output, server, name_of(&url));
        scratch.clean(&output, &CLINICAL);
    }
}

#[test]
fn a_database_that_restarts_in_the_middle_of_a_job_has_all_rows_once() {
    let (scratch, server) = (Scratch::new(), Postgres::start());
    let url = server.database();
    let input = scratch.write("p.ndjson", patients(20_000));
    let args = ["run", "clinical", &input, "--output", "out", "--sink", &url, "--report", "report.json"];
    let settings = ["--set", "protect=off", "--set", "chunk.rows=4000", "--set", "commit.interval=100ms"];
    let child = scratch.command(&[&args[..], &settings, &["--progress", "none"]].concat()).spawn().unwrap();
    let database = name_of(&url);
    for end in [Postgres::stop as fn(&Postgres), Postgres::kill] {
        let before = || server.query_in(database, "SELECT coalesce(max(last_commit), 0) FROM _forebay_commits");
        let since = Instant::now();
        let has = |table: &str| server.query_in(database, &format!("SELECT to_regclass('{table}') IS NOT NULL")) == "t";
        while !has("_forebay_commits") && since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let seen = before();
        while before() == seen && since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(5));
        }
        end(&server);
        server.start_again();
    }
    let outcome = scratch.finish(child.wait_with_output().unwrap());
    outcome.expect(0).conserved();
    equal(&scratch, "out", &server, database);
}

#[test]
fn a_job_whose_sink_refuses_rows_fails_with_the_remedy_and_goes_on_when_it_is_mended() {
    let (scratch, server) = (Scratch::new(), Postgres::shared());
    let url = server.database();
    let database = name_of(&url);
    let input = scratch.write("p.ndjson", patients(500));
    let args = ["run", "clinical", &input, "--output", "out", "--set", "protect=off", "--sink", &url];
    server.query_in(database, "CREATE TABLE patients (patient_id text, mrn text, name text CHECK (name <> 'Ana 7'), \
        birth_date date, gender text, phone text, email text, address_line text, address_city text, address_state text, \
        address_zip text)");
    let failed = scratch.forebay(&args);
    failed.expect(1);
    assert!(failed.stderr.contains("a check failed (23514)"), "{}", failed.stderr);
    assert!(!failed.stderr.contains("Ana 7"), "{}", failed.stderr);
    assert_eq!(server.query_in(database, "SELECT count(*) FROM patients"), "0");
    server.query_in(database, "ALTER TABLE patients DROP CONSTRAINT patients_name_check");
    scratch.forebay(&args).expect(0).conserved();
    equal(&scratch, "out", server, database);
}
