//! Claims with what the NPI registry knows: one process and separate services, against a stand-in that counts.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use forebay_nppes::Npi;

use crate::suite::{SMALL, Suite, send};
use crate::support::{Outcome, Scratch};

/// `forebay sim nppes`, ended with the test.
struct Registry {
    child: Child,
    url: String,
    log: std::path::PathBuf,
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

impl Registry {
    fn start(scratch: &Scratch, more: &[&str]) -> Self {
        let log = scratch.path("registry.log");
        let path = log.display().to_string();
        let mut command = scratch.command(&["sim", "nppes", "--listen", "127.0.0.1:0", "--log", &path]);
        let mut child = command.args(more).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").unwrap().to_owned();
        Self { child, url, log }
    }

    /// When each request came, in microseconds, and for whom.
    fn requests(&self) -> Vec<(u64, String)> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.map(|line| (line["t"].as_u64().unwrap(), line["npi"].as_str().unwrap().to_owned())).collect()
    }

    fn most_in_a_second(&self) -> usize {
        let requests = self.requests();
        let within = |at: usize| requests[at..].iter().take_while(|(t, _)| *t < requests[at].0 + 1_000_000).count();
        (0..requests.len()).map(within).max().unwrap_or(0)
    }

    /// How many requests there were beyond each key's first.
    fn repeats(&self) -> usize {
        let mut counts: HashMap<String, usize> = HashMap::new();
        for (_, npi) in self.requests() {
            *counts.entry(npi).or_default() += 1;
        }
        counts.values().map(|count| count - 1).sum()
    }

    fn settings(&self, rate: &str) -> Vec<String> {
        vec![format!("nppes.url={}", self.url), format!("nppes.rate={rate}")]
    }
}

/// Claims of so many providers, one in a hundred of them with a wrong NPI and one in a hundred with none.
fn claims(rows: u64, providers: u32) -> String {
    let mut text = String::from("claim_id,line_no,npi,cpt,service_date,zip,place_of_service\n");
    for n in 0..rows {
        let npi = match n % 100 {
            98 => "1234567890".to_owned(),
            99 => String::new(),
            _ => Npi::from_payload(100_000_000 + (n * 7919 % u64::from(providers)) as u32).unwrap().to_string(),
        };
        text.push_str(&format!("C{n:08},1,{npi},G0101,2025-03-{:02},98101,11\n", n % 28 + 1));
    }
    text
}

fn run(scratch: &Scratch, job: &str, output: &str, settings: &[String]) -> Outcome {
    let mut args = vec!["run", "providers", "claims.csv", "--output", output, "--job", job];
    settings.iter().for_each(|setting| args.extend(["--set", setting]));
    scratch.forebay(&args)
}

fn enrichment(outcome: &Outcome, count: &str) -> u64 {
    outcome.report.as_ref().unwrap()["enrichment"][count].as_u64().unwrap()
}

#[test]
fn a_provider_is_asked_for_once_whatever_the_chunks_and_runs() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, &["--rate", "100"]);
    scratch.write("claims.csv", claims(3_000, 150));
    let settings = [registry.settings("100"), vec!["chunk.rows=500".to_owned()]].concat();
    let cold = run(&scratch, "cold", "out", &settings);
    cold.expect(0).conserved();
    assert_eq!((registry.requests().len(), registry.repeats()), (150, 0));
    assert!(registry.most_in_a_second() <= 100);
    assert_eq!(enrichment(&cold, "upstream_calls"), 150);
    let answered = ["cache_hits", "upstream_calls", "failed"].map(|count| enrichment(&cold, count)).iter().sum::<u64>();
    assert_eq!(enrichment(&cold, "keys"), answered);
    let rows = scratch.rows("out", "claims");
    let ending = |reason: &str| rows.iter().filter(|row| row.contains(reason)).count();
    assert_eq!((ending("|invalid_npi|"), ending("|no_key|"), ending("|A|")), (30, 30, 2_940));
    assert_eq!(rows.iter().filter(|row| row.contains("no_reference_file")).count(), 3_000);
    // Appended to the same table, from the cache.
    let warm = run(&scratch, "warm", "out", &settings);
    warm.expect(0).conserved();
    assert_eq!((registry.requests().len(), enrichment(&warm, "upstream_calls")), (150, 0));
    assert_eq!(scratch.rows("out", "claims").len(), 6_000);
    scratch.clean("out", &["claims"]);
    let stats = scratch.forebay(&["cache", "stats", "--output", "out", "--json"]);
    assert!(stats.expect(0).stdout.contains("\"entries\":150"), "{}", stats.stdout);
    let purged = scratch.forebay(&["cache", "purge", "--output", "out"]);
    assert!(purged.expect(0).stdout.starts_with("150 "), "{}", purged.stdout);
}

