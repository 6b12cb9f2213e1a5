//! The SQL system of record: where every result ends up, readable by anyone with a SQL shell.
//!
//! * [`Ledger`]: the file, its schema, its connections; queries of the server are methods on it.
//! * [`Projector`]: carries the journal's records into the tables, with the offset in the same transaction.
//! * [`KafkaProjector`]: the same from the topic of the cluster shape, of which each node projects some partitions.
//! * [`Ledger::load`]: gives a restarting engine everything back, as events.
//! * [`directory`]: which offers and zones live in the engine that several nodes share.
//! * [`reconcile`]: compares an engine with the ledger, claim by claim, in constant memory.
//!
//! This crate is the only user of sqlx. The tables are described in `migrations/`; the columns named in api.md §7
//! are a contract.

mod check;
pub mod directory;
mod error;
#[doc(hidden)]
pub mod fuzzing;
mod ledger;
mod load;
mod names;
mod projector;
mod query;
pub mod reconcile;
mod rows;
mod sql;
mod timestamp;
mod words;

pub use check::{Check, Finding};
pub use directory::{Directory, DirectoryLock};
pub use error::{LedgerError, Outage};
pub use ledger::{Ledger, copy};
pub use load::{Loaded, LoadedOffer};
pub use projector::fault::Point;
pub use projector::kafka::{KafkaOptions, KafkaProjector};
#[cfg(feature = "simulation")]
pub use projector::stepped::Stepped;
pub use projector::{ALL_EVENTS, Projector, REHEARSAL_APP, WEBHOOK_EVENTS};
pub use query::accounts::{AccountChange, AccountRow, Changed, Totp};
pub use query::audit::{AuditFilter, AuditRow};
pub use query::claims::{ClaimPage, ClaimQuery};
pub use query::deliveries::{Attempted, DeliveryFilter, DeliveryRow, Outcome, Settled};
pub use query::keys::{KeyRow, NewKey};
pub use query::nodes::NodeRow;
pub use query::pages::{PageConflict, PageRow};
pub use query::parked::ParkedRow;
pub use query::persons::{PersonRows, RowsForgotten};
pub use query::retention::{EndedOffer, Known};
pub use query::sales::{ClaimEventRow, SoldUnits};
pub use query::sessions::SessionRow;
pub use query::standby::StandbyPage;
pub use query::webhooks::{WebhookRow, WebhookState};
pub use rows::claim::ClaimRow;
pub use sql::{Place, PlaceError};
pub use timestamp::Timestamp;
