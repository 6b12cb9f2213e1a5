//! The page: what was counted, then what there is now. Everything is read from this process's memory; of the embedded engine's offers the durable
//! numbers, for which one sync of the disk is waited for, and no longer than [`OFFERS_WITHIN`].

use super::names::{self, Name};
use super::sheet::{Sheet, US};
use super::{Metrics, edge, kernel, process};
use crate::app::{App, Record};
use crate::listen;
use axum::body::Bytes;
use bunho_domain::ids::ZoneId;
use bunho_domain::line::{State, Status};
use bunho_domain::offer::{OfferState, Stock};
use bunho_engine::{Cluster, OfferSeen, ZoneSeen};
use bunho_journal::Journal;
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// An offer's numbers wait for the disk. When it stalls they are left out, for that is when the other numbers are needed.
const OFFERS_WITHIN: Duration = Duration::from_secs(1);

/// How long a page is shown again. Those who read it ask every few seconds.
const PAGE_LIVES: Duration = Duration::from_secs(1);

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

async fn render(app: &App) -> String {
    let offers = app.engine.offers_seen(OFFERS_WITHIN).await;
    let mut sheet = Sheet::after(app.metrics.render());
    requests(&mut sheet, app);
    zones(&mut sheet, app, app.engine.zones_seen());
    offers_of(&mut sheet, app, offers);
    record(&mut sheet, app);
    match &app.health.record {
        Record::Journal { journal, .. } => journal_of(&mut sheet, app, journal),
        Record::Kafka { cluster, .. } => cluster_of(&mut sheet, cluster),
    }
    kernel::write(&mut sheet);
    process::write(&mut sheet);
    edge::write(&mut sheet, app);
    // What `process_cpu_seconds_total` is held against. Where the system does not say, there is no sample.
    if let Ok(processors) = std::thread::available_parallelism() {
        sheet.one(&names::PROCESSORS, processors.get() as f64);
    }
    sheet.one(&names::UPTIME, app.started.elapsed().as_secs_f64());
    sheet.finish()
}

fn requests(sheet: &mut Sheet, app: &App) {
    sheet.one(&names::REQUESTS_SHED, app.metrics.shed());
    sheet.one(&names::IN_FLIGHT, app.in_flight.used());
    sheet.one(&names::STREAMS, app.streams.used());
    sheet.one(&names::CONNECTIONS, listen::connections_open());
    sheet.one(&names::CONNECTIONS_SHED, listen::connections_shed());
    sheet.one(&names::CONNECTIONS_EVICTED, listen::connections_evicted());
}

/// The first `most` by how interesting they are, and how many there are beyond.
fn first<T, K: Ord>(mut things: Vec<T>, most: usize, interest: impl Fn(&T) -> K) -> (Vec<T>, usize) {
    let beyond = things.len().saturating_sub(most);
    if beyond > 0 {
        // Stable: those of equal interest are the same ones each time.
        things.sort_by_key(|thing| Reverse(interest(thing)));
        things.truncate(most);
    }
    (things, beyond)
}

fn zones(sheet: &mut Sheet, app: &App, seen: Vec<ZoneSeen>) {
    let there = seen.len();
    let known: Vec<ZoneSeen> = seen.into_iter().filter(|zone| zone.status.is_some() || zone.suspended).collect();
    let unknown = there - known.len();
    let (listed, beyond) = first(known, app.config.metrics_series_max, |zone| {
        let waiting = zone.status.map_or(u32::MAX, |status| status.waiting);
        (waiting, zone.status.is_some_and(|status| status.state != State::Closed), zone.status.map(|status| status.entered_last_minute))
    });
    let mut of = |name: &Name, value: &dyn Fn(&Status) -> Option<u64>| {
        sheet.all(name, listed.iter().filter_map(|zone| Some(([&zone.id], value(zone.status.as_ref()?)?))));
    };
    of(&names::ZONE_WAITING, &|status| Some(status.waiting.into()));
    of(&names::ZONE_PRESENT, &|status| Some(status.present.into()));
    of(&names::ZONE_ACTIVE, &|status| Some(status.active.into()));
    of(&names::ZONE_ENTERED_LAST_MINUTE, &|status| Some(status.entered_last_minute.into()));
    of(&names::ZONE_ENTERED, &|status| Some(status.entered_in_all));
    of(&names::ZONE_LEFT, &|status| Some(status.left_in_all));
    of(&names::ZONE_DROPPED, &|status| Some(status.silent_in_all));
    of(&names::ZONE_LIMIT, &|status| status.limit_per_minute.map(Into::into));
    of(&names::ZONE_ESTIMATE, &|status| status.estimated_seconds.map(Into::into));
    of(&names::ZONE_UNUSED, &|status| Some(status.unused_in_all));
    let sums = app.live.estimates.sums();
    let estimated = |value: fn(&crate::live::Sums) -> u64| {
        let sums = &sums;
        listed.iter().map(move |zone: &ZoneSeen| ([&zone.id], sums.get::<ZoneId>(&zone.id).map_or(0, value)))
    };
    sheet.all(&names::ZONE_ESTIMATE_TOLD, estimated(|sums| sums.told));
    sheet.all(&names::ZONE_ESTIMATE_KEPT, estimated(|sums| sums.kept));
    sheet.all(&names::ZONE_ESTIMATE_PEOPLE, estimated(|sums| sums.people));
    let holds = |zone: &ZoneSeen| zone.suspended || zone.status.is_some_and(|status| status.state == State::Recovering);
    sheet.all(&names::ZONE_HOLDING, listed.iter().map(|zone| ([&zone.id], u8::from(holds(zone)))));
    sheet.all(&names::ZONE_STATE, listed.iter().map(|zone| ([zone.id.as_str(), state(zone)], 1)));
    sheet.one(&names::ZONES_LEFT_OUT, unknown + beyond);
}

