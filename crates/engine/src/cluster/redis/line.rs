//! The waiting line in Redis: decided there by one script (`lua/line/`), by the rules of `bunho_domain::line`.
//!
//! A run of the script takes the commands of one zone, in their order, and is one step: what it decides and what it appends to the zone's outbox are
//! there together or not at all. Its reply has the form of a run over offers, so whoever gathers, ships and answers does both alike: each
//! answer names the entry of the outbox that it depends on, if any.
//!
//! * [`Command`] and [`packed`]: what goes there. `wire`: the layouts, and what comes back. [`Facts`]: what brings a line back.
//! * [`caller`]: one connection and one zone, for tests and measurements.
//!
//! The script's own files say what each part does: `prelude.lua` the keys, `order.lua` slots and ranks, `wheel.lua` deadlines, `schedule.lua` the
//! log of admissions and the plan, `pace.lua` measurements and minutes, `places.lua` how tickets change, `view.lua` what they are told, `commands.lua`,
//! `main.lua` one run.

pub mod caller;
mod restore;
mod script;
mod wire;

pub use restore::Facts;
pub use script::SCRIPT;
pub use wire::{Hindered, Issue, Refused, Report, Written, done, issue, outbox, poll_answer, report, written};

use super::msgpack::Writer;
use bunho_domain::event::TicketNumber;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Join, OfferLeft, Poll};
use bunho_domain::time::Millis;

/// Facts in one command that restores a line, at most: a run of that many takes some milliseconds.
pub const FACTS_MOST: usize = 500;

/// Where a line lives, and as whom the node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZoneHome {
    /// The zone's number.
    pub number: u32,
    /// The epoch of its state in Redis, as this node knows it: raised whenever that was in doubt. Not the epoch of its tickets.
    pub epoch: u32,
}

impl ZoneHome {
    /// The one key that a run declares; all others of the zone have the same tag.
    #[must_use]
    pub fn outbox(&self, prefix: &str) -> String {
        format!("{prefix}:{{z{}}}:outbox", self.number)
    }
}

/// An admission that a restart must know of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmittedFact {
    /// The ticket.
    pub ticket: TicketNumber,
    /// When.
    pub at: Millis,
    /// Whether it has left since.
    pub left: bool,
}

