//! Bodies in and out.
//!
//! In: one strict extractor for every body: the right content type, a bounded size, a bounded time. What is parsed
//! borrows from the body where it can. Parsing does not know where in the document it failed, since keeping track costs
//! on every request; so a document that failed is parsed a second time, with the track, to name the field.

mod text;

pub(crate) use text::JsonText;

use crate::app::App;
use crate::problem::{BODY_TOO_LARGE, FieldError, OVERLOADED, Problem, REQUEST_TIMEOUT, UNSUPPORTED_MEDIA_TYPE};
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use futures_util::future::poll_immediate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tokio::time::error::Elapsed;

/// Bytes that most answers fit into, so that writing one allocates once.
pub(crate) const ANSWER_BYTES: usize = 512;

/// Bodies up to this are never in each other's way: as many as there may be connections are 64 MiB. No claim or poll is larger, but
/// for one with the largest attributes.
const SMALL_BODY_BYTES_MAX: u64 = 4 * 1_024;
/// Memory for larger ones, and for those that do not say how large they are, while they arrive.
pub(crate) const LARGE_BODIES_BYTES_MAX: usize = 64 << 20;

/// A request's body: JSON, whole, not yet parsed; and the headers it came with, since a handler that asks for both separately
/// is given a copy of the headers.
pub(crate) struct JsonBody {
    bytes: Bytes,
    headers: HeaderMap,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if !request.headers().get(CONTENT_TYPE).is_some_and(is_json) {
            return Err(Problem::new(&UNSUPPORTED_MEDIA_TYPE).closing_unless_empty(&request));
        }
        let (headers, bytes) = whole(request, app).await?;
        Ok(Self { bytes, headers })
    }
}

/// What a form without a script sends.
pub(crate) struct FormBody(Bytes);

impl FromRequest<Arc<App>> for FormBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if request.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes) != Some(b"application/x-www-form-urlencoded") {
            let problem = Problem::new(&UNSUPPORTED_MEDIA_TYPE).detail("The body must be a form");
            return Err(problem.closing_unless_empty(&request));
        }
        Ok(Self(whole(request, app).await?.1))
    }
}

impl FormBody {
    /// A field, if it was sent.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        url::form_urlencoded::parse(&self.0).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
    }
}

