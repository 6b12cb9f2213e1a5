//! One event as one message: [CloudEvents 1.0](https://github.com/cloudevents/spec) in structured JSON mode, for every service that reads the topic.
//!
//! ```json
//! {"specversion":"1.0","id":"00000007-0000-8000-….2","source":"/bunho/offers/7","type":"bunho.claim.v1","epoch":1,"time":"2026-01-02T03:04:05.678Z",
//!  "datacontenttype":"application/json","data":{"at":1767323045678,"offer":7,"offer_version":200,"state":{…},"audit":{…}}}
//! ```
//!
//! `data` is what counts and carries everything, `state` in it the whole new state of what the message is about; the attributes around it are for
//! those who route and look. `epoch`, an extension attribute, is the epoch of the offer or zone under which it was decided. All times in `data` are milliseconds since 1970 in UTC. `id` is the thing's id and its version, so a message that came twice is known by it.
//!
//! A message's *key* is the id of the offer or the zone that it is about: the claim of a granted coupon has the coupon's, not that of the booking
//! that granted it. So everything about one of them is in one partition. Order there is the order of writing, and several nodes write: of what is
//! about one thing the higher version is the newer one, wherever it stands.
//!
//! A *fence* (`bunho.fence.v1`) says that an offer or a zone is in a new epoch. What stands after it in its partition under a lower epoch does not count:
//! nobody was answered about it.
//!
//! Rules for changing it: fields may be added (readers ignore what they do not know, and what is missing and optional is none); anything else
//! is a new type, `….v2`. What a reader cannot read is an error that keeps apart *why*: a type from a newer release is no damage.
//! `tests/golden/cloudevents` holds one message of each kind.

use crate::wire::Audit;
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::ids::IdError;
use bunho_domain::time::Millis;
use offer::{ClaimJson, OfferJson, StandbyJson};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::borrow::Cow;
use zone::{FrontJson, MinuteJson, ReservedJson, TicketJson, ZoneJson};

mod offer;
mod timestamp;
mod zone;

/// What one message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// When it was decided.
    pub at: Millis,
    /// The epoch, of the offer or zone that it is about, under which it was decided.
    pub epoch: u32,
    /// What happened.
    pub content: Content,
    /// Who did it, where a person did.
    pub audit: Option<Audit>,
}

/// What a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// Something happened.
    Event(Event),
    /// From here on nothing counts that was decided under a lower epoch than this message's.
    Fence {
        /// Whether it is of an offer or a zone.
        of: Kind,
        /// The number of that.
        number: u32,
    },
}

/// What has a number, an epoch and messages of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An offer.
    Offer,
    /// A zone.
    Zone,
}

/// Why bytes are not a message that this release can read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Not a CloudEvent in JSON.
    #[error("it is not a CloudEvent in JSON")]
    Envelope(#[source] serde_json::Error),
    /// Another version of CloudEvents.
    #[error("it is of CloudEvents {found:?} and this release reads 1.0")]
    SpecVersion {
        /// The version found.
        found: String,
    },
    /// A newer release, or somebody else, wrote it.
    #[error("its type is {found:?}, which this release does not know: a newer one wrote it, or another program")]
    Type {
        /// The type found.
        found: String,
    },
    /// The type is known and its data are not as it says.
    #[error("its data are not those of its type, {of}")]
    Data {
        /// Its type.
        of: &'static str,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// An id in it was never a valid one.
    #[error("its {field} is not valid")]
    Field {
        /// Which one.
        field: &'static str,
        /// What it must be.
        source: IdError,
    },
}

/// What a field's text was not.
fn in_field(field: &'static str) -> impl Fn(IdError) -> Unreadable {
    move |source| Unreadable::Field { field, source }
}

#[derive(Serialize)]
struct Written<'a, T> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: &'static str,
    epoch: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    datacontenttype: &'static str,
    data: T,
}

/// Only what decides how to read the rest.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    specversion: Cow<'a, str>,
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    epoch: u32,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
struct AuditJson<'a> {
    #[serde(borrow)]
    actor: Cow<'a, str>,
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    target: Cow<'a, str>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    request_id: Option<Cow<'a, str>>,
}

/// The data of what happened to an offer, or within it.
#[derive(Serialize, Deserialize)]
struct OfferData<'a, T> {
    at: i64,
    offer: u32,
    offer_version: u64,
    state: T,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    audit: Option<AuditJson<'a>>,
}

