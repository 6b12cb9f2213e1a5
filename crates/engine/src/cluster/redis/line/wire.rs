//! The line's layouts: settings, tickets, answers and events, between the domain's types and the script's packed lists.

use crate::cluster::redis::line::AdmittedFact;
use crate::cluster::redis::msgpack::{Malformed, Reader, Writer};
use crate::cluster::redis::wire::Standing;
use bunho_domain::event::{TicketNumber, ZoneChange, ZoneMinute};
use bunho_domain::ids::{AppId, OfferId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Admission, Answer, Issued, JoinOutcome, OfferLeft, Place, Poll, PollRefusal, State, Status};
use bunho_domain::time::Millis;

/// Columns of a zone's settings.
const COLUMNS: usize = 17;

impl Writer {
    /// What the rules read, and the rest packed by itself: it comes back as it is.
    pub(super) fn zone(self, settings: &ZoneSettings) -> Self {
        let rest = Self::default()
            .text(settings.app.as_str())
            .text(&settings.name)
            .text_or_none(settings.offer.as_ref().map(OfferId::as_str))
            .text_or_none(settings.message.as_deref())
            .door(settings.door);
        self.array(COLUMNS)
            .int_or_none(settings.entry_limit_per_minute.map(Into::into))
            .int(settings.window_seconds.into())
            .int(settings.slot_seconds.into())
            .int(settings.abandon_after_seconds.into())
            .int(settings.resume_grace_seconds.into())
            .int(settings.poll_interval_ms.into())
            .int(settings.poll_interval_max_ms.into())
            .int_or_none(settings.opens_at.map(|at| at.0))
            .int_or_none(settings.closes_at.map(|at| at.0))
            .bool(settings.paused)
            .int_or_none(settings.active_limit.map(Into::into))
            .int(settings.session_seconds.into())
            .int(settings.pass_ttl_seconds.into())
            .int(settings.revision.into())
            .int(settings.epoch.into())
            .text(settings.id.as_str())
            .bytes(&rest.finish())
    }

    fn door(self, door: Door) -> Self {
        let enqueue = match door.enqueue {
            Enqueue::Open => 0,
            Enqueue::Token => 1,
        };
        self.int(door.challenge_bits.into()).int(enqueue).bool(door.pass_bound)
    }

    /// A ticket's nonce has 64 bits, all of which count.
    pub(super) fn whole_nonce(self, nonce: u64) -> Self {
        self.bytes(&nonce.to_be_bytes())
    }

    pub(super) fn left(self, left: OfferLeft) -> Self {
        match left {
            OfferLeft::Untied => self.none(),
            OfferLeft::Some(left) => self.int(left.into()),
            OfferLeft::Unknown => self.int(-1),
        }
    }

    pub(super) fn ticket(self, poll: Poll) -> Self {
        self.int(poll.number.epoch.into()).int(poll.number.seq.into()).whole_nonce(poll.nonce).int(poll.issued_at.0)
    }

    pub(super) fn admitted(self, fact: &AdmittedFact) -> Self {
        self.int(fact.ticket.epoch.into()).int(fact.ticket.seq.into()).int(fact.at.0).bool(fact.left)
    }
}

fn small(number: Option<i64>) -> Result<Option<u32>, Malformed> {
    number.map(u32::try_from).transpose().map_err(|_| Malformed("a number is out of range"))
}

fn id<T, E>(parsed: Result<T, E>) -> Result<T, Malformed> {
    parsed.map_err(|_| Malformed("an id is not valid"))
}

