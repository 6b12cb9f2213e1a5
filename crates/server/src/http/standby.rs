//! Standby: the ordered wait for units that come back.

use crate::app::App;
use crate::auth::Caller;
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::offers::{path_id as offer_id, with_pass};
use crate::http::params::{Quantity, Segment, Text};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem, UNKNOWN_STANDBY};
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use bunho_domain::claim::StandbyStatus;
use bunho_domain::ids::{ClaimId, OfferId, StandbyId};
use bunho_domain::offer::{StandbyRequest, StandbyView as Place};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A place on standby.
#[derive(Serialize, ToSchema)]
pub(crate) struct StandbyView<'a> {
    #[schema(value_type = String)]
    id: Text<StandbyId>,
    offer: &'a str,
    user: &'a str,
    quantity: u32,
    /// `waiting`, `served`, `left` or `passed`.
    status: &'static str,
    /// 1 for who is served next; 0 once it no longer waits.
    position: u32,
    /// The claim it was served with.
    #[schema(value_type = Option<String>)]
    claim: Option<Text<ClaimId>>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Rfc3339,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Rfc3339,
}

/// Units to wait for.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewStandby {
    /// How many.
    #[schema(value_type = u32)]
    quantity: Quantity,
}

/// Joins an offer's standby.
#[utoipa::path(post, path = "/v1/offers/{id}/standby", tag = "standby", request_body = NewStandby,
    params(("id" = String, Path), ("Bunho-Pass" = Option<String>, Header)), responses((status = 201, body = StandbyView)))]
pub(crate) async fn join(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller, body: JsonBody) -> Answered {
    let user = caller.user()?;
    let offer = offer_id(&id)?;
    let wanted: NewStandby = body.parse()?;
    let nonce = app.engine.nonce();
    let ask = |pass| app.engine.join_standby(&offer, StandbyRequest { user, quantity: wanted.quantity.0, pass, nonce });
    let place = with_pass(&app, &offer, user, body.headers(), ask).await?;
    let mut response = answer(StatusCode::CREATED, &view(&place, &offer));
    let location = HeaderValue::from_str(&format!("/v1/standby/{}", place.standby.id)).unwrap_or(HeaderValue::from_static("/v1/standby"));
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// One place on standby.
#[utoipa::path(get, path = "/v1/standby/{id}", tag = "standby", params(("id" = String, Path)), responses((status = 200, body = StandbyView)))]
pub(crate) async fn read(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller) -> Answered {
    let place = app.engine.read_standby(caller.actor()?, path_id(&id)?).await??;
    let offer = app.engine.offer_id(place.standby.id.offer_number()).await.map_err(|_| Problem::new(&UNKNOWN_STANDBY))?;
    Ok(ok(&view(&place, &offer)))
}

/// Gives a place on standby up.
#[utoipa::path(delete, path = "/v1/standby/{id}", tag = "standby", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn leave(State(app): State<Arc<App>>, Segment(id): Segment, caller: Caller) -> Answered {
    app.engine.leave_standby(caller.actor()?, path_id(&id)?).await??;
    Ok(no_content())
}

fn path_id(text: &str) -> Result<StandbyId, Problem> {
    StandbyId::parse(text).map_err(|_| Problem::new(&UNKNOWN_STANDBY))
}

/// The word for how a place stands, here and wherever one is shown.
pub(crate) const fn status_word(status: StandbyStatus) -> &'static str {
    match status {
        StandbyStatus::Waiting => "waiting",
        StandbyStatus::Served => "served",
        StandbyStatus::Left => "left",
        StandbyStatus::Passed => "passed",
    }
}

fn view<'a>(place: &'a Place, offer: &'a OfferId) -> StandbyView<'a> {
    let standby = &place.standby;
    StandbyView {
        id: Text(standby.id),
        offer: offer.as_str(),
        user: standby.user.as_str(),
        quantity: standby.quantity,
        status: status_word(standby.status),
        position: place.position,
        claim: standby.claim.map(Text),
        created_at: Rfc3339(standby.created_at),
        updated_at: Rfc3339(standby.updated_at),
    }
}
