//! Forebay as its users run it: the real binary, on real files, through faults. Every test of a job ends with
//! [`support::Outcome::conserved`]: records in are records written and rejects, exactly.

#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed, and says why")]

mod canary;
mod cost;
mod determinism;
mod encrypted;
mod fhir;
mod formats;
mod garbage;
mod infra;
mod kill;
mod main_job;
mod model;
mod poison;
mod providers;
mod redaction;
mod rejects;
mod s3;
mod sealed;
mod sink;
mod sql;
mod suite;
mod support;
