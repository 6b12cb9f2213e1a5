//! Keys that sign passes: changing them while passes live.

use super::{note, to_the_end};
use crate::app::App;
use crate::auth::Admin;
use crate::exit::Failure;
use crate::http::json::{answer, no_content, ok};
use crate::http::params::Segment;
use crate::http::time::Rfc3339;
use crate::pass::{KeyRefusal, KeyShown, Passes};
use crate::problem::{Answered, IN_USE, NOT_FOUND, Problem};
use axum::extract::State;
use axum::http::StatusCode;
use bunho_domain::time::Millis;
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
    /// From when on a new one signs; it is published until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    signs_from: Option<Rfc3339>,
}

impl PassKeyView {
    fn of(key: KeyShown, now: Millis) -> Self {
        Self { kid: key.kid, signing: key.is_signing, signs_from: (key.signs_from > now).then_some(Rfc3339(key.signs_from)) }
    }
}

/// Every key of passes, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct PassKeyList {
    keys: Vec<PassKeyView>,
}

/// Every key of passes.
#[utoipa::path(get, path = "/admin/api/pass-keys", tag = "admin", responses((status = 200, body = PassKeyList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Answered {
    let now = app.engine.now();
    let keys = app.passes.shown(now).into_iter().map(|key| PassKeyView::of(key, now));
    Ok(ok(&PassKeyList { keys: keys.collect() }))
}

/// Makes a key, which is published at once and signs after `pass.key_publish_seconds`; older ones still verify.
#[utoipa::path(post, path = "/admin/api/pass-keys", tag = "admin", responses((status = 201, body = PassKeyView)))]
pub(crate) async fn rotate(State(app): State<Arc<App>>, Admin(admin): Admin) -> Answered {
    to_the_end(async move {
        let kid = on_disk(&app, Passes::rotate).await?;
        crash_point!("admin::pass_key_made");
        note(&app, &admin.audit("pass_key.new", &*kid, None)).await?;
        let now = app.engine.now();
        let shown = app.passes.shown(now).into_iter().find(|key| key.kid == kid).map(|key| PassKeyView::of(key, now));
        // Somebody may have dropped it meanwhile.
        Ok(answer(StatusCode::CREATED, &shown.unwrap_or(PassKeyView { kid, signing: false, signs_from: None })))
    })
    .await
}

/// Drops a key that does not sign. Passes under it end.
#[utoipa::path(delete, path = "/admin/api/pass-keys/{kid}", tag = "admin", params(("kid" = String, Path)), responses((status = 204)))]
pub(crate) async fn drop_key(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(kid): Segment) -> Answered {
    let audit = admin.audit("pass_key.drop", &*kid, None);
    let at = app.engine.now();
    to_the_end(async move {
        match on_disk(&app, move |passes| passes.drop_key(&kid, at)).await? {
            Ok(()) => {
                crash_point!("admin::pass_key_dropped");
                note(&app, &audit).await.map(|()| no_content())
            }
            Err(KeyRefusal::Unknown) => Err(Problem::new(&NOT_FOUND)),
            Err(KeyRefusal::Signing) => Err(Problem::new(&IN_USE).detail("The key signs passes; make a new one and wait until it signs")),
        }
    })
    .await
}

async fn on_disk<T: Send + 'static>(app: &App, work: impl FnOnce(&Passes) -> Result<T, Failure> + Send + 'static) -> Result<T, Problem> {
    let passes = app.passes.clone();
    let done = tokio::task::spawn_blocking(move || work(&passes)).await.map_err(|error| Problem::internal(&error))?;
    done.map_err(|failure| Problem::failure(&failure))
}
