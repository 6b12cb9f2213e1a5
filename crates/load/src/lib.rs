//! Load from outside: an HTTP client that plays crowds against a running Bunho, and judges what it saw against the promises.
//!
//! It knows nothing of Bunho but its HTTP contract and depends on no other crate of the workspace, so that what it finds true is
//! true for everybody.

pub mod json;
pub mod judge;
pub mod record;
pub mod report;
pub mod summary;
