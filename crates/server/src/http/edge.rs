//! What is done around every handler, in one place: a request id, a bound on what is under way, a bound on time,
//! the `Accept` header, numbers for the operators, and the bodies of problems.
//!
//! It wraps each handler where the route table names it, so that what differs by route (its metrics, whether a timeout
//! leaves the result unknown) is decided when the server starts and not on each request.

use crate::app::App;
use crate::auth::Peer;
use crate::metrics::RouteMetrics;
use crate::problem::{Carried, HEADERS_TOO_LARGE, INDETERMINATE, NOT_ACCEPTABLE, OVERLOADED, Problem};
use crate::telemetry::context::{Parent, TraceId};
use crate::telemetry::otlp::{Answered, Recorded, Tracer};
use axum::body::Body;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, Entry, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bunho_journal::crash_point;
use futures_util::future::poll_immediate;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::time::error::Elapsed;

/// The header that names a request, in both directions.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id taken from a client.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// What a route does, as far as its surroundings need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Reads; a timeout means that nothing happened.
    Read,
    /// Changes something; after a timeout nobody knows whether.
    Write,
    /// Answers with events for as long as the client likes. Its own bound is on streams.
    Stream,
    /// Takes as long as it takes.
    Long,
    /// Answers from constants or memory without waiting; must answer however much is under way.
    Probe,
}

/// A handler with what surrounds it.
#[derive(Clone)]
pub(crate) struct Edge<H> {
    handler: H,
    work: Work,
    metrics: Arc<RouteMetrics>,
}

impl<H> Edge<H> {
    pub(crate) fn new(handler: H, work: Work, metrics: Arc<RouteMetrics>) -> Self {
        Self { handler, work, metrics }
    }
}

impl<H, T> Handler<T, Arc<App>> for Edge<H>
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, app: Arc<App>) -> Self::Future {
        Box::pin(async move {
            let began = Instant::now();
            let id = request_id(request.headers_mut(), &app.request_ids);
            let parent = Parent::of(request.headers());
            let recorded = app.tracer.as_ref().and_then(|tracer| {
                let decides = parent.is_some() && came_through_a_trusted_proxy(&request, &app);
                Some((tracer.clone(), tracer.begin(parent, decides)?))
            });
            let trace = parent.map(|parent| parent.trace).or(recorded.as_ref().map(|(_, recorded)| recorded.trace));
            let mut response = match check_head(&request, &app, self.work) {
                Ok(()) => run(self.handler, self.work, request, &app).await,
                Err(problem) => problem.into_response(),
            };
            crash_point!("http::before_answer");
            let failed_with = finish(&mut response, &id, trace, &app);
            response.headers_mut().insert(REQUEST_ID, id.clone());
            keep_from_caches(&mut response, self.work);
            protect(response.headers_mut(), self.work);
            self.metrics.observe(response.status(), began);
            say(&self.metrics, &response, &id, trace, began);
            if let Some((tracer, recorded)) = recorded {
                record(&tracer, recorded, &self.metrics, &response, &id, failed_with, began);
            }
            response
        })
    }
}

/// Whether one of `auth.trusted_proxies` sent it.
fn came_through_a_trusted_proxy(request: &Request, app: &App) -> bool {
    let live = app.live();
    request.extensions().get::<Peer>().is_some_and(|Peer(peer)| live.trusted_proxies.iter().any(|network| network.contains(peer.ip())))
}

/// A line for every answer, for whoever asks for so many: one look at a number where nobody does.
fn say(route: &RouteMetrics, response: &Response, id: &HeaderValue, trace: Option<TraceId>, began: Instant) {
    if tracing::enabled!(tracing::Level::DEBUG) {
        let (method, route) = route.method_and_route();
        let (request_id, trace_id) = (id.to_str().unwrap_or_default(), trace.map(tracing::field::display));
        let micros = began.elapsed().as_micros() as u64;
        tracing::debug!(method, route, status = response.status().as_u16(), request_id, trace_id, micros, "answered");
    }
}

