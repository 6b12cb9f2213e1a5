//! Numbers for operators, in the text form of Prometheus. Every name stands here.
//!
//! What happens on each request is counted through handles made when the server starts. What describes a state
//! (zones, offers, the journal) is read when somebody asks, and written by hand after the rest: so a deleted zone
//! leaves no series behind.

use crate::app::App;
use crate::problem::KINDS;
use axum::body::Bytes;
use axum::http::StatusCode;
use metrics::{Counter, Histogram, Key, KeyName, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Requests answered, by `method`, `route` and `status`.
pub const HTTP_REQUESTS: &str = "bunho_http_requests_total";
/// Seconds until a request was answered, by `method` and `route`.
pub const HTTP_SECONDS: &str = "bunho_http_request_duration_seconds";
/// Attempts to claim, by `outcome`: `taken`, `replayed` or the problem's code.
pub const CLAIMS: &str = "bunho_claims_total";
/// Joins and polls, by `call` and `outcome`: `admitted`, `waiting` or the problem's code.
pub const ENTRIES: &str = "bunho_entries_total";
/// Connections told to come again because all that were open were busy.
pub const CONNECTIONS_SHED: &str = "bunho_connections_shed_total";
/// Connections without a request under way that were closed to make room.
pub const CONNECTIONS_EVICTED: &str = "bunho_connections_evicted_total";
/// Requests under way.
pub const IN_FLIGHT: &str = "bunho_requests_in_flight";
/// Open event streams.
pub const STREAMS: &str = "bunho_streams_open";
/// Open connections.
pub const CONNECTIONS: &str = "bunho_connections_open";
/// Last durable journal offset.
pub const JOURNAL_DURABLE: &str = "bunho_journal_durable_offset";
/// Journal offset up to which the ledger has everything.
pub const JOURNAL_PROJECTED: &str = "bunho_journal_projected_offset";
/// Journal records that the ledger does not have yet.
pub const PROJECTOR_LAG: &str = "bunho_projector_lag_records";
/// Whether the projector's last attempt succeeded.
pub const PROJECTOR_UP: &str = "bunho_projector_up";
/// Bytes that wait for the journal's disk.
pub const JOURNAL_BACKLOG: &str = "bunho_journal_backlog_bytes";
/// Whether the journal takes records.
pub const JOURNAL_UP: &str = "bunho_journal_up";
/// Events that a guard of the ledger refused and nobody has mended.
pub const PARKED: &str = "bunho_ledger_parked_events";
/// People waiting, by `zone`.
pub const ZONE_WAITING: &str = "bunho_zone_waiting";
/// Admissions in the last minute, by `zone`.
pub const ZONE_ENTERED: &str = "bunho_zone_entered_last_minute";
/// The limit per minute, by `zone`; none where there is no limit.
pub const ZONE_LIMIT: &str = "bunho_zone_limit_per_minute";
/// People inside, by `zone`.
pub const ZONE_ACTIVE: &str = "bunho_zone_active";
/// Units nobody has, by `offer`.
pub const OFFER_REMAINING: &str = "bunho_offer_remaining";
/// Units that await confirmation, by `offer`.
pub const OFFER_HELD: &str = "bunho_offer_held";
/// Units taken for good, by `offer`.
pub const OFFER_CONFIRMED: &str = "bunho_offer_confirmed";
/// Places waiting on standby, by `offer`.
pub const OFFER_STANDBY: &str = "bunho_offer_standby";
/// Seconds since the start.
pub const UPTIME: &str = "bunho_uptime_seconds";

/// Upper bounds of the histogram, seconds: a healthy claim is a few milliseconds, a request ends after ten seconds.
const SECONDS_BOUNDS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5, 10.0];

/// Samples of a histogram are kept singly until they are folded into buckets. At 100,000 requests a second and 16 bytes
/// each that is 1.6 MB between two folds.
const FOLD_EVERY: Duration = Duration::from_secs(1);

/// An offer's numbers wait for the disk. When it stalls they are left out, for that is when the other numbers are needed.
const OFFERS_WITHIN: Duration = Duration::from_secs(1);

/// How long a page is shown again. Those who read it ask every few seconds.
const PAGE_LIVES: Duration = Duration::from_secs(1);

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
    process: metrics_process::Collector,
}

