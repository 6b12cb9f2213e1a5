//! Secrets that sign tickets: changing them while people wait.

use super::{note, to_the_end};
use crate::app::App;
use crate::auth::Admin;
use crate::exit::Failure;
use crate::http::json::{answer, no_content, ok};
use crate::http::params::Segment;
use crate::http::time::Rfc3339;
use crate::pass::KeyRefusal;
use crate::problem::{Answered, IN_USE, NOT_FOUND, Problem};
use crate::reload;
use crate::secrets::tickets::{self, KEYS_MAX, TicketSecret};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A secret of tickets, without the secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct TicketKeyView {
    id: String,
    /// Whether it signs what is issued now; the others are only read.
    signing: bool,
    #[schema(value_type = String, format = DateTime)]
    made_at: Rfc3339,
}

/// Every secret of tickets, oldest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct TicketKeyList {
    keys: Vec<TicketKeyView>,
}

impl TicketKeyView {
    fn of(key: &TicketSecret, signing: &TicketSecret) -> Self {
        Self { id: key.id.clone(), signing: key.id == signing.id, made_at: Rfc3339(key.made_at) }
    }
}

/// Every secret of tickets.
#[utoipa::path(get, path = "/admin/api/ticket-keys", tag = "admin", responses((status = 200, body = TicketKeyList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, _: Admin) -> Answered {
    let secrets = app.tickets.load();
    let signing = secrets.signing(app.engine.now());
    Ok(ok(&TicketKeyList { keys: secrets.list().iter().map(|key| TicketKeyView::of(key, signing)).collect() }))
}

/// Makes a secret, which signs what is issued some seconds later; tickets of the others are good as before.
#[utoipa::path(post, path = "/admin/api/ticket-keys", tag = "admin", responses((status = 201, body = TicketKeyView)))]
pub(crate) async fn rotate(State(app): State<Arc<App>>, Admin(admin): Admin) -> Answered {
    to_the_end(async move {
        if app.tickets.load().list().len() >= KEYS_MAX {
            return Err(Problem::new(&IN_USE).detail("There are as many keys as there may be; drop those whose tickets have ended"));
        }
        let data = app.config.secrets.clone();
        let made = on_disk(&app, move || tickets::rotate(&data)).await?;
        note(&app, &admin.audit("ticket_key.new", &*made.id, None)).await?;
        let secrets = app.tickets.load();
        Ok(answer(StatusCode::CREATED, &TicketKeyView::of(&made, secrets.signing(app.engine.now()))))
    })
    .await
}

/// Drops a secret that does not sign. Tickets under it end: who still waits with one loses the place.
#[utoipa::path(delete, path = "/admin/api/ticket-keys/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn drop_key(State(app): State<Arc<App>>, Admin(admin): Admin, Segment(id): Segment) -> Answered {
    let audit = admin.audit("ticket_key.drop", &*id, None);
    to_the_end(async move {
        let (data, now) = (app.config.secrets.clone(), app.engine.now());
        match on_disk(&app, move || tickets::drop_key(&data, &id, now)).await? {
            Ok(()) => note(&app, &audit).await.map(|()| no_content()),
            Err(KeyRefusal::Unknown) => Err(Problem::new(&NOT_FOUND)),
            Err(KeyRefusal::Signing) => Err(Problem::new(&IN_USE).detail("The key signs tickets; make a new one and wait until it signs")),
        }
    })
    .await
}

/// Changes the folder, and takes what is there then.
async fn on_disk<T: Send + 'static>(app: &Arc<App>, work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Problem> {
    let of = app.clone();
    let both = move || {
        let done = work();
        reload::look_at_tickets(&of);
        done
    };
    let done = tokio::task::spawn_blocking(both).await.map_err(|error| Problem::internal(&error))?;
    done.map_err(|failure| Problem::failure(&failure))
}
