//! What an operator says of an offer.

use crate::ids::{AppId, OfferId, ZoneId};
use crate::limits::{MAX_PER_CLAIM_DEFAULT, NAME_CHARS_MAX, QUANTITY_MAX, SECONDS_MAX};
use crate::time::Millis;

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One each by default, confirmed at once.
    Coupon,
    /// Held, paid for, confirmed.
    Goods,
    /// As goods, with a party size against a capacity.
    Booking,
}

/// Who may confirm a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfirmBy {
    /// Only a service or admin key: confirming is what payment does.
    Service,
    /// The user too.
    User,
}

/// An offer's settings. Whole: editing replaces them and raises `revision`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfferSettings {
    /// Its name in URLs.
    pub id: OfferId,
    /// Its tenant.
    pub app: AppId,
    /// What it is called on screens.
    pub name: Box<str>,
    /// What it is.
    pub kind: Kind,
    /// Units there are: taken and left together.
    pub quantity: u32,
    /// Units one user may have at a time; none: no limit.
    pub per_user_limit: Option<u32>,
    /// Fewest units in one claim.
    pub min_per_claim: u32,
    /// Most units in one claim.
    pub max_per_claim: u32,
    /// How long a claim awaits confirmation; 0: confirmed at once.
    pub hold_seconds: u32,
    /// Price of a unit in the operator's smallest currency unit; carried, never computed with.
    pub unit_price: u64,
    /// No claim before this.
    pub opens_at: Option<Millis>,
    /// No claim from here on.
    pub closes_at: Option<Millis>,
    /// A pass of this zone is required.
    pub zone: Option<ZoneId>,
    /// A pass takes one claim, ever: also where that was given back or expired.
    pub pass_once: bool,
    /// A coupon offer given once to whoever's claim here is confirmed.
    pub grants: Option<OfferId>,
    /// Taken only by being granted, never by a claim.
    pub grant_only: bool,
    /// Whether a standby is kept when sold out.
    pub standby: bool,
    /// How long a claim that standby was served with awaits confirmation; 0: confirmed at once.
    pub standby_hold_seconds: u32,
    /// Who may confirm.
    pub confirm_by: ConfirmBy,
    /// 1 at creation, one more with every edit.
    pub revision: u32,
}

/// A setting out of its range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingError {
    /// The setting's name.
    pub field: &'static str,
    /// What it must be.
    pub reason: String,
}

impl SettingError {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

pub(crate) fn check_range(errors: &mut Vec<SettingError>, field: &'static str, value: u64, range: std::ops::RangeInclusive<u64>) {
    if !range.contains(&value) {
        errors.push(SettingError::new(field, format!("must be {} to {}", range.start(), range.end())));
    }
}

impl OfferSettings {
    /// An offer with the defaults of its kind: a coupon is one each and confirmed at once; goods and bookings
    /// are held for 300 s without a limit per user.
    #[must_use]
    pub fn new(id: OfferId, app: AppId, kind: Kind, quantity: u32) -> Self {
        let coupon = kind == Kind::Coupon;
        let hold_seconds = if coupon { 0 } else { 300 };
        Self {
            name: id.as_str().into(),
            id,
            app,
            kind,
            quantity,
            per_user_limit: coupon.then_some(1),
            min_per_claim: 1,
            max_per_claim: if coupon { 1 } else { MAX_PER_CLAIM_DEFAULT },
            hold_seconds,
            unit_price: 0,
            opens_at: None,
            closes_at: None,
            zone: None,
            pass_once: false,
            grants: None,
            grant_only: false,
            standby: false,
            standby_hold_seconds: hold_seconds,
            confirm_by: ConfirmBy::Service,
            revision: 1,
        }
    }

    /// Every setting out of its range, in the order of the fields.
    ///
    /// # Errors
    /// The list is never empty.
    pub fn check(&self) -> Result<(), Vec<SettingError>> {
        let mut errors = Vec::new();
        let quantity_max = u64::from(QUANTITY_MAX);
        if self.name.chars().count() > NAME_CHARS_MAX || self.name.chars().any(char::is_control) {
            errors.push(SettingError::new("name", format!("must be at most {NAME_CHARS_MAX} characters without control characters")));
        }
        check_range(&mut errors, "quantity", self.quantity.into(), 0..=quantity_max);
        if let Some(limit) = self.per_user_limit {
            check_range(&mut errors, "per_user_limit", limit.into(), 1..=quantity_max);
        }
        check_range(&mut errors, "min_per_claim", self.min_per_claim.into(), 1..=quantity_max);
        check_range(&mut errors, "max_per_claim", self.max_per_claim.into(), self.min_per_claim.max(1).into()..=quantity_max);
        check_range(&mut errors, "hold_seconds", self.hold_seconds.into(), 0..=SECONDS_MAX.into());
        check_range(&mut errors, "unit_price", self.unit_price, 0..=i64::MAX as u64);
        check_range(&mut errors, "standby_hold_seconds", self.standby_hold_seconds.into(), 0..=SECONDS_MAX.into());
        if let (Some(opens), Some(closes)) = (self.opens_at, self.closes_at)
            && closes < opens
        {
            errors.push(SettingError::new("closes_at", "must not be before opens_at"));
        }
        if self.pass_once && self.zone.is_none() {
            errors.push(SettingError::new("pass_once", "must be false where no zone is named: there is no pass to be shown"));
        }
        // A place on standby knows no pass by the time it is served.
        if self.pass_once && self.standby {
            errors.push(SettingError::new("standby", "must be false where pass_once is true"));
        }
        if self.grants.as_ref() == Some(&self.id) {
            errors.push(SettingError::new("grants", "must be another offer"));
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }
}