impl Reader<'_> {
    fn zone(&mut self) -> Result<ZoneSettings, Malformed> {
        if self.array()? != COLUMNS {
            return Err(Malformed("settings have another number of columns"));
        }
        let entry_limit_per_minute = small(self.int_or_none()?)?;
        let (window_seconds, slot_seconds) = (self.number_as()?, self.number_as()?);
        let (abandon_after_seconds, resume_grace_seconds) = (self.number_as()?, self.number_as()?);
        let (poll_interval_ms, poll_interval_max_ms) = (self.number_as()?, self.number_as()?);
        let (opens_at, closes_at) = (self.int_or_none()?.map(Millis), self.int_or_none()?.map(Millis));
        let paused = self.bool()?;
        let active_limit = small(self.int_or_none()?)?;
        let (session_seconds, pass_ttl_seconds) = (self.number_as()?, self.number_as()?);
        let (revision, epoch) = (self.number_as()?, self.number_as()?);
        let zone = id(ZoneId::parse(self.text()?))?;
        let mut rest = Reader::new(self.bytes()?);
        Ok(ZoneSettings {
            id: zone,
            app: id(AppId::parse(rest.text()?))?,
            name: rest.text()?.into(),
            offer: rest.text_or_none()?.map(|text| id(OfferId::parse(text))).transpose()?,
            message: rest.text_or_none()?.map(Into::into),
            door: rest.door()?,
            entry_limit_per_minute,
            window_seconds,
            slot_seconds,
            abandon_after_seconds,
            resume_grace_seconds,
            poll_interval_ms,
            poll_interval_max_ms,
            opens_at,
            closes_at,
            paused,
            active_limit,
            session_seconds,
            pass_ttl_seconds,
            revision,
            epoch,
        })
    }

    /// Settings from before there were doors end here.
    fn door(&mut self) -> Result<Door, Malformed> {
        if self.is_at_end() {
            return Ok(Door::default());
        }
        let challenge_bits = self.number_as()?;
        let enqueue = match self.int()? {
            0 => Enqueue::Open,
            1 => Enqueue::Token,
            _ => return Err(Malformed("no way to join has this number")),
        };
        Ok(Door { challenge_bits, enqueue, pass_bound: self.bool()? })
    }

    fn line_state(&mut self) -> Result<State, Malformed> {
        Ok(match self.int()? {
            0 => State::Waiting,
            1 => State::NotOpen,
            2 => State::Paused,
            3 => State::Closed,
            4 => State::SoldOut,
            5 => State::Recovering,
            _ => return Err(Malformed("no state has this number")),
        })
    }

    fn answer(&mut self) -> Result<Answer, Malformed> {
        if self.int()? == 0 {
            return Ok(Answer::Admitted(Admission { at: Millis(self.int()?), expires_at: Millis(self.int()?) }));
        }
        Ok(Answer::Waiting(Place {
            state: self.line_state()?,
            rank: self.number_as()?,
            behind: self.number_as()?,
            estimated_seconds: small(self.int_or_none()?)?,
            polling_ms: self.number_as()?,
        }))
    }

    fn line_ticket(&mut self) -> Result<TicketNumber, Malformed> {
        Ok(TicketNumber { epoch: self.number_as()?, seq: self.number_as()? })
    }
}

/// Whether events of this number are a zone's.
pub(in crate::cluster::redis) const fn is_of_zone(kind: i64) -> bool {
    matches!(kind, 4..=10)
}

/// Reads what happened.
pub(in crate::cluster::redis) fn change(kind: i64, mut rest: Reader<'_>) -> Result<ZoneChange, Malformed> {
    Ok(match kind {
        4 => ZoneChange::Defined(Box::new(rest.zone()?)),
        5 => ZoneChange::Reserved { epoch: rest.number_as()?, upto: rest.number_as()? },
        6 => ZoneChange::Admitted { ticket: rest.line_ticket()?, at: Millis(rest.int()?) },
        7 => ZoneChange::Left { ticket: rest.line_ticket()?, at: Millis(rest.int()?) },
        8 => ZoneChange::Minute(ZoneMinute {
            zone: id(ZoneId::parse(rest.text()?))?,
            minute: Millis(rest.int()?),
            entered: rest.number_as()?,
            waiting: rest.number_as()?,
            dropped: rest.number_as()?,
            entry_limit: small(rest.int_or_none()?)?,
        }),
        9 => ZoneChange::Deleted,
        10 => ZoneChange::Front { epoch: rest.number_as()?, seq: rest.number_as()? },
        _ => return Err(Malformed("no event of a zone has this number")),
    })
}

/// A rule said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// To a poll.
    Poll(PollRefusal),
    /// Somebody waits or is inside, or the zone is not deleted.
    InUse,
}

/// Why a command has no answer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hindered {
    /// A rule said no.
    Refused(Refused),
    /// There is no such zone in Redis.
    Unknown,
    /// Nothing is decided until its state is restored.
    Suspended,
    /// The state has another epoch.
    Epoch(u32),
    /// The outbox is full.
    Overloaded,
    /// A clock was given for a zone that was not made for it.
    Clock,
    /// The settings have another revision.
    Conflict(u32),
    /// There is such a zone.
    Exists,
    /// Redis knows an older version than the journal.
    Stale,
}