/// The data of what happened to a zone.
#[derive(Serialize, Deserialize)]
struct ZoneData<'a, T> {
    at: i64,
    zone: u32,
    state: T,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    audit: Option<AuditJson<'a>>,
}

/// The data of a fence.
#[derive(Serialize, Deserialize)]
struct FenceData {
    at: i64,
    kind: Kind,
    number: u32,
}

/// The state of what is gone.
#[derive(Serialize, Deserialize)]
struct Gone {}

const CLAIM: &str = "bunho.claim.v1";
const STANDBY: &str = "bunho.standby.v1";
const OFFER: &str = "bunho.offer.v1";
const OFFER_DELETED: &str = "bunho.offer.deleted.v1";
const ZONE: &str = "bunho.zone.v1";
const ZONE_RESERVED: &str = "bunho.zone.reserved.v1";
const ZONE_ADMITTED: &str = "bunho.zone.admitted.v1";
const ZONE_LEFT: &str = "bunho.zone.left.v1";
const ZONE_MINUTE: &str = "bunho.zone.minute.v1";
const ZONE_FRONT: &str = "bunho.zone.front.v1";
const ZONE_DELETED: &str = "bunho.zone.deleted.v1";
const FENCE: &str = "bunho.fence.v1";

impl Message {
    /// The message as it is written to the topic.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        match &self.content {
            Content::Event(event) => encode(self.at, self.epoch, event, self.audit.as_ref()),
            &Content::Fence { of, number } => encode_fence(self.at, self.epoch, of, number),
        }
    }

    /// The offer or zone that it is about, by number.
    #[must_use]
    pub const fn about(&self) -> (Kind, u32) {
        match &self.content {
            Content::Event(Event::Offer(event)) => (Kind::Offer, event.offer),
            Content::Event(Event::Zone(event)) => (Kind::Zone, event.zone),
            Content::Fence { of, number } => (*of, *number),
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// [`Unreadable`] says why it is none that this release knows.
    pub fn decode(bytes: &[u8]) -> Result<Self, Unreadable> {
        let envelope: Envelope<'_> = serde_json::from_slice(bytes).map_err(Unreadable::Envelope)?;
        if envelope.specversion != "1.0" {
            return Err(Unreadable::SpecVersion { found: envelope.specversion.into_owned() });
        }
        let (epoch, json) = (envelope.epoch, envelope.data.get());
        match &*envelope.r#type {
            CLAIM => offer_data::<ClaimJson<'_>>(CLAIM, epoch, json, |claim| Ok(OfferChange::Claim(Box::new(claim.try_into()?)))),
            STANDBY => {
                offer_data::<StandbyJson<'_>>(STANDBY, epoch, json, |standby| Ok(OfferChange::Standby(Box::new(standby.try_into()?))))
            }
            OFFER => offer_data::<OfferJson<'_>>(OFFER, epoch, json, |settings| Ok(OfferChange::Defined(Box::new(settings.try_into()?)))),
            OFFER_DELETED => offer_data::<Gone>(OFFER_DELETED, epoch, json, |Gone {}| Ok(OfferChange::Deleted)),
            ZONE => zone_data::<ZoneJson<'_>>(ZONE, epoch, json, |settings| Ok(ZoneChange::Defined(Box::new(settings.try_into()?)))),
            ZONE_RESERVED => zone_data(ZONE_RESERVED, epoch, json, |ReservedJson { epoch, upto }| Ok(ZoneChange::Reserved { epoch, upto })),
            ZONE_ADMITTED => zone_data(ZONE_ADMITTED, epoch, json, |ticket: TicketJson| {
                Ok(ZoneChange::Admitted { ticket: ticket.number(), at: Millis(ticket.at) })
            }),
            ZONE_LEFT => zone_data(ZONE_LEFT, epoch, json, |ticket: TicketJson| {
                Ok(ZoneChange::Left { ticket: ticket.number(), at: Millis(ticket.at) })
            }),
            ZONE_MINUTE => zone_data::<MinuteJson<'_>>(ZONE_MINUTE, epoch, json, |minute| Ok(ZoneChange::Minute(minute.try_into()?))),
            ZONE_FRONT => zone_data(ZONE_FRONT, epoch, json, |FrontJson { epoch, seq }| Ok(ZoneChange::Front { epoch, seq })),
            ZONE_DELETED => zone_data::<Gone>(ZONE_DELETED, epoch, json, |Gone {}| Ok(ZoneChange::Deleted)),
            FENCE => {
                let FenceData { at, kind, number } = serde_json::from_str(json).map_err(|source| Unreadable::Data { of: FENCE, source })?;
                Ok(Self { at: Millis(at), epoch, content: Content::Fence { of: kind, number }, audit: None })
            }
            other => Err(Unreadable::Type { found: other.to_owned() }),
        }
    }
}

