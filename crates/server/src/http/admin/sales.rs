//! What became of an offer's units, minute by minute.

use super::now;
use super::zones::time;
use crate::app::App;
use crate::auth::Viewer;
use crate::http::claims::caught_up;
use crate::http::json::ok;
use crate::http::offers::path_id;
use crate::http::params::{Params, Segment};
use crate::http::time::Rfc3339;
use crate::live::minute_of;
use crate::problem::{Answered, Problem};
use axum::extract::State;
use bunho_domain::claim::Status;
use bunho_domain::time::Millis;
use bunho_ledger::{Ledger, LedgerError, SoldUnits};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;
use utoipa::{IntoParams, ToSchema};

const MINUTE_MS: i64 = 60_000;
/// Minutes of one answer at most: a day.
const POINTS_MAX: i64 = 1_440;
/// Minutes when the query does not say from when.
const POINTS_DEFAULT: i64 = 60;

/// A stretch of time, in whole minutes.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SalesParams {
    /// First minute; an hour before `to` if absent.
    from: Option<String>,
    /// End, not included; the end of the minute under way if absent. At most a day after `from`.
    to: Option<String>,
}

/// Every minute from `from` to `to`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Sales {
    points: Vec<SalesPoint>,
}

/// Units of one minute by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct SalesPoint {
    #[schema(value_type = String, format = DateTime)]
    minute: Rfc3339,
    /// Taken, held or confirmed at once.
    claimed: u64,
    confirmed: u64,
    released: u64,
    expired: u64,
    returned: u64,
}

/// An offer's sales by the minute; at most a day.
#[utoipa::path(get, path = "/admin/api/offers/{id}/sales", tag = "admin", params(("id" = String, Path), SalesParams),
    responses((status = 200, body = Sales)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment, Params(params): Params<SalesParams>) -> Answered {
    let number = app.engine.offer_number(&path_id(&id)?).await?;
    let to = time("to", params.to.as_deref())?.unwrap_or_else(now);
    let to = minute_of(to.plus_ms(MINUTE_MS - 1));
    let from = minute_of(time("from", params.from.as_deref())?.unwrap_or(to.plus_ms(-POINTS_DEFAULT * MINUTE_MS)));
    let points = to.since_ms(from) / MINUTE_MS;
    if !(0..=POINTS_MAX).contains(&points) {
        return Err(Problem::field("from", format!("must be at most {POINTS_MAX} minutes before to, and not after it")));
    }
    caught_up(&app).await?;
    let units = app.sales.of(&app.ledger, number, from, to).await?;
    Ok(ok(&Sales { points: filled(&units, from, points) }))
}

/// Counting reads every claim of an offer, so one count runs at a time, and is shown again for so long that counting takes a twentieth of
/// the time at most: an offer of few claims is counted for each question, one of a million every few seconds however many look.
#[derive(Debug, Default)]
pub(crate) struct Counted(tokio::sync::Mutex<HashMap<(u32, i64, i64), Count>>);

#[derive(Debug)]
struct Count {
    units: Arc<[SoldUnits]>,
    shown_until: Instant,
}

/// One counting in so many of its durations.
const SHOWN_TIMES: u32 = 20;
/// Counts that are remembered at most; each is 1,440 minutes of a few rows of 32 bytes.
const REMEMBERED_MAX: usize = 32;

impl Counted {
    async fn of(&self, ledger: &Ledger, offer: u32, from: Millis, to: Millis) -> Result<Arc<[SoldUnits]>, LedgerError> {
        let key = (offer, from.0, to.0);
        let mut counts = self.0.lock().await;
        let began = Instant::now();
        counts.retain(|_, count| count.shown_until > began);
        if let Some(count) = counts.get(&key) {
            return Ok(count.units.clone());
        }
        let units: Arc<[SoldUnits]> = ledger.sold_units(offer, from, to).await?.into();
        let now = Instant::now();
        if counts.len() < REMEMBERED_MAX {
            counts.insert(key, Count { units: units.clone(), shown_until: now + (now - began) * SHOWN_TIMES });
        }
        Ok(units)
    }
}

fn filled(units: &[SoldUnits], from: Millis, points: i64) -> Vec<SalesPoint> {
    let empty = |minute| SalesPoint { minute: Rfc3339(minute), claimed: 0, confirmed: 0, released: 0, expired: 0, returned: 0 };
    let mut filled: Vec<_> = (0..points).map(|point| empty(from.plus_ms(point * MINUTE_MS))).collect();
    for sold in units {
        let at = usize::try_from(sold.minute.since_ms(from) / MINUTE_MS).ok();
        let Some(point) = at.and_then(|at| filled.get_mut(at)) else { continue };
        if sold.is_first {
            point.claimed += sold.units;
        }
        match sold.status {
            Status::Held => {}
            Status::Confirmed => point.confirmed += sold.units,
            Status::Released => point.released += sold.units,
            Status::Expired => point.expired += sold.units,
            Status::Returned => point.returned += sold.units,
        }
    }
    filled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_minute_has_a_point() {
        let sold = |minute: i64, status, is_first, units| SoldUnits { minute: Millis(minute * MINUTE_MS), status, is_first, units };
        let units = [
            sold(1, Status::Held, true, 5),
            sold(1, Status::Confirmed, true, 2),
            sold(1, Status::Confirmed, false, 3),
            sold(2, Status::Expired, false, 1),
        ];
        let points = filled(&units, Millis(0), 4);
        let shown = |claimed, confirmed, expired, minute| SalesPoint {
            minute: Rfc3339(Millis(minute * MINUTE_MS)),
            claimed,
            confirmed,
            released: 0,
            expired,
            returned: 0,
        };
        assert_eq!(points, [shown(0, 0, 0, 0), shown(7, 5, 0, 1), shown(0, 0, 1, 2), shown(0, 0, 0, 3)]);
    }
}
