//! Keys that sign passes: changing them while passes live.

use super::{note, to_the_end};
use crate::app::App;
use crate::auth::Admin;
use crate::exit::Failure;
use crate::http::json::{answer, no_content, ok};
use crate::http::params::Segment;
use crate::pass::{KeyRefusal, Passes};
use crate::problem::{Answered, IN_USE, NOT_FOUND, Problem};
use axum::extract::State;
use axum::http::StatusCode;
use bunho_journal::crash_point;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A key of passes, without its secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct PassKeyView {
    kid: String,
    /// Whether it signs; the others only verify.
    signing: bool,
}

/// Every key of passes, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct PassKeyList {
    keys: Vec<PassKeyView>,
}

/// Every key of passes.
#[utoipa::path(get, path = "/admin/api/pass-keys", tag = "admin", responses((status = 200, body = PassKeyList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Answered {
    let kids = app.passes.kids();
    let newest = kids.len().saturating_sub(1);
    let keys = kids.into_iter().enumerate().map(|(at, kid)| PassKeyView { kid, signing: at == newest });
    Ok(ok(&PassKeyList { keys: keys.collect() }))
}

/// Makes a key, which signs from now on; older ones still verify.
#[utoipa::path(post, path = "/admin/api/pass-keys", tag = "admin", responses((status = 201, body = PassKeyView)))]
pub(crate) async fn rotate(State(app): State<Arc<App>>, Admin(admin): Admin) -> Answered {
    to_the_end(async move {
        let kid = on_disk(&app, Passes::rotate).await?;
        crash_point!("admin::pass_key_made");
        note(&app, &admin.audit("pass_key.new", &*kid, None)).await?;
        Ok(answer(StatusCode::CREATED, &PassKeyView { kid, signing: true }))
    })
    .await
}

/// Drops a key that does not sign. Passes under it end.
#[utoipa::path(delete, path = "/admin/api/pass-keys/{kid}", tag = "admin", params(("kid" = String, Path)), responses((status = 204)))]
pub(crate) async fn drop_key(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(kid): Segment) -> Answered {
    let audit = admin.audit("pass_key.drop", &*kid, None);
    to_the_end(async move {
        match on_disk(&app, move |passes| passes.drop_key(&kid)).await? {
            Ok(()) => {
                crash_point!("admin::pass_key_dropped");
                note(&app, &audit).await.map(|()| no_content())
            }
            Err(KeyRefusal::Unknown) => Err(Problem::new(&NOT_FOUND)),
            Err(KeyRefusal::Signing) => Err(Problem::new(&IN_USE).detail("The key signs passes; make a new one first")),
        }
    })
    .await
}

async fn on_disk<T: Send + 'static>(app: &App, work: impl FnOnce(&Passes) -> Result<T, Failure> + Send + 'static) -> Result<T, Problem> {
    let passes = app.passes.clone();
    let done = tokio::task::spawn_blocking(move || work(&passes)).await.map_err(|error| Problem::internal(&error))?;
    done.map_err(|failure| Problem::failure(&failure))
}
