//! Signing in and out: a name and a password, or a key, are given once, and a cookie stands for them from then on.

use super::to_the_end;
use crate::app::App;
use crate::auth::accounts::{identity, is_name};
use crate::auth::address::AllowedAddress;
use crate::auth::keys::{Identity, Role, Who};
use crate::auth::sessions::{Opened, SESSION_SECONDS, new_id};
use crate::auth::{Administrator, SESSION_COOKIE, Viewer, cookie, secure, totp};
use crate::http::edge::id_of;
use crate::http::json::{JsonBody, answer, no_content, ok};
use crate::http::time::{Rfc3339, unix_seconds};
use crate::problem::{Answered, FORBIDDEN, Problem, TOO_FAST, TOTP_REQUIRED, UNAUTHENTICATED};
use axum::extract::State;
use axum::http::header::{SET_COOKIE, USER_AGENT};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bunho_domain::time::Millis;
use bunho_ledger::SessionRow;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

/// What of a browser's name for itself is kept.
const USER_AGENT_CHARS_MAX: usize = 200;

/// A key, or a name with its password, to open a session with.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SessionBody {
    /// A key, alone.
    key: Option<String>,
    /// An account's name.
    name: Option<String>,
    /// With the name.
    password: Option<String>,
    /// Of the account's authenticator, where it asks for one.
    code: Option<String>,
}

/// Who somebody is, here.
#[derive(Serialize, ToSchema)]
pub(crate) struct SessionView<'a> {
    /// Id of the key, name of the account.
    id: &'a str,
    /// `account` or `key`.
    kind: &'static str,
    /// `viewer`, `operator` or `admin`.
    role: &'static str,
    name: &'a str,
    /// Whether the account asks for codes.
    totp: bool,
    /// When the session ends; null: a key was sent instead of a session.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Rfc3339>,
}

/// Who the caller is.
#[utoipa::path(get, path = "/admin/api/session", tag = "admin", responses((status = 200, body = SessionView)))]
pub(crate) async fn read(Viewer(viewer): Viewer) -> Answered {
    Ok(ok(&view(&viewer.identity, viewer.session.as_deref())))
}

/// Opens a session; the answer sets its cookie. Whatever is wrong, the answer is the same; after too many wrong ones it is 429 for a while.
#[utoipa::path(post, path = "/admin/api/session", tag = "admin", request_body = SessionBody, responses((status = 201, body = SessionView)))]
pub(crate) async fn open(
    State(app): State<Arc<App>>,
    AllowedAddress(address): AllowedAddress,
    headers: HeaderMap,
    body: JsonBody,
) -> Answered {
    let SessionBody { key, name, password, code } = body.parse()?;
    let identity = match (key, name, password) {
        (Some(key), None, None) => by_key(&app, Some(address), &key).await?,
        (None, Some(name), Some(password)) => by_password(&app, Some(address), &name, password, code.as_deref()).await?,
        _ => return Err(Problem::field("", "must have a key alone, or a name and a password")),
    };
    let now = Millis(unix_seconds() * 1_000);
    let session = SessionRow {
        id: new_id().map_err(|error| Problem::internal(&error))?,
        kind: identity.who.word().into(),
        subject: identity.id.clone(),
        opened_at: now,
        ends_at: now.plus_ms(SESSION_SECONDS * 1_000),
        address: address.to_string(),
        user_agent: headers.get(USER_AGENT).map(shown_agent),
    };
    let audit = Administrator::new(identity.clone(), None, id_of(&headers)).audit("session.open", &*identity.id, None);
    to_the_end(async move {
        let opened = app.sessions.open(session, &audit, &app.ledger).await.map_err(|error| Problem::unwritten(&error))?;
        // It may have been made, or changed, by another process just now.
        if let Who::Account { .. } = identity.who {
            app.accounts.reload(&app.ledger).await?;
        }
        let Opened { token, session } = opened;
        Ok(with_cookie(answer(StatusCode::CREATED, &view(&identity, Some(&session))), &token, SESSION_SECONDS, &headers))
    })
    .await
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

async fn by_key(app: &App, address: Option<IpAddr>, key: &str) -> Result<Arc<Identity>, Problem> {
    app.throttle.attempt(None, address, Instant::now()).map_err(too_fast)?;
    let identity = app.keys.find(key, &app.ledger).await?.ok_or_else(wrong)?;
    app.throttle.was_right(None, address);
    if identity.role.may_administer(Role::Viewer) {
        Ok(identity)
    } else {
        Err(Problem::new(&FORBIDDEN).detail("A service key opens no session"))
    }
}

/// What is unknown, disabled or wrong takes the same time and is answered alike.
async fn by_password(
    app: &App,
    address: Option<IpAddr>,
    name: &str,
    password: String,
    code: Option<&str>,
) -> Result<Arc<Identity>, Problem> {
    // What cannot be a name is nobody's, and is counted under no name of its own.
    let known = Some(name).filter(|name| is_name(name));
    app.throttle.attempt(known, address, Instant::now()).map_err(too_fast)?;
    let account = match known {
        Some(name) => app.ledger.account(name).await?,
        None => None,
    };
    let found = account.and_then(|account| Some((identity(&account)?, account)));
    let hash = found.as_ref().map(|(_, account)| account.password_hash.clone());
    let is_right = match app.passwords.is(password, hash).await {
        Ok(is_right) => is_right,
        Err(problem) => {
            // Nothing was compared.
            app.throttle.take_back(known, address);
            return Err(problem);
        }
    };
    let Some((identity, account)) = found.filter(|_| is_right) else { return Err(wrong()) };
    if let Some(secret) = &account.totp_secret {
        let Some(code) = code else {
            app.throttle.take_back(known, address);
            return Err(Problem::new(&TOTP_REQUIRED));
        };
        let required = || Problem::new(&TOTP_REQUIRED).detail("The code is not the authenticator's, or was used before");
        let step = totp::step(secret, code, unix_seconds()).ok_or_else(required)?;
        let taken = app.ledger.take_totp_step(name, step).await.map_err(|error| Problem::unwritten(&error))?;
        if !taken {
            return Err(required());
        }
    }
    app.throttle.was_right(known, address);
    Ok(Arc::new(identity))
}

fn wrong() -> Problem {
    Problem::new(&UNAUTHENTICATED).detail("The name, the password or the key is not right")
}

pub(super) fn too_fast(seconds: u32) -> Problem {
    Problem::new(&TOO_FAST).detail("Too many wrong ones; wait").retry_after(seconds)
}

fn view<'a>(identity: &'a Identity, session: Option<&SessionRow>) -> SessionView<'a> {
    SessionView {
        id: &identity.id,
        kind: identity.who.word(),
        role: identity.role.word(),
        name: &identity.name,
        totp: identity.who == Who::Account { totp: true },
        expires_at: session.map(|session| Rfc3339(session.ends_at)),
    }
}

/// Browsers may call themselves anything.
fn shown_agent(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).chars().filter(|c| !c.is_control()).take(USER_AGENT_CHARS_MAX).collect()
}

fn with_cookie(mut response: Response, token: &str, seconds: i64, headers: &HeaderMap) -> Response {
    let secure = secure(headers);
    let cookie = format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}");
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}