/// Waits for the whole body, which has a bounded size and a bounded time.
async fn whole(request: Request, app: &App) -> Result<(HeaderMap, Bytes), Problem> {
    let most = app.live().limits.body_bytes_max;
    let too_large = || Problem::new(&BODY_TOO_LARGE).detail(format!("The body may have {most} bytes")).closing();
    let (parts, body) = request.into_parts();
    let size = http_body::Body::size_hint(&body);
    if size.lower() > most as u64 {
        return Err(too_large());
    }
    let large = size.exact().is_none_or(|bytes| bytes > SMALL_BODY_BYTES_MAX);
    match arrived(Limited::new(body, most).collect(), large, app).await? {
        Ok(Ok(whole)) => Ok((parts.headers, whole.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        // The client went away or broke the framing; nobody reads this answer.
        Ok(Err(_)) => Err(Problem::field("", "the body could not be read").closing()),
        Err(_) => Err(Problem::new(&REQUEST_TIMEOUT).closing()),
    }
}

/// Waits for a body. Most are there already. Until one that is not has come, its request is not under way: a client that sends
/// it drop by drop keeps its connection busy, and nothing that others need.
async fn arrived<T>(body: impl Future<Output = T>, large: bool, app: &App) -> Result<Result<T, Elapsed>, Problem> {
    let mut body = std::pin::pin!(body);
    if let Some(whole) = poll_immediate(&mut body).await {
        return Ok(Ok(whole));
    }
    let place = large.then(|| app.large_bodies.take());
    if matches!(place, Some(None)) {
        return Err(Problem::new(&OVERLOADED).detail("Too many large bodies are under way").closing());
    }
    let lent = app.in_flight.lend();
    let limit = app.live().limits.body_timeout;
    let whole = tokio::time::timeout(limit, body).await;
    if lent.take_back() { Ok(whole) } else { Err(Problem::new(&OVERLOADED)) }
}

impl JsonBody {
    /// The request's headers.
    pub(crate) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body as it came.
    pub(crate) fn bytes(&self) -> Bytes {
        self.bytes.clone()
    }

    /// Parses the body.
    ///
    /// # Errors
    /// `invalid_request`, with the field that is wrong.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Problem> {
        // Every body is an object; serde would take a list for a struct's fields in their order.
        if self.bytes.trim_ascii_start().first() == Some(&b'[') {
            return Err(Problem::field("", "invalid type: sequence, expected an object"));
        }
        serde_json::from_slice(&self.bytes).map_err(|_| self.explain::<T>())
    }

    /// The body as it is, for the audit log. Only for bodies that were parsed.
    pub(crate) fn value(&self) -> serde_json::Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    #[cold]
    fn explain<'a, T: Deserialize<'a>>(&'a self) -> Problem {
        let deserializer = &mut serde_json::Deserializer::from_slice(&self.bytes);
        let Err(error) = serde_path_to_error::deserialize::<_, T>(deserializer) else {
            return Problem::field("", "has something after the end of the JSON document");
        };
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { path };
        let reason = reason(error.inner());
        let named = named_field(&reason).map(str::to_owned);
        let field = match named {
            Some(name) if path.is_empty() => name,
            // serde_path_to_error already names an unknown field; a missing one is named by its parent.
            Some(name) if reason.starts_with("missing") => format!("{path}.{name}"),
            _ => path,
        };
        Problem::invalid(vec![FieldError { field: field.into(), reason: reason.into() }])
    }
}

impl Problem {
    /// Closes the connection if there is a body that nobody will read.
    fn closing_unless_empty(self, request: &Request) -> Self {
        if http_body::Body::size_hint(request.body()).exact() == Some(0) { self } else { self.closing() }
    }
}

/// What serde said, without the position, which means nothing to who reads a list of fields.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The field that messages about missing, unknown and doubled fields put in backticks.
fn named_field(reason: &str) -> Option<&str> {
    ["missing field `", "unknown field `", "duplicate field `"]
        .iter()
        .find_map(|start| reason.strip_prefix(start))
        .and_then(|rest| rest.split('`').next())
}

fn is_json(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    // Most clients send exactly this.
    if bytes == b"application/json" {
        return true;
    }
    let essence = bytes.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    essence.eq_ignore_ascii_case(b"application/json")
}

/// A JSON answer.
pub(crate) fn answer(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        return axum::response::IntoResponse::into_response(Problem::internal(&error));
    }
    let mut response = written(bytes);
    *response.status_mut() = status;
    response
}

/// JSON that is written already, 200.
pub(crate) fn written(json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// A JSON answer, 200.
pub(crate) fn ok(body: &impl Serialize) -> Response {
    answer(StatusCode::OK, body)
}

/// An empty answer, 204.
pub(crate) fn no_content() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only whether and where parsing fails is looked at")]
    struct Shape {
        name: String,
        count: Option<u32>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[expect(dead_code, reason = "only whether and where parsing fails is looked at")]
    struct Inner {
        flag: bool,
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, field) in [
            (r#"{"name":"a","count":1,"inner":{"flag":true}}"#, None),
            (r#"{"count":1}"#, Some("name")),
            (r#"{"name":1}"#, Some("name")),
            (r#"{"name":"a","count":"1"}"#, Some("count")),
            (r#"{"name":"a","count":-1}"#, Some("count")),
            (r#"{"name":"a","other":1}"#, Some("other")),
            (r#"{"name":"a","name":"b"}"#, Some("name")),
            (r#"{"name":"a","inner":{"flag":1}}"#, Some("inner.flag")),
            (r#"{"name":"a","inner":{}}"#, Some("inner.flag")),
            (r#"[]"#, Some("")),
            (r#" ["a",1,{"flag":true}]"#, Some("")),
            (r#"{"name":"#, Some("name")),
            (r#""#, Some("")),
            (r#"{"name":"a"} x"#, Some("")),
        ] {
            let json_body = JsonBody { bytes: Bytes::from_static(body.as_bytes()), headers: HeaderMap::new() };
            let found = json_body.parse::<Shape>().err().map(|problem| {
                let body: serde_json::Value = serde_json::from_slice(&problem.render("")).expect("JSON");
                assert_eq!(body["code"], "invalid_request");
                body["errors"][0]["field"].clone()
            });
            assert_eq!(found, field.map(|field| json!(field)), "{body}");
        }
    }

    #[test]
    fn only_json_is_json() {
        for (value, is) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/json;charset=utf-8", true),
            ("text/json", false),
            ("application/jsonx", false),
            ("", false),
        ] {
            assert_eq!(is_json(&HeaderValue::from_static(value)), is, "{value}");
        }
    }
}
