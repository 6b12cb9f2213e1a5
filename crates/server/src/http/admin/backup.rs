//! Before a backup: the ledger takes everything that was decided so far, and says how far that is.
//!
//! What is copied then is copied by `bunho backup` on the machine that has the folder; nothing of it goes over HTTP.

use super::note;
use crate::app::App;
use crate::auth::Admin;
use crate::http::claims::caught_up;
use crate::http::json::ok;
use crate::problem::Answered;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// What a backup that is made from here on holds at least.
#[derive(Serialize, ToSchema)]
pub(crate) struct BackupBegun {
    /// Whose it is.
    installation: String,
    /// The record up to which the ledger has everything; on a cluster, how many messages of the topic it has.
    offset: u64,
}

/// Waits until the ledger holds everything that was decided before this call.
#[utoipa::path(post, path = "/admin/api/backup", tag = "admin", responses((status = 200, body = BackupBegun)))]
pub(crate) async fn begin(State(app): State<Arc<App>>, Admin(admin): Admin) -> Answered {
    let installation = app.ledger.installation().await?.unwrap_or_default();
    note(&app, &admin.audit("backup.begin", &*installation, None)).await?;
    caught_up(&app).await?;
    Ok(ok(&BackupBegun { installation, offset: app.health.progress(&app.ledger).projected }))
}
