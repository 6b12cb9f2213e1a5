//! The demo as a client of the public API: a call goes through the whole edge of the same program, without a socket.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use bunho_domain::ids::UserId;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use std::time::Instant;
use tower::ServiceExt;

use crate::auth::USER_HEADER;

/// The public routes, and the shop's key.
pub(super) struct Api {
    router: Router,
    bearer: Option<HeaderValue>,
}

/// What came back.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// The call in a line, for the page that shows what its shop does: `POST /v1/claims/… 200 3`.
    pub(super) told: String,
}

impl Reply {
    /// The body; null where it is no JSON.
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

impl Api {
    pub(super) fn new(router: Router, key: &str) -> Self {
        Self { router, bearer: HeaderValue::try_from(format!("Bearer {key}")).ok() }
    }

    /// A call to `/v1` with the shop's key, for a user.
    pub(super) async fn for_user(&self, user: &UserId, method: Method, path: &str, mut headers: HeaderMap, body: Option<Bytes>) -> Reply {
        headers.extend(self.bearer.clone().map(|bearer| (AUTHORIZATION, bearer)));
        headers.extend(HeaderValue::from_bytes(user.as_str().as_bytes()).ok().map(|user| (USER_HEADER, user)));
        self.call(method, path, headers, body).await
    }

    /// A call to `/traffic`, as anyone may make it.
    pub(super) async fn traffic(&self, call: &str, body: &Value) -> Reply {
        self.call(Method::POST, &format!("/traffic/{call}"), HeaderMap::new(), Some(body.to_string().into())).await
    }

    /// The body of a call that takes units.
    pub(super) fn quantity(quantity: u32) -> Bytes {
        json!({"quantity": quantity}).to_string().into()
    }

    async fn call(&self, method: Method, path: &str, headers: HeaderMap, body: Option<Bytes>) -> Reply {
        let began = Instant::now();
        let mut request = Request::new(body.map_or_else(Body::empty, Body::from));
        *request.method_mut() = method.clone();
        // Paths are put together here, of constants and of ids that were parsed.
        *request.uri_mut() = path.parse().unwrap_or_default();
        *request.headers_mut() = headers;
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let Ok(response) = self.router.clone().oneshot(request).await;
        let (parts, body) = response.into_parts();
        // Answers of the edge are in memory: nothing can cut them short.
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let told = format!("{method} {path} {} {}", parts.status.as_u16(), began.elapsed().as_millis());
        Reply { status: parts.status, headers: parts.headers, body, told }
    }
}

/// A header under a name of the API's own.
pub(super) const fn name(text: &'static str) -> HeaderName {
    HeaderName::from_static(text)
}