struct Shared {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
}

/// Handles of one route.
pub(crate) struct RouteMetrics {
    shared: Arc<Shared>,
    labels: [Label; 2],
    seconds: Histogram,
    by_status: [OnceLock<Counter>; STATUSES.len()],
}

/// One counter for each outcome.
pub(crate) struct Outcomes(HashMap<&'static str, Counter>);

impl Metrics {
    pub(crate) fn new() -> Self {
        let builder = PrometheusBuilder::new();
        // Only an empty list is refused.
        let builder = builder.set_buckets(&SECONDS_BOUNDS).unwrap_or_else(|_| PrometheusBuilder::new());
        let recorder = builder.build_recorder();
        for (name, help) in [
            (HTTP_REQUESTS, "Requests answered."),
            (CLAIMS, "Attempts to claim, by outcome."),
            (ENTRIES, "Joins and polls of waiting lines, by outcome."),
        ] {
            recorder.describe_counter(KeyName::from_const_str(name), None, help.into());
        }
        recorder.describe_histogram(
            KeyName::from_const_str(HTTP_SECONDS),
            Some(Unit::Seconds),
            "Time until a request was answered.".into(),
        );
        let shared = Arc::new(Shared { handle: recorder.handle(), recorder });
        let entries = |call| Outcomes::new(&shared, ENTRIES, &["admitted", "waiting"], vec![Label::from_static_parts("call", call)]);
        let (joins, polls) = (entries("wait"), entries("entry"));
        let process = metrics_process::Collector::default();
        metrics::with_local_recorder(&shared.recorder, || process.describe());
        Self { claims: Outcomes::new(&shared, CLAIMS, &["taken", "replayed"], Vec::new()), joins, polls, process, shared }
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
        let key = Key::from_parts(HTTP_SECONDS, labels.to_vec());
        let seconds = self.shared.recorder.register_histogram(&key, &METADATA);
        Arc::new(RouteMetrics { shared: self.shared.clone(), labels, seconds, by_status: [const { OnceLock::new() }; STATUSES.len()] })
    }

    fn render(&self) -> String {
        // `process_cpu_seconds_total`, `process_resident_memory_bytes`, `process_open_fds` and so on, under Prometheus' own names.
        metrics::with_local_recorder(&self.shared.recorder, || self.process.collect());
        self.shared.handle.render()
    }
}

impl RouteMetrics {
    pub(crate) fn observe(&self, status: StatusCode, began: Instant) {
        self.seconds.record(began.elapsed().as_secs_f64());
        let at = STATUSES.iter().position(|known| *known == status.as_u16()).unwrap_or(STATUSES.len() - 1);
        self.by_status[at].get_or_init(|| self.register(STATUSES[at])).increment(1);
    }

    fn register(&self, status: u16) -> Counter {
        let word = if status == OTHER_STATUS { "other".to_string() } else { status.to_string() };
        let mut labels = self.labels.to_vec();
        labels.push(Label::new("status", word));
        self.shared.recorder.register_counter(&Key::from_parts(HTTP_REQUESTS, labels), &METADATA)
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

/// Folds samples into buckets, until the server stops.
pub(crate) async fn fold(app: Arc<App>) {
    let mut shutdown = app.shutdown.clone();
    loop {
        tokio::select! {
            () = tokio::time::sleep(FOLD_EVERY) => app.metrics.shared.handle.run_upkeep(),
            _ = shutdown.wait_for(|stop| *stop) => return,
        }
    }
}

/// The page as it was last written.
#[derive(Default)]
pub(crate) struct MetricsPage(tokio::sync::Mutex<Option<(Instant, Bytes)>>);

/// The page, at most a second old. Whoever asks meanwhile waits for the one that is being written: it locks every offer and zone
/// once, however many ask for it.
pub(crate) async fn page(app: &App) -> Bytes {
    let mut last = app.metrics_page.0.lock().await;
    match &*last {
        Some((written, page)) if written.elapsed() < PAGE_LIVES => page.clone(),
        _ => {
            let page = Bytes::from(render(app).await);
            *last = Some((Instant::now(), page.clone()));
            page
        }
    }
}

/// Everything, as Prometheus reads it.
async fn render(app: &App) -> String {
    let mut text = app.metrics.render();
    let mut gauge = |name: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let (health, progress) = (&app.health, app.health.progress(&app.ledger));
    for (name, help, value) in [
        (UPTIME, "Seconds since the start.", app.started.elapsed().as_secs_f64()),
        (IN_FLIGHT, "Requests under way.", app.in_flight.used() as f64),
        (STREAMS, "Open event streams.", app.streams.used() as f64),
        (CONNECTIONS, "Open connections.", crate::listen::connections_open() as f64),
        (CONNECTIONS_SHED, "Connections told to come again because all were busy.", crate::listen::connections_shed() as f64),
        (CONNECTIONS_EVICTED, "Idle connections closed to make room.", crate::listen::connections_evicted() as f64),
        (JOURNAL_UP, "Whether the journal takes records.", f64::from(health.journal_well())),
        (JOURNAL_DURABLE, "Last durable journal offset.", progress.durable as f64),
        (JOURNAL_BACKLOG, "Bytes that wait for the journal's disk.", health.backlog_bytes() as f64),
        (JOURNAL_PROJECTED, "Journal offset up to which the ledger has everything.", progress.projected as f64),
        (PROJECTOR_LAG, "Durable journal records that the ledger does not have yet.", progress.lag() as f64),
        (PROJECTOR_UP, "Whether the projector's last attempt succeeded.", f64::from(health.ledger_well())),
        (PARKED, "Events that a guard of the ledger refused and nobody has mended.", health.parked() as f64),
    ] {
        gauge(name, help, &[(String::new(), value)]);
    }
    let zones = app.engine.zones().await.unwrap_or_default();
    let by_zone = |value: &dyn Fn(&bunho_engine::ZoneReport) -> Option<u32>| -> Vec<(String, f64)> {
        zones.iter().filter_map(|zone| Some((format!("{{zone=\"{}\"}}", zone.settings.id), value(zone)?.into()))).collect()
    };
    gauge(ZONE_WAITING, "People waiting.", &by_zone(&|zone| Some(zone.status.waiting)));
    gauge(ZONE_ENTERED, "Admissions in the last minute.", &by_zone(&|zone| Some(zone.status.entered_last_minute)));
    gauge(ZONE_LIMIT, "Most admissions in a minute.", &by_zone(&|zone| zone.status.limit_per_minute));
    gauge(ZONE_ACTIVE, "People inside.", &by_zone(&|zone| Some(zone.status.active)));
    let mut stocks = Vec::new();
    let until = tokio::time::Instant::now() + OFFERS_WITHIN;
    for id in app.engine.offer_ids().await.unwrap_or_default() {
        match tokio::time::timeout_at(until, app.engine.offer(&id)).await {
            Ok(Ok((_, stock))) => stocks.push((format!("{{offer=\"{id}\"}}"), stock)),
            Ok(Err(_)) => {}
            Err(_) => break,
        }
    }
    for (name, help, value) in [
        (OFFER_REMAINING, "Units nobody has.", (|stock| stock.remaining) as fn(&bunho_domain::offer::Stock) -> u32),
        (OFFER_HELD, "Units that await confirmation.", |stock| stock.held),
        (OFFER_CONFIRMED, "Units taken for good.", |stock| stock.confirmed),
        (OFFER_STANDBY, "Places waiting on standby.", |stock| stock.standby),
    ] {
        let samples: Vec<_> = stocks.iter().map(|(labels, stock)| (labels.clone(), value(stock).into())).collect();
        gauge(name, help, &samples);
    }
    text
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
        metrics.claims().count("sold_out");
        metrics.polls().count("admitted");
        metrics.polls().count("nothing that exists");
        let text = metrics.render();
        for line in [
            "bunho_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"200\"} 1",
            "bunho_http_requests_total{method=\"GET\",route=\"/healthz\",status=\"other\"} 1",
            "bunho_http_request_duration_seconds_count{method=\"GET\",route=\"/healthz\"} 2",
            "bunho_claims_total{outcome=\"sold_out\"} 1",
            "bunho_claims_total{outcome=\"taken\"} 0",
            "bunho_entries_total{call=\"entry\",outcome=\"admitted\"} 1",
            "# TYPE process_cpu_seconds_total ",
            "# TYPE process_resident_memory_bytes gauge",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
