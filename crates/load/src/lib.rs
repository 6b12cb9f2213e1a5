//! Load from outside: an HTTP client that plays crowds against a running Bunho, and judges what it saw against the promises.
//!
//! It knows nothing of Bunho but its HTTP contract and depends on no other crate of the workspace, so that what it finds true is
//! true for everybody.
//!
//! [`run`] is the way of a run: [`cli`] → [`scenario`] → [`target`], [`setup`] → [`driver`] with a crowd of [`workload`] →
//! [`record`] → [`judge`] → [`summary`], [`json`], [`report`]. [`mod@bench`] drives parts of it against a server of its own; [`soak`] lives
//! with one for hours.

pub mod run;

pub mod bench;
pub mod cli;
pub mod client;
pub mod driver;
pub mod exit;
pub mod json;
pub mod judge;
pub mod meter;
pub mod plan;
pub mod progress;
pub mod random;
pub mod record;
pub mod report;
pub mod scenario;
pub mod scrape;
pub mod setup;
pub mod soak;
pub mod summary;
pub mod target;
pub mod workload;
