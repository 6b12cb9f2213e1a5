//! A zone as anyone may see it.

use crate::app::App;
use crate::http::json::ok;
use crate::http::params::Segment;
use crate::http::traffic::state_word;
use crate::problem::{Answered, Problem, UNKNOWN_ZONE};
use axum::extract::State;
use axum::http::HeaderValue;
use axum::http::header::CACHE_CONTROL;
use bunho_domain::ids::ZoneId;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A zone's numbers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ZoneStatus<'a> {
    /// The zone.
    zone_id: &'a str,
    /// `waiting`, `not_open`, `paused`, `closed`, `sold_out` or `recovering`.
    state: &'static str,
    /// People waiting.
    waiting: u32,
    /// Admissions in the last 60 seconds.
    entered_last_minute: u32,
    /// The limit; null: none.
    limit_per_minute: Option<u32>,
    /// Seconds that one who joined now would wait; null where it cannot be said.
    estimated_seconds: Option<u32>,
}

/// A zone's numbers, for displays. May be a second old.
#[utoipa::path(get, path = "/zones/{zone}/status", tag = "line", params(("zone" = String, Path)), responses((status = 200, body = ZoneStatus)))]
pub(crate) async fn status(State(app): State<Arc<App>>, Segment(zone): Segment) -> Answered {
    let report = app.engine.zone(&path_id(&zone)?).await?;
    let status = &report.status;
    let mut response = ok(&ZoneStatus {
        zone_id: report.settings.id.as_str(),
        state: state_word(status.state),
        waiting: status.waiting,
        entered_last_minute: status.entered_last_minute,
        limit_per_minute: status.limit_per_minute,
        estimated_seconds: status.estimated_seconds,
    });
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=1"));
    Ok(response)
}

/// A zone's id in a path: what cannot be one is not there.
pub(crate) fn path_id(text: &str) -> Result<ZoneId, Problem> {
    ZoneId::parse(text).map_err(|_| Problem::new(&UNKNOWN_ZONE))
}
