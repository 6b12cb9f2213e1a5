//! Passes as protected services check them: online, or by themselves with the public keys.

use crate::app::App;
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
}

/// Says whether a pass is good for a zone: 204, 401 (none, forged or expired) or 403 (of another zone). Made for nginx
/// `auth_request`, which knows no other answers; so there are no others.
#[utoipa::path(get, path = "/verify", tag = "line", params(VerifyParams), responses((status = 204)))]
pub(crate) async fn verify(State(app): State<Arc<App>>, headers: HeaderMap, Params(params): Params<VerifyParams>) -> Answered {
    let pass =
        shown_pass(&headers, params.pass.as_deref()).ok_or_else(|| Problem::new(&PASS_REQUIRED).status_instead(UNAUTHENTICATED.status))?;
    let zone = params.zone.as_deref().or_else(|| headers.get(&ZONE_HEADER)?.to_str().ok()).unwrap_or_default();
    // A pass cannot be for a zone that does not exist; verifying it first tells good from forged all the same.
    let checked = match path_id(zone).and_then(|zone| app.check_pass(pass, &zone)) {
        Ok(checked) => checked,
        Err(_) => app.passes.verify(pass, zone, crate::http::time::unix_seconds()).and(Err(PassRefusal::OtherZone)),
    };
    match checked {
        Ok(()) => Ok(no_content()),
        Err(PassRefusal::Invalid) => Err(Problem::new(&PASS_INVALID).status_instead(UNAUTHENTICATED.status)),
        Err(PassRefusal::OtherZone) => Err(Problem::new(&PASS_INVALID).detail("The pass is not for this zone")),
    }
}

fn shown_pass<'a>(headers: &'a HeaderMap, in_query: Option<&'a str>) -> Option<&'a str> {
    let in_header = || headers.get(&PASS_HEADER)?.to_str().ok();
    let as_bearer = || bearer_token(headers.get(AUTHORIZATION)?.to_str().ok()?);
    in_header().or_else(as_bearer).or_else(|| cookie(headers, PASS_COOKIE)).or(in_query).filter(|pass| !pass.is_empty())
}

/// The public keys of passes, as a JWK set (RFC 7517).
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "line", responses((status = 200, content_type = "application/json", body = Object)))]
pub(crate) async fn jwks(State(app): State<Arc<App>>) -> Response {
    // Five minutes: a new key signs at once, so verifiers must ask again when they meet a `kid` that they do not know.
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"))];
    (headers, app.passes.jwks()).into_response()
}