/// What was said to a command before its own part.
fn said(packed: &[u8]) -> Result<Result<Reader<'_>, Hindered>, Malformed> {
    let mut reader = Reader::new(packed);
    reader.array()?;
    Ok(Err(match reader.int()? {
        0 => return Ok(Ok(reader)),
        1 => Hindered::Refused(match reader.int()? {
            0 => Refused::Poll(PollRefusal::Gone),
            1 => Refused::Poll(PollRefusal::TooFast { retry_ms: reader.number_as()? }),
            2 => Refused::InUse,
            _ => return Err(Malformed("no refusal has this number")),
        }),
        2 => Hindered::Unknown,
        3 => Hindered::Suspended,
        4 => Hindered::Epoch(reader.number_as()?),
        5 => Hindered::Overloaded,
        7 => Hindered::Clock,
        8 => Hindered::Conflict(reader.number_as()?),
        9 => Hindered::Exists,
        10 => Hindered::Stale,
        _ => return Err(Malformed("no answer has this number")),
    }))
}

/// What a command did that answers no more, or whether there is more to do.
///
/// # Errors
/// [`Malformed`].
pub fn done(packed: &[u8]) -> Result<Result<bool, Hindered>, Malformed> {
    let mut reader = Reader::new(packed);
    let more = reader.array()? > 1;
    Ok(match said(packed)? {
        Ok(mut reader) if more => Ok(reader.bool()?),
        Ok(_) => Ok(false),
        Err(hindered) => Err(hindered),
    })
}

/// What became of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issue {
    /// As the domain has it.
    pub outcome: JoinOutcome,
    /// Whether numbers are being reserved; without that the numbers of this epoch are used up, or the outbox is full.
    pub reserving: bool,
}

/// Reads the answer to a join.
///
/// # Errors
/// [`Malformed`].
pub fn issue(packed: &[u8]) -> Result<Result<Issue, Hindered>, Malformed> {
    let mut reader = match said(packed)? {
        Ok(reader) => reader,
        Err(hindered) => return Ok(Err(hindered)),
    };
    if !reader.bool()? {
        return Ok(Ok(Issue { outcome: JoinOutcome::Unreserved, reserving: reader.bool()? }));
    }
    let number = reader.line_ticket()?;
    let nonce = reader.bytes()?.try_into().map_err(|_| Malformed("a nonce has another length"))?;
    let issued_at = Millis(reader.int()?);
    let issued = Issued { number, nonce: u64::from_be_bytes(nonce), issued_at, answer: reader.answer()? };
    Ok(Ok(Issue { outcome: JoinOutcome::Issued(issued), reserving: false }))
}

/// Reads the answer to a poll.
///
/// # Errors
/// [`Malformed`].
pub fn poll_answer(packed: &[u8]) -> Result<Result<Answer, Hindered>, Malformed> {
    match said(packed)? {
        Ok(mut reader) => Ok(Ok(reader.answer()?)),
        Err(hindered) => Ok(Err(hindered)),
    }
}

/// A zone as its operator sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// As anyone may see it.
    pub status: Status,
    /// As Redis has them.
    pub settings: ZoneSettings,
    /// Of the zone: one more with each event.
    pub version: u64,
}

/// Reads the answer to a question for the status.
///
/// # Errors
/// [`Malformed`].
pub fn report(packed: &[u8]) -> Result<Result<Report, Hindered>, Malformed> {
    let mut reader = match said(packed)? {
        Ok(reader) => reader,
        Err(hindered) => return Ok(Err(hindered)),
    };
    let status = Status {
        state: reader.line_state()?,
        waiting: reader.number_as()?,
        present: reader.number_as()?,
        entered_last_minute: reader.number_as()?,
        limit_per_minute: small(reader.int_or_none()?)?,
        estimated_seconds: small(reader.int_or_none()?)?,
        active: reader.number_as()?,
        entered_in_all: reader.number_as()?,
        minute: Millis(reader.int()?),
        dropped_in_minute: reader.number_as()?,
        left_in_all: reader.number_as()?,
        silent_in_all: reader.number_as()?,
        unused_in_all: reader.number_as()?,
    };
    let settings = Reader::new(reader.bytes()?).zone()?;
    Ok(Ok(Report { status, settings, version: reader.number_as()? }))
}

/// Reads the answer to a question for its standing.
pub(in crate::cluster::redis) fn standing(packed: &[u8]) -> Result<Result<Option<Standing>, Hindered>, Malformed> {
    match said(packed)? {
        Ok(mut reader) => Ok(Ok(reader.standing()?)),
        Err(hindered) => Ok(Err(hindered)),
    }
}
