//! Numbers for operators, in the text form of Prometheus. Every name stands in `names`.
//!
//! What happens on each request is counted through handles made when the server starts, and what happens further down is counted there, by
//! additions to numbers in memory. What describes a state (zones, offers, the journal) is read when somebody asks and written by hand after the
//! rest (`page`, `sheet`), so a deleted zone leaves no series behind. `kernel` is about connections that this process does not see.

mod edge;
pub(crate) mod kernel;
mod names;
mod page;
mod process;
mod sheet;

pub(crate) use page::{MetricsPage, page};

use crate::app::{App, Record};
use crate::problem::KINDS;
use axum::http::StatusCode;
use bunho_journal::measure::Behind;
use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use names::{CLAIMS, ENTRIES, HTTP_REQUESTS, HTTP_SECONDS};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Upper bounds of the histogram, seconds: a healthy claim is a few milliseconds, a request ends after ten seconds.
const SECONDS_BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// Samples of a histogram are kept singly until they are folded into buckets. At 100,000 requests a second and 16 bytes
/// each that is 1.6 MB between two folds.
const FOLD_EVERY: Duration = Duration::from_secs(1);

/// Statuses that have a handle of their own.
const STATUSES: [u16; 22] =
    [200, 201, 204, 304, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 429, 431, 500, 503, OTHER_STATUS];
/// Stands for every status not listed.
const OTHER_STATUS: u16 = 0;

const METADATA: Metadata<'static> = Metadata::new("bunho", Level::INFO, None);

/// Every handle.
pub struct Metrics {
    shared: Arc<Shared>,
    claims: Outcomes,
    joins: Outcomes,
    polls: Outcomes,
    shed: AtomicU64,
    /// Of each route: requests that were answered well.
    well: Mutex<HashMap<(&'static str, &'static str), Arc<AtomicU64>>>,
    /// Of the embedded shape: how long the ledger is behind. A cluster's engine looks at each partition.
    behind: Mutex<Behind>,
}

