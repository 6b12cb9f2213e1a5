//! Taking a confirmed claim back.

use crate::app::App;
use crate::auth::Operator;
use crate::http::claims::{ClaimView, path_id, show};
use crate::http::json::JsonBody;
use crate::http::params::Segment;
use crate::problem::Answered;
use axum::extract::State;
use bunho_domain::offer::Restock;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What becomes of the units.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Return {
    /// True: they can be taken again, by standby first. False: they leave the offer.
    restock: bool,
}

/// Takes a confirmed claim back. Again: the same claim.
#[utoipa::path(post, path = "/admin/api/claims/{id}/return", tag = "admin", request_body = Return, params(("id" = String, Path)),
    responses((status = 200, body = ClaimView)))]
pub(crate) async fn take_back(State(app): State<Arc<App>>, Operator(operator): Operator, Segment(id): Segment, body: JsonBody) -> Answered {
    let claim = path_id(&id)?;
    let Return { restock } = body.parse()?;
    let restock = if restock { Restock::Yes } else { Restock::No };
    let claim = app.engine.take_back(claim, restock, operator.audit("claim.return", id, Some(body.text()))).await??;
    show(&app, &claim).await
}
