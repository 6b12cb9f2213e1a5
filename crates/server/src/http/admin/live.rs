//! A zone as it moves: its numbers now, slot by slot, and what people were told against what it took.

use super::zones::{ZoneView, view};
use crate::app::App;
use crate::auth::Viewer;
use crate::http::json::ok;
use crate::http::params::Segment;
use crate::http::time::Rfc3339;
use crate::http::zones::path_id;
use crate::problem::Answered;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A zone with its last slots.
#[derive(Serialize, ToSchema)]
pub(crate) struct LiveView<'a> {
    #[serde(flatten)]
    zone: ZoneView<'a>,
    #[schema(value_type = String, format = DateTime)]
    now: Rfc3339,
    /// Most admissions of one slot; null: no limit.
    slot_quota: Option<u32>,
    /// Finished slots of `slot_seconds`, oldest first, at most 100, as this node has seen them since it started.
    slots: Vec<SlotView>,
    /// Some of those who entered, oldest first, at most 100.
    eta: Vec<EtaView>,
}

/// One slot.
#[derive(Serialize, ToSchema)]
pub(crate) struct SlotView {
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    entered: u32,
    /// At its end.
    waiting: u32,
    /// Who gave up.
    left: u32,
}

/// One who entered.
#[derive(Serialize, ToSchema)]
pub(crate) struct EtaView {
    /// When it entered.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// Seconds that it was told when it joined.
    told: u32,
    /// Seconds that it took.
    kept: u32,
}

/// A zone as it moves.
#[utoipa::path(get, path = "/admin/api/zones/{id}/live", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = LiveView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    let report = app.engine.zone(&id).await?;
    let (number, _) = app.engine.zone_generation(&id).await?;
    let slot = |slot: crate::live::Slot| SlotView { at: Rfc3339(slot.at), entered: slot.entered, waiting: slot.waiting, left: slot.left };
    let eta = |sample: crate::live::Estimate| EtaView { at: Rfc3339(sample.at), told: sample.told, kept: sample.kept };
    Ok(ok(&LiveView {
        zone: view(&report),
        now: Rfc3339(app.engine.now()),
        slot_quota: report.settings.slot_quota(),
        slots: app.live.slots.of(&id).into_iter().map(slot).collect(),
        eta: app.live.estimates.of(&id, number).into_iter().map(eta).collect(),
    }))
}
