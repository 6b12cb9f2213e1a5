//! The rules of Bunho, and nothing else: functions of (state, command, now) to an outcome and events.
//!
//! No IO, no clock, no async, no serde, no logging. `tests/purity.rs` and `clippy.toml` keep it so.
//!
//! * [`offer`]: a limited quantity, its claims and its standby.
//! * [`mod@line`]: the people waiting for a zone.
//! * [`ticket`]: one place in a line as a signed string.
//! * [`event`]: what happened; state changes by applying events, live and in replay alike.

pub mod claim;
pub mod event;
mod fenwick;
pub mod ids;
pub mod limits;
pub mod line;
pub mod offer;
pub mod planted;
pub mod ticket;
pub mod time;
