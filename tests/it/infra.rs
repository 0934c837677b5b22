//! What `infra/` and `docker/` say exists: services, flags, ports, probes, variables.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn documents(path: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn help() -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_forebay")).args(["serve", "--help"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The objects of a kustomization, by their kind and name.
fn kubernetes() -> Vec<Value> {
    let kustomization = documents("infra/kubernetes/base/kustomization.yaml").remove(0);
    let resources: Vec<&str> = strings(&kustomization["resources"]);
    let mut there: Vec<String> = std::fs::read_dir(root().join("infra/kubernetes/base"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "kustomization.yaml")
        .collect();
    there.sort();
    let mut named: Vec<String> = resources.iter().map(|name| (*name).to_owned()).collect();
    named.sort();
    assert_eq!(named, there, "every file is a resource");
    resources.iter().flat_map(|file| documents(&format!("infra/kubernetes/base/{file}"))).collect()
}

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// Asserts that a service's command line and environment are ones that the program knows.
fn check_process(place: &str, arguments: &[&str], variables: &BTreeSet<String>, help: &str) {
    assert_eq!(arguments[0], "serve", "{place}");
    assert!(["gateway", "enrichment", "transform", "storage", "all"].contains(&arguments[1]), "{place}: {arguments:?}");
    for flag in arguments.iter().filter(|argument| argument.starts_with("--")) {
        assert!(help.contains(&format!("{flag} ")), "{place}: {flag} is no flag of forebay serve");
    }
    for variable in variables.iter().filter(|name| name.starts_with("FOREBAY_")) {
        assert!(help.contains(&format!("[env: {variable}]")), "{place}: {variable} is no variable of forebay serve");
    }
}

#[test]
fn kubernetes_names_what_exists() {
    let (objects, help) = (kubernetes(), help());
    let configured: BTreeSet<String> = objects
        .iter()
        .filter(|object| object["kind"] == "ConfigMap")
        .flat_map(|object| object["data"].as_object().unwrap().keys().cloned())
        .collect();
    let mut workloads = BTreeSet::new();
    for object in &objects {
        let kind = object["kind"].as_str().unwrap();
        if !matches!(kind, "Deployment" | "StatefulSet") {
            continue;
        }
        let name = object["metadata"]["name"].as_str().unwrap();
        workloads.insert(name.to_owned());
        let pod = &object["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let mut variables = configured.clone();
        variables.extend(container["env"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_owned()));
        let arguments = strings(&container["args"]);
        check_process(name, &arguments, &variables, &help);
        let ports: Vec<(&str, u64)> = container["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| (port["name"].as_str().unwrap(), port["containerPort"].as_u64().unwrap()))
            .collect();
        let listen = arguments[arguments.iter().position(|a| *a == "--listen").unwrap() + 1];
        assert!(
            ports.iter().any(|(port, number)| *port == "grpc" && listen.ends_with(&format!(":{number}"))),
            "{name}"
        );
        assert!(ports.contains(&("metrics", 9401)), "{name}");
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{name}");
            assert_eq!(container[probe]["httpGet"]["port"], "metrics", "{name}");
        }
        // The budget leaves room below the limit for what the ledger does not count.
        let memory = container["env"].as_array().unwrap().iter().find(|v| v["name"] == "FOREBAY_MEMORY").unwrap();
        let budget = mebibytes(memory["value"].as_str().unwrap());
        let limit = mebibytes(container["resources"]["limits"]["memory"].as_str().unwrap());
        assert!(budget * 100 <= limit * 85, "{name}: {budget} of {limit} MiB");
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true, "{name}");
        assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
    }
    assert_eq!(workloads.len(), 4);
    for object in &objects {
        let app = match object["kind"].as_str().unwrap() {
            "Service" => &object["spec"]["selector"]["app"],
            "PodDisruptionBudget" => &object["spec"]["selector"]["matchLabels"]["app"],
            "ScaledObject" => &object["spec"]["scaleTargetRef"]["name"],
            _ => continue,
        };
        assert!(workloads.contains(app.as_str().unwrap()), "{object}");
    }
}

fn mebibytes(size: &str) -> u64 {
    size.trim_end_matches("MiB").trim_end_matches("Mi").parse().unwrap()
}

#[test]
fn compose_names_what_exists() {
    let compose = documents("docker/compose.yaml").remove(0);
    let help = help();
    let mut services = 0;
    for (name, service) in compose["services"].as_object().unwrap() {
        let Some("forebay") = service["image"].as_str() else { continue };
        services += 1;
        let variables = service["environment"].as_object().unwrap().keys().cloned().collect();
        check_process(name, &strings(&service["command"]), &variables, &help);
        assert!(service["healthcheck"]["test"].as_array().unwrap().contains(&Value::from("ready")), "{name}");
        assert!(!service["deploy"]["resources"]["limits"]["memory"].is_null(), "{name}");
        assert_eq!(service["read_only"], true, "{name}");
    }
    assert_eq!(services, 4);
    let dockerfile = std::fs::read_to_string(root().join("docker/Dockerfile")).unwrap();
    assert!(dockerfile.contains("USER 10001") && dockerfile.contains("FOREBAY_SPILL"));
}

#[test]
fn the_scaling_and_the_dashboard_ask_for_metrics_that_exist() {
    let metrics = forebay_telemetry::Metrics::default();
    let names: BTreeSet<String> = metrics.descriptions().iter().map(|metric| metric.name.clone()).collect();
    let scaling = std::fs::read_to_string(root().join("infra/kubernetes/base/scaling.yaml")).unwrap();
    let dashboard = std::fs::read_to_string(root().join("infra/grafana/forebay.json")).unwrap();
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() >= 8);
    for (place, text) in [("scaling.yaml", scaling), ("forebay.json", dashboard)] {
        let mut found = 0;
        for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            // Each begins so, and what a histogram has ends so.
            if !word.starts_with("forebay_") {
                continue;
            }
            let name = ["_bucket", "_count", "_sum"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
            assert!(names.contains(name) || names.contains(word), "{place}: {word} is no metric");
            found += 1;
        }
        assert!(found > 0, "{place}");
    }
}

/// Crates of others that a build has, with the features that they are asked for.
fn third_party(selection: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--format", "{p} [{f}]"])
        .args(selection)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    lines
        .lines()
        .map(|line| line.trim_end_matches(" (*)").to_owned())
        .filter(|line| !line.contains("forebay"))
        .collect()
}

#[test]
fn a_test_after_a_run_compiles_no_crate_of_others_again() {
    let run = third_party(&["--edges", "normal,build", "--package", "forebay"]);
    let test = third_party(&["--workspace", "--features", "forebay/faults,forebay/ner"]);
    let again: Vec<_> = run.difference(&test).collect();
    assert!(run.len() > 300 && again.is_empty(), "name the features of {again:?} in services/forebay/Cargo.toml");
}
