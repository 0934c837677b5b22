# Every command that people and CI run. `just` alone lists them.

features := "--features forebay/faults"

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

# Fuzzes a framer for some seconds (needs cargo-fuzz and a nightly compiler): just fuzz csv 60
fuzz target="lines" seconds="60":
    cd libs/framing && cargo +nightly fuzz run {{target}} -- -max_total_time={{seconds}}
