//! What goes in and out of an engine besides the domain's own types.

use crate::clock::TimeSource;
use bunho_domain::event::TicketNumber;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Status};
use bunho_domain::ticket::{KeyHash, TicketKeys};
use std::fmt;
use std::sync::Arc;

/// How durable a claim is when it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// Decided in memory. A crash within the next milliseconds loses it, though the client was told 201.
    Engine,
    /// Synced in the journal. The promises are stated for this and for `Ledger`.
    Journal,
    /// Committed in SQL.
    Ledger,
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Engine => "engine",
            Self::Journal => "journal",
            Self::Ledger => "ledger",
        })
    }
}

/// Limits and choices of an engine.
#[derive(Clone, Debug)]
pub struct Options {
    /// How durable a claim is when it is answered.
    pub ack: Ack,
    /// Requests of one zone, or of one offer, that may be under way at once; more are shed. A bulkhead: one
    /// crowd cannot take all of the node.
    pub in_flight_max: u32,
    /// Bytes that may wait for the journal before new work is shed.
    pub journal_backlog_bytes_max: usize,
    /// What signs tickets.
    pub ticket_keys: TicketKeys,
    /// Where time comes from.
    pub time: TimeSource,
}

/// Who a ticket is, for a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The zone's number.
    pub zone: u32,
    /// The ticket's.
    pub ticket: TicketNumber,
    /// The key that only its holder has, where the zone binds its passes.
    pub bound_to: Option<KeyHash>,
}

/// The answer to a join or a poll.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The signed ticket; none where the caller has it already (a poll).
    pub token: Option<String>,
    /// Who the ticket is.
    pub subject: Subject,
    /// In, or still waiting.
    pub answer: Answer,
    /// The zone's settings at this moment.
    pub zone: Arc<ZoneSettings>,
    /// What is left of the zone's offer, where one is tied to it.
    pub remaining: Option<u32>,
}

/// A zone as operators and anyone else may see it.
#[derive(Clone, Debug)]
pub struct ZoneReport {
    /// Its settings.
    pub settings: Arc<ZoneSettings>,
    /// Its numbers.
    pub status: Status,
}
