use std::path::Path;
use std::time::Duration;

use forebay_testing::otlp::Collector;

use super::{SMALL, Suite, get};
use crate::canary::{held, leaks, planted_records};

#[test]
fn nothing_planted_is_written_by_separate_services() {
    let (collector, key) = (Collector::start(), "07".repeat(32));
    let mut suite = Suite::start_with(
        SMALL,
        &[
            ("FOREBAY_KEYS", &key),
            ("FOREBAY_OTLP_ENDPOINT", &collector.endpoint()),
            ("RUST_LOG", "debug"),
            ("FOREBAY_FAULT_PANIC_AT_RECORD", "130"),
        ],
    );
    // What the queue was ever told is kept in a file.
    suite.redis.command("CONFIG SET appendonly yes");
    std::fs::create_dir(suite.scratch.path("in")).unwrap();
    let input = suite.scratch.write("in/p.ndjson", planted_records(400));
    let more = ["--set", "chunk.rows=50", "--job", "one"];
    suite.submit("clinical", &input, "a", &more).expect(3).conserved_elsewhere();
    let failed = suite.submit("clinical", &input, "b", &["--set", "on_error=fail"]);
    let said = [failed.expect(1).stdout.as_bytes(), failed.stderr.as_bytes()].concat();
    assert_eq!(held(&said), None, "{}", String::from_utf8_lossy(&said));
    for service in &suite.services {
        let metrics = get(service.metrics, "/metrics").unwrap();
        assert!(metrics.contains("forebay_") && held(metrics.as_bytes()).is_none(), "{}", service.kind);
    }
    let tables = suite.postgres.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'");
    assert!(tables.contains("chunk"), "{tables}");
    for table in tables.lines() {
        let rows = suite.postgres.query(&format!("SELECT t::text FROM \"{table}\" t"));
        assert_eq!(held(rows.as_bytes()), None, "{table}");
    }
    // Stopped services have sent their last spans, and a stopped server has written all it knows.
    for index in 0..suite.services.len() {
        suite.services[index].terminate();
    }
    std::thread::sleep(Duration::from_millis(100));
    let spans = collector.spans();
    assert!(spans.len() > 20, "{spans:#?}");
    assert_eq!(spans.iter().find(|span| held(format!("{span:?}").as_bytes()).is_some()), None);
    suite.postgres.stop();
    let bucket = suite.s3.bucket();
    for folder in [&suite.scratch.path(""), suite.postgres.folder(), suite.redis.folder(), &bucket as &Path] {
        assert!(folder.read_dir().unwrap().next().is_some(), "{} is empty", folder.display());
        assert_eq!(leaks(folder, &suite.scratch.path("in")), vec![]);
    }
}