#[test]
fn keys_can_be_looked_up_ahead() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, &[]);
    scratch.write("claims.csv", claims(500, 40));
    let keys: Vec<String> = (0..40).map(|n| Npi::from_payload(100_000_000 + n).unwrap().to_string()).collect();
    scratch.write("keys", keys.join("\n"));
    let url = format!("nppes.url={}", registry.url);
    let args = ["enrich", "warm", "keys", "--output", "out", "--set", &url, "--set", "nppes.rate=200", "--json"];
    let warmed = scratch.forebay(&args);
    assert!(warmed.expect(0).stdout.contains("\"upstream_calls\":40"), "{}", warmed.stdout);
    let outcome = run(&scratch, "one", "out", &registry.settings("200"));
    outcome.expect(0).conserved();
    assert_eq!((enrichment(&outcome, "upstream_calls"), registry.requests().len()), (0, 40));
}

#[test]
fn what_was_answered_before_a_kill_is_not_asked_for_again() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, &["--rate", "40"]);
    scratch.write("claims.csv", claims(2_000, 120));
    let settings = registry.settings("40");
    let mut args = vec!["run", "providers", "claims.csv", "--output", "out"];
    settings.iter().for_each(|setting| args.extend(["--set", setting]));
    let mut killed = scratch.command(&args).spawn().unwrap();
    let since = Instant::now();
    while registry.requests().len() < 30 {
        assert!(since.elapsed() < Duration::from_secs(60), "nobody asks");
        std::thread::sleep(Duration::from_millis(10));
    }
    // The supervisor dies, and its worker with it.
    killed.kill().unwrap();
    killed.wait().unwrap();
    let outcome = scratch.forebay(&args);
    outcome.expect(0).conserved();
    // Those that were under way.
    assert!(registry.repeats() <= 5, "{}", registry.repeats());
    assert!(registry.most_in_a_second() <= 40, "{}", registry.most_in_a_second());
    assert_eq!(outcome.rows_out("claims"), 2_000);
}

#[test]
fn an_upstream_that_never_answers_costs_columns_and_no_row() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, &["--fault", "5xx=1"]);
    scratch.write("claims.csv", claims(500, 50));
    let settings = [registry.settings("200"), vec!["nppes.open_wait=1s".to_owned()]].concat();
    let outcome = run(&scratch, "one", "out", &settings);
    outcome.expect(0).conserved();
    assert_eq!((enrichment(&outcome, "failed"), enrichment(&outcome, "keys")), (51, 51));
    let rows = scratch.rows("out", "claims");
    assert!(rows.iter().all(|row| {
        ["circuit_open", "upstream_status_503", "invalid_npi", "no_key"].iter().any(|reason| row.contains(reason))
    }));
}

#[test]
fn separate_services_give_the_same_table_and_keep_to_the_limit_through_kills() {
    let scratch = Scratch::new();
    let registry = Registry::start(&scratch, &["--rate", "50"]);
    let strict = Suite::start(SMALL);
    let refused = strict.submit(
        "providers",
        &scratch.write("claims.csv", claims(10, 3)),
        "a",
        &["--set", &registry.settings("50")[0]],
    );
    assert!(refused.expect(2).stderr.contains("setting inputs"), "{}", refused.stderr);
    drop(strict);
    let mut suite = Suite::start_with(SMALL, &[("FOREBAY_INPUTS", &registry.url)]);
    let input = suite.scratch.write("claims.csv", claims(4_000, 300));
    let settings = [registry.settings("50"), vec!["chunk.rows=500".to_owned()]].concat();
    let more: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
    let running = suite.submission("providers", &input, "a", &more).spawn().unwrap();
    let since = Instant::now();
    while registry.requests().len() < 60 {
        assert!(since.elapsed() < Duration::from_secs(120), "nobody asks: {}", suite.logs());
        std::thread::sleep(Duration::from_millis(20));
    }
    let first = suite.of("enrichment")[0];
    send("KILL", suite.services[first].pids()[0]);
    suite.services[first].kill();
    suite.restart(first);
    let outcome = suite.finish(running.wait_with_output().unwrap(), "a");
    outcome.expect(0).conserved_elsewhere();
    assert!(registry.most_in_a_second() <= 50, "{}", registry.most_in_a_second());
    assert!(registry.repeats() <= 5, "{}", registry.repeats());
    let (requests, repeats) = (registry.requests().len(), registry.repeats());
    run(&suite.scratch, "alone", "alone", &registry.settings("50")).expect(0).conserved();
    // The other cache asks for the same keys.
    assert_eq!(registry.requests().len() - requests, requests - repeats);
    assert_eq!(suite.rows("a", "claims"), suite.scratch.rows("alone", "claims"));
    suite.clean("a", &["claims"]);
}