/// An event as it is written to the topic.
#[must_use]
pub fn encode(at: Millis, epoch: u32, event: &Event, audit: Option<&Audit>) -> Vec<u8> {
    match event {
        Event::Offer(event) => encode_offer(at, epoch, event, audit),
        Event::Zone(event) => encode_zone(at, epoch, event, audit),
    }
}

fn encode_fence(at: Millis, epoch: u32, kind: Kind, number: u32) -> Vec<u8> {
    let (one, all) = match kind {
        Kind::Offer => ("offer", "offers"),
        Kind::Zone => ("zone", "zones"),
    };
    let data = FenceData { at: at.0, kind, number };
    written(Around { at, epoch, of: FENCE }, &format!("{one}-{number}.fence.{epoch}"), &format!("/bunho/{all}/{number}"), data)
}

fn encode_offer(at: Millis, epoch: u32, event: &OfferEvent, audit: Option<&Audit>) -> Vec<u8> {
    let (id, source) = (offer_id(event), format!("/bunho/offers/{}", event.offer));
    let around = |of| Around { at, epoch, of };
    match &event.change {
        OfferChange::Claim(claim) => written(around(CLAIM), &id, &source, OfferData::of(at, event, ClaimJson::from(&**claim), audit)),
        OfferChange::Standby(standby) => {
            written(around(STANDBY), &id, &source, OfferData::of(at, event, StandbyJson::from(&**standby), audit))
        }
        OfferChange::Defined(settings) => {
            written(around(OFFER), &id, &source, OfferData::of(at, event, OfferJson::from(&**settings), audit))
        }
        OfferChange::Deleted => written(around(OFFER_DELETED), &id, &source, OfferData::of(at, event, Gone {}, audit)),
    }
}

fn encode_zone(at: Millis, epoch: u32, event: &ZoneEvent, audit: Option<&Audit>) -> Vec<u8> {
    let &ZoneEvent { zone, ref change } = event;
    let (id, source) = (zone_id(event), format!("/bunho/zones/{zone}"));
    let around = |of| Around { at, epoch, of };
    match *change {
        ZoneChange::Defined(ref settings) => {
            written(around(ZONE), &id, &source, ZoneData::of(at, zone, ZoneJson::from(&**settings), audit))
        }
        ZoneChange::Reserved { epoch, upto } => {
            written(around(ZONE_RESERVED), &id, &source, ZoneData::of(at, zone, ReservedJson { epoch, upto }, audit))
        }
        ZoneChange::Admitted { ticket: TicketNumber { epoch, seq }, at: when } => {
            written(around(ZONE_ADMITTED), &id, &source, ZoneData::of(at, zone, TicketJson { epoch, seq, at: when.0 }, audit))
        }
        ZoneChange::Left { ticket: TicketNumber { epoch, seq }, at: when } => {
            written(around(ZONE_LEFT), &id, &source, ZoneData::of(at, zone, TicketJson { epoch, seq, at: when.0 }, audit))
        }
        ZoneChange::Minute(ref minute) => {
            written(around(ZONE_MINUTE), &id, &source, ZoneData::of(at, zone, MinuteJson::from(minute), audit))
        }
        ZoneChange::Front { epoch, seq } => {
            written(around(ZONE_FRONT), &id, &source, ZoneData::of(at, zone, FrontJson { epoch, seq }, audit))
        }
        ZoneChange::Deleted => written(around(ZONE_DELETED), &id, &source, ZoneData::of(at, zone, Gone {}, audit)),
    }
}

/// The `id` of an event's message: the same however often it is written.
#[must_use]
pub fn id(event: &Event) -> String {
    match event {
        Event::Offer(event) => offer_id(event),
        Event::Zone(event) => zone_id(event),
    }
}

