use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hyper_util::rt::{TokioExecutor, TokioIo};
use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;

use crate::garbage::{bounded, hex};
use crate::support::{CLINICAL, Outcome, Scratch, claims, patients, rows_of};

/// What was asked of the store: names of operations and paths, in order.
type Log = Arc<Mutex<Vec<(String, String)>>>;

/// Writes down every request; lets in who has the key.
struct Recorder(Log);

impl S3Access for Recorder {
    fn check<'this, 'cx, 'inner, 'future>(
        &'this self,
        cx: &'cx mut S3AccessContext<'inner>,
    ) -> Pin<Box<dyn Future<Output = S3Result<()>> + Send + 'future>>
    where
        'this: 'future,
        'cx: 'future,
        'inner: 'future,
        Self: 'future,
    {
        self.0.lock().unwrap().push((cx.s3_op().name().to_owned(), cx.uri().path().to_owned()));
        let known = cx.credentials().is_some();
        Box::pin(async move { if known { Ok(()) } else { Err(s3s::s3_error!(AccessDenied)) } })
    }
}

/// A store in this process, over a folder of the scratch.
struct Store {
    scratch: Scratch,
    endpoint: String,
    log: Log,
    /// Ends the server when it is dropped.
    _runtime: tokio::runtime::Runtime,
}

impl Store {
    fn start() -> Self {
        let scratch = Scratch::new();
        let root = scratch.path("store");
        std::fs::create_dir_all(root.join("bucket/in")).unwrap();
        let log = Log::default();
        let mut builder = S3ServiceBuilder::new(s3s_fs::FileSystem::new(&root).unwrap());
        builder.set_auth(SimpleAuth::from_single("key", "secret"));
        builder.set_access(Recorder(Arc::clone(&log)));
        let service = builder.build();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        runtime.spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                let service = service.clone();
                tokio::spawn(async move {
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // A client that hangs up is no error of the server's.
                    drop(server.serve_connection(TokioIo::new(socket), service).await);
                });
            }
        });
        Self { scratch, endpoint, log, _runtime: runtime }
    }

    fn bucket(&self) -> PathBuf {
        self.scratch.path("store/bucket")
    }

    fn put(&self, key: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.bucket().join(key), bytes).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.scratch.command(args);
        command
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", "key")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_REGION", "us-east-1")
            .env("XDG_STATE_HOME", self.scratch.path("state"));
        if args.first() == Some(&"run") {
            command.args(["--report", "report.json", "--progress", "none"]);
        }
        command
    }

    fn forebay(&self, args: &[&str]) -> Outcome {
        self.scratch.finish(bounded(&mut self.command(args)))
    }

    /// Rows of a table in the bucket, read from the folder behind it.
    fn rows(&self, output: &str, table: &str) -> Vec<String> {
        rows_of(&self.bucket().join(output).join(table).display().to_string())
    }

    /// How often an operation was asked for.
    fn count(&self, operation: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|(name, _)| name == operation).count()
    }

    /// Objects of the bucket below a folder that are files of tables or staging, and uploads that were not ended.
    fn left_over(&self, output: &str) -> Vec<PathBuf> {
        let mut left = files(&self.bucket().join(output).join("_forebay/staging"));
        left.extend(
            files(&self.scratch.path("store"))
                .into_iter()
                .filter(|path| path.file_name().unwrap().to_string_lossy().starts_with(".upload")),
        );
        left
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn a_bucket_gives_and_takes_what_a_folder_does() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(1_500));
    store.put("in/p.ndjson", patients(1_500));
    store.put("in/c.csv.gz", crate::formats::gzip(claims(500).as_bytes()));
    store
        .scratch
        .forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"])
        .expect(0)
        .conserved();
    let run = [
        "run",
        "clinical",
        "s3://bucket/in/p.ndjson",
        "--output",
        "s3://bucket/out",
        "--set",
        "protect=off",
        "--set",
        "chunk.rows=900",
    ];
    let outcome = store.forebay(&run);
    outcome.expect(0).conserved();
    assert!(outcome.stdout.contains("s3://bucket/out/"), "{}", outcome.stdout);
    for table in CLINICAL {
        assert_eq!(store.rows("out", table), store.scratch.rows("local", table), "{table}");
    }
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());

    let again = store.forebay(&run);
    assert!(again.expect(0).stdout.contains("already complete"), "{}", again.stdout);
    assert_eq!(store.rows("out", "patients").len(), 1_500);

    // Compressed input is copied to staging in the bucket, and leaves it again.
    store.forebay(&["run", "claims", "s3://bucket/in/c.csv.gz", "--output", "s3://bucket/out"]).expect(0).conserved();
    assert_eq!(store.rows("out", "claims").len(), 500);
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());

    // The other way round, and the commands that look at tables.
    store
        .forebay(&["run", "clinical", "s3://bucket/in/p.ndjson", "--output", "down", "--set", "protect=off"])
        .expect(0)
        .conserved();
    assert_eq!(store.scratch.tables("down", &CLINICAL), store.scratch.tables("local", &CLINICAL));
    assert!(
        store.forebay(&["head", "s3://bucket/out/patients", "-n", "2"]).expect(0).stdout.contains("2 of 1500 rows")
    );
    assert!(store.forebay(&["jobs", "--output", "s3://bucket/out"]).expect(0).stdout.contains("done"));

    // An object that is another one now is other input.
    store.put("in/p.ndjson", patients(1_501));
    let changed = store.forebay(&[&run[..], &["--job", "named"]].concat());
    changed.expect(0).conserved();
    store.put("in/p.ndjson", patients(1_502));
    let changed = store.forebay(&[&run[..], &["--job", "named"]].concat());
    assert!(changed.expect(2).stderr.contains("named"), "{}", changed.stderr);
}

