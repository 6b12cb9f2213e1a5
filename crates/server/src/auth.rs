//! Who calls: api.md §2 as extractors.
//!
//! Handlers name what they need as an argument: `Caller` where users and services act, `Viewer`, `Operator` or
//! `Admin` where people administer. A credential that is sent and not valid is always a 401; it is never dropped to
//! treat the caller as nobody.

pub mod accounts;
pub(crate) mod address;
pub mod keys;
pub mod passwords;
pub mod sessions;
pub(crate) mod throttle;
pub(crate) mod totp;
pub mod users;

use crate::app::App;
use crate::config::Users;
use crate::http::edge::id_of;
use crate::problem::{CERTIFICATE_REQUIRED, FORBIDDEN, Problem, UNAUTHENTICATED};
use crate::tls::ClientCertificate;
use address::AllowedAddress;
use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method};
use bunho_domain::ids::UserId;
use bunho_domain::offer::Actor;
use bunho_journal::Audit;
use bunho_ledger::SessionRow;
use keys::{Identity, Role, Who};
use std::net::SocketAddr;
use std::sync::Arc;

/// Names the user that a trusted proxy, or a service with its key, acts for.
pub(crate) const USER_HEADER: HeaderName = HeaderName::from_static("x-bunho-user");
/// The cookie of a console session.
pub(crate) const SESSION_COOKIE: &str = "bunho_session";
/// Shows that a request with a cookie was made by a script of our own origin.
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// The address at the other end of the connection; put into every request by the listener.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

/// Who calls `/v1`.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Nobody in particular.
    Anonymous,
    /// A user.
    User(UserId),
    /// A key, for one user or for none.
    Key(Arc<Identity>, Option<UserId>),
}

impl Caller {
    /// In whose name claims are read and changed.
    ///
    /// # Errors
    /// 401 for nobody, 403 for keys that administer and do not act for users.
    pub(crate) fn actor(&self) -> Result<Actor<'_>, Problem> {
        match self {
            Self::Anonymous => Err(Problem::new(&UNAUTHENTICATED)),
            Self::User(user) => Ok(Actor::User(user)),
            Self::Key(identity, user) if identity.role.may_act_for_users() => Ok(Actor::Service(user.as_ref())),
            Self::Key(..) => Err(forbidden("This key's role does not act for users")),
        }
    }

    /// The user who gets something.
    ///
    /// # Errors
    /// As [`Self::actor`]; 400 for a key that does not say for whom.
    pub(crate) fn user(&self) -> Result<&UserId, Problem> {
        match self.actor()? {
            Actor::User(user) | Actor::Service(Some(user)) => Ok(user),
            Actor::Service(None) => Err(Problem::field("X-Bunho-User", "must name the user that the service acts for")),
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let Some(token) = bearer(&parts.headers)? else { return by_header(parts, app) };
        if let Some(identity) = app.keys.find(token, &app.ledger).await? {
            check_certificate(&identity, parts)?;
            return Ok(Self::Key(identity, named_user(&parts.headers)?));
        }
        let Some(users) = app.user_tokens.load_full() else { return Err(unauthenticated("The key is not known")) };
        users.verify(token).await.map(Self::User).ok_or_else(|| unauthenticated("The token is not a known key and no valid JWT"))
    }
}

/// A caller without `Authorization`: `X-Bunho-User` counts where it is configured, from whom it is configured.
fn by_header(parts: &Parts, app: &App) -> Result<Caller, Problem> {
    let Some(user) = named_user(&parts.headers)? else { return Ok(Caller::Anonymous) };
    let live = app.live();
    let Users::Header { trusted } = &live.users else {
        return Err(unauthenticated("X-Bunho-User is only taken together with a service key"));
    };
    let believed = trusted.is_empty()
        || parts.extensions.get::<Peer>().is_some_and(|Peer(peer)| trusted.iter().any(|network| network.contains(peer.ip())));
    if believed { Ok(Caller::User(user)) } else { Err(unauthenticated("X-Bunho-User is not taken from this address")) }
}

fn named_user(headers: &HeaderMap) -> Result<Option<UserId>, Problem> {
    let mut values = headers.get_all(&USER_HEADER).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Problem::field("X-Bunho-User", "must be sent once"));
    }
    let text = std::str::from_utf8(value.as_bytes()).map_err(|_| Problem::field("X-Bunho-User", "must be UTF-8"))?;
    let user = UserId::parse(text).map_err(|error| Problem::field("X-Bunho-User", error.to_string()))?;
    // Whoever was forgotten is nobody's to speak for, and nobody else is to be taken for them.
    if user.is_pseudonym() { Err(Problem::field("X-Bunho-User", "must not be a pseudonym")) } else { Ok(Some(user)) }
}

