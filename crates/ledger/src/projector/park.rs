//! Events that a guard refused: kept with the reason and everything they said, until somebody mends them.
//!
//! The payload is for people, except for its `record`: the event as the journal writes it, in hex. The engine has acted on
//! it and somebody may have been told, so a restart takes it from here ([`crate::Ledger::load`]); else a claim that was
//! answered would be gone with its key, and its units would be given again.

use super::batch::{Place, Placed};
use super::guard::Reason;
use super::multi_row::Kind::{Long, Text};
use super::multi_row::{Conflict, MultiRow};
use crate::error::LedgerError;
use crate::names::NOBODY;
use crate::sql::{Binder, Connection};
use crate::timestamp::Timestamp;
use crate::words;
use bunho_domain::claim::{Claim, Standby};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{ClaimId, UserId};
use bunho_domain::time::Millis;
use bunho_journal::kafka::Unread;
use bunho_journal::{Record, RecordRef};
use serde_json::{Value, json};
use std::fmt::Write;

static PARKED: MultiRow = MultiRow::insert(
    "parked_events",
    &[
        ("journal_offset", Long),
        ("event_index", Long),
        ("claim_id", Text),
        ("offer_id", Text),
        ("reason", Text),
        ("payload", Text),
        ("parked_at", Text),
        ("user_id", Text),
    ],
    Conflict::Keep { key: "journal_offset, event_index" },
);

/// Bytes that are kept of a record that cannot be read, each as two characters; anybody may write to a topic, and as much as brokers take.
const UNREAD_BYTES_MAX: usize = 64 * 1_024;
/// And of its key.
const KEY_BYTES_MAX: usize = 1_024;
/// What is said of it may repeat parts of it.
const WHY_CHARS_MAX: usize = 1_024;
/// Most characters of payloads in one statement: a quarter of what MySQL and MariaDB take by default.
const STATEMENT_CHARS_MAX: usize = 4 * 1_024 * 1_024;
const _: () = assert!(2 * UNREAD_BYTES_MAX + 6 * (KEY_BYTES_MAX + 4 * WHY_CHARS_MAX) < STATEMENT_CHARS_MAX);

/// One refused event.
pub(crate) struct Parked {
    pub(crate) place: Place,
    /// The offer's number.
    number: Option<u32>,
    pub(crate) claim: Option<ClaimId>,
    /// The offer's id, or its number where it has no row.
    pub(crate) offer: Option<String>,
    pub(crate) reason: Reason,
    payload: String,
    /// Whose it is; none: nobody's, or nobody can tell.
    user: Option<UserId>,
}

impl Parked {
    pub(crate) fn claim(event: Placed<'_, Claim>, offer: String, reason: Reason) -> Self {
        let claim = event.state;
        let whole = of_offer(claim.id.offer_number(), OfferChange::Claim(Box::new(claim.clone())));
        let payload = payload(json!({ "claim": claim_json(claim) }), event.place, whole);
        let (number, user) = (Some(claim.id.offer_number()), Some(claim.user.clone()));
        Self { place: event.place, number, claim: Some(claim.id), offer: Some(offer), reason, payload, user }
    }

    pub(crate) fn standby(event: Placed<'_, Standby>, offer: String, reason: Reason) -> Self {
        let standby = event.state;
        let whole = of_offer(standby.id.offer_number(), OfferChange::Standby(Box::new(standby.clone())));
        let payload = payload(json!({ "standby": standby_json(standby) }), event.place, whole);
        let (number, user) = (Some(standby.id.offer_number()), Some(standby.user.clone()));
        Self { place: event.place, number, claim: None, offer: Some(offer), reason, payload, user }
    }

    /// A definition of an offer or a zone; of what it says people get the debug form.
    pub(crate) fn definition(place: Place, whole: Event, offer: Option<String>, reason: Reason) -> Self {
        let number = match &whole {
            Event::Offer(event) => Some(event.offer),
            Event::Zone(_) => None,
        };
        let payload = payload(json!({ "defined": format!("{whole:?}") }), place, whole);
        Self { place, number, claim: None, offer, reason, payload, user: None }
    }

    /// A record that cannot be read, with its first bytes. All of them are in the topic, which a later release may know how to read.
    pub(crate) fn unreadable(place: Place, unread: &Unread) -> Self {
        let why = std::iter::successors(Some(&unread.why as &dyn std::error::Error), |error| error.source());
        let why: String = why.map(ToString::to_string).collect::<Vec<_>>().join(": ").chars().take(WHY_CHARS_MAX).collect();
        let key = unread.key.as_ref().map(|key| String::from_utf8_lossy(first(key, KEY_BYTES_MAX)));
        let payload = json!({ "why": why, "key": key, "length": unread.bytes.len(), "bytes": hex(first(&unread.bytes, UNREAD_BYTES_MAX)) });
        Self { place, number: None, claim: None, offer: None, reason: Reason::Unreadable, payload: payload.to_string(), user: None }
    }

