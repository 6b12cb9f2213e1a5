//! Zones: settings in and out, pausing, resetting, history.

use super::{app_id, check_id, if_match, now, trail, with_etag};
use crate::app::App;
use crate::auth::{Admin, Operator, Viewer};
use crate::http::claims::caught_up;
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::params::{Number, Params, Segment};
use crate::http::time::{Rfc3339, parse};
use crate::http::traffic::state_word;
use crate::http::zones::path_id;
use crate::problem::{Answered, Problem};
use axum::extract::State;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bunho_domain::event::ZoneMinute;
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::line::door::{Door, Enqueue};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::time::Millis;
use bunho_engine::{EngineError, ZoneReport};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// History of a zone when the query does not say from when.
const MINUTES_DEFAULT_MS: i64 = 3_600_000;

/// A zone's settings; only `entry_limit_per_minute` is required. Absent ones are their defaults.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ZoneBody {
    id: Option<String>,
    app: Option<String>,
    name: Option<String>,
    /// Most admissions in any 60 seconds; 0: closed; null: no limit.
    #[serde(deserialize_with = "Option::deserialize")]
    #[schema(value_type = Option<u32>, required)]
    entry_limit_per_minute: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    window_seconds: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    slot_seconds: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    abandon_after_seconds: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    resume_grace_seconds: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    poll_interval_ms: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    poll_interval_max_ms: Option<Number<u32>>,
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Rfc3339>,
    /// Absent: as it is.
    paused: Option<bool>,
    #[schema(value_type = Option<u32>)]
    active_limit: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    session_seconds: Option<Number<u32>>,
    #[schema(value_type = Option<u32>)]
    pass_ttl_seconds: Option<Number<u32>>,
    offer: Option<String>,
    message: Option<String>,
    /// Zero bits of the work that a join must show; 0: none.
    #[schema(value_type = Option<u32>)]
    challenge_bits: Option<Number<u32>>,
    /// `open`, or `token`: who joins needs a token of the operator's own site.
    #[schema(value_type = Option<String>)]
    enqueue: Option<String>,
    /// Whether tickets and passes name the key that their holder joined with.
    pass_bound: Option<bool>,
}

/// A zone with its numbers.
#[derive(Serialize, ToSchema)]
pub(crate) struct ZoneView<'a> {
    id: &'a str,
    app: &'a str,
    name: &'a str,
    entry_limit_per_minute: Option<u32>,
    window_seconds: u32,
    slot_seconds: u32,
    abandon_after_seconds: u32,
    resume_grace_seconds: u32,
    poll_interval_ms: u32,
    poll_interval_max_ms: u32,
    #[schema(value_type = Option<String>, format = DateTime)]
    opens_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    closes_at: Option<Rfc3339>,
    paused: bool,
    active_limit: Option<u32>,
    session_seconds: u32,
    pass_ttl_seconds: u32,
    offer: Option<&'a str>,
    message: Option<&'a str>,
    challenge_bits: u32,
    enqueue: &'static str,
    pass_bound: bool,
    /// Raised by every edit; also the `ETag`.
    revision: u32,
    /// Raised by every reset.
    epoch: u32,
    /// `waiting`, `not_open`, `paused`, `closed`, `sold_out` or `recovering`.
    state: &'static str,
    waiting: u32,
    entered_last_minute: u32,
    estimated_seconds: Option<u32>,
    /// People inside.
    active: u32,
}

/// Every zone.
#[derive(Serialize, ToSchema)]
pub(crate) struct ZoneList<'a> {
    zones: Vec<ZoneView<'a>>,
}

/// A stretch of time.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MinutesParams {
    /// `json` (if absent) or `csv`.
    format: Option<String>,
    /// First minute; an hour before `to` if absent.
    from: Option<String>,
    /// End, not included; now if absent.
    to: Option<String>,
}

/// A zone's history, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct MinuteList {
    minutes: Vec<MinuteView>,
}

/// One minute.
#[derive(Serialize, ToSchema)]
pub(crate) struct MinuteView {
    #[schema(value_type = String, format = DateTime)]
    minute: Rfc3339,
    entered: u32,
    waiting: u32,
    dropped: u32,
    entry_limit: Option<u32>,
}

/// Every zone.
#[utoipa::path(get, path = "/admin/api/zones", tag = "admin", responses((status = 200, body = ZoneList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Viewer) -> Answered {
    let reports = app.engine.zones().await?;
    Ok(ok(&ZoneList { zones: reports.iter().map(view).collect() }))
}

