//! One trace goes from a submission to its commit, through all services.

use std::time::Instant;

use forebay_testing::otlp::Collector;

use super::{SMALL, SOON, Suite};
use crate::support::patients;

#[test]
fn one_trace_goes_from_the_submission_to_the_commit() {
    let collector = Collector::start();
    let suite = Suite::start_with(SMALL, &[("FOREBAY_OTLP_ENDPOINT", &collector.endpoint())]);
    let input = suite.scratch.write("p.ndjson", patients(300));
    suite.submit("clinical", &input, "a", &["--set", "protect=off"]).expect(0).conserved_elsewhere();
    let since = Instant::now();
    loop {
        let spans = collector.spans();
        let submitted = spans.iter().find(|span| span.name.ends_with("/Submit"));
        let traced = |service: &str, name: &str| {
            submitted.is_some_and(|submitted| {
                spans
                    .iter()
                    .any(|span| span.service == service && span.name.ends_with(name) && span.trace == submitted.trace)
            })
        };
        let whole = traced("forebay-transform", "chunk")
            && traced("forebay-transform", "/WriteAttempt")
            && traced("forebay-storage", "/WriteAttempt")
            && traced("forebay-gateway", "end")
            && traced("forebay-storage", "commit");
        if whole {
            return;
        }
        assert!(since.elapsed() < SOON, "{spans:#?}\n{}", suite.logs());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}