/// An API of somebody's own: it knows items below 5, and counts who asks.
fn api() -> (String, std::sync::Arc<std::sync::atomic::AtomicUsize>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = std::sync::Arc::clone(&asked);
    // It ends with the process of the tests.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            let path = line.split(' ').nth(1).unwrap_or_default();
            let parts: Vec<&str> = path.split('/').collect();
            let body = match parts.as_slice() {
                ["", "item", code, zone] if code.starts_with(['0', '1', '2', '3', '4']) => {
                    format!("{{\"data\":{{\"name\":\"{code} in {zone}\",\"prices\":[1.5,\"2.5\"]}},\"unknown\":[]}}")
                }
                _ => "{\"data\":null}".to_owned(),
            };
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            std::io::Write::write_all(&mut stream, [head, body].concat().as_bytes()).unwrap();
        }
    });
    (url, asked)
}

#[test]
fn a_users_own_api_and_table_become_columns_by_the_recipe_alone() {
    let scratch = Scratch::new();
    let (url, asked) = api();
    scratch.write("zones.csv", "Zone,Label\nz0,North\nz1,\"South, far\"\n");
    let recipe = format!(
        "name: items\nrecord: {{table: items, fields: {{id: {{type: string}}, code: {{type: int32}}, zone: {{type: string}}}}}}\n\
         steps:\n  - enrich:\n      table: items\n      enricher: http\n      key: {{code: code, zone: zone}}\n      columns:\n        \
         name: {{path: /data/name}}\n        price: {{path: /data/prices/1, type: float}}\n      reason: why\n      settings: \
         {{url: '{url}/item/{{code}}/{{zone}}', rate: 200, found: /data}}\n  - enrich:\n      table: items\n      enricher: table\n      \
         key: zone\n      columns: {{label: {{path: Label}}}}\n      reason: zone_reason\n      settings: {{file: {}, key: Zone}}\n",
        scratch.path("zones.csv").display()
    );
    scratch.write("items.yaml", recipe);
    let rows: String = (0..400).map(|n| format!("I{n:03},{},z{}\n", n % 10, n % 3)).collect();
    scratch.write("items.csv", format!("id,code,zone\n{rows}X,,\n"));
    let outcome = scratch.run("items.yaml", "items.csv", "out", &[]);
    outcome.expect(0).conserved();
    // Each pair of code and zone once, also those that are not there.
    assert_eq!((asked.load(std::sync::atomic::Ordering::Relaxed), enrichment(&outcome, "upstream_calls")), (30, 30));
    let rows = scratch.rows("out", "items");
    let with = |text: &str| rows.iter().filter(|row| row.contains(text)).count();
    assert_eq!((rows.len(), with("4 in z1"), with("|2.5|"), with("South, far")), (401, 14, 200, 133));
    assert_eq!(rows.iter().filter(|row| row.contains("not_found")).count(), 266);
    assert_eq!(with("no_key"), 1);
}

#[test]
fn a_reference_that_does_not_fit_in_the_budget_is_refused_with_the_remedy() {
    let scratch = Scratch::new();
    let rows: String = (0..200_000).map(|n| format!("{n:05},A label of some length for the zone {n}\n")).collect();
    scratch.write("zones.csv", format!("Zone,Label\n{rows}"));
    let recipe = format!(
        "name: items\nrecord: {{table: items, fields: {{zone: {{type: string}}}}}}\nsteps:\n  - enrich: {{table: items, enricher: \
         table, key: zone, columns: {{label: {{path: Label}}}}, settings: {{file: {}, key: Zone}}}}\n",
        scratch.path("zones.csv").display()
    );
    scratch.write("items.yaml", recipe);
    scratch.write("items.csv", "zone\n00001\n");
    let args = |memory| ["run", "items.yaml", "items.csv", "--output", "out", "--memory", memory];
    let refused = scratch.forebay(&args("128MiB"));
    let text = &refused.expect(1).stderr;
    assert!(text.contains("zones.csv") && text.contains("'references'") && text.contains("more memory"), "{text}");
    scratch.forebay(&args("1GiB")).expect(0).conserved();
    assert_eq!(scratch.rows("out", "items").len(), 1);
}