struct Shared {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

/// Handles of one route.
pub(crate) struct RouteMetrics {
    shared: Arc<Shared>,
    name: (&'static str, &'static str),
    labels: [Label; 2],
    seconds: Histogram,
    by_status: [OnceLock<Counter>; STATUSES.len()],
    well: Arc<AtomicU64>,
}

/// One counter for each outcome.
pub(crate) struct Outcomes(HashMap<&'static str, Counter>);

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // Only an empty list is refused.
        let builder = builder.set_buckets(&SECONDS_BOUNDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        for name in [&HTTP_REQUESTS, &CLAIMS, &ENTRIES] {
            recorder.describe_counter(KeyName::from_const_str(name.name), None, name.help.into());
        }
        recorder.describe_histogram(KeyName::from_const_str(HTTP_SECONDS.name), Some(Unit::Seconds), HTTP_SECONDS.help.into());
        let shared = Arc::new(Shared { handle: recorder.handle(), recorder });
        let entries = |call| Outcomes::new(&shared, ENTRIES.name, &["admitted", "waiting"], vec![Label::from_static_parts("call", call)]);
        let (joins, polls) = (entries("wait"), entries("entry"));
        let claims = Outcomes::new(&shared, CLAIMS.name, &["taken", "replayed"], Vec::new());
        Self { claims, joins, polls, shared, shed: AtomicU64::new(0), well: Mutex::default(), behind: Mutex::default() }
    }

    pub(crate) fn claims(&self) -> &Outcomes {
        &self.claims
    }

    pub(crate) fn joins(&self) -> &Outcomes {
        &self.joins
    }

    pub(crate) fn polls(&self) -> &Outcomes {
        &self.polls
    }

    /// Handles of a route.
    pub(crate) fn route(&self, method: &'static str, route: &'static str) -> Arc<RouteMetrics> {
        let labels = [Label::from_static_parts("method", method), Label::from_static_parts("route", route)];
        let key = Key::from_parts(HTTP_SECONDS.name, labels.to_vec());
        let seconds = self.shared.recorder.register_histogram(&key, &METADATA);
        Arc::new(RouteMetrics {
            shared: self.shared.clone(),
            name: (method, route),
            labels,
            seconds,
            by_status: [const { OnceLock::new() }; STATUSES.len()],
            well: self.well.lock().entry((method, route)).or_default().clone(),
        })
    }

    /// Requests of a route that were answered with 2xx since the start, on whichever address; 0 of what is no route.
    pub(crate) fn answered_well(&self, method: &'static str, route: &'static str) -> u64 {
        self.well.lock().get(&(method, route)).map_or(0, |well| well.load(Ordering::Relaxed))
    }

    /// Counts a request that was told to come again because too much is under way.
    pub(crate) fn was_shed(&self) {
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    fn shed(&self) -> u64 {
        self.shed.load(Ordering::Relaxed)
    }

    /// How long the ledger is behind.
    fn behind(&self, app: &App) -> Duration {
        match &app.health.record {
            Record::Journal { .. } => {
                let progress = app.health.progress(&app.ledger);
                self.behind.lock().look(Instant::now(), progress.durable, progress.projected)
            }
            Record::Kafka { cluster, .. } => cluster.health().behind,
        }
    }
}

impl RouteMetrics {
    /// What the route is called.
    pub(crate) fn method_and_route(&self) -> (&'static str, &'static str) {
        self.name
    }

    pub(crate) fn observe(&self, status: StatusCode, began: Instant) {
        self.seconds.record(began.elapsed().as_secs_f64());
        let at = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        self.by_status[at].get_or_init(|| self.register(STATUSES[at])).increment(1);
        if status.is_success() {
            self.well.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn register(&self, status: u16) -> Counter {
        let word = if status == OTHER_STATUS { "other".to_string() } else { status.to_string() };
        let mut labels = self.labels.to_vec();
        labels.push(Label::new("status", word));
        self.shared.recorder.register_counter(&Key::from_parts(HTTP_REQUESTS.name, labels), &METADATA)
    }
}

impl Outcomes {
    fn new(shared: &Shared, name: &'static str, good: &[&'static str], labels: Vec<Label>) -> Self {
        let codes = good.iter().copied().chain(KINDS.iter().map(|kind| kind.code));
        let register = |outcome| {
            let mut labels = labels.clone();
            labels.push(Label::from_static_parts("outcome", outcome));
            (outcome, shared.recorder.register_counter(&Key::from_parts(name, labels), &METADATA))
        };
        Self(codes.map(register).collect())
    }

    /// Counts one.
    pub(crate) fn count(&self, outcome: &str) {
        if let Some(counter) = self.0.get(outcome) {
            counter.increment(1);
        }
    }
}

/// Folds samples into buckets and looks how far the ledger is behind, until the server stops.
pub(crate) async fn fold(app: Arc<App>) {
    let mut shutdown = app.shutdown.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(FOLD_EVERY) => {
                app.metrics.shared.handle.run_upkeep();
                app.metrics.behind(&app);
            }
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown() {
        let metrics = Metrics::new();
        let route = metrics.route("GET", "/healthz");
        route.observe(StatusCode::OK, Instant::now());
        route.observe(StatusCode::IM_A_TEAPOT, Instant::now());
        // The same route on another address.
        metrics.route("GET", "/healthz").observe(StatusCode::NO_CONTENT, Instant::now());
        assert_eq!((metrics.answered_well("GET", "/healthz"), metrics.answered_well("PUT", "/healthz")), (2, 0));
        metrics.claims().count("sold_out");
        metrics.polls().count("admitted");
        metrics.polls().count("nothing that exists");
        let text = metrics.rendered();
        for line in [
            "bunho_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1",
            "bunho_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"other\"} 1",
            "bunho_http_request_duration_seconds_count{method=\"GET\",route=\"/healthz\"} 3",
            "bunho_claims_total{outcome=\"sold_out\"} 1",
            "bunho_claims_total{outcome=\"taken\"} 0",
            "bunho_entries_total{call=\"entry\",outcome=\"admitted\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
