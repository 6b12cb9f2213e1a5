//! Events that a guard refused: kept with the reason and everything they said, until somebody mends them.

use super::batch::{Place, Placed};
use super::guard::Reason;
use super::multi_row::MultiRow;
use crate::error::LedgerError;
use crate::timestamp::Timestamp;
use crate::words;
use bunho_domain::claim::{Claim, Standby};
use bunho_domain::ids::ClaimId;
use bunho_domain::time::Millis;
use serde_json::json;
use sqlx::SqliteConnection;
use std::fmt::Debug;

static PARKED: MultiRow = MultiRow::new(
    "INSERT INTO parked_events (journal_offset, event_index, claim_id, offer_id, reason, payload, parked_at) VALUES ",
    "(?,?,?,?,?,?,?)",
    " ON CONFLICT (journal_offset, event_index) DO NOTHING",
);

/// One refused event.
pub(crate) struct Parked {
    pub(crate) place: Place,
    pub(crate) claim: Option<ClaimId>,
    /// The offer's id, or its number where it has no row.
    pub(crate) offer: Option<String>,
    pub(crate) reason: Reason,
    payload: String,
}

impl Parked {
    pub(crate) fn claim(event: Placed<'_, Claim>, offer: String, reason: Reason) -> Self {
        let payload = claim_payload(event.state);
        Self { place: event.place, claim: Some(event.state.id), offer: Some(offer), reason, payload }
    }

    pub(crate) fn standby(event: Placed<'_, Standby>, offer: String, reason: Reason) -> Self {
        Self { place: event.place, claim: None, offer: Some(offer), reason, payload: standby_payload(event.state) }
    }

    /// A definition of an offer or a zone; read by people, so its debug form is kept.
    pub(crate) fn definition(event: Placed<'_, impl Debug>, offer: Option<String>, reason: Reason) -> Self {
        let payload = json!({ "defined": format!("{:?}", event.state) }).to_string();
        Self { place: event.place, claim: None, offer, reason, payload }
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
pub(crate) async fn write(connection: &mut SqliteConnection, parked: &[Parked]) -> Result<(), LedgerError> {
    let refused = PARKED
        .write(connection, parked, |event, binder| {
            binder
                .long(event.place.offset)
                .value(event.place.index)
                .shown_or_null(event.claim)
                .text_or_null(event.offer.as_deref())
                .value(event.reason.word())
                .text(&event.payload)
                .time(event.place.at);
        })
        .await;
    refused.map(drop).map_err(LedgerError::sql("park events"))
}

fn text(at: Millis) -> String {
    Timestamp::new(at).as_str().to_owned()
}

fn claim_payload(claim: &Claim) -> String {
    json!({ "claim": {
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
    }})
    .to_string()
}

fn standby_payload(standby: &Standby) -> String {
    json!({ "standby": {
        "id": standby.id.to_string(),
        "user": standby.user.as_str(),
        "quantity": standby.quantity,
        "status": words::standby(standby.status),
        "version": standby.version,
        "created_at": text(standby.created_at),
        "updated_at": text(standby.updated_at),
        "claim": standby.claim.map(|id| id.to_string()),
    }})
    .to_string()
}
