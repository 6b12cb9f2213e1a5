//! Passes as protected services check them: online, or by themselves with the public keys.

use crate::app::{App, Shown};
use crate::auth::{bearer_token, cookie};
use crate::http::json::no_content;
use crate::http::params::Params;
use crate::http::zones::path_id;
use crate::pass::PassRefusal;
use crate::problem::{Answered, PASS_INVALID, PASS_REQUIRED, Problem, UNAUTHENTICATED};
use axum::extract::State;
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::IntoParams;

/// The header a pass comes in.
pub(crate) const PASS_HEADER: HeaderName = HeaderName::from_static("bunho-pass");
/// The header that shows the key to which a pass may be bound.
pub(crate) const CLIENT_KEY_HEADER: HeaderName = HeaderName::from_static("bunho-client-key");
/// The cookie that key may come in.
const CLIENT_KEY_COOKIE: &str = "bunho_key";
/// The cookie a pass may come in.
const PASS_COOKIE: &str = "bunho_pass";
/// The header that names the zone, for proxies that cannot add to the query.
const ZONE_HEADER: HeaderName = HeaderName::from_static("x-bunho-zone");

/// Where a pass and its zone may stand.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct VerifyParams {
    /// The zone; else header `X-Bunho-Zone`.
    zone: Option<String>,
    /// The pass; else header `Bunho-Pass`, `Authorization: Bearer` or cookie `bunho_pass`.
    pass: Option<String>,
    /// The key that a pass is bound to, where it is; else header `Bunho-Client-Key` or cookie `bunho_key`.
    key: Option<String>,
}

/// Says whether a pass is good for a zone: 204, 401 (none, forged or expired) or 403 (of another zone, or bound to another
/// key). Made for nginx
/// `auth_request`, which knows no other answers; so there are no others.
#[utoipa::path(get, path = "/verify", tag = "line", params(VerifyParams), responses((status = 204)))]
pub(crate) async fn verify(State(app): State<Arc<App>>, headers: HeaderMap, params: Result<Params<VerifyParams>, Problem>) -> Answered {
    // From a query that cannot be read no pass can be, either.
    let Params(params) = params.map_err(|_| refused(Some(PassRefusal::Invalid)))?;
    let zone = named_zone(&headers, params.zone.as_deref());
    let mut refusal = None;
    // Whoever protects something with this call says who asks; where it hands on what it was sent, that is what it chose to believe.
    let shown =
        Shown { vouched: client_key(&headers).or_else(|| cookie(&headers, CLIENT_KEY_COOKIE)).or(params.key.as_deref()), key: None };
    // One good pass is enough: the protected service's own `Authorization`, or an old cookie, must not stand before it.
    for pass in shown_passes(&headers, params.pass.as_deref()) {
        match check(&app, pass, zone, shown).await {
            Ok(()) => return Ok(unkept(no_content())),
            Err(PassRefusal::Invalid) if refusal.is_some() => {}
            Err(why) => refusal = Some(why),
        }
    }
    Err(refused(refusal))
}

async fn check(app: &App, pass: &str, zone: &str, shown: Shown<'_>) -> Result<(), PassRefusal> {
    let checked = match path_id(zone) {
        Ok(zone) => app.check_pass(pass, &zone, shown).await,
        Err(unknown) => Err(unknown),
    };
    match checked {
        Ok(checked) => checked.map(drop),
        // A pass cannot be for a zone that does not exist; verifying it first tells good from forged all the same.
        Err(_) => app.passes.verify(pass, zone, app.server_seconds()).and(Err(PassRefusal::OtherZone)),
    }
}

fn refused(why: Option<PassRefusal>) -> Problem {
    match why {
        None => Problem::new(&PASS_REQUIRED).status_instead(UNAUTHENTICATED.status),
        Some(PassRefusal::Invalid) => Problem::new(&PASS_INVALID).status_instead(UNAUTHENTICATED.status),
        Some(PassRefusal::OtherZone) => Problem::new(&PASS_INVALID).detail("The pass is not for this zone"),
        Some(PassRefusal::OtherHolder) => Problem::new(&PASS_INVALID).detail("The pass is bound to another key"),
    }
}

/// The key that a request shows. Keys are UTF-8, and so is the header.
pub(crate) fn client_key(headers: &HeaderMap) -> Option<&str> {
    headers.get(&CLIENT_KEY_HEADER).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// The zone that query and header name. Where both do they must agree, or a client could choose its zone in the one place
/// when the proxy names it in the other.
fn named_zone<'a>(headers: &'a HeaderMap, in_query: Option<&'a str>) -> &'a str {
    let in_headers = headers.get_all(&ZONE_HEADER).iter().map(|value| value.to_str().unwrap_or_default());
    let mut named = in_query.into_iter().chain(in_headers);
    let first = named.next().unwrap_or_default();
    if named.all(|other| other == first) { first } else { "" }
}

fn shown_passes<'a>(headers: &'a HeaderMap, in_query: Option<&'a str>) -> impl Iterator<Item = &'a str> {
    let in_header = headers.get(&PASS_HEADER).and_then(|value| value.to_str().ok());
    let as_bearer = headers.get(AUTHORIZATION).and_then(|value| bearer_token(value.to_str().ok()?));
    [in_header, as_bearer, cookie(headers, PASS_COOKIE), in_query].into_iter().flatten().filter(|pass| !pass.is_empty())
}

/// An answer that no cache may keep: the pass that it is about ends.
fn unkept(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The public keys of passes, as a JWK set (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "line", responses((status = 200, content_type = "application/json", body = Object)))]
pub(crate) async fn jwks(State(app): State<Arc<App>>) -> Response {
    // As long as a new key is shown before it signs: whoever keeps the set no longer than this knows every key that it meets.
    let seconds = app.passes.published_seconds();
    let max_age = HeaderValue::from_str(&format!("public, max-age={seconds}")).unwrap_or(HeaderValue::from_static("no-cache"));
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CACHE_CONTROL, max_age)];
    (headers, app.passes.jwks()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_name_a_zone_must_agree() {
        for (query, values, zone) in [
            (None, &[][..], ""),
            (Some("A"), &[], "A"),
            (None, &["A"], "A"),
            (Some("A"), &["A"], "A"),
            (Some("A"), &["B"], ""),
            (None, &["A", "B"], ""),
        ] {
            let headers = HeaderMap::from_iter(values.iter().map(|value| (ZONE_HEADER, HeaderValue::from_static(value))));
            assert_eq!(named_zone(&headers, query), zone, "{query:?} {values:?}");
        }
    }
}
