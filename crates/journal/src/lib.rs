//! The durable, ordered record of what happened.
//!
//! One record holds the events of one decision. Records are numbered densely from 1 (their *offset*) in the order
//! in which they were appended, and many of them become durable with one `fdatasync`.
//!
//! * [`wire`]: a record as bytes. Knows nothing of where the bytes go.
//! * [`crash`]: named points, here and in the crates above, at which tests end the process; a release has none of them.
//! * [`Journal`]: append, wait until durable, read, trim; kept in a folder by fjall.
//! * [`measure`]: how long things take and how far one is behind another, here and in the crates above.
//! * [`kafka`]: the same for the cluster shape, where the record of what happened is a topic.
//!
//! Inside, from the outside in: `journal` (the handle) → `pending` (the batch that fills, and who waits for it) →
//! `committer` (the one thread that writes and syncs) → `storage` (which one) → `store` (fjall) over `chunk` (one stored
//! value) and `folder` (lock, marker, swap). Beside them: `inspect` looks at the files before fjall does, with `fjall_log`, and
//! compares them with what the `witness` says was acknowledged.

mod chunk;
mod committer;
pub mod crash;
mod error;
mod fjall_log;
mod folder;
#[doc(hidden)]
pub mod fuzzing;
mod inspect;
mod journal;
pub mod kafka;
pub mod measure;
mod pending;
#[cfg(feature = "simulation")]
pub mod simulated;
mod storage;
mod store;
pub mod wire;
mod witness;

pub use error::JournalError;
pub use journal::{BATCH_BYTES_MAX, BATCH_RECORDS_MAX, Figures, Journal, Options};
pub use pending::Commit;
pub use wire::{Audit, Record, RecordRef, WireError};
