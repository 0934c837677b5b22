//! Starting the binary, making input, and reading what came out.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use forebay_lake::TableReader;
use forebay_objects::Place;
use forebay_testing::s3::files_below;
use futures::TryStreamExt;
use serde_json::Value;

/// A folder of a test's own, with the commands to run in it.
pub(crate) struct Scratch {
    folder: tempfile::TempDir,
}

/// How a command ended.
pub(crate) struct Outcome {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) report: Option<Value>,
}

impl Scratch {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    /// The binary with some arguments, without progress, in this folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
        command.args(args).current_dir(self.folder.path()).env("RUST_LOG", "warn").env_remove("FOREBAY_MEMORY");
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end. `run` commands get a report.
    pub(crate) fn forebay(&self, args: &[&str]) -> Outcome {
        self.finish(self.command(&with_report(args)).output().unwrap())
    }

    /// Runs a recipe over an input, with settings.
    pub(crate) fn run(&self, recipe: &str, input: &str, output: &str, settings: &[&str]) -> Outcome {
        let settings = settings.iter().flat_map(|setting| ["--set", setting]);
        let args: Vec<&str> = ["run", recipe, input, "--output", output].into_iter().chain(settings).collect();
        self.forebay(&args)
    }

    pub(crate) fn finish(&self, output: Output) -> Outcome {
        let report = std::fs::read(self.path("report.json")).ok();
        let report = report.map(|text| serde_json::from_slice(&text).unwrap());
        if report.is_some() {
            std::fs::remove_file(self.path("report.json")).unwrap();
        }
        Outcome {
            status: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            report,
        }
    }

    /// Every row of a table as text, sorted: equal for equal multisets of rows.
    pub(crate) fn rows(&self, output: &str, table: &str) -> Vec<String> {
        rows_of(&self.path(output).join(table).display().to_string())
    }

    /// All tables of an output.
    pub(crate) fn tables(&self, output: &str, tables: &[&str]) -> BTreeMap<String, Vec<String>> {
        tables.iter().map(|table| ((*table).to_owned(), self.rows(output, table))).collect()
    }

    /// Asserts that an output holds nothing that should not be there after a job's end.
    pub(crate) fn clean(&self, output: &str, tables: &[&str]) {
        let output = self.path(output);
        assert_eq!(files_below(&output.join("_forebay/staging")), Vec::<PathBuf>::new(), "left in staging");
        assert_eq!(files_below(&output.join("_forebay/tmp")), Vec::<PathBuf>::new(), "left in the spill folder");
        for table in tables.iter().copied().chain(["_forebay/rejects"]) {
            let folder = output.join(table);
            let mut there: Vec<String> = std::fs::read_dir(&folder)
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .filter(|name| name != "_delta_log")
                .collect();
            there.sort();
            let mut visible: Vec<String> = files_of(&folder.display().to_string());
            visible.sort();
            assert_eq!(there, visible, "files of {table} that are not in its log");
        }
    }
}

fn with_report<'a>(args: &[&'a str]) -> Vec<&'a str> {
    let mut all = args.to_vec();
    if args.first() == Some(&"run") || args.contains(&"--replay") {
        all.extend(["--report", "report.json", "--progress", "none"]);
    }
    all
}

impl Outcome {
    /// The one check that every job's report must pass.
    pub(crate) fn conserved(&self) -> &Self {
        self.conserved_elsewhere();
        assert!(self.peak() > 0);
        self
    }