#[test]
fn large_files_go_up_in_parts_and_rejects_go_with_them() {
    let store = Store::start();
    let mut text: String = (0..16_000)
        .map(|n| {
            let note: String = (0..24).map(|part| hex(n * 24 + part)).collect();
            format!(
                "{{\"patient_id\":\"P{n:06}\",\"encounters\":[{{\"encounter_id\":\"E{n}\",\"observations\":[{{\"observation_id\":\"O{n}\",\"note\":\"{note}\"}}]}}]}}\n"
            )
        })
        .collect();
    text.push_str("{\"patient_id\":7}\n");
    store.put("in/p.ndjson", text);
    let outcome = store.forebay(&[
        "run",
        "clinical",
        "s3://bucket/in/p.ndjson",
        "--output",
        "s3://bucket/out",
        "--set",
        "protect=off",
        "--memory",
        "256MiB",
    ]);
    outcome.expect(3).conserved();
    assert!(outcome.peak() < 300 << 20, "{} MiB", outcome.peak() >> 20);
    assert_eq!((store.rows("out", "observations").len(), store.rows("out", "_forebay/rejects").len()), (16_000, 1));
    assert!(store.count("UploadPart") >= 2, "{} parts", store.count("UploadPart"));
    assert_eq!(store.count("CreateMultipartUpload"), store.count("CompleteMultipartUpload"));
    assert_eq!(store.left_over("out"), Vec::<PathBuf>::new());
}

#[test]
fn a_job_into_a_bucket_that_is_killed_goes_on() {
    let store = Store::start();
    let local = store.scratch.write("p.ndjson", patients(6_000));
    store
        .scratch
        .forebay(&["run", "clinical", &local, "--output", "local", "--set", "protect=off"])
        .expect(0)
        .conserved();
    let run = [
        "run",
        "clinical",
        &local,
        "--output",
        "s3://bucket/out",
        "--set",
        "protect=off",
        "--set",
        "chunk.rows=1000",
        "--set",
        "file.bytes=64KiB",
    ];
    for wait in [150, 400, 700, 1_000] {
        let mut child = store.command(&run).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        // Its worker dies with it.
        child.kill().unwrap();
        child.wait().unwrap();
    }
    store.forebay(&run).expect(0);
    for table in CLINICAL {
        assert_eq!(store.rows("out", table), store.scratch.rows("local", table), "{table}");
    }
    assert_eq!(files(&store.bucket().join("out/_forebay/staging")), Vec::<PathBuf>::new());
}

#[test]
fn what_is_wrong_with_a_bucket_is_said_in_bounded_time() {
    let store = Store::start();
    store.put("in/p.ndjson", patients(5));
    let input = "s3://bucket/in/p.ndjson";
    for (args, ends, says) in [
        (["run", "clinical", "s3://bucket/in/nope.ndjson", "--output", "out"], 2, "there is no such object"),
        (["run", "clinical", "s3://nobucket/in/p.ndjson", "--output", "out"], 2, "s3://nobucket/in/p.ndjson"),
        (["run", "clinical", input, "--output", "s3://nobucket/out"], 1, "s3://nobucket/out"),
        (["run", "clinical", "s3://", "--output", "out"], 2, "s3://"),
        (["run", "clinical", input, "--output", "s3://"], 2, "s3://"),
    ] {
        let outcome = store.forebay(&args);
        let said = format!("{args:?}: {}\n{}{}", outcome.status, outcome.stdout, outcome.stderr);
        assert!(
            outcome.status == ends && outcome.stderr.contains(says) && !outcome.stderr.contains("panicked"),
            "{said}"
        );
    }
    let local = store.scratch.write("p.ndjson", patients(5));
    // Nothing listens at the port of a listener that is gone.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // One that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();
    std::thread::scope(|scope| {
        for (number, (key, value)) in [
            ("AWS_ENDPOINT_URL", format!("http://{nobody}")),
            ("AWS_ENDPOINT_URL", format!("http://{silent_at}")),
            ("AWS_ENDPOINT_URL", "http://no-such-host.invalid".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "wrong".to_owned()),
        ]
        .into_iter()
        .enumerate()
        {
            for (input, output) in [(input, format!("elsewhere-{number}")), (&local, format!("s3://bucket/{number}"))] {
                let (store, value) = (&store, value.clone());
                scope.spawn(move || {
                    let args = ["run", "clinical", input, "--output", &output];
                    let started = Instant::now();
                    let mut command = store.scratch.command(&args);
                    command
                        .envs(store.command(&[]).get_envs().filter_map(|(name, value)| Some((name, value?))))
                        .args(["--progress", "none"])
                        .env("XDG_STATE_HOME", store.scratch.path(&format!("state-{number}")))
                        .env(key, &value);
                    let output = bounded(&mut command);
                    let said = String::from_utf8_lossy(&output.stderr).into_owned();
                    let took = started.elapsed();
                    assert!(matches!(output.status.code(), Some(1 | 2)), "{key}={value} {args:?}: {said}");
                    assert!(said.contains("s3://bucket/") && !said.contains("panicked"), "{key}={value}: {said}");
                    assert!(took < Duration::from_secs(60), "{key}={value} {args:?} took {took:?}");
                });
            }
        }
    });
}
