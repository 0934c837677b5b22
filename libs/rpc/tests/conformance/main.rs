//! One suite for every service, run twice: with the service itself, and with a client and a server between.

#![allow(clippy::unwrap_used)]

mod bounds;
mod enrichment;
mod gateway;
mod lifecycle;
mod secure;
mod storage;
mod support;
mod wire;
