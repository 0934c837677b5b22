# Every command that people and CI run. `just` alone lists them.

features := "--features forebay/faults,forebay/ner"

# Lists the recipes
default:
    @just --list

# Builds the binary
build:
    cargo build --release

# Runs the binary: just run clinical samples/patients.ndjson --set protect=off
run *args:
    cargo run --release -- run {{args}}

# Installs what is missing and runs the tests; arguments go to cargo test
test *args:
    tests/run {{args}}

# A long run of faults against separate services: just chaos 200 7
chaos faults="200" seed="7":
    FOREBAY_CHAOS_FAULTS={{faults}} FOREBAY_CHAOS_SEED={{seed}} tests/run --test it chaos -- --nocapture

# Measures what a chunk costs besides its data, on PostgreSQL and Redis, step by step
cost:
    tests/run --test it a_chunk_without_data -- --ignored --nocapture

# Measures the ways into PostgreSQL with 300,000 rows of a table: just copy forebay-out/observations/part-….parquet
copy observations:
    FOREBAY_OBSERVATIONS={{observations}} tests/run --test speed -- --ignored --nocapture

# Measures separate services against one process, in turns: just services patients.ndjson 5
services input rounds="5": build
    tests/measure/services.py target/release/forebay {{input}} {{rounds}}

# Simulates the chunk protocol with so many seeds: just sim 100000; one of them again: FOREBAY_SIM_SEED=7 just sim
sim seeds="1000" first="1":
    FOREBAY_SIM_SEEDS={{seeds}} FOREBAY_SIM_FIRST={{first}} tests/run --test sim -- --nocapture

# Checks format and lints
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets {{features}} -- -D warnings

# Formats the code
fmt:
    cargo fmt --all

# Builds the API documents; a broken link is an error
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps {{features}}

# Runs the benches of a crate, or of all: just bench forebay-framing
bench package="":
    cargo bench {{ if package == "" { "--workspace" } else { "--package " + package } }} --benches

# Checks licences, advisories, bans and sources (needs cargo-deny)
deny:
    cargo deny check

# What cargo-fuzz sets, without a sanitizer: the code is safe Rust. So the stable compiler is enough.
coverage_pass := "--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module"
coverage_kind := "-Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares"
coverage_form := "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"
coverage := coverage_pass + " " + coverage_kind + " " + coverage_form

# Fuzzes for some seconds (needs g++): just fuzz framing csv 60, just fuzz decode ndjson 60
fuzz crate="decode" target="ndjson" seconds="60":
    mkdir -p target/fuzz/corpus/{{crate}}-{{target}}
    cp Cargo.lock libs/{{crate}}/fuzz/
    RUSTFLAGS="{{coverage}}" cargo run --release --manifest-path libs/{{crate}}/fuzz/Cargo.toml --bin {{target}} \
        --target "$(rustc -vV | sed -n 's/^host: //p')" --target-dir target/fuzz -- \
        -max_total_time={{seconds}} -max_len=4096 -artifact_prefix=target/fuzz/ target/fuzz/corpus/{{crate}}-{{target}}