    /// The same for a job that other processes did, of whose memory its report says nothing.
    pub(crate) fn conserved_elsewhere(&self) -> &Self {
        let report = self.report.as_ref().unwrap_or_else(|| panic!("no report: {}{}", self.stdout, self.stderr));
        assert_eq!(report["state"], "done", "{}{}", self.stdout, self.stderr);
        let rejected: u64 = report["rejects"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(self.records_in(), self.records_written() + rejected, "{report}");
        self
    }

    pub(crate) fn records_in(&self) -> u64 {
        self.report.as_ref().unwrap()["records_in"].as_u64().unwrap()
    }

    /// Records written are the rows of the record's own table.
    fn records_written(&self) -> u64 {
        let rows = self.report.as_ref().unwrap()["rows_out"].as_object().unwrap();
        ["patients", "claims", "items"].iter().find_map(|table| rows.get(*table)?.as_u64()).unwrap_or(0)
    }

    pub(crate) fn rejects(&self, reason: &str) -> u64 {
        self.report.as_ref().unwrap()["rejects"][reason].as_u64().unwrap_or(0)
    }

    pub(crate) fn rows_out(&self, table: &str) -> u64 {
        self.report.as_ref().unwrap()["rows_out"][table].as_u64().unwrap_or(0)
    }

    pub(crate) fn peak(&self) -> u64 {
        self.report.as_ref().unwrap()["peak_rss_bytes"].as_u64().unwrap()
    }

    pub(crate) fn expect(&self, status: i32) -> &Self {
        assert_eq!(self.status, status, "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        self
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

pub(crate) fn rows_of(uri: &str) -> Vec<String> {
    let batches: Vec<RecordBatch> = runtime().block_on(async {
        let reader = TableReader::open(Place::open(uri).unwrap()).await.unwrap();
        reader.batches().try_collect().await.unwrap()
    });
    let mut rows = Vec::new();
    let options = FormatOptions::default().with_null("∅");
    for batch in &batches {
        let columns: Vec<_> =
            batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options).unwrap()).collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|column| column.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    rows.sort();
    rows
}

pub(crate) fn files_of(uri: &str) -> Vec<String> {
    runtime().block_on(async {
        let reader = TableReader::open(Place::open(uri).unwrap()).await.unwrap();
        reader.files().iter().map(|(file, _)| file.clone()).collect()
    })
}

/// The tables of the clinical recipe.
pub(crate) const CLINICAL: [&str; 3] = ["patients", "encounters", "observations"];

/// One patient as a JSON object, made from its number.
pub(crate) fn patient(n: u64) -> String {
    let mut observations = Vec::new();
    let encounters: Vec<String> = (0..=n % 3)
        .map(|e| {
            observations.clear();
            for o in 0..(n + e) % 5 {
                observations.push(format!(
                    r#"{{"observation_id":"O{n:07}-{e}-{o}","code":"8480-6","display":"Systolic","value":{}.5,"unit":"mm[Hg]","effective":"2024-02-{:02}T08:30:00Z","abnormal":{},"note":"said \"fine\", caf\u00e9 {} \\ {}"}}"#,
                    n % 90 + o,
                    n % 28 + 1,
                    o % 2 == 0,
                    "lorem ipsum ".repeat((n % 7) as usize),
                    n
                ));
            }
            format!(
                r#"{{"encounter_id":"E{n:07}-{e}","class":"AMB","start":"2024-01-{:02}T07:00:00Z","end":"2024-01-{:02}T08:00:00+01:00","npi":"1234567893","reason":"I10","observations":[{}]}}"#,
                n % 28 + 1,
                n % 28 + 1,
                observations.join(",")
            )
        })
        .collect();
    format!(
        r#"{{"patient_id":"P{n:07}","mrn":"{n:08}","name":"Ana {n}","birth_date":"19{:02}-05-17","gender":"female","phone":"555-{n:04}","email":"p{n}@example.org","address":{{"line":"{n} Oak St","city":"Tampa","state":"FL","zip":"33601"}},"encounters":[{}]}}"#,
        n % 90 + 10,
        encounters.join(",")
    )
}

/// Patients as NDJSON.
pub(crate) fn patients(count: u64) -> String {
    (0..count).map(|n| patient(n) + "\n").collect()
}

/// Claims as CSV.
pub(crate) fn claims(count: u64) -> String {
    let mut text = String::from(
        "claim_id,line_no,patient_id,npi,provider_name,cpt,icd10,service_date,paid_date,billed_amount,allowed_amount,\
         paid_amount,zip,payer,place_of_service\n",
    );
    for n in 0..count {
        let paid = if n % 7 == 0 { String::new() } else { format!("{}.25", n % 400) };
        text.push_str(&format!(
            "C{n:08},{},P{:06},1234567893,\"O'Brien, \"\"Ann\"\"{}\",99213,E11.9,2024-03-{:02},2024-04-{:02},{}.50,{}.10,{paid},0{:04},AETNA,11\n",
            n % 3 + 1,
            n % 1000,
            if n % 50 == 0 { "\nMD" } else { " MD" },
            n % 28 + 1,
            n % 28 + 1,
            n % 900,
            n % 700,
            n % 9999
        ));
    }
    text
}
