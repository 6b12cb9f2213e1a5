//! Server-sent events: bounded in number, kept alive, ended at once when the server stops.

use crate::app::{App, StreamSlot};
use crate::problem::{OVERLOADED, Problem};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Silence after which a comment is sent, well below the idle timeouts of common proxies (60 s).
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One event, or a comment.
pub(crate) type Sent = Result<Event, Infallible>;

/// Takes a place among the open streams.
///
/// # Errors
/// There is none.
pub(crate) fn slot(app: &Arc<App>) -> Result<StreamSlot, Problem> {
    StreamSlot::take(app).ok_or_else(|| Problem::new(&OVERLOADED).detail("Too many event streams are open"))
}

/// Answers with events.
pub(crate) fn events(stream: impl Stream<Item = Sent> + Send + 'static) -> Response {
    let mut response = Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response();
    // Without this nginx gathers events until its buffer is full.
    response.headers_mut().insert("x-accel-buffering", axum::http::HeaderValue::from_static("no"));
    response
}

/// What a stream says last when the server stops.
pub(crate) fn farewell() -> Event {
    Event::default().comment("the server is stopping")
}

/// Completes when the server is to stop.
pub(crate) async fn stopped(app: &App) {
    let _ = app.shutdown.clone().wait_for(|stop| *stop).await;
}
