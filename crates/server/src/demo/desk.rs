//! The shop's own routes below `/demo/api`. Those below `/demo/api/v1` hand a visitor's call on to `/v1` with the shop's key, and say in
//! [`CALLED`] what they called; `pay` is the till, and the one place that confirms.

use super::Demo;
use super::api::{Reply, name};
use super::samples::SOLD;
use super::visitor::{Guest, Visitor};
use crate::http::edge::{REQUEST_ID, id_of};
use crate::http::json::{JsonBody, ok};
use crate::http::params::Segment;
use crate::problem::{Answered, Problem, TOO_FAST, UNKNOWN_CLAIM, UNKNOWN_OFFER, UNKNOWN_STANDBY};
use axum::Extension;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use bunho_domain::ids::{ClaimId, StandbyId, UserId};
use serde::Deserialize;
use serde_json::json;
use std::borrow::Cow;
use std::sync::Arc;

/// Says which calls of the public API an answer is made of: `POST /v1/claims/… 200 3`, the last a time in milliseconds; several with commas.
pub(super) const CALLED: HeaderName = HeaderName::from_static("demo-called");

const IDEMPOTENCY_KEY: HeaderName = name("idempotency-key");
const PASS: HeaderName = name("bunho-pass");
const REPLAYED: HeaderName = name("idempotency-replayed");

/// Claims that a visitor is shown: more than one can click together.
const SHOWN: u32 = 50;

/// What came of paying.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Payment<'a> {
    #[serde(borrow)]
    claim: Cow<'a, str>,
    outcome: Outcome,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    Succeed,
    Fail,
}

/// The visitor's claims. The first call of a browser: it is given its cookie here.
pub(crate) async fn claims(Extension(demo): Extension<Arc<Demo>>, guest: Guest, headers: HeaderMap) -> Answered {
    let path = format!("/v1/claims?limit={SHOWN}");
    let reply = demo.api.for_user(&guest.user, Method::GET, &path, carried(&headers), None).await;
    Ok(with_cookie(passed_on(vec![reply])?, guest.cookie))
}

/// Another cookie: for who has all that one may have and wants to go on.
pub(crate) async fn be_somebody_else(Extension(demo): Extension<Arc<Demo>>, headers: HeaderMap, _: JsonBody) -> Answered {
    paced(&demo)?;
    let guest = Guest::new(&headers)?;
    Ok(with_cookie(ok(&json!({"user": guest.user.as_str()})), guest.cookie))
}

/// Takes units for the visitor.
pub(crate) async fn claim(
    Extension(demo): Extension<Arc<Demo>>,
    Visitor(user): Visitor,
    Segment(offer): Segment,
    body: JsonBody,
) -> Answered {
    ask_for_units(&demo, &user, &offer, "claims", &body).await
}

