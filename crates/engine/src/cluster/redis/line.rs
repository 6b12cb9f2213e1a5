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
pub(super) mod script;
pub(super) mod wire;

pub use super::wire::{Written, written};
pub use restore::{Facts, Sorted};
pub use script::SCRIPT;
pub use wire::{Hindered, Issue, Refused, Report, done, issue, poll_answer, report};

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
    /// The journal has entries of the outbox.
    Shipped {
        /// Id, and the zone's version after it.
        entries: &'a [(String, u64)],
        /// The latest reservation among them, as epoch and number.
        reserved: Option<(u32, u32)>,
        /// Whatever epoch they are of: before state is restored.
        draining: bool,
    },
    /// For tests, in a zone with a clock of theirs: the next ticket of this run that is told to wait is held to another period.
    Hold {
        /// What another line told it.
        period_ms: u32,
    },
    /// What the state is, also while it is suspended.
    Standing,
    /// Lets go of a suspended zone, to be discarded.
    Forget,
    /// Reads entries of the outbox.
    Outbox {
        /// From this id on.
        from: &'a str,
        /// At most so many.
        most: u32,
        /// Only such as are at least so old.
        age_ms: Option<u64>,
    },
}

/// One command as the script reads it. A clock is for zones that were made with a test's; `audit` goes into the record as it is.
#[must_use]
pub fn packed(home: ZoneHome, clock: Option<Millis>, audit: Option<&[u8]>, command: Command<'_>) -> Vec<u8> {
    let writer = Writer::with_room(ROOM).array(5 + command.fields()).text(command.name());
    let writer = writer.int(home.number.into()).int(home.epoch.into()).int_or_none(clock.map(|clock| clock.0)).bytes_or_none(audit);
    command.arguments(writer).finish()
}

/// A poll has 79 bytes at most: its name 5, each of seven numbers and the nonce 9, and two more.
const ROOM: usize = 80;

impl Command<'_> {
    const fn name(&self) -> &'static str {
        match self {
            Self::Create { .. } => "create",
            Self::Define { .. } => "define",
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
            Self::Shipped { .. } => "shipped",
            Self::Standing => "standing",
            Self::Forget => "forget",
            Self::Outbox { .. } => "outbox",
            Self::Hold { .. } => "hold",
        }
    }

    /// How many arguments.
    const fn fields(&self) -> usize {
        match self {
            Self::Minute | Self::Delete | Self::Resume | Self::Recover | Self::Standing | Self::Forget => 0,
            Self::Sweep { .. } | Self::Discard { .. } | Self::Suspend { .. } | Self::Status { .. } => 1,
            Self::Admitted(_) | Self::Left(_) | Self::Hold { .. } => 1,
            Self::Define { .. } => 2,
            Self::Create { .. } | Self::Join { .. } | Self::Outbox { .. } => 3,
            Self::Leave { .. } | Self::Shipped { .. } => 4,
            Self::Poll { .. } => 5,
            Self::Restore { .. } => 6,
        }
    }

    fn arguments(&self, writer: Writer) -> Writer {
        match *self {
            Self::Create { settings, test_clock, suspended } => writer.zone(settings).bool(test_clock).bool(suspended),
            Self::Define { settings, if_revision } => writer.zone(settings).int_or_none(if_revision.map(Into::into)),
            Self::Minute | Self::Delete | Self::Resume | Self::Recover | Self::Standing | Self::Forget => writer,
            Self::Join { join, left } => writer.whole_nonce(join.nonce).bool(join.keyed).left(left),
            Self::Poll { poll, left } => writer.ticket(poll).left(left),
            Self::Leave { poll } => writer.ticket(poll),
            Self::Sweep { most: count } | Self::Discard { pieces: count } | Self::Suspend { epoch: count } => writer.int(count.into()),
            Self::Status { left } => writer.left(left),
            Self::Restore { settings, reserved, front, latest, minute, version } => {
                let writer = writer.zone(settings).int(reserved.into()).int(front.into()).int(latest.0);
                writer.int_or_none(minute.map(|minute| minute.0)).int(version.cast_signed())
            }
            Self::Admitted(facts) => facts.iter().fold(writer.array(4 * facts.len()), Writer::admitted),
            Self::Left(numbers) => numbers.iter().fold(writer.array(numbers.len()), |writer, seq| writer.int((*seq).into())),
            Self::Shipped { entries, reserved, draining } => {
                let pair = |writer: Writer, (id, version): &(String, u64)| writer.text(id).int(version.cast_signed());
                let writer = entries.iter().fold(writer.array(2 * entries.len()), pair);
                writer
                    .int_or_none(reserved.map(|(epoch, _)| epoch.into()))
                    .int_or_none(reserved.map(|(_, upto)| upto.into()))
                    .bool(draining)
            }
            Self::Hold { period_ms } => writer.int(period_ms.into()),
            Self::Outbox { from, most, age_ms } => writer.text(from).int(most.into()).int_or_none(age_ms.map(u64::cast_signed)),
        }
    }
}