/// What one run is asked to do.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Makes a zone. Answers [`Hindered::Exists`] where there is one.
    Create {
        /// What its operator said.
        settings: &'a ZoneSettings,
        /// Whether its time may be given by tests. Such a zone never has real tickets.
        test_clock: bool,
        /// Whether it waits to be restored; else its definition is its first event.
        suspended: bool,
    },
    /// Replaces the settings; a higher epoch is a reset.
    Define {
        /// All of them.
        settings: &'a ZoneSettings,
        /// Unless the revision is another one: [`Hindered::Conflict`].
        if_revision: Option<u32>,
    },
    /// Reserves numbers before the first one asks.
    Reserve,
    /// The event of a reservation is in the journal.
    Reserved {
        /// Of that event.
        epoch: u32,
        /// Of that event.
        upto: u32,
    },
    /// See [`issue`].
    Join {
        /// Who wants a place.
        join: Join,
        /// What the node knows of the offer that stops the line.
        left: OfferLeft,
    },
    /// See [`poll_answer`].
    Poll {
        /// What the ticket says.
        poll: Poll,
        /// What the node knows of the offer that stops the line.
        left: OfferLeft,
    },
    /// Gives a place up.
    Leave {
        /// What the ticket says.
        poll: Poll,
    },
    /// Looks after at most so many deadlines. Answers whether there are more.
    Sweep {
        /// Bound of the time that this takes.
        most: u32,
    },
    /// Tells of finished minutes and of the front.
    Minute,
    /// See [`report`].
    Status {
        /// What the node knows of the offer that stops the line.
        left: OfferLeft,
    },
    /// Deletes a zone in which nobody waits or is.
    Delete,
    /// After a deletion is in the journal: takes away so many pieces of what is left. Answers whether there is more.
    Discard {
        /// Bound of the time that this takes.
        pieces: u32,
    },
    /// Stops all decisions under a new epoch.
    Suspend {
        /// Higher than any before.
        epoch: u32,
    },
    /// Goes on as it is.
    Resume,
    /// Begins to restore a suspended zone. Answers the time that it is restored at.
    Restore {
        /// The latest that the journal has.
        settings: &'a ZoneSettings,
        /// Numbers of its epoch below this were reserved.
        reserved: u32,
        /// Numbers of its epoch below this were told to have ended.
        front: u32,
        /// Latest time of an admission that follows.
        latest: Millis,
        /// Start of the last minute that the history has.
        minute: Option<Millis>,
        /// The zone's version in the journal.
        version: u64,
    },
    /// Admissions, oldest first, at most [`FACTS_MOST`].
    Admitted(&'a [AdmittedFact]),
    /// Numbers of the zone's epoch that have left, at most [`FACTS_MOST`].
    Left(&'a [u32]),
    /// All facts are in: the line listens, then goes on.
    Recover,
    /// Entries of the outbox that the journal has: id, and the zone's version after it.
    Shipped(&'a [(String, u64)]),
    /// For tests, in a zone with a clock of theirs: the next ticket of this run that is told to wait is held to another period.
    Hold {
        /// What another line told it.
        period_ms: u32,
    },
    /// See [`outbox`].
    Outbox {
        /// From this id on.
        from: &'a str,
        /// At most so many.
        most: u32,
    },
}

/// One command as the script reads it. A clock is for zones that were made with a test's; `audit` goes into the record as it is.
#[must_use]
pub fn packed(home: ZoneHome, clock: Option<Millis>, audit: Option<&[u8]>, command: Command<'_>) -> Vec<u8> {
    let arguments = command.arguments();
    let head = |fields: usize| {
        let writer = Writer::default().array(5 + fields).text(command.name()).int(home.number.into()).int(home.epoch.into());
        writer.int_or_none(clock.map(|clock| clock.0)).bytes_or_none(audit)
    };
    let (fields, writer) = arguments;
    head(fields).packed(&writer.finish()).finish()
}

impl Command<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Define { .. } => "define",
            Self::Reserve => "reserve",
            Self::Reserved { .. } => "reserved",
            Self::Join { .. } => "join",
            Self::Poll { .. } => "poll",
            Self::Leave { .. } => "leave",
            Self::Sweep { .. } => "sweep",
            Self::Minute => "minute",
            Self::Status { .. } => "status",
            Self::Delete => "delete",
            Self::Discard { .. } => "discard",
            Self::Suspend { .. } => "suspend",
            Self::Resume => "resume",
            Self::Restore { .. } => "restore",
            Self::Admitted(_) => "admitted",
            Self::Left(_) => "left",
            Self::Recover => "recover",
            Self::Shipped(_) => "shipped",
            Self::Outbox { .. } => "outbox",
            Self::Hold { .. } => "hold",
        }
    }

    /// How many fields, and these.
    fn arguments(&self) -> (usize, Writer) {
        let writer = Writer::default();
        match *self {
            Self::Create { settings, test_clock, suspended } => (3, writer.zone(settings).bool(test_clock).bool(suspended)),
            Self::Define { settings, if_revision } => (2, writer.zone(settings).int_or_none(if_revision.map(Into::into))),
            Self::Reserve | Self::Minute | Self::Delete | Self::Resume | Self::Recover => (0, writer),
            Self::Reserved { epoch, upto } => (2, writer.int(epoch.into()).int(upto.into())),
            Self::Join { join, left } => (3, writer.whole_nonce(join.nonce).bool(join.keyed).left(left)),
            Self::Poll { poll, left } => (5, writer.ticket(poll).left(left)),
            Self::Leave { poll } => (4, writer.ticket(poll)),
            Self::Sweep { most: count } | Self::Discard { pieces: count } | Self::Suspend { epoch: count } => (1, writer.int(count.into())),
            Self::Status { left } => (1, writer.left(left)),
            Self::Restore { settings, reserved, front, latest, minute, version } => {
                let writer = writer.zone(settings).int(reserved.into()).int(front.into()).int(latest.0);
                (6, writer.int_or_none(minute.map(|minute| minute.0)).int(version.cast_signed()))
            }
            Self::Admitted(facts) => (1, facts.iter().fold(writer.array(4 * facts.len()), Writer::admitted)),
            Self::Left(numbers) => (1, numbers.iter().fold(writer.array(numbers.len()), |writer, seq| writer.int((*seq).into()))),
            Self::Shipped(entries) => {
                let pair = |writer: Writer, (id, version): &(String, u64)| writer.text(id).int(version.cast_signed());
                (1, entries.iter().fold(writer.array(2 * entries.len()), pair))
            }
            Self::Hold { period_ms } => (1, writer.int(period_ms.into())),
            Self::Outbox { from, most } => (2, writer.text(from).int(most.into())),
        }
    }
}
