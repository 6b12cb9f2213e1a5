//! The cluster engine: state in Redis Cluster, decided there by scripts, durable through an outbox and the journal.
//!
//! * `line`: the waiting lines, decided by the rules of `bunho_domain::line`.
//! * `msgpack`: how commands and answers are packed.

pub mod line;
mod msgpack;

pub use msgpack::Malformed;