fn offer_id(&OfferEvent { offer, version, ref change }: &OfferEvent) -> String {
    match change {
        OfferChange::Claim(claim) => format!("{}.{}", claim.id, claim.version),
        OfferChange::Standby(standby) => format!("{}.{}", standby.id, standby.version),
        OfferChange::Defined(_) | OfferChange::Deleted => format!("offer-{offer}.{version}"),
    }
}

fn zone_id(&ZoneEvent { zone, ref change }: &ZoneEvent) -> String {
    match change {
        ZoneChange::Defined(settings) => format!("zone-{zone}.settings.{}", settings.revision),
        ZoneChange::Reserved { epoch, upto } => format!("zone-{zone}.reserved.{epoch}.{upto}"),
        ZoneChange::Admitted { ticket: TicketNumber { epoch, seq }, .. } => format!("zone-{zone}.admitted.{epoch}.{seq}"),
        ZoneChange::Left { ticket: TicketNumber { epoch, seq }, .. } => format!("zone-{zone}.left.{epoch}.{seq}"),
        ZoneChange::Minute(minute) => format!("zone-{zone}.minute.{}", minute.minute.0),
        ZoneChange::Front { epoch, seq } => format!("zone-{zone}.front.{epoch}.{seq}"),
        ZoneChange::Deleted => format!("zone-{zone}.deleted"),
    }
}

impl<'a, T> OfferData<'a, T> {
    fn of(at: Millis, event: &OfferEvent, state: T, audit: Option<&'a Audit>) -> Self {
        Self { at: at.0, offer: event.offer, offer_version: event.version, state, audit: audit.map(AuditJson::from) }
    }
}

impl<'a, T> ZoneData<'a, T> {
    fn of(at: Millis, zone: u32, state: T, audit: Option<&'a Audit>) -> Self {
        Self { at: at.0, zone, state, audit: audit.map(AuditJson::from) }
    }
}

/// What the attributes around the data say, but for id and source.
#[derive(Clone, Copy)]
struct Around {
    at: Millis,
    epoch: u32,
    of: &'static str,
}

/// Serialising these types into memory cannot fail: no map has a key that is no text, and nothing in them refuses. Were it to, the message
/// would be empty, which every reader refuses.
fn written<T: Serialize>(Around { at, epoch, of }: Around, id: &str, source: &str, data: T) -> Vec<u8> {
    let time = timestamp::rfc3339(at);
    serde_json::to_vec(&Written { specversion: "1.0", id, source, r#type: of, epoch, time, datacontenttype: "application/json", data })
        .unwrap_or_default()
}

fn offer_data<'a, T: Deserialize<'a>>(
    of: &'static str,
    epoch: u32,
    json: &'a str,
    change: impl FnOnce(T) -> Result<OfferChange, Unreadable>,
) -> Result<Message, Unreadable> {
    let data: OfferData<'a, T> = serde_json::from_str(json).map_err(|source| Unreadable::Data { of, source })?;
    let event = Event::Offer(OfferEvent { offer: data.offer, version: data.offer_version, change: change(data.state)? });
    Ok(Message { at: Millis(data.at), epoch, content: Content::Event(event), audit: data.audit.map(Audit::from) })
}

fn zone_data<'a, T: Deserialize<'a>>(
    of: &'static str,
    epoch: u32,
    json: &'a str,
    change: impl FnOnce(T) -> Result<ZoneChange, Unreadable>,
) -> Result<Message, Unreadable> {
    let data: ZoneData<'a, T> = serde_json::from_str(json).map_err(|source| Unreadable::Data { of, source })?;
    let event = Event::Zone(ZoneEvent { zone: data.zone, change: change(data.state)? });
    Ok(Message { at: Millis(data.at), epoch, content: Content::Event(event), audit: data.audit.map(Audit::from) })
}

impl<'a> From<&'a Audit> for AuditJson<'a> {
    fn from(audit: &'a Audit) -> Self {
        let Audit { actor, action, target, detail, request_id } = audit;
        Self {
            actor: actor.into(),
            action: action.into(),
            target: target.into(),
            detail: detail.as_ref().map(Into::into),
            request_id: request_id.as_ref().map(Into::into),
        }
    }
}

impl From<AuditJson<'_>> for Audit {
    fn from(audit: AuditJson<'_>) -> Self {
        Self {
            actor: audit.actor.into(),
            action: audit.action.into(),
            target: audit.target.into(),
            detail: audit.detail.map(Into::into),
            request_id: audit.request_id.map(Into::into),
        }
    }
}
