//! Load from outside: an HTTP client that plays crowds against a running Bunho, and judges what it saw against the promises.
//!
//! It knows nothing of Bunho but its HTTP contract and depends on no other crate of the workspace, so that what it finds true is
//! true for everybody.

pub mod client;
pub mod driver;
pub mod exit;
pub mod json;
pub mod judge;
pub mod meter;
pub mod plan;
pub mod random;
pub mod record;
pub mod report;
pub mod summary;
pub mod target;
pub mod workload;
