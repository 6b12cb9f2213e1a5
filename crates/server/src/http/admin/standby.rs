//! Who waits for units of an offer.

use crate::app::App;
use crate::auth::Viewer;
use crate::http::claims::caught_up;
use crate::http::json::ok;
use crate::http::offers::path_id;
use crate::http::params::{Params, Segment, Text, page};
use crate::http::standby::status_word;
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem};
use axum::extract::State;
use bunho_domain::ids::StandbyId;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// Which places.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct StandbyParams {
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
}

/// A page of an offer's standby, in the order of joining.
#[derive(Serialize, ToSchema)]
pub(crate) struct StandbyList<'a> {
    standby: Vec<StandbyEntry<'a>>,
    /// Give it as `cursor` for the next page; null at the end.
    next_cursor: Option<String>,
}

/// A place on standby.
#[derive(Serialize, ToSchema)]
pub(crate) struct StandbyEntry<'a> {
    #[schema(value_type = String)]
    id: Text<StandbyId>,
    user: &'a str,
    quantity: u32,
    /// `waiting`, `served`, `left` or `passed`.
    status: &'static str,
    /// 1 for who is served next; null once it no longer waits.
    position: Option<u32>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
}

/// An offer's standby in the order of joining.
#[utoipa::path(get, path = "/admin/api/offers/{id}/standby", tag = "admin", params(("id" = String, Path), StandbyParams),
    responses((status = 200, body = StandbyList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment, Params(params): Params<StandbyParams>) -> Answered {
    let limit = page(params.limit)?;
    let wrong = |_| Problem::field("cursor", "must be a next_cursor from an earlier answer");
    let cursor = params.cursor.as_deref().map(|text| StandbyId::parse(text).map_err(wrong)).transpose()?;
    let number = app.engine.offer_number(&path_id(&id)?).await?;
    caught_up(&app).await?;
    let page = app.ledger.standby_of_offer(number, cursor, limit).await?;
    let standby = page.places.iter().map(|(place, position)| StandbyEntry {
        id: Text(place.id),
        user: place.user.as_str(),
        quantity: place.quantity,
        status: status_word(place.status),
        position: *position,
        created_at: Rfc3339(place.created_at),
    });
    Ok(ok(&StandbyList { standby: standby.collect(), next_cursor: page.next.map(|id| id.to_string()) }))
}
