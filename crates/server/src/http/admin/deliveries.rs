//! What waits for a webhook, and what was given up.

use super::webhooks::{asked, known};
use super::{now, to_the_end};
use crate::app::App;
use crate::auth::{Operator, Viewer};
use crate::http::json::{JsonBody, ok};
use crate::http::params::{Params, Segment, page};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, NOT_FOUND, Problem};
use axum::extract::State;
use bunho_ledger::{DeliveryFilter, DeliveryRow};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Which messages.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveryParams {
    /// `pending` or `dead`; `dead` if absent.
    state: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
}

/// One message, or all of a webhook, that were given up.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeliveryBody {
    /// Its number; all if absent.
    delivery: Option<i64>,
}

/// Messages to forget.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiscardBody {
    /// Its number; all if absent.
    delivery: Option<i64>,
    /// `dead`, those that were given up, if absent; `pending`: those that wait, which can be forgotten while the webhook is turned off.
    state: Option<String>,
}

/// A message.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryView<'a> {
    delivery: i64,
    /// The message's `id`.
    event: &'a str,
    /// Its `type`.
    r#type: &'a str,
    /// When what it tells of was decided.
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
    /// `pending` or `dead`.
    state: &'static str,
    attempts: u32,
    /// When it is tried next; null: as soon as can be, or never.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Rfc3339>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Rfc3339>,
    last_status: Option<u16>,
    last_error: Option<&'a str>,
}

/// A page of messages, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveryList<'a> {
    deliveries: Vec<DeliveryView<'a>>,
    /// Give it as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// What was done.
#[derive(Serialize, ToSchema)]
pub(crate) struct DeliveriesChanged {
    /// So many messages.
    count: u64,
}

/// What waits for a webhook, or was given up.
#[utoipa::path(get, path = "/admin/api/webhooks/{id}/deliveries", tag = "admin", params(("id" = String, Path), DeliveryParams),
    responses((status = 200, body = DeliveryList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment, Params(params): Params<DeliveryParams>) -> Answered {
    let filter = filter(params.state.as_deref())?;
    let limit = page(params.limit)?;
    let wrong = |_| Problem::field("cursor", "must be a next_cursor from an earlier answer");
    let cursor = params.cursor.as_deref().map(|text| text.parse::<i64>().map_err(wrong)).transpose()?;
    known(&app, &id).await?;
    let rows = app.ledger.deliveries(&id, filter, cursor, limit).await?;
    let next_cursor = rows.last().filter(|row| rows.len() == limit && row.seq > 1).map(|row| row.seq.to_string());
    Ok(ok(&DeliveryList { deliveries: rows.iter().map(view).collect(), next_cursor }))
}

/// Sends what was given up once more, from its first attempt on.
#[utoipa::path(post, path = "/admin/api/webhooks/{id}/redeliver", tag = "admin", request_body = DeliveryBody, params(("id" = String, Path)),
    responses((status = 200, body = DeliveriesChanged)))]
pub(crate) async fn redeliver(State(app): State<Arc<App>>, Operator(admin): Operator, Segment(id): Segment, body: JsonBody) -> Answered {
    let DeliveryBody { delivery } = body.parse()?;
    known(&app, &id).await?;
    let audit = asked(&admin, "webhook.redeliver", &id, body.value());
    to_the_end(async move {
        let count = app.ledger.redeliver(&id, delivery, now(), &audit).await.map_err(|error| Problem::unwritten(&error))?;
        app.webhooks.hurry(&id);
        counted(delivery, count)
    })
    .await
}

/// Forgets what was given up; or what waits for a webhook that is turned off, which nobody is told of then.
#[utoipa::path(post, path = "/admin/api/webhooks/{id}/discard", tag = "admin", request_body = DiscardBody, params(("id" = String, Path)),
    responses((status = 200, body = DeliveriesChanged)))]
pub(crate) async fn discard(State(app): State<Arc<App>>, Operator(admin): Operator, Segment(id): Segment, body: JsonBody) -> Answered {
    let DiscardBody { delivery, state } = body.parse()?;
    let filter = filter(state.as_deref())?;
    let webhook = known(&app, &id).await?;
    if filter == DeliveryFilter::Pending && webhook.enabled {
        return Err(Problem::field("state", "can be pending only while the webhook is turned off"));
    }
    let audit = asked(&admin, "webhook.discard", &id, body.value());
    to_the_end(async move {
        let forgotten = match filter {
            DeliveryFilter::Dead => app.ledger.discard(&id, delivery, now(), &audit).await,
            DeliveryFilter::Pending => app.ledger.discard_pending(&id, delivery, now(), &audit).await,
        };
        counted(delivery, forgotten.map_err(|error| Problem::unwritten(&error))?)
    })
    .await
}

fn filter(state: Option<&str>) -> Result<DeliveryFilter, Problem> {
    match state {
        Some("pending") => Ok(DeliveryFilter::Pending),
        Some("dead") | None => Ok(DeliveryFilter::Dead),
        Some(_) => Err(Problem::field("state", "must be pending or dead")),
    }
}

fn counted(delivery: Option<i64>, count: u64) -> Answered {
    if delivery.is_some() && count == 0 {
        return Err(Problem::new(&NOT_FOUND).detail("There is no such message in that state"));
    }
    Ok(ok(&DeliveriesChanged { count }))
}

fn view(row: &DeliveryRow) -> DeliveryView<'_> {
    DeliveryView {
        delivery: row.seq,
        event: &row.event,
        r#type: &row.event_type,
        at: Rfc3339(row.at),
        state: if row.dead { "dead" } else { "pending" },
        attempts: row.attempts,
        next_attempt_at: Some(row.next_at).filter(|at| at.0 > 0 && !row.dead).map(Rfc3339),
        last_attempt_at: row.last.as_ref().map(|last| Rfc3339(last.at)),
        last_status: row.last.as_ref().and_then(|last| last.status),
        last_error: row.last.as_ref().and_then(|last| last.error.as_deref()),
    }
}
