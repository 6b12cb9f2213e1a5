//! What happened: the only way state changes, live and in replay alike.
//!
//! Every event carries the whole new state of the thing it is about and a version, so applying one twice is
//! harmless and events about different things may be applied in any order.

use crate::claim::{Claim, Standby};
use crate::ids::ZoneId;
use crate::line::settings::ZoneSettings;
use crate::offer::settings::OfferSettings;
use crate::time::Millis;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// To an offer.
    Offer(OfferEvent),
    /// To a zone.
    Zone(ZoneEvent),
}

/// Something that happened to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferEvent {
    /// The offer's number, given once at creation and never again.
    pub offer: u32,
    /// The offer's version after this event: one more with each.
    pub version: u64,
    /// What happened.
    pub change: OfferChange,
}

/// What happened to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OfferChange {
    /// It was created, edited, restocked or closed.
    Defined(Box<OfferSettings>),
    /// A claim is now so.
    Claim(Box<Claim>),
    /// A place on standby is now so.
    Standby(Box<Standby>),
    /// It was deleted.
    Deleted,
}

/// Something that happened to a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneEvent {
    /// The zone's number, given once at creation and never again.
    pub zone: u32,
    /// What happened.
    pub change: ZoneChange,
}

/// What happened to a zone. Waiting itself is not an event: tickets carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ZoneChange {
    /// It was created, edited, paused, resumed or reset.
    Defined(Box<ZoneSettings>),
    /// Sequence numbers below `upto` may be given out; after a restart none below it is given out again.
    Reserved {
        /// The epoch they belong to.
        epoch: u32,
        /// First number that is not reserved.
        upto: u32,
    },
    /// A ticket was admitted.
    Admitted {
        /// The ticket.
        ticket: TicketNumber,
        /// When.
        at: Millis,
    },
    /// A ticket was given up, or an admitted person left.
    Left {
        /// The ticket.
        ticket: TicketNumber,
        /// When.
        at: Millis,
    },
    /// What one minute looked like.
    Minute(ZoneMinute),
    /// It was deleted.
    Deleted,
    /// Every number of `epoch` below `seq` has ended: none of them waits any more, not even silently within its grace.
    Front {
        /// The epoch they belong to.
        epoch: u32,
        /// First number that may still wait, or is still to be given out.
        seq: u32,
    },
}

/// A ticket's place in its zone: the epoch and the number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TicketNumber {
    /// The zone's epoch when it was given out.
    pub epoch: u32,
    /// Dense, from 0; lower came first.
    pub seq: u32,
}

/// One row of a zone's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneMinute {
    /// The zone's id at the time.
    pub zone: ZoneId,
    /// Start of the minute.
    pub minute: Millis,
    /// Admissions in it.
    pub entered: u32,
    /// Tickets waiting (present or absent) at its end.
    pub waiting: u32,
    /// Tickets that left or went dormant in it.
    pub dropped: u32,
    /// N at its end; none = no limit.
    pub entry_limit: Option<u32>,
}