/// One zone.
#[utoipa::path(get, path = "/admin/api/zones/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = ZoneView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment) -> Answered {
    show(&app, &path_id(&id)?, StatusCode::OK).await
}

/// Creates or replaces a zone.
#[utoipa::path(put, path = "/admin/api/zones/{id}", tag = "admin", request_body = ZoneBody,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = ZoneView), (status = 201, body = ZoneView)))]
pub(crate) async fn put(
    State(app): State<Arc<App>>,
    Operator(operator): Operator,
    Segment(id): Segment,
    headers: HeaderMap,
    body: JsonBody,
) -> Answered {
    let id = ZoneId::parse(&id).map_err(|error| Problem::field("id", error.to_string()))?;
    let revision = if_match(&headers)?;
    let wanted: ZoneBody = body.parse()?;
    check_id(id.as_str(), wanted.id.as_deref())?;
    let paused = wanted.paused;
    let settings = wanted.settings(&id)?;
    settings.check().map_err(Problem::settings)?;
    if settings.door.enqueue == Enqueue::Token && !app.doorkeeper.load().knows_tokens() {
        return Err(Problem::field("enqueue", "needs [join.token] in the server's settings: nobody could join"));
    }
    let before = settings_of(&app, &id).await?;
    let kept_pause = before.as_ref().map_or(settings.paused, |before| before.paused);
    let after = ZoneSettings { paused: kept_pause, ..settings.clone() };
    let detail = trail(Some(body.value()), before.as_deref().map_or(Value::Null, audited), audited(&after));
    let audit = operator.audit("zone.put", id.as_str(), detail);
    let created = app.engine.put_zone(settings, revision, audit).await?;
    // Replacing settings leaves a pause as it is; whoever names it means it.
    if let Some(paused) = paused.filter(|_| !created)
        && app.engine.zone(&id).await?.settings.paused != paused
    {
        pause_or_resume(&app, &operator, &id, paused).await?;
    }
    show(&app, &id, if created { StatusCode::CREATED } else { StatusCode::OK }).await
}

/// Deletes a zone in which nobody waits or is inside.
#[utoipa::path(delete, path = "/admin/api/zones/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn delete(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment) -> Answered {
    let zone = path_id(&id)?;
    let settings = app.engine.zone(&zone).await?.settings;
    let (number, before) = (app.engine.zone_settings(&zone).await?.0, audited(&settings));
    app.engine.delete_zone(&zone, operator.audit("zone.delete", id, trail(None, before, Value::Null))).await?;
    // Nobody is ever shown it again, so what is left of it where this fails does no harm.
    if let Err(error) = app.ledger.delete_page(number).await {
        tracing::warn!(number, error = crate::exit::chain(&error), "the waiting page of a deleted zone stays in the ledger");
    }
    Ok(no_content())
}

/// Lets nobody in for now; the order is kept.
#[utoipa::path(post, path = "/admin/api/zones/{id}/pause", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = ZoneView)))]
pub(crate) async fn pause(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    pause_or_resume(&app, &operator, &id, true).await?;
    show(&app, &id, StatusCode::OK).await
}

/// Goes on.
#[utoipa::path(post, path = "/admin/api/zones/{id}/resume", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = ZoneView)))]
pub(crate) async fn resume(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    pause_or_resume(&app, &operator, &id, false).await?;
    show(&app, &id, StatusCode::OK).await
}

/// Ends every ticket and pass and begins a new line.
#[utoipa::path(post, path = "/admin/api/zones/{id}/reset", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = ZoneView)))]
pub(crate) async fn reset(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    let epoch = app.engine.zone(&id).await?.settings.epoch;
    let detail = trail(None, json!({"epoch": epoch}), json!({"epoch": epoch.saturating_add(1)}));
    app.engine.reset_zone(&id, admin.audit("zone.reset", id.as_str(), detail)).await?;
    show(&app, &id, StatusCode::OK).await
}

/// A zone's history by the minute; at most a week.
#[utoipa::path(get, path = "/admin/api/zones/{id}/minutes", tag = "admin", params(("id" = String, Path), MinutesParams),
    responses((status = 200, content((MinuteList = "application/json"), (String = "text/csv")))))]
