//! Tests of the engine, one binary: conformance to the pure model over random histories, restarts included.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

mod clock;
mod conformance;
mod harness;
mod ledger_ack;
mod model;
mod rush;
mod waiting;
