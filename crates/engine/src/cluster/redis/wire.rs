//! What goes to the script and what comes back, between the domain's types and the script's packed lists.
//!
//! The layouts are the script's (`lua/prelude.lua` names the columns, `lua/commands.lua` the arguments and answers).

mod answers;

pub(super) use answers::{Verdict, claim_answer, claims_answer, done, is_again, is_decided, offer_answer, verdict, view_answer};

use super::line::wire as line;
use super::msgpack::{Malformed, Reader, Writer};
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneEvent};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, NONCE_MASK, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::offer::once::PassId;
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_domain::offer::{Actor, Pass};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Record};

impl Writer {
    pub(super) fn nonce(self, nonce: u64) -> Self {
        self.bytes(&(nonce & NONCE_MASK).to_be_bytes())
    }

    pub(super) fn time(self, at: Option<Millis>) -> Self {
        self.int_or_none(at.map(|at| at.0))
    }

    pub(super) fn actor(self, actor: Actor<'_>) -> Self {
        match actor {
            Actor::User(user) => self.int(0).text(user.as_str()),
            Actor::Service(Some(user)) => self.int(1).text(user.as_str()),
            Actor::Service(None) => self.int(2).none(),
        }
    }

    pub(super) fn pass(self, pass: Pass) -> Self {
        self.int(match pass {
            Pass::Valid(_) => 0,
            Pass::Missing => 1,
            Pass::Invalid => 2,
        })
    }

    /// Which pass it is, as three numbers; the script makes its name where it needs one.
    pub(super) fn pass_id(self, pass: Pass) -> Self {
        match pass {
            Pass::Valid(PassId { zone_number, ticket }) => {
                self.array(3).int(zone_number.into()).int(ticket.epoch.into()).int(ticket.seq.into())
            }
            Pass::Missing | Pass::Invalid => self.none(),
        }
    }

    /// The terms: fifteen columns, and where passes take one claim each a sixteenth that says so. What the rules do not read is packed by itself and comes back as it is.
    pub(super) fn settings(self, settings: &OfferSettings) -> Self {
        let rest = Self::default()
            .text(settings.id.as_str())
            .text(settings.app.as_str())
            .text(&settings.name)
            .int(match settings.kind {
                Kind::Coupon => 0,
                Kind::Goods => 1,
                Kind::Booking => 2,
            })
            .bytes(&settings.unit_price.to_be_bytes())
            .text_or_none(settings.zone.as_ref().map(ZoneId::as_str))
            .text_or_none(settings.grants.as_ref().map(OfferId::as_str));
        let writer = self
            .array(if settings.pass_once { 16 } else { 15 })
            .int(settings.quantity.into())
            .int_or_none(settings.per_user_limit.map(Into::into))
            .int(settings.min_per_claim.into())
            .int(settings.max_per_claim.into())
            .int(settings.hold_seconds.into())
            .time(settings.opens_at)
            .time(settings.closes_at)
            .bool(settings.zone.is_some())
            .bool(settings.grants.is_some())
            .bool(settings.grant_only)
            .bool(settings.standby)
            .int(settings.standby_hold_seconds.into())
            .bool(settings.confirm_by == ConfirmBy::User)
            .int(settings.revision.into())
            .bytes(&rest.finish());
        if settings.pass_once { writer.bool(true) } else { writer }
    }

    /// A claim as the state keeps it, linked to none.
    pub(super) fn claim(self, claim: &Claim) -> Self {
        self.array(14)
            .text(claim.user.as_str())
            .int(claim.quantity.into())
            .int(status_number(claim.status))
            .int(claim.version.into())
            .text_or_none(claim.key.as_ref().map(IdempotencyKey::as_str))
            .text_or_none(claim.attributes.as_deref())
            .int(claim.created_at.0)
            .int(claim.updated_at.0)
            .time(claim.hold_expires_at)
            .int(claim.ordinal.unwrap_or(0).into())
            .bytes_or_none(claim.granted.as_ref().map(|id| &id.as_bytes()[..]))
            .nonce(claim.id.nonce())
            .int(-1)
            .int(-1)
    }

    pub(super) fn standby(self, place: &Standby) -> Self {
        let with_claim = |writer: Self| match place.claim {
            Some(claim) => writer.int(claim.seq().into()).nonce(claim.nonce()),
            None => writer.int(-1).bytes(b""),
        };
        let writer = self
            .array(9)
            .text(place.user.as_str())
            .int(place.quantity.into())
            .int(match place.status {
                StandbyStatus::Waiting => 0,
                StandbyStatus::Served => 1,
                StandbyStatus::Left => 2,
                StandbyStatus::Passed => 3,
            })
            .int(place.version.into())
            .int(place.created_at.0)
            .int(place.updated_at.0);
        with_claim(writer).nonce(place.id.nonce())
    }