/// One of the visitor's claims.
pub(crate) async fn read_claim(
    Extension(demo): Extension<Arc<Demo>>,
    Visitor(user): Visitor,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Answered {
    let path = format!("/v1/claims/{}", claim_id(&id)?);
    passed_on(vec![demo.api.for_user(&user, Method::GET, &path, carried(&headers), None).await])
}

/// Gives one of the visitor's holds back.
pub(crate) async fn release(
    Extension(demo): Extension<Arc<Demo>>,
    Visitor(user): Visitor,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Answered {
    paced(&demo)?;
    passed_on(vec![settle(&demo, &user, claim_id(&id)?, "release", &headers).await])
}

/// The till: a payment that went well confirms the visitor's claim, and one that failed releases it.
pub(crate) async fn pay(Extension(demo): Extension<Arc<Demo>>, Visitor(user): Visitor, body: JsonBody) -> Answered {
    paced(&demo)?;
    let Payment { claim, outcome } = body.parse()?;
    let id = claim_id(&claim)?;
    let verb = match outcome {
        Outcome::Succeed => "confirm",
        Outcome::Fail => "release",
    };
    let reply = settle(&demo, &user, id, verb, body.headers()).await;
    if reply.status.is_success() && matches!(outcome, Outcome::Succeed) {
        demo.purchases.paid(id);
    }
    passed_on(vec![reply])
}

/// Puts the visitor on standby.
pub(crate) async fn join_standby(
    Extension(demo): Extension<Arc<Demo>>,
    Visitor(user): Visitor,
    Segment(offer): Segment,
    body: JsonBody,
) -> Answered {
    ask_for_units(&demo, &user, &offer, "standby", &body).await
}

/// The visitor's place on standby.
pub(crate) async fn read_standby(
    Extension(demo): Extension<Arc<Demo>>,
    Visitor(user): Visitor,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Answered {
    let path = format!("/v1/standby/{}", standby_id(&id)?);
    passed_on(vec![demo.api.for_user(&user, Method::GET, &path, carried(&headers), None).await])
}

/// Gives it up.
pub(crate) async fn leave_standby(
    Extension(demo): Extension<Arc<Demo>>,
    Visitor(user): Visitor,
    Segment(id): Segment,
    headers: HeaderMap,
) -> Answered {
    paced(&demo)?;
    let path = format!("/v1/standby/{}", standby_id(&id)?);
    passed_on(vec![demo.api.for_user(&user, Method::DELETE, &path, carried(&headers), None).await])
}

async fn ask_for_units(demo: &Demo, user: &UserId, offer: &str, what: &str, body: &JsonBody) -> Answered {
    paced(demo)?;
    let path = format!("/v1/offers/{}/{what}", sold(offer)?);
    let reply = demo.api.for_user(user, Method::POST, &path, carried(body.headers()), Some(body.bytes())).await;
    passed_on(vec![reply])
}

async fn settle(demo: &Demo, user: &UserId, claim: ClaimId, verb: &str, headers: &HeaderMap) -> Reply {
    demo.api.for_user(user, Method::POST, &format!("/v1/claims/{claim}/{verb}"), carried(headers), Some(Bytes::from_static(b"{}"))).await
}

/// Whether all visitors together are slow enough.
pub(super) fn paced(demo: &Demo) -> Result<(), Problem> {
    if demo.pace.take() { Ok(()) } else { Err(Problem::new(&TOO_FAST).detail("The demo is busy").retry_after(1)) }
}

fn sold(offer: &str) -> Result<&'static str, Problem> {
    SOLD.into_iter().find(|sold| *sold == offer).ok_or_else(|| Problem::new(&UNKNOWN_OFFER))
}

fn claim_id(text: &str) -> Result<ClaimId, Problem> {
    ClaimId::parse(text).map_err(|_| Problem::new(&UNKNOWN_CLAIM))
}

fn standby_id(text: &str) -> Result<StandbyId, Problem> {
    StandbyId::parse(text).map_err(|_| Problem::new(&UNKNOWN_STANDBY))
}

/// What of a visitor's headers goes with the call, its id among it: the two are one request in the log.
fn carried(headers: &HeaderMap) -> HeaderMap {
    let mut carried = HeaderMap::new();
    for name in [IDEMPOTENCY_KEY, PASS] {
        for value in headers.get_all(&name) {
            carried.append(name.clone(), value.clone());
        }
    }
    carried.extend(id_of(headers).and_then(|id| HeaderValue::try_from(id).ok()).map(|id| (REQUEST_ID, id)));
    carried
}

/// The last answer as it is, with the line of each call.
fn passed_on(replies: Vec<Reply>) -> Answered {
    let told: Vec<&str> = replies.iter().map(|reply| reply.told.as_str()).collect();
    let told = HeaderValue::try_from(told.join(", "));
    let mut response = Response::new(Body::empty());
    if let Some(reply) = replies.into_iter().next_back() {
        *response.status_mut() = reply.status;
        for name in [CONTENT_TYPE, RETRY_AFTER, REPLAYED] {
            response.headers_mut().extend(reply.headers.get(&name).cloned().map(|value| (name, value)));
        }
        *response.body_mut() = if reply.status == StatusCode::NO_CONTENT { Body::empty() } else { Body::from(reply.body) };
    }
    response.headers_mut().extend(told.ok().map(|told| (CALLED, told)));
    Ok(response)
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    response.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie)));
    response
}
