//! Console sessions: a key is given once, and a cookie stands for it from then on.

use super::{note, to_the_end};
use crate::app::App;
use crate::auth::keys::Role;
use crate::auth::sessions::SESSION_SECONDS;
use crate::auth::{Administrator, SESSION_COOKIE, Viewer, cookie};
use crate::http::edge::id_of;
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::time::{Rfc3339, unix_seconds};
use crate::problem::{Answered, FORBIDDEN, Problem, UNAUTHENTICATED};
use axum::extract::State;
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bunho_domain::time::Millis;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;

/// A key to open a session with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionBody {
    key: String,
}

/// Who somebody is, here.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionView<'a> {
    /// Id of the key.
    id: &'a str,
    /// `viewer`, `operator` or `admin`.
    role: &'static str,
    name: &'a str,
    /// When the session that was opened ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Rfc3339>,
}

/// Who the caller is.
#[utoipa::path(get, path = "/admin/api/session", tag = "admin", responses((status = 200, body = SessionView)))]
pub(crate) async fn read(Viewer(viewer): Viewer) -> Answered {
    let identity = &viewer.identity;
    Ok(ok(&SessionView { id: &identity.id, role: identity.role.word(), name: &identity.name, expires_at: None }))
}

/// Opens a session; the answer sets its cookie.
#[utoipa::path(post, path = "/admin/api/session", tag = "admin", request_body = SessionBody, responses((status = 201, body = SessionView)))]
pub(crate) async fn open(State(app): State<Arc<App>>, headers: HeaderMap, body: JsonBody) -> Answered {
    let SessionBody { key } = body.parse()?;
    let found = app.keys.find(&key, &app.ledger).await?;
    let identity = found.ok_or_else(|| Problem::new(&UNAUTHENTICATED).detail("The key is not known"))?;
    if !identity.role.may_administer(Role::Viewer) {
        return Err(Problem::new(&FORBIDDEN).detail("A service key opens no session"));
    }
    let token = app.sessions.open(&identity.id).map_err(|error| Problem::internal(&error))?;
    let ends_at = Millis((unix_seconds() + SESSION_SECONDS) * 1_000);
    let who = Administrator::new(identity.clone(), id_of(&headers));
    note(&app, &who.audit("session.open", &*identity.id, None)).await?;
    let view = SessionView { id: &identity.id, role: identity.role.word(), name: &identity.name, expires_at: Some(Rfc3339(ends_at)) };
    Ok(with_cookie(answer(StatusCode::CREATED, &view), &token, SESSION_SECONDS, &headers))
}

/// Ends the session. Without one, too.
#[utoipa::path(delete, path = "/admin/api/session", tag = "admin", responses((status = 204)))]
pub(crate) async fn close(State(app): State<Arc<App>>, headers: HeaderMap) -> Answered {
    if let Some(token) = cookie(&headers, SESSION_COOKIE) {
        let token = token.to_owned();
        to_the_end(async move { app.sessions.close(&token, &app.ledger).await.map_err(|error| Problem::unwritten(&error)) }).await?;
    }
    Ok(with_cookie(no_content(), "", 0, &headers))
}

fn with_cookie(mut response: Response, token: &str, seconds: i64, headers: &HeaderMap) -> Response {
    // Only what comes through TLS can ask for a cookie that goes back through TLS alone.
    // Of a chain of proxies the first name is what the client spoke.
    let proto = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok()?.split(',').next());
    let secure = proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https"));
    let secure = if secure { "; Secure" } else { "" };
    let cookie = format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
