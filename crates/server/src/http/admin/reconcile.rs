//! Comparing the engine with the ledger, on demand.

use crate::app::App;
use crate::auth::Operator;
use crate::http::json::ok;
use crate::problem::{Answered, INTERNAL, Problem};
use axum::extract::State;
use std::sync::Arc;

/// Compares every claim in the engine with its row in the ledger.
#[utoipa::path(post, path = "/admin/api/reconcile", tag = "admin", responses((status = 200, body = Object)))]
pub(crate) async fn run(State(app): State<Arc<App>>, _: Operator) -> Answered {
    match (app.reconcile)().await {
        Ok(report) => Ok(ok(&report)),
        Err(problem) => {
            tracing::error!(problem, "a reconciliation could not be done");
            Err(Problem::new(&INTERNAL))
        }
    }
}
