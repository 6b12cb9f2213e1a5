//! Everything at a glance: all zones and offers with their last half hour. One look at the engine, one statement for all minutes, and what
//! this node remembers of sales; nothing of it for each zone.

use super::offers::{OfferSettingsView, view as offer_view};
use super::zones::{ZoneView, view as zone_view};
use crate::app::App;
use crate::auth::Viewer;
use crate::http::json::ok;
use crate::http::offers::every;
use crate::http::time::Rfc3339;
use crate::live::{MINUTES_SHOWN, SoldMinute, minute_of};
use crate::problem::Answered;
use axum::extract::State;
use bunho_domain::event::ZoneMinute;
use bunho_domain::time::Millis;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use utoipa::ToSchema;

/// All zones and offers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Overview<'a> {
    #[schema(value_type = String, format = DateTime)]
    now: Rfc3339,
    zones: Vec<ZoneGlance<'a>>,
    #[schema(value_type = Vec<OfferGlance>)]
    offers: Vec<Value>,
}

/// A zone with its last half hour.
#[derive(Serialize, ToSchema)]
pub(crate) struct ZoneGlance<'a> {
    #[serde(flatten)]
    zone: ZoneView<'a>,
    /// The last 30 that are over, oldest first. One in which nobody waited or entered is zero.
    minutes: Vec<MinuteGlance>,
}

/// A minute of a zone.
#[derive(Clone, Copy, Serialize, ToSchema)]
pub(crate) struct MinuteGlance {
    #[schema(value_type = String, format = DateTime)]
    minute: Rfc3339,
    entered: u32,
    waiting: u32,
}

/// An offer with its last half hour.
#[derive(Serialize, ToSchema)]
pub(crate) struct OfferGlance<'a> {
    #[serde(flatten)]
    offer: OfferSettingsView<'a>,
    /// The last 30 with the one under way, oldest first: units confirmed, as this node has seen them since it started.
    sold: Vec<SoldGlance>,
}

/// A minute of an offer.
#[derive(Serialize, ToSchema)]
pub(crate) struct SoldGlance {
    #[schema(value_type = String, format = DateTime)]
    minute: Rfc3339,
    units: u32,
}

/// All zones and offers at a glance.
#[utoipa::path(get, path = "/admin/api/overview", tag = "admin", responses((status = 200, body = Overview)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer) -> Answered {
    let now = app.engine.now();
    let reports = app.engine.zones().await?;
    let first = minute_of(now).plus_ms(-MINUTES_SHOWN * 60_000);
    let rows = app.ledger.minutes_since(first).await?;
    let mut minutes: HashMap<&str, Vec<&ZoneMinute>> = HashMap::new();
    for row in &rows {
        minutes.entry(row.zone.as_str()).or_default().push(row);
    }
    let offers = every(&app, |settings, stock| {
        let sold = app.live.sold.of(&settings.id, now).into_iter();
        let sold = sold.map(|SoldMinute { minute, units }| SoldGlance { minute: Rfc3339(minute), units }).collect();
        serde_json::to_value(OfferGlance { offer: offer_view(settings, stock), sold })
    })
    .await?;
    let zones = reports.iter().map(|report| {
        let known = minutes.get(report.settings.id.as_str()).map_or(&[][..], Vec::as_slice);
        ZoneGlance { zone: zone_view(report), minutes: filled(known, first) }
    });
    Ok(ok(&Overview { now: Rfc3339(now), zones: zones.collect(), offers }))
}

/// Each minute from `first` on, also those of which there is no row.
fn filled(known: &[&ZoneMinute], first: Millis) -> Vec<MinuteGlance> {
    let mut minutes: Vec<_> =
        (0..MINUTES_SHOWN).map(|minute| MinuteGlance { minute: Rfc3339(first.plus_ms(minute * 60_000)), entered: 0, waiting: 0 }).collect();
    for row in known {
        let at = usize::try_from(row.minute.since_ms(first) / 60_000).ok();
        if let Some(minute) = at.and_then(|at| minutes.get_mut(at)) {
            (minute.entered, minute.waiting) = (row.entered, row.waiting);
        }
    }
    minutes
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::ids::ZoneId;

    #[test]
    fn minutes_without_a_row_are_zero() {
        let row = |minute: i64, entered| ZoneMinute {
            zone: ZoneId::parse("Z").expect("an id"),
            minute: Millis(minute * 60_000),
            entered,
            waiting: 2,
            dropped: 0,
            entry_limit: None,
        };
        let (one, two, later) = (row(100, 7), row(129, 9), row(130, 1));
        let shown = filled(&[&one, &two, &later], Millis(100 * 60_000));
        assert_eq!(shown.len(), 30);
        let numbers: Vec<_> = shown.iter().map(|minute| (minute.entered, minute.waiting)).collect();
        assert_eq!((numbers[0], numbers[1], numbers[29]), ((7, 2), (0, 0), (9, 2)));
    }
}