    /// Who did it, as bytes of their own that the script passes on.
    pub(super) fn audit(self, audit: Option<&Audit>) -> Self {
        self.bytes_or_none(audit.map(packed_audit).as_deref())
    }
}

pub(super) fn packed_audit(Audit { actor, action, target, detail, request_id }: &Audit) -> Vec<u8> {
    let writer = Writer::default().text(actor).text(action).text(target);
    writer.text_or_none(detail.as_deref()).text_or_none(request_id.as_deref()).finish()
}

const fn status_number(status: Status) -> i64 {
    match status {
        Status::Held => 0,
        Status::Confirmed => 1,
        Status::Released => 2,
        Status::Expired => 3,
        Status::Returned => 4,
    }
}

/// An id that was checked where it came in, read back.
fn id<T, E>(parsed: Result<T, E>) -> Result<T, Malformed> {
    parsed.map_err(|_| Malformed("an id is not valid"))
}

impl Reader<'_> {
    fn nonce(&mut self) -> Result<u64, Malformed> {
        let bytes = self.bytes()?.try_into().map_err(|_| Malformed("a nonce has another length"))?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn time(&mut self) -> Result<Option<Millis>, Malformed> {
        Ok(self.int_or_none()?.map(Millis))
    }

    fn status(&mut self) -> Result<Status, Malformed> {
        Ok(match self.int()? {
            0 => Status::Held,
            1 => Status::Confirmed,
            2 => Status::Released,
            3 => Status::Expired,
            4 => Status::Returned,
            _ => return Err(Malformed("no status has this number")),
        })
    }

    pub(super) fn settings(&mut self) -> Result<OfferSettings, Malformed> {
        let columns = self.array()?;
        if !(15..=16).contains(&columns) {
            return Err(Malformed("terms have another number of columns"));
        }
        let quantity = self.number_as()?;
        let per_user_limit = self.int_or_none()?.map(u32::try_from).transpose().map_err(|_| Malformed("a limit is out of range"))?;
        let (min_per_claim, max_per_claim, hold_seconds) = (self.number_as()?, self.number_as()?, self.number_as()?);
        let (opens_at, closes_at) = (self.time()?, self.time()?);
        let _wants_pass = self.bool()?;
        let _grants = self.bool()?;
        let (grant_only, standby) = (self.bool()?, self.bool()?);
        let standby_hold_seconds = self.number_as()?;
        let confirm_by = if self.bool()? { ConfirmBy::User } else { ConfirmBy::Service };
        let revision = self.number_as()?;
        let mut rest = Reader::new(self.bytes()?);
        let pass_once = columns == 16 && self.bool()?;
        Ok(OfferSettings {
            id: id(OfferId::parse(rest.text()?))?,
            app: id(AppId::parse(rest.text()?))?,
            name: rest.text()?.into(),
            kind: match rest.int()? {
                0 => Kind::Coupon,
                1 => Kind::Goods,
                2 => Kind::Booking,
                _ => return Err(Malformed("no kind has this number")),
            },
            unit_price: u64::from_be_bytes(rest.bytes()?.try_into().map_err(|_| Malformed("a price has another length"))?),
            zone: rest.text_or_none()?.map(|text| id(ZoneId::parse(text))).transpose()?,
            grants: rest.text_or_none()?.map(|text| id(OfferId::parse(text))).transpose()?,
            pass_once,
            quantity,
            per_user_limit,
            min_per_claim,
            max_per_claim,
            hold_seconds,
            opens_at,
            closes_at,
            grant_only,
            standby,
            standby_hold_seconds,
            confirm_by,
            revision,
        })
    }

    pub(super) fn claim(&mut self, offer: u32, seq: u32) -> Result<Claim, Malformed> {
        self.columns(14)?;
        let user = id(UserId::parse(self.text()?))?;
        let (quantity, status, version) = (self.number_as()?, self.status()?, self.number_as()?);
        let key = self.text_or_none()?.map(|text| id(IdempotencyKey::parse(text))).transpose()?;
        let attributes = self.text_or_none()?.map(Into::into);
        let (created_at, updated_at) = (Millis(self.int()?), Millis(self.int()?));
        let hold_expires_at = self.time()?;
        let ordinal = Some(self.number_as()?).filter(|&ordinal| ordinal != 0);
        let granted = self.bytes_or_none()?.map(|bytes| bytes.try_into().map(ClaimId::from_bytes)).transpose();
        let granted = granted.map_err(|_| Malformed("an id has another length"))?;
        let id = ClaimId::new(offer, seq, self.nonce()?);
        let _links = (self.int()?, self.int()?);
        Ok(Claim { id, user, quantity, status, version, key, attributes, created_at, updated_at, hold_expires_at, ordinal, granted })
    }

    pub(super) fn standby(&mut self, offer: u32, seq: u32) -> Result<Standby, Malformed> {
        self.columns(9)?;
        let user = id(UserId::parse(self.text()?))?;
        let quantity = self.number_as()?;
        let status = match self.int()? {
            0 => StandbyStatus::Waiting,
            1 => StandbyStatus::Served,
            2 => StandbyStatus::Left,
            3 => StandbyStatus::Passed,
            _ => return Err(Malformed("no standby's status has this number")),
        };
        let version = self.number_as()?;
        let (created_at, updated_at) = (Millis(self.int()?), Millis(self.int()?));
        let claim = match u32::try_from(self.int()?) {
            Ok(claim) => Some(ClaimId::new(offer, claim, self.nonce()?)),
            Err(_) => {
                self.bytes()?;
                None
            }
        };
        let id = StandbyId::new(offer, seq, self.nonce()?);
        Ok(Standby { id, user, quantity, status, version, created_at, updated_at, claim })
    }

    fn columns(&mut self, wanted: usize) -> Result<(), Malformed> {
        if self.array()? == wanted { Ok(()) } else { Err(Malformed("a row has another number of columns")) }
    }

    /// What is known of an offer's or zone's state, if there is one.
    pub(super) fn standing(&mut self) -> Result<Option<Standing>, Malformed> {
        Ok(match self.array_or_none()? {
            None => None,
            Some(5) => {
                let (epoch, version) = (self.number_as()?, self.number_as()?);
                Some(Standing { epoch, version, suspended: self.bool()?, broken: self.bool()?, deleted: self.bool()? })
            }
            Some(_) => return Err(Malformed("a standing has another number of columns")),
        })
    }

    fn audit(&mut self) -> Result<Option<Audit>, Malformed> {
        let Some(packed) = self.bytes_or_none()? else { return Ok(None) };
        let mut packed = Reader::new(packed);
        Ok(Some(Audit {
            actor: packed.text()?.into(),
            action: packed.text()?.into(),
            target: packed.text()?.into(),
            detail: packed.text_or_none()?.map(Into::into),
            request_id: packed.text_or_none()?.map(Into::into),
        }))
    }

    fn event(&mut self) -> Result<Event, Malformed> {
        self.columns(5)?;
        let kind = self.int()?;
        let offer = self.number_as()?;
        let version = self.number_as()?;
        let seq = self.number_as()?;
        let state = self.bytes_or_none()?;
        if line::is_of_zone(kind) {
            let rest = Reader::new(state.ok_or(Malformed("an event has no state"))?);
            return Ok(Event::Zone(ZoneEvent { zone: offer, change: line::change(kind, rest)? }));
        }
        let whole = || Ok(Reader::new(state.ok_or(Malformed("an event has no state"))?));
        let change = match kind {
            0 => OfferChange::Defined(Box::new(whole()?.settings()?)),
            1 => OfferChange::Claim(Box::new(whole()?.claim(offer, seq)?)),
            2 => OfferChange::Standby(Box::new(whole()?.standby(offer, seq)?)),
            3 => OfferChange::Deleted,
            _ => return Err(Malformed("no event has this number")),
        };
        Ok(Event::Offer(OfferEvent { offer, version, change }))
    }
}

