//! Tests of the engine, one binary: conformance to the pure model over random histories, restarts included,
//! and what a failed journal may show.

mod conformance;
mod harness;
mod model;
