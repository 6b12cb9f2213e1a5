//! Claims for operators: found by user or offer, with what became of each, and taken back.

use super::trail;
use crate::app::App;
use crate::auth::{Operator, Viewer};
use crate::http::claims::{ClaimList, ClaimView, caught_up, list_view, path_id, show};
use crate::http::json::{JsonBody, ok};
use crate::http::offers::path_id as offer_id;
use crate::http::params::{Params, Segment, page, read_cursor, read_status, read_user};
use crate::http::time::Rfc3339;
use crate::problem::{Answered, Problem, UNKNOWN_CLAIM, status_word};
use axum::extract::State;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::OfferId;
use bunho_domain::offer::{Actor, Restock};
use bunho_ledger::ClaimQuery;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// What becomes of the units.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Return {
    /// True: they can be taken again, by standby first. False: they leave the offer.
    restock: bool,
}

/// Which claims; a user or an offer must be named.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchParams {
    /// Whose, in full.
    user: Option<String>,
    /// Only of this offer.
    offer: Option<String>,
    /// Only those that stand so.
    status: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// 1 to 200; 50 if absent.
    limit: Option<u32>,
}

/// A claim with what became of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimHistory<'a> {
    #[serde(flatten)]
    claim: ClaimView<'a>,
    /// Oldest first.
    events: Vec<ClaimEventView>,
}

/// A state that a claim had.
#[derive(Serialize, ToSchema)]
pub(crate) struct ClaimEventView {
    version: u32,
    /// `held`, `confirmed`, `released`, `expired` or `returned`.
    status: &'static str,
    quantity: u32,
    #[schema(value_type = String, format = DateTime)]
    at: Rfc3339,
}

/// Claims of a user, newest first; or of an offer, in the order of taking.
#[utoipa::path(get, path = "/admin/api/claims", tag = "admin", params(SearchParams), responses((status = 200, body = ClaimList)))]
pub(crate) async fn search(State(app): State<Arc<App>>, _: Viewer, Params(params): Params<SearchParams>) -> Answered {
    let (status, cursor, limit) = (read_status(params.status.as_deref())?, read_cursor(params.cursor.as_deref())?, page(params.limit)?);
    let user = read_user(params.user.as_deref())?;
    let page = match (&user, params.offer.as_deref()) {
        (Some(user), offer) => {
            let offer = offer.map(|text| OfferId::parse(text).map_err(|error| Problem::field("offer", error.to_string()))).transpose()?;
            caught_up(&app).await?;
            app.ledger.claims_of_user(&ClaimQuery { user, offer: offer.as_ref(), status, cursor, limit }).await?
        }
        (None, Some(offer)) => {
            let number = app.engine.offer_number(&offer_id(offer)?).await?;
            caught_up(&app).await?;
            app.ledger.claims_of_offer(number, status, cursor, limit).await?
        }
        (None, None) => return Err(Problem::field("user", "must be named, or offer")),
    };
    Ok(ok(&list_view(&page)))
}

/// One claim with what became of it; also of an offer that was deleted.
#[utoipa::path(get, path = "/admin/api/claims/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 200, body = ClaimHistory)))]
pub(crate) async fn read(State(app): State<Arc<App>>, _: Viewer, Segment(id): Segment) -> Answered {
    let id = path_id(&id)?;
    caught_up(&app).await?;
    let row = app.ledger.claim(id).await?.ok_or_else(|| Problem::new(&UNKNOWN_CLAIM))?;
    let states = app.ledger.claim_states(id).await?;
    let events = states.iter().map(|state| ClaimEventView {
        version: state.version,
        status: status_word(state.status),
        quantity: state.quantity,
        at: Rfc3339(state.at),
    });
    Ok(ok(&ClaimHistory { claim: ClaimView::new(&row.claim, &row.offer), events: events.collect() }))
}

/// Takes a confirmed claim back. Again: the same claim.
#[utoipa::path(post, path = "/admin/api/claims/{id}/return", tag = "admin", request_body = Return, params(("id" = String, Path)),
    responses((status = 200, body = ClaimView)))]
pub(crate) async fn take_back(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment, body: JsonBody) -> Answered {
    let claim = path_id(&id)?;
    let Return { restock } = body.parse()?;
    let restock = if restock { Restock::Yes } else { Restock::No };
    let before = app.engine.read_claim(Actor::Service(None), claim).await??;
    let after = Claim { status: Status::Returned, ..before.clone() };
    let detail = trail(Some(body.value()), audited(&before), audited(&after));
    let claim = app.engine.take_back(claim, restock, operator.audit("claim.return", id, detail)).await??;
    show(&app, &claim).await
}

/// What of a claim stands in the audit log.
fn audited(claim: &Claim) -> Value {
    json!({"user": claim.user.as_str(), "quantity": claim.quantity, "status": status_word(claim.status)})
}
