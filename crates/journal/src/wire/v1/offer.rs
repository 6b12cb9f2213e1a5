//! Offers' settings, claims and places on standby.

use crate::wire::WireError;
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::ids::{AppId, ClaimId, IdError, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Serialize, Deserialize)]
enum KindV1 {
    Coupon,
    Goods,
    Booking,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum ConfirmByV1 {
    Service,
    User,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum StatusV1 {
    Held,
    Confirmed,
    Released,
    Expired,
    Returned,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum StandbyStatusV1 {
    Waiting,
    Served,
    Left,
    Passed,
}

/// Both directions of a closed set of names that are the same on both sides; `match` makes a forgotten one an error.
macro_rules! mirror {
    ($wire:ident = $domain:ident: $($name:ident),+) => {
        impl From<$domain> for $wire {
            fn from(value: $domain) -> Self {
                match value { $($domain::$name => Self::$name),+ }
            }
        }

        impl From<$wire> for $domain {
            fn from(value: $wire) -> Self {
                match value { $($wire::$name => Self::$name),+ }
            }
        }
    };
}

mirror!(KindV1 = Kind: Coupon, Goods, Booking);
mirror!(ConfirmByV1 = ConfirmBy: Service, User);
mirror!(StatusV1 = Status: Held, Confirmed, Released, Expired, Returned);
mirror!(StandbyStatusV1 = StandbyStatus: Waiting, Served, Left, Passed);

#[derive(Serialize, Deserialize)]
pub(super) struct OfferSettingsV1<'a> {
    id: &'a str,
    app: &'a str,
    name: &'a str,
    kind: KindV1,
    quantity: u32,
    per_user_limit: Option<u32>,
    min_per_claim: u32,
    max_per_claim: u32,
    hold_seconds: u32,
    unit_price: u64,
    opens_at: Option<i64>,
    closes_at: Option<i64>,
    zone: Option<&'a str>,
    grants: Option<&'a str>,
    grant_only: bool,
    standby: bool,
    standby_hold_seconds: u32,
    confirm_by: ConfirmByV1,
    revision: u32,
}

impl<'a> From<&'a OfferSettings> for OfferSettingsV1<'a> {
    fn from(settings: &'a OfferSettings) -> Self {
        Self {
            id: settings.id.as_str(),
            app: settings.app.as_str(),
            name: &settings.name,
            kind: settings.kind.into(),
            quantity: settings.quantity,
            per_user_limit: settings.per_user_limit,
            min_per_claim: settings.min_per_claim,
            max_per_claim: settings.max_per_claim,
            hold_seconds: settings.hold_seconds,
            unit_price: settings.unit_price,
            opens_at: settings.opens_at.map(|at| at.0),
            closes_at: settings.closes_at.map(|at| at.0),
            zone: settings.zone.as_ref().map(ZoneId::as_str),
            grants: settings.grants.as_ref().map(OfferId::as_str),
            grant_only: settings.grant_only,
            standby: settings.standby,
            standby_hold_seconds: settings.standby_hold_seconds,
            confirm_by: settings.confirm_by.into(),
            revision: settings.revision,
        }
    }
}

impl TryFrom<OfferSettingsV1<'_>> for OfferSettings {
    type Error = WireError;

