//! Offers' settings, claims and places on standby in JSON. What is none is left out.

use super::{Unreadable, in_field};
use bunho_domain::claim::{Claim, Standby, StandbyStatus, Status};
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, StandbyId, UserId, ZoneId};
use bunho_domain::offer::settings::{ConfirmBy, Kind, OfferSettings};
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// A closed set of names and its mirror in the domain, both ways; `match` makes a forgotten one an error.
macro_rules! mirror {
    ($wire:ident = $domain:ident: $($name:ident),+) => {
        #[derive(Clone, Copy, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum $wire { $($name),+ }

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

mirror!(KindJson = Kind: Coupon, Goods, Booking);
mirror!(ConfirmByJson = ConfirmBy: Service, User);
mirror!(StatusJson = Status: Held, Confirmed, Released, Expired, Returned);
mirror!(StandbyStatusJson = StandbyStatus: Waiting, Served, Left, Passed);

#[derive(Serialize, Deserialize)]
pub(super) struct OfferJson<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    app: Cow<'a, str>,
    #[serde(borrow)]
    name: Cow<'a, str>,
    kind: KindJson,
    quantity: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    per_user_limit: Option<u32>,
    min_per_claim: u32,
    max_per_claim: u32,
    hold_seconds: u32,
    unit_price: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    opens_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    closes_at: Option<i64>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    zone: Option<Cow<'a, str>>,
    /// Left out where it is not so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pass_once: bool,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    grants: Option<Cow<'a, str>>,
    grant_only: bool,
    standby: bool,
    standby_hold_seconds: u32,
    confirm_by: ConfirmByJson,
    revision: u32,
}

impl<'a> From<&'a OfferSettings> for OfferJson<'a> {
    fn from(settings: &'a OfferSettings) -> Self {
        Self {
            id: settings.id.as_str().into(),
            app: settings.app.as_str().into(),
            name: (&*settings.name).into(),
            kind: settings.kind.into(),
            quantity: settings.quantity,
            per_user_limit: settings.per_user_limit,
            min_per_claim: settings.min_per_claim,
            max_per_claim: settings.max_per_claim,
            hold_seconds: settings.hold_seconds,
            unit_price: settings.unit_price,
            opens_at: settings.opens_at.map(|at| at.0),
            closes_at: settings.closes_at.map(|at| at.0),
            zone: settings.zone.as_ref().map(|id| id.as_str().into()),
            pass_once: settings.pass_once,
            grants: settings.grants.as_ref().map(|id| id.as_str().into()),
            grant_only: settings.grant_only,
            standby: settings.standby,
            standby_hold_seconds: settings.standby_hold_seconds,
            confirm_by: settings.confirm_by.into(),
            revision: settings.revision,
        }
    }
}

impl TryFrom<OfferJson<'_>> for OfferSettings {
    type Error = Unreadable;

    fn try_from(settings: OfferJson<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: OfferId::parse(&settings.id).map_err(in_field("offer id"))?,
            app: AppId::parse(&settings.app).map_err(in_field("app id"))?,
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
            zone: settings.zone.map(|id| ZoneId::parse(&id)).transpose().map_err(in_field("zone id"))?,
            pass_once: settings.pass_once,
            grants: settings.grants.map(|id| OfferId::parse(&id)).transpose().map_err(in_field("granted offer"))?,
            grant_only: settings.grant_only,
            standby: settings.standby,
            standby_hold_seconds: settings.standby_hold_seconds,
            confirm_by: settings.confirm_by.into(),
            revision: settings.revision,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct ClaimJson<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    user: Cow<'a, str>,
    quantity: u32,
    status: StatusJson,
    version: u32,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    key: Option<Cow<'a, str>>,
    /// JSON within a text, as the client's own numbers and order of fields must survive.
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    attributes: Option<Cow<'a, str>>,
    created_at: i64,
    updated_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    hold_expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordinal: Option<u32>,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    granted: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Claim> for ClaimJson<'a> {
    fn from(claim: &'a Claim) -> Self {
        Self {
            id: claim.id.to_string().into(),
            user: claim.user.as_str().into(),
            quantity: claim.quantity,
            status: claim.status.into(),
            version: claim.version,
            key: claim.key.as_ref().map(|key| key.as_str().into()),
            attributes: claim.attributes.as_deref().map(Into::into),
            created_at: claim.created_at.0,
            updated_at: claim.updated_at.0,
            hold_expires_at: claim.hold_expires_at.map(|at| at.0),
            ordinal: claim.ordinal,
            granted: claim.granted.map(|id| id.to_string().into()),
        }
    }
}

impl TryFrom<ClaimJson<'_>> for Claim {
    type Error = Unreadable;

    fn try_from(claim: ClaimJson<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: ClaimId::parse(&claim.id).map_err(in_field("claim id"))?,
            user: UserId::parse(&claim.user).map_err(in_field("user id"))?,
            quantity: claim.quantity,
            status: claim.status.into(),
            version: claim.version,
            key: claim.key.map(|key| IdempotencyKey::parse(&key)).transpose().map_err(in_field("idempotency key"))?,
            attributes: claim.attributes.map(Into::into),
            created_at: Millis(claim.created_at),
            updated_at: Millis(claim.updated_at),
            hold_expires_at: claim.hold_expires_at.map(Millis),
            ordinal: claim.ordinal,
            granted: claim.granted.map(|id| ClaimId::parse(&id)).transpose().map_err(in_field("granted claim"))?,
        })
    }
}

#[derive(Serialize, Deserialize)]
pub(super) struct StandbyJson<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
    #[serde(borrow)]
    user: Cow<'a, str>,
    quantity: u32,
    status: StandbyStatusJson,
    version: u32,
    created_at: i64,
    updated_at: i64,
    #[serde(borrow, skip_serializing_if = "Option::is_none")]
    claim: Option<Cow<'a, str>>,
}

impl<'a> From<&'a Standby> for StandbyJson<'a> {
    fn from(standby: &'a Standby) -> Self {
        Self {
            id: standby.id.to_string().into(),
            user: standby.user.as_str().into(),
            quantity: standby.quantity,
            status: standby.status.into(),
            version: standby.version,
            created_at: standby.created_at.0,
            updated_at: standby.updated_at.0,
            claim: standby.claim.map(|id| id.to_string().into()),
        }
    }
}

impl TryFrom<StandbyJson<'_>> for Standby {
    type Error = Unreadable;

    fn try_from(standby: StandbyJson<'_>) -> Result<Self, Unreadable> {
        Ok(Self {
            id: StandbyId::parse(&standby.id).map_err(in_field("standby id"))?,
            user: UserId::parse(&standby.user).map_err(in_field("user id"))?,
            quantity: standby.quantity,
            status: standby.status.into(),
            version: standby.version,
            created_at: Millis(standby.created_at),
            updated_at: Millis(standby.updated_at),
            claim: standby.claim.map(|id| ClaimId::parse(&id)).transpose().map_err(in_field("served claim"))?,
        })
    }
}