pub(crate) async fn minutes(
    State(app): State<Arc<App>>,
    _: Viewer,
    Segment(id): Segment,
    Params(params): Params<MinutesParams>,
) -> Answered {
    let id = path_id(&id)?;
    let is_csv = match params.format.as_deref() {
        None | Some("json") => false,
        Some("csv") => true,
        Some(_) => return Err(Problem::field("format", "must be json or csv")),
    };
    app.engine.zone(&id).await?;
    let to = time("to", params.to.as_deref())?.unwrap_or_else(now);
    let from = time("from", params.from.as_deref())?.unwrap_or(to.plus_ms(-MINUTES_DEFAULT_MS));
    caught_up(&app).await?;
    let minutes = app.ledger.zone_minutes(&id, from, to).await?;
    if is_csv {
        return Ok(csv(&id, &minutes));
    }
    let view = minutes.into_iter().map(|minute| MinuteView {
        minute: Rfc3339(minute.minute),
        entered: minute.entered,
        waiting: minute.waiting,
        dropped: minute.dropped,
        entry_limit: minute.entry_limit,
    });
    Ok(ok(&MinuteList { minutes: view.collect() }))
}

/// As a table for a spreadsheet. Nothing in it was written by people, so nothing needs quotes.
fn csv(id: &ZoneId, minutes: &[ZoneMinute]) -> Response {
    let mut text = String::from("minute,entered,waiting,dropped,entry_limit\r\n");
    for ZoneMinute { minute, entered, waiting, dropped, entry_limit, .. } in minutes {
        let limit = entry_limit.map_or_else(String::new, |limit| limit.to_string());
        // Writing to a String does not fail.
        let _ = write!(text, "{},{entered},{waiting},{dropped},{limit}\r\n", Rfc3339(*minute));
    }
    // A colon is fine in an id and not in a name of a file.
    let name = format!("attachment; filename=\"{}-minutes.csv\"", id.as_str().replace(':', "-"));
    let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, &*name)];
    (headers, text).into_response()
}

async fn pause_or_resume(app: &App, who: &crate::auth::Administrator, id: &ZoneId, paused: bool) -> Result<(), Problem> {
    let action = if paused { "zone.pause" } else { "zone.resume" };
    let before = app.engine.zone(id).await?.settings;
    let after = ZoneSettings { paused, ..(*before).clone() };
    Ok(app.engine.pause_zone(id, paused, who.audit(action, id.as_str(), trail(None, audited(&before), audited(&after)))).await?)
}

pub(super) fn time(field: &'static str, text: Option<&str>) -> Result<Option<Millis>, Problem> {
    text.map(|text| parse(text).ok_or_else(|| Problem::field(field, "must be an RFC 3339 time"))).transpose()
}

async fn show(app: &App, id: &ZoneId, status: StatusCode) -> Answered {
    let report = app.engine.zone(id).await?;
    Ok(with_etag(answer(status, &view(&report)), report.settings.revision))
}