    fn try_from(settings: OfferSettingsV1<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: OfferId::parse(settings.id).map_err(in_field("offer id"))?,
            app: AppId::parse(settings.app).map_err(in_field("app id"))?,
            name: settings.name.into(),
            kind: settings.kind.into(),
            quantity: settings.quantity,
            per_user_limit: settings.per_user_limit,
            min_per_claim: settings.min_per_claim,
            max_per_claim: settings.max_per_claim,
            hold_seconds: settings.hold_seconds,
            unit_price: settings.unit_price,
            opens_at: settings.opens_at.map(Millis),
            closes_at: settings.closes_at.map(Millis),
            zone: settings.zone.map(ZoneId::parse).transpose().map_err(in_field("zone id"))?,
            // Stands beside the settings: this layout is from before passes could be used up.
            pass_once: false,
            grants: settings.grants.map(OfferId::parse).transpose().map_err(in_field("granted offer"))?,
            grant_only: settings.grant_only,
            standby: settings.standby,
            standby_hold_seconds: settings.standby_hold_seconds,
            confirm_by: settings.confirm_by.into(),
            revision: settings.revision,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClaimV1<'a> {
    id: [u8; 16],
    user: &'a str,
    quantity: u32,
    status: StatusV1,
    version: u32,
    key: Option<&'a str>,
    attributes: Option<&'a str>,
    created_at: i64,
    updated_at: i64,
    hold_expires_at: Option<i64>,
    ordinal: Option<u32>,
    granted: Option<[u8; 16]>,
}

impl<'a> From<&'a Claim> for ClaimV1<'a> {
    fn from(claim: &'a Claim) -> Self {
        Self {
            id: *claim.id.as_bytes(),
            user: claim.user.as_str(),
            quantity: claim.quantity,
            status: claim.status.into(),
            version: claim.version,
            key: claim.key.as_ref().map(IdempotencyKey::as_str),
            attributes: claim.attributes.as_deref(),
            created_at: claim.created_at.0,
            updated_at: claim.updated_at.0,
            hold_expires_at: claim.hold_expires_at.map(|at| at.0),
            ordinal: claim.ordinal,
            granted: claim.granted.map(|id| *id.as_bytes()),
        }
    }
}

impl TryFrom<ClaimV1<'_>> for Claim {
    type Error = WireError;

    fn try_from(claim: ClaimV1<'_>) -> Result<Self, WireError> {
        Ok(Self {
            id: claim_id(claim.id).map_err(in_field("claim id"))?,
            user: UserId::parse(claim.user).map_err(in_field("user id"))?,
            quantity: claim.quantity,
            status: claim.status.into(),
            version: claim.version,
            key: claim.key.map(IdempotencyKey::parse).transpose().map_err(in_field("idempotency key"))?,
            attributes: claim.attributes.map(Into::into),
            created_at: Millis(claim.created_at),
            updated_at: Millis(claim.updated_at),
            hold_expires_at: claim.hold_expires_at.map(Millis),
            ordinal: claim.ordinal,
            granted: claim.granted.map(claim_id).transpose().map_err(in_field("granted claim"))?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StandbyV1<'a> {
    id: [u8; 16],
    user: &'a str,
    quantity: u32,
    status: StandbyStatusV1,
    version: u32,
    created_at: i64,
    updated_at: i64,
    claim: Option<[u8; 16]>,
}

impl<'a> From<&'a Standby> for StandbyV1<'a> {
    fn from(standby: &'a Standby) -> Self {
        Self {
            id: *standby.id.as_bytes(),
            user: standby.user.as_str(),
            quantity: standby.quantity,
            status: standby.status.into(),
            version: standby.version,
            created_at: standby.created_at.0,
            updated_at: standby.updated_at.0,
            claim: standby.claim.map(|id| *id.as_bytes()),
        }
    }
}

impl TryFrom<StandbyV1<'_>> for Standby {
    type Error = WireError;

    fn try_from(standby: StandbyV1<'_>) -> Result<Self, WireError> {
        let id = StandbyId::from_bytes(standby.id);
        if StandbyId::new(id.offer_number(), id.seq(), id.nonce()) != id {
            return Err(in_field("standby id")(IdError::Uuid));
        }
        Ok(Self {
            id,
            user: UserId::parse(standby.user).map_err(in_field("user id"))?,
            quantity: standby.quantity,
            status: standby.status.into(),
            version: standby.version,
            created_at: Millis(standby.created_at),
            updated_at: Millis(standby.updated_at),
            claim: standby.claim.map(claim_id).transpose().map_err(in_field("claim of a standby"))?,
        })
    }
}

fn claim_id(bytes: [u8; 16]) -> Result<ClaimId, IdError> {
    let id = ClaimId::from_bytes(bytes);
    if ClaimId::new(id.offer_number(), id.seq(), id.nonce()) == id { Ok(id) } else { Err(IdError::Uuid) }
}

pub(super) fn in_field(field: &'static str) -> impl FnOnce(IdError) -> WireError {
    move |source| WireError::Field { field, source }
}