#[cold]
fn record(
    tracer: &Tracer,
    recorded: Recorded,
    route: &RouteMetrics,
    response: &Response,
    id: &HeaderValue,
    failed_with: Option<&'static str>,
    began: Instant,
) {
    let (method, route) = route.method_and_route();
    let request_id = id.to_str().unwrap_or_default().to_owned();
    tracer.end(recorded, Answered { method, route, status: response.status().as_u16(), request_id, failed_with, began });
}

async fn run<H, T>(handler: H, work: Work, request: Request, app: &Arc<App>) -> Response
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    if work == Work::Probe {
        return handler.call(request, app.clone()).await;
    }
    let Some(_slot) = app.in_flight.take() else {
        return Problem::new(&OVERLOADED).into_response();
    };
    let answer = handler.call(request, app.clone());
    if matches!(work, Work::Stream | Work::Long) {
        return answer.await;
    }
    let limit = app.live().limits.request_timeout;
    match within(limit, answer).await {
        Ok(response) => response,
        Err(_) if work == Work::Write => Problem::new(&INDETERMINATE).into_response(),
        Err(_) => Problem::new(&OVERLOADED).detail("The answer took too long").into_response(),
    }
}

/// Waits at most so long. What is ready at once, as a poll always is, costs no timer.
async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Elapsed> {
    let mut work = std::pin::pin!(work);
    match poll_immediate(&mut work).await {
        Some(done) => Ok(done),
        None => tokio::time::timeout(limit, work).await,
    }
}

fn check_head(request: &Request, app: &App, work: Work) -> Result<(), Problem> {
    let headers = request.headers();
    // hyper refuses heads far above the limit by itself, without a body; between the limit and that, we can say why.
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + HEADER_LINE_EXTRA_BYTES).sum();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    if bytes + target > app.live().limits.header_bytes_max {
        return Err(Problem::new(&HEADERS_TOO_LARGE).closing());
    }
    if accepts(headers, work) { Ok(()) } else { Err(Problem::new(&NOT_ACCEPTABLE)) }
}

/// `: ` and CRLF.
const HEADER_LINE_EXTRA_BYTES: usize = 4;

/// Whether the client takes what this route answers with. Ranges with `q=0` are rare enough to be read as accepting.
fn accepts(headers: &HeaderMap, work: Work) -> bool {
    let mut accept = headers.get_all(ACCEPT).iter().peekable();
    // Pages and metrics have forms of their own; probes take no part in negotiation.
    if accept.peek().is_none() || work == Work::Probe {
        return true;
    }
    accept.any(|value| {
        value.as_bytes().split(|b| *b == b',').any(|range| {
            let media = range.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
            let one_of = |names: &[&str]| names.iter().any(|name| media.eq_ignore_ascii_case(name.as_bytes()));
            // An empty list asks for nothing in particular.
            one_of(&["*/*", "application/*", "application/json", "application/problem+json", ""])
                || work == Work::Stream && one_of(&["text/event-stream", "text/*"])
        })
    })
}

/// The client's request id where it is sane, else a fresh one, which also becomes the request's own, so that
/// handlers find it in one place.
fn request_id(headers: &mut HeaderMap, ids: &RequestIds) -> HeaderValue {
    if let Some(given) = headers.get(&REQUEST_ID)
        && (1..=REQUEST_ID_BYTES_MAX).contains(&given.len())
        && given.as_bytes().iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':'))
    {
        return given.clone();
    }
    let fresh = ids.next();
    headers.insert(REQUEST_ID, fresh.clone());
    fresh
}

