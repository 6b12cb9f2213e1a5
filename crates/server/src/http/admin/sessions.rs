//! Sessions that live: one's own to everybody, all of them to whoever may do everything.

use super::{note, to_the_end};
use crate::app::App;
use crate::auth::keys::Role;
use crate::auth::sessions::is_id;
use crate::auth::{Administrator, Viewer};
use crate::http::json::{no_content, ok};
use crate::http::params::Segment;
use crate::http::time::{Rfc3339, unix_seconds};
use crate::problem::{Answered, NOT_FOUND, Problem};
use axum::extract::State;
use bunho_domain::time::Millis;
use bunho_ledger::SessionRow;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// A session.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionEntry<'a> {
    id: &'a str,
    /// `account` or `key`.
    kind: &'a str,
    /// Name of the account or of the key.
    name: String,
    role: &'static str,
    #[schema(value_type = String, format = DateTime)]
    opened_at: Rfc3339,
    #[schema(value_type = String, format = DateTime)]
    expires_at: Rfc3339,
    /// From where it was opened.
    address: &'a str,
    user_agent: Option<&'a str>,
    /// Whether this request was made with it.
    current: bool,
}

/// Sessions, newest first.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionList<'a> {
    sessions: Vec<SessionEntry<'a>>,
}

/// One's own sessions; an admin's list has everybody's.
#[utoipa::path(get, path = "/admin/api/sessions", tag = "admin", responses((status = 200, body = SessionList)))]
pub(crate) async fn list(State(app): State<Arc<App>>, Viewer(viewer): Viewer) -> Answered {
    let rows = app.ledger.sessions(Millis(unix_seconds() * 1_000)).await?;
    let mut sessions = Vec::new();
    for row in rows.iter().filter(|row| may_see(&viewer, row)) {
        // One whose key or account is gone counts no more.
        let Some(identity) = app.who(row).await? else { continue };
        sessions.push(SessionEntry {
            id: &row.id,
            kind: &row.kind,
            name: identity.name.clone(),
            role: identity.role.word(),
            opened_at: Rfc3339(row.opened_at),
            expires_at: Rfc3339(row.ends_at),
            address: &row.address,
            user_agent: row.user_agent.as_deref(),
            current: viewer.session.as_ref().is_some_and(|session| session.id == row.id),
        });
    }
    Ok(ok(&SessionList { sessions }))
}

/// Ends a session of one's own; an admin may end any.
#[utoipa::path(delete, path = "/admin/api/sessions/{id}", tag = "admin", params(("id" = String, Path)), responses((status = 204)))]
pub(crate) async fn end(State(app): State<Arc<App>>, Viewer(viewer): Viewer, Segment(id): Segment) -> Answered {
    let found = if is_id(&id) { app.ledger.session(&id, Millis(unix_seconds() * 1_000)).await? } else { None };
    // What one may not see is not there.
    let row = found.filter(|row| may_see(&viewer, row)).ok_or_else(|| Problem::new(&NOT_FOUND))?;
    let audit = viewer.audit("session.end", row.subject, None);
    to_the_end(async move {
        if app.sessions.end(&id, &app.ledger).await.map_err(|error| Problem::unwritten(&error))? {
            note(&app, &audit).await?;
        }
        Ok(no_content())
    })
    .await
}

fn may_see(viewer: &Administrator, row: &SessionRow) -> bool {
    let own = &viewer.identity;
    own.role.may_administer(Role::Admin) || (row.kind == own.who.word() && row.subject == own.id)
}