/// The settings that a zone has now; none: there is no such zone.
async fn settings_of(app: &App, id: &ZoneId) -> Result<Option<Arc<ZoneSettings>>, Problem> {
    match app.engine.zone(id).await {
        Ok(report) => Ok(Some(report.settings)),
        Err(EngineError::UnknownZone) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// What of a zone stands in the audit log: what a PUT takes, so that the last change can be taken back by putting what was before.
fn audited(settings: &ZoneSettings) -> Value {
    json!({
        "app": settings.app.as_str(),
        "name": &*settings.name,
        "entry_limit_per_minute": settings.entry_limit_per_minute,
        "window_seconds": settings.window_seconds,
        "slot_seconds": settings.slot_seconds,
        "abandon_after_seconds": settings.abandon_after_seconds,
        "resume_grace_seconds": settings.resume_grace_seconds,
        "poll_interval_ms": settings.poll_interval_ms,
        "poll_interval_max_ms": settings.poll_interval_max_ms,
        "opens_at": settings.opens_at.map(Rfc3339),
        "closes_at": settings.closes_at.map(Rfc3339),
        "paused": settings.paused,
        "active_limit": settings.active_limit,
        "session_seconds": settings.session_seconds,
        "pass_ttl_seconds": settings.pass_ttl_seconds,
        "offer": settings.offer.as_ref().map(OfferId::as_str),
        "message": settings.message.as_deref(),
        "challenge_bits": settings.door.challenge_bits,
        "enqueue": enqueue_word(settings.door.enqueue),
        "pass_bound": settings.door.pass_bound,
    })
}

impl ZoneBody {
    fn settings(self, id: &ZoneId) -> Result<ZoneSettings, Problem> {
        let mut settings = ZoneSettings::new(id.clone(), app_id(self.app.as_deref())?, self.entry_limit_per_minute.map(|limit| limit.0));
        let mut set = |target: fn(&mut ZoneSettings) -> &mut u32, value: Option<Number<u32>>| {
            if let Some(Number(value)) = value {
                *target(&mut settings) = value;
            }
        };
        set(|s| &mut s.window_seconds, self.window_seconds);
        set(|s| &mut s.slot_seconds, self.slot_seconds);
        set(|s| &mut s.abandon_after_seconds, self.abandon_after_seconds);
        set(|s| &mut s.resume_grace_seconds, self.resume_grace_seconds);
        set(|s| &mut s.poll_interval_ms, self.poll_interval_ms);
        set(|s| &mut s.poll_interval_max_ms, self.poll_interval_max_ms);
        set(|s| &mut s.session_seconds, self.session_seconds);
        set(|s| &mut s.pass_ttl_seconds, self.pass_ttl_seconds);
        if self.poll_interval_max_ms.is_none() {
            // The default must fit with what was set: below half of when a ticket is dropped, not below the shortest interval.
            let half = (settings.abandon_after_seconds.saturating_mul(500)).saturating_sub(1);
            settings.poll_interval_max_ms = settings.poll_interval_max_ms.min(half).max(settings.poll_interval_ms);
        }
        if self.slot_seconds.is_none() {
            settings.slot_seconds = settings.slot_seconds.min(settings.window_seconds);
        }
        if let Some(name) = self.name {
            settings.name = name.into();
        }
        settings.opens_at = self.opens_at.map(|at| at.0);
        settings.closes_at = self.closes_at.map(|at| at.0);
        settings.paused = self.paused.unwrap_or(false);
        settings.active_limit = self.active_limit.map(|limit| limit.0);
        settings.offer =
            self.offer.map(|text| OfferId::parse(&text).map_err(|error| Problem::field("offer", error.to_string()))).transpose()?;
        settings.message = self.message.map(Into::into);
        settings.door = Door {
            challenge_bits: self.challenge_bits.map_or(0, |bits| bits.0),
            enqueue: match self.enqueue.as_deref() {
                None | Some("open") => Enqueue::Open,
                Some("token") => Enqueue::Token,
                Some(_) => return Err(Problem::field("enqueue", "must be open or token")),
            },
            pass_bound: self.pass_bound.unwrap_or(false),
        };
        Ok(settings)
    }
}

const fn enqueue_word(whom: Enqueue) -> &'static str {
    match whom {
        Enqueue::Open => "open",
        Enqueue::Token => "token",
    }
}

pub(super) fn view(report: &ZoneReport) -> ZoneView<'_> {
    let ZoneReport { settings, status, .. } = report;
    ZoneView {
        id: settings.id.as_str(),
        app: settings.app.as_str(),
        name: &settings.name,
        entry_limit_per_minute: settings.entry_limit_per_minute,
        window_seconds: settings.window_seconds,
        slot_seconds: settings.slot_seconds,
        abandon_after_seconds: settings.abandon_after_seconds,
        resume_grace_seconds: settings.resume_grace_seconds,
        poll_interval_ms: settings.poll_interval_ms,
        poll_interval_max_ms: settings.poll_interval_max_ms,
        opens_at: settings.opens_at.map(Rfc3339),
        closes_at: settings.closes_at.map(Rfc3339),
        paused: settings.paused,
        active_limit: settings.active_limit,
        session_seconds: settings.session_seconds,
        pass_ttl_seconds: settings.pass_ttl_seconds,
        offer: settings.offer.as_ref().map(OfferId::as_str),
        message: settings.message.as_deref(),
        challenge_bits: settings.door.challenge_bits,
        enqueue: enqueue_word(settings.door.enqueue),
        pass_bound: settings.door.pass_bound,
        revision: settings.revision,
        epoch: settings.epoch,
        state: state_word(status.state),
        waiting: status.waiting,
        entered_last_minute: status.entered_last_minute,
        estimated_seconds: status.estimated_seconds,
        active: status.active,
    }
}
