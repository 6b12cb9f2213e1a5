//! Rows of `offers`.

use super::Columns;
use crate::error::LedgerError;
use crate::sql::Row;
use crate::words;
use bunho_domain::ids::{AppId, OfferId, ZoneId};
use bunho_domain::offer::settings::OfferSettings;

/// What [`offer`] reads, in its order.
macro_rules! offer_columns {
    () => {
        "number, version, id, app, kind, name, quantity, per_user_limit, min_per_claim, max_per_claim, hold_seconds, unit_price, \
         opens_at, closes_at, zone, pass_once, grants, grant_only, standby, standby_hold_seconds, confirm_by, revision"
    };
}
pub(crate) use offer_columns;

/// A stored offer.
pub(crate) struct StoredOffer {
    pub(crate) number: u32,
    pub(crate) version: u64,
    pub(crate) settings: OfferSettings,
}

pub(crate) fn offer(row: &Row) -> Result<StoredOffer, LedgerError> {
    let mut columns = Columns::of(row, "offers");
    let number = columns.take()?;
    let version = columns.take::<i64>()?.cast_unsigned();
    let id = columns.id("id", OfferId::parse)?;
    let app = columns.id("app", AppId::parse)?;
    let kind = columns.parsed("kind", words::parse_kind)?;
    let settings = OfferSettings {
        id,
        app,
        kind,
        name: columns.text()?,
        quantity: columns.take()?,
        per_user_limit: columns.take()?,
        min_per_claim: columns.take()?,
        max_per_claim: columns.take()?,
        hold_seconds: columns.take()?,
        unit_price: columns.take::<i64>()?.cast_unsigned(),
        opens_at: columns.time_or_none("opens_at")?,
        closes_at: columns.time_or_none("closes_at")?,
        zone: columns.id_or_none("zone", ZoneId::parse)?,
        pass_once: columns.take()?,
        grants: columns.id_or_none("grants", OfferId::parse)?,
        grant_only: columns.take()?,
        standby: columns.take()?,
        standby_hold_seconds: columns.take()?,
        confirm_by: columns.parsed("confirm_by", words::parse_confirm_by)?,
        revision: columns.take()?,
    };
    Ok(StoredOffer { number, version, settings })
}
