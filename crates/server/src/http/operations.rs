//! What operators' machines ask: does it live, does it serve, how does it do, what can it.

use crate::app::App;
use crate::http::json::answer;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

/// Whether claims and polls are served, and what that hangs on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Readiness {
    ready: bool,
    /// `starting` never shows: the port is bound when everything is there.
    stopping: bool,
    journal: JournalHealth,
    ledger: LedgerHealth,
}

/// The journal's part; of a cluster, that of Redis and Kafka.
#[derive(Serialize, ToSchema)]
pub(crate) struct JournalHealth {
    ok: bool,
    /// Last durable offset; of a cluster, the sum over the topic's partitions as last looked at.
    durable: u64,
    /// Bytes that wait for the disk.
    backlog_bytes: usize,
}

/// The ledger's part.
#[derive(Serialize, ToSchema)]
pub(crate) struct LedgerHealth {
    /// Whether the last attempt to write to it succeeded. Claims go on without it, unless `ack = "ledger"`.
    ok: bool,
    /// Journal offset up to which it has everything.
    projected: u64,
    /// Durable records that it does not have yet.
    lag: u64,
    /// Events that one of its guards refused and nobody has mended.
    parked: u64,
}

/// The process lives. A constant, so that it is also the null endpoint of benchmarks.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn healthz() -> Response {
    let mut response = Response::new(Body::from("ok\n"));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// 200 only while claims and polls are really served.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Response {
    let (health, progress) = (&app.health, app.health.progress(&app.ledger));
    let backlog_bytes = health.backlog_bytes();
    let journal_ok = health.journal_well() && backlog_bytes <= app.config.journal_backlog_bytes_max;
    let lag = progress.lag();
    let readiness = Readiness {
        ready: journal_ok && health.ledger_well_enough() && !app.stopping(),
        stopping: app.stopping(),
        journal: JournalHealth { ok: journal_ok, durable: progress.durable, backlog_bytes },
        ledger: LedgerHealth { ok: health.ledger_well(), projected: progress.projected, lag, parked: health.parked() },
    };
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = answer(status, &readiness);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Numbers in the text form of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "text/plain", body = String)))]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
    (headers, crate::metrics::page(&app).await).into_response()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, content_type = "application/json", body = Object)))]
pub(crate) async fn openapi() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], crate::openapi::json()).into_response()
}