    /// What it is known by in `parked_events`.
    pub(crate) const fn key(&self) -> (u64, u32) {
        (self.place.offset, self.place.index)
    }

    /// Whose it is, where it is of an offer.
    pub(crate) const fn offer_number(&self) -> Option<u32> {
        self.number
    }

    /// Says it in the log; called when it is committed.
    pub(crate) fn log(&self) {
        tracing::error!(
            journal_offset = self.place.offset,
            event_index = self.place.index,
            claim = self.claim.map(tracing::field::display),
            offer = self.offer,
            reason = self.reason.word(),
            "the ledger's guard refused an event and parked it; `bunho reconcile` shows what it means"
        );
    }
}

/// Writes them; returns nothing, because their key is their place in the journal and a repetition is harmless.
pub(crate) async fn write(connection: &mut Connection<'_>, parked: &[Parked]) -> Result<(), LedgerError> {
    let mut left = parked;
    while !left.is_empty() {
        let mut chars = 0;
        let fit = left.iter().take_while(|event| {
            chars += event.payload.len();
            chars <= STATEMENT_CHARS_MAX
        });
        let (now, later) = left.split_at(fit.count().max(1));
        PARKED.write(connection, now, bind).await.map_err(LedgerError::sql("park events"))?;
        left = later;
    }
    Ok(())
}

fn bind(event: &Parked, binder: &mut Binder) {
    binder
        .long(event.place.offset)
        .value(event.place.index)
        .shown_or_null(event.claim)
        .text_or_null(event.offer.as_deref())
        .value(event.reason.word())
        .text(&event.payload)
        .time(event.place.at)
        .text(event.user.as_ref().map_or(NOBODY, |user| user.as_str()));
}

/// The event of a parked row. None where the payload has none or it is unreadable: a person may have edited it.
pub(crate) fn event(payload: &str) -> Option<Event> {
    let payload: Value = serde_json::from_str(payload).ok()?;
    let hex = payload.get("record")?.as_str()?.as_bytes();
    let digits: Option<Vec<u8>> = hex.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect();
    Record::decode(&digits?).ok()?.events.pop()
}

/// An offer's event. Its version is not known here and not needed: whoever loads it has the offer's own.
fn of_offer(offer: u32, change: OfferChange) -> Event {
    Event::Offer(OfferEvent { offer, version: 0, change })
}

/// What people read, with the numbers that may not be given again, and the event itself.
fn payload(mut shown: Value, place: Place, event: Event) -> String {
    match &event {
        Event::Offer(event) => shown["offer_number"] = event.offer.into(),
        Event::Zone(event) => shown["zone_number"] = event.zone.into(),
    }
    let mut bytes = Vec::new();
    if (RecordRef { at: place.at, events: &[event], audit: None }).encode(&mut bytes).is_ok() {
        shown["record"] = hex(&bytes).into();
    }
    shown.to_string()
}

fn first(bytes: &[u8], most: usize) -> &[u8] {
    &bytes[..bytes.len().min(most)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut hex, byte| {
        // Writing to a String does not fail.
        write!(hex, "{byte:02x}").ok();
        hex
    })
}

fn text(at: Millis) -> String {
    Timestamp::new(at).as_str().to_owned()
}

fn claim_json(claim: &Claim) -> Value {
    json!({
        "id": claim.id.to_string(),
        "user": claim.user.as_str(),
        "quantity": claim.quantity,
        "status": words::status(claim.status),
        "version": claim.version,
        "key": claim.key.as_ref().map(|key| key.as_str()),
        "attributes": claim.attributes.as_deref(),
        "created_at": text(claim.created_at),
        "updated_at": text(claim.updated_at),
        "hold_expires_at": claim.hold_expires_at.map(text),
        "ordinal": claim.ordinal,
        "granted": claim.granted.map(|id| id.to_string()),
    })
}

fn standby_json(standby: &Standby) -> Value {
    json!({
        "id": standby.id.to_string(),
        "user": standby.user.as_str(),
        "quantity": standby.quantity,
        "status": words::standby(standby.status),
        "version": standby.version,
        "created_at": text(standby.created_at),
        "updated_at": text(standby.updated_at),
        "claim": standby.claim.map(|id| id.to_string()),
    })
}