/// Writes a problem's body, now that its request is known; its code, where it is one.
fn finish(response: &mut Response, id: &HeaderValue, trace: Option<TraceId>, app: &App) -> Option<&'static str> {
    let Carried(problem) = response.extensions_mut().remove::<Carried>()?;
    if problem.kind() == &OVERLOADED {
        app.metrics.was_shed();
    }
    let id = id.to_str().unwrap_or_default();
    problem.tell(Some(id), trace);
    response.headers_mut().remove(CONTENT_LENGTH);
    *response.body_mut() = Body::from(problem.render_traced(id, trace));
    Some(problem.kind().code)
}

/// What an answer that is no page may do in a browser: nothing. Pages say themselves what they may.
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Answers are what they say they are, and whoever is led to one by a link, or shows one in a frame, can do nothing with it. An answer to a change
/// is JSON that nobody is led to, so it has only the first; crowds ask for those.
fn protect(headers: &mut HeaderMap, work: Work) {
    headers.entry(X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    if work == Work::Write {
        return;
    }
    if let Entry::Vacant(vacant) = headers.entry(CONTENT_SECURITY_POLICY) {
        vacant.insert(NOTHING);
        headers.entry(X_FRAME_OPTIONS).or_insert(HeaderValue::from_static("DENY"));
    }
    headers.entry(REFERRER_POLICY).or_insert(HeaderValue::from_static("no-referrer"));
}

/// What is read is somebody's own or changes within a second, and what is not there now may be there soon; a cache on the
/// way may keep what does not say otherwise. Answers to what changes something are never kept.
fn keep_from_caches(response: &mut Response, work: Work) {
    let keep = match work {
        Work::Read => true,
        Work::Stream | Work::Probe => !response.status().is_success(),
        Work::Write | Work::Long => false,
    };
    if keep {
        response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
}

/// Gives out request ids: a counter from a random start, so that ids of two processes do not meet.
#[derive(Debug)]
pub(crate) struct RequestIds {
    start: u64,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new(start: u64) -> Self {
        Self { start, count: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        // An odd multiplier spreads neighbours apart and keeps the map one to one.
        let mut id = self.start.wrapping_add(count).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut text = [0; 16];
        for digit in text.iter_mut().rev() {
            *digit = b"0123456789abcdef"[(id & 0xf) as usize];
            id >>= 4;
        }
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }
}

/// Reads the request's id, which the edge made sure is there.
pub(crate) fn id_of(headers: &HeaderMap) -> Option<String> {
    headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok()).map(str::to_owned)
}

/// For paths that are no route.
pub(crate) async fn not_found() -> Problem {
    Problem::new(&crate::problem::NOT_FOUND)
}

/// For methods that a route does not have. axum adds `Allow`.
pub(crate) async fn method_not_allowed(method: Method) -> Response {
    if method == Method::OPTIONS {
        // Not an error to ask what is allowed, and `Allow` says it.
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(&crate::problem::METHOD_NOT_ALLOWED).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_accepts() {
        for (accept, read, stream) in [
            ("*/*", true, true),
            ("application/json", true, true),
            ("text/html, application/*;q=0.8", true, true),
            ("application/problem+json", true, true),
            ("", true, true),
            ("text/html", false, false),
            ("text/event-stream", false, true),
            ("image/png, text/plain", false, false),
        ] {
            let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!((accepts(&headers, Work::Read), accepts(&headers, Work::Stream)), (read, stream), "{accept}");
            assert!(accepts(&headers, Work::Probe));
        }
        assert!(accepts(&HeaderMap::new(), Work::Write));
    }

    #[test]
    fn request_ids_are_taken_when_sane() {
        let ids = RequestIds::new(7);
        for (given, taken) in [("abc-1", true), ("a b", false), ("", false), ("<script>", false)] {
            let mut headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(given))]);
            let id = request_id(&mut headers, &ids);
            assert_eq!(id == given, taken, "{given:?}");
            assert_eq!(id_of(&headers).as_deref(), id.to_str().ok());
        }
        let (one, two) = (ids.next(), ids.next());
        assert_ne!(one, two);
        assert_eq!(one.len(), 16);
    }
}