/// In the words of the contract.
fn state(zone: &ZoneSeen) -> &'static str {
    zone.status.map_or("recovering", |status| crate::http::traffic::state_word(status.state))
}

fn offers_of(sheet: &mut Sheet, app: &App, seen: Vec<OfferSeen>) {
    let there = seen.len();
    let known: Vec<OfferSeen> = seen.into_iter().filter(|offer| offer.stock.is_some() || offer.suspended == Some(true)).collect();
    let unknown = there - known.len();
    let (listed, beyond) = first(known, app.config.metrics_series_max, |offer| {
        let open = offer.stock.is_none_or(|stock| matches!(stock.state, OfferState::Open | OfferState::SoldOut));
        (open, offer.stock.map(|stock| stock.standby), offer.stock.map(|stock| stock.held))
    });
    let mut of = |name: &Name, value: fn(&Stock) -> u32| {
        sheet.all(name, listed.iter().filter_map(|offer| Some(([&offer.id], value(offer.stock.as_ref()?)))));
    };
    of(&names::OFFER_QUANTITY, |stock| stock.quantity);
    of(&names::OFFER_REMAINING, |stock| stock.remaining);
    of(&names::OFFER_HELD, |stock| stock.held);
    of(&names::OFFER_CONFIRMED, |stock| stock.confirmed);
    of(&names::OFFER_STANDBY, |stock| stock.standby);
    let refused = |offer: &OfferSeen| {
        offer.refused.iter().map(|(code, count)| ([offer.id.to_string(), (*code).to_owned()], *count)).collect::<Vec<_>>()
    };
    sheet.all(&names::OFFER_REFUSED, listed.iter().flat_map(refused));
    sheet.all(&names::OFFER_SUSPENDED, listed.iter().filter_map(|offer| Some(([&offer.id], u8::from(offer.suspended?)))));
    sheet.one(&names::OFFERS_LEFT_OUT, unknown + beyond);
}

fn record(sheet: &mut Sheet, app: &App) {
    let (health, progress) = (&app.health, app.health.progress(&app.ledger));
    sheet.one(&names::JOURNAL_UP, u8::from(health.journal_well()));
    sheet.one(&names::JOURNAL_DURABLE, progress.durable);
    sheet.one(&names::JOURNAL_PROJECTED, progress.projected);
    sheet.one(&names::PROJECTOR_UP, u8::from(health.ledger_well()));
    sheet.one(&names::PROJECTOR_LAG, progress.lag());
    sheet.one(&names::PROJECTOR_LAG_SECONDS, app.metrics.behind(app).as_secs_f64());
    sheet.one(&names::PARKED, health.parked());
}

fn journal_of(sheet: &mut Sheet, app: &App, journal: &Journal) {
    let figures = journal.figures();
    sheet.one(&names::JOURNAL_BACKLOG, app.health.backlog_bytes());
    sheet.spread(&names::JOURNAL_BATCH, &figures.batch_records.read(), 1.0);
    sheet.spread(&names::JOURNAL_SYNC, &figures.sync_us.read(), US);
}

fn cluster_of(sheet: &mut Sheet, cluster: &Cluster) {
    let (health, figures) = (cluster.health(), cluster.figures());
    sheet.one(&names::REDIS_UP, u8::from(health.redis));
    sheet.one(&names::REDIS_ROUND_TRIPS, figures.round_trips);
    sheet.spread(&names::REDIS_ROUND_TRIP, &figures.run_us, US);
    sheet.spread(&names::REDIS_BATCH, &figures.run_commands, 1.0);
    let primaries = &figures.primaries;
    sheet.all(&names::REDIS_SCRIPT_SECONDS, primaries.iter().map(|(node, figures)| ([node], figures.script_us as f64 / US)));
    sheet.all(&names::REDIS_SCRIPT_CALLS, primaries.iter().map(|(node, figures)| ([node], figures.script_calls)));
    sheet.all(&names::REDIS_SLOWLOG, primaries.iter().map(|(node, figures)| ([node], figures.slow)));
    sheet.one(&names::KAFKA_UP, u8::from(health.kafka));
    sheet.spread(&names::KAFKA_PRODUCE, &figures.produce_us, US);
    sheet.one(&names::OUTBOX_DEPTH, figures.outbox);
    sheet.one(&names::RECOVERING, health.recovering);
    sheet.one(&names::RECOVERIES, figures.recoveries);
}

impl Metrics {
    /// What is counted by handles.
    fn render(&self) -> String {
        self.shared.handle.render()
    }

    /// The same, for tests.
    #[cfg(test)]
    pub(super) fn rendered(&self) -> String {
        self.render()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_interesting_ones_are_listed() {
        let (all, beyond) = first(vec![1, 3, 2], 3, |number| *number);
        assert_eq!((all, beyond), (vec![1, 3, 2], 0));
        let (some, beyond) = first(vec![(1, 'a'), (3, 'b'), (1, 'c'), (2, 'd')], 3, |(interest, _)| *interest);
        assert_eq!((some, beyond), (vec![(3, 'b'), (2, 'd'), (1, 'a')], 1));
    }
}