/// An entry of the outbox without its id: the record that the journal keeps, and who decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// What happened.
    pub record: Record,
    /// The number of the offer or zone that decided.
    pub number: u32,
    /// Its epoch then: of its state, where it is a zone.
    pub epoch: u32,
    /// Its version after.
    pub version: u64,
}

/// Reads an entry of an outbox.
///
/// # Errors
/// [`Malformed`].
pub fn written(packed: &[u8]) -> Result<Written, Malformed> {
    let mut reader = Reader::new(packed);
    let at = Millis(reader.int()?);
    let audit = reader.audit()?;
    let events = (0..reader.array()?).map(|_| reader.event()).collect::<Result<_, _>>()?;
    let record = Record { at, events, audit };
    Ok(Written { record, number: reader.number_as()?, epoch: reader.number_as()?, version: reader.number_as()? })
}

/// Where an offer's or zone's state in Redis stands. For whoever compares it with the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its epoch.
    pub epoch: u32,
    /// Its version: one more with each event, whether the journal has that one yet or not.
    pub version: u64,
    /// Nothing is decided.
    pub suspended: bool,
    /// A run failed while it wrote, so what is there may be half of something; nothing is decided.
    pub broken: bool,
    /// It was deleted and is still there.
    pub deleted: bool,
}

/// The start of every command about offers.
pub(super) fn start(name: &str, offer: u32, epoch: u32, arguments: usize) -> Writer {
    Writer::default().array(5 + arguments).text(name).int(offer.into()).int(epoch.into())
}