/// The token of `Authorization: Bearer`.
///
/// # Errors
/// 401 for every other scheme and for more than one header.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let token = value.to_str().ok().filter(|_| values.next().is_none()).and_then(bearer_token);
    token.map(Some).ok_or_else(|| unauthenticated("Authorization must be one Bearer token"))
}

/// What follows `Bearer`, in any spelling of its case.
pub(crate) fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// What a cookie ends with so that it goes back as safely as it came: only who came through TLS can ask for one that travels through TLS alone.
pub(crate) fn secure(headers: &HeaderMap) -> &'static str {
    // Of a chain of proxies the first name is what the client spoke.
    let proto = headers.get("x-forwarded-proto").and_then(|proto| proto.to_str().ok()?.split(',').next());
    if proto.is_some_and(|proto| proto.trim().eq_ignore_ascii_case("https")) { "; Secure" } else { "" }
}

/// The value of a cookie.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';')).find_map(|pair| {
        let (found, value) = pair.trim().split_once('=')?;
        (found == name).then_some(value)
    })
}

/// A key that is bound to a certificate is worth nothing to who has only the key.
fn check_certificate(identity: &Identity, parts: &Parts) -> Result<(), Problem> {
    let Some(required) = &identity.certificate else { return Ok(()) };
    let shown = parts.extensions.get::<Arc<ClientCertificate>>();
    if shown.is_some_and(|shown| required.is(shown)) { Ok(()) } else { Err(Problem::new(&CERTIFICATE_REQUIRED)) }
}

fn unauthenticated(detail: &'static str) -> Problem {
    Problem::new(&UNAUTHENTICATED).detail(detail)
}

fn forbidden(detail: &'static str) -> Problem {
    Problem::new(&FORBIDDEN).detail(detail)
}

/// Somebody who administers, and the request they do it with.
#[derive(Clone, Debug)]
pub(crate) struct Administrator {
    pub(crate) identity: Arc<Identity>,
    /// The session that the request was made with; none: it has a key.
    pub(crate) session: Option<Arc<SessionRow>>,
    request_id: Option<String>,
}

impl Administrator {
    pub(crate) fn new(identity: Arc<Identity>, session: Option<Arc<SessionRow>>, request_id: Option<String>) -> Self {
        Self { identity, session, request_id }
    }

    async fn find(parts: &Parts, app: &App, least: Role) -> Result<Self, Problem> {
        AllowedAddress::of(&parts.extensions, &parts.headers, app)?;
        let (identity, session) = match bearer(&parts.headers)? {
            Some(key) => {
                let identity = app.keys.find(key, &app.ledger).await?.ok_or_else(|| unauthenticated("The key is not known"))?;
                check_certificate(&identity, parts)?;
                (identity, None)
            }
            None => by_session(parts, app).await.map(|(identity, session)| (identity, Some(session)))?,
        };
        if !identity.role.may_administer(least) {
            return Err(forbidden("This needs a higher role"));
        }
        Ok(Self::new(identity, session, id_of(&parts.headers)))
    }

    /// An entry of the audit log.
    pub(crate) fn audit(&self, action: &str, target: impl Into<String>, detail: Option<String>) -> Audit {
        let actor = match self.identity.who {
            Who::Key => format!("key:{} {}", self.identity.id, self.identity.name),
            Who::Account { .. } => format!("account:{}", self.identity.name),
        };
        Audit { actor, action: action.into(), target: target.into(), detail, request_id: self.request_id.clone() }
    }
}

async fn by_session(parts: &Parts, app: &App) -> Result<(Arc<Identity>, Arc<SessionRow>), Problem> {
    let token = cookie(&parts.headers, SESSION_COOKIE).ok_or_else(|| unauthenticated("A key or a session is needed"))?;
    let session = app.sessions.find(token, &app.ledger).await?.ok_or_else(|| unauthenticated("The session has ended"))?;
    // A session is worth what its key or account is worth now.
    let identity = app.who(&session).await?.ok_or_else(|| unauthenticated("The session's key or account is gone"))?;
    // Another site's form can send the cookie along, but neither this header nor this content type.
    let safe = matches!(parts.method, Method::GET | Method::HEAD);
    let scripted = parts.headers.contains_key(&REQUESTED_WITH)
        || parts.headers.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    if safe || scripted { Ok((identity, session)) } else { Err(forbidden("A change with a session needs X-Requested-With or a JSON body")) }
}

macro_rules! guards {
    ($($(#[$doc:meta])* $name:ident = $role:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub(crate) struct $name(pub(crate) Administrator);

        impl FromRequestParts<Arc<App>> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
                Administrator::find(parts, app, Role::$role).await.map(Self)
            }
        }
    )*};
}

guards! {
    /// May look at everything.
    Viewer = Viewer;
    /// May also change zones and offers, and take claims back.
    Operator = Operator;
    /// May also change keys, end lines, and everything else.
    Admin = Admin;
}

#[cfg(test)]
#[path = "auth/tests.rs"]
mod tests;
