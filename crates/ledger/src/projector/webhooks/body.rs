//! One message: a CloudEvent 1.0 in structured JSON mode. `data` has the form in which `/v1` shows the same thing, and is its whole state
//! at that version.

use crate::names::NOBODY;
use crate::timestamp::Timestamp;
use crate::words;
use bunho_domain::claim::{Claim, Standby, Status};
use bunho_domain::time::Millis;
use serde::Serialize;
use serde_json::value::RawValue;

/// What a message is about.
pub(super) enum About<'a> {
    Claim(&'a Claim),
    Standby(&'a Standby),
    Offer { number: u32, version: u64, quantity: u64 },
}

impl About<'_> {
    /// Whose name stands in the message.
    pub(super) fn user(&self) -> &str {
        match self {
            Self::Claim(claim) => claim.user.as_str(),
            Self::Standby(standby) => standby.user.as_str(),
            Self::Offer { .. } => NOBODY,
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    specversion: &'static str,
    id: &'a str,
    source: String,
    r#type: String,
    subject: String,
    time: &'a str,
    datacontenttype: &'static str,
    data: T,
}

#[derive(Serialize)]
struct ClaimData<'a> {
    id: String,
    offer: &'a str,
    app: &'a str,
    user: &'a str,
    quantity: u32,
    status: &'static str,
    version: u32,
    idempotency_key: Option<&'a str>,
    hold_expires_at: Option<String>,
    created_at: String,
    updated_at: String,
    attributes: &'a RawValue,
    granted: Vec<String>,
}

#[derive(Serialize)]
struct StandbyData<'a> {
    id: String,
    offer: &'a str,
    app: &'a str,
    user: &'a str,
    quantity: u32,
    status: &'static str,
    version: u32,
    created_at: String,
    updated_at: String,
    claim: Option<String>,
}

#[derive(Serialize)]
struct OfferData<'a> {
    id: &'a str,
    app: &'a str,
    quantity: u64,
    version: u64,
}

/// The type of a message about `event`.
pub(super) fn type_of(event: &str) -> String {
    format!("io.bunho.{event}")
}

/// The message and its id, by which whoever gets it twice knows it.
pub(super) fn write(event: &str, offer: &str, app: &str, about: &About<'_>, at: Millis) -> (String, String) {
    match about {
        About::Claim(claim) => {
            let data = claim_data(claim, offer, app);
            let id = format!("{}.{}", data.id, claim.version);
            let body = envelope(event, &id, offer, data.id.clone(), at, data);
            (id, body)
        }
        About::Standby(standby) => {
            let data = StandbyData {
                id: standby.id.to_string(),
                offer,
                app,
                user: standby.user.as_str(),
                quantity: standby.quantity,
                status: words::standby(standby.status),
                version: standby.version,
                created_at: time(standby.created_at),
                updated_at: time(standby.updated_at),
                claim: standby.claim.map(|id| id.to_string()),
            };
            let id = format!("{}.{}", data.id, standby.version);
            let body = envelope(event, &id, offer, data.id.clone(), at, data);
            (id, body)
        }
        &About::Offer { number, version, quantity } => {
            let id = format!("offer-{number}.{version}");
            let body = envelope(event, &id, offer, offer.to_owned(), at, OfferData { id: offer, app, quantity, version });
            (id, body)
        }
    }
}

fn claim_data<'a>(claim: &'a Claim, offer: &'a str, app: &'a str) -> ClaimData<'a> {
    // What is no JSON was refused when it came.
    let attributes = serde_json::from_str(claim.attributes.as_deref().unwrap_or("{}"));
    ClaimData {
        id: claim.id.to_string(),
        offer,
        app,
        user: claim.user.as_str(),
        quantity: claim.quantity,
        status: words::status(claim.status),
        version: claim.version,
        idempotency_key: claim.key.as_ref().map(|key| key.as_str()),
        hold_expires_at: claim.hold_expires_at.filter(|_| claim.status == Status::Held).map(time),
        created_at: time(claim.created_at),
        updated_at: time(claim.updated_at),
        attributes: attributes.unwrap_or(RawValue::NULL),
        granted: claim.granted.iter().map(ToString::to_string).collect(),
    }
}

fn envelope(event: &str, id: &str, offer: &str, subject: String, at: Millis, data: impl Serialize) -> String {
    let time = Timestamp::new(at);
    let envelope = Envelope {
        specversion: "1.0",
        id,
        source: format!("/v1/offers/{offer}"),
        r#type: type_of(event),
        subject,
        time: time.as_str(),
        datacontenttype: "application/json",
        data,
    };
    // Nothing in it can refuse; an empty body would be seen by its reader.
    serde_json::to_string(&envelope).unwrap_or_default()
}

fn time(at: Millis) -> String {
    Timestamp::new(at).as_str().to_owned()
}
