//! Tests of the cluster engine on a real Redis Cluster that this binary starts: three primaries on loopback.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod bad_days;
mod conformance;
mod crowd;
mod lines;
mod outages;
mod pair;
mod people;
mod ports;
mod redis;
