//! Comparing the engine with the ledger, on demand, and mending the ledger by the engine.

use crate::app::App;
use crate::auth::Operator;
use crate::http::claims::caught_up;
use crate::http::json::ok;
use crate::http::params::Params;
use crate::problem::{Answered, INTERNAL, Problem};
use axum::extract::State;
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// What to do besides comparing.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReconcileParams {
    /// Writes the engine's claims over the ledger's where they differ.
    #[serde(default)]
    repair: bool,
}

/// Compares every claim in the engine with its row in the ledger.
#[utoipa::path(post, path = "/admin/api/reconcile", tag = "admin", params(ReconcileParams), responses((status = 200, body = Object)))]
pub(crate) async fn run(State(app): State<Arc<App>>, _: Operator, Params(params): Params<ReconcileParams>) -> Answered {
    caught_up(&app).await?;
    match (app.reconcile)(params.repair).await {
        Ok(report) => Ok(ok(&report)),
        Err(problem) => {
            tracing::error!(problem, "a reconciliation could not be done");
            Err(Problem::new(&INTERNAL))
        }
    }
}
