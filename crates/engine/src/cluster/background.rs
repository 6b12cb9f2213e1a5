//! What happens when nobody asks: holds expire, tickets fall silent, minutes end, stock is shown, what a dead node left is shipped.
//!
//! Every node does all of it, without a lock or a leader: each of these is one run of a script that finds nothing to do if another
//! node was first. Nothing here decides a result; every decision settles what is due by itself.

use super::Cluster;
use super::directory::{Known, OfferCell, ZoneCell};
use super::place::Place;
use super::recovery::{Doubt, TAKE_OVER_AFTER};
use crate::error::EngineError;
use bunho_domain::line::OfferLeft;
use bunho_domain::line::settings::ZoneSettings;
use bunho_ledger::directory::Standing;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

/// Ten times a second: the rate at which stock is pushed at most, and the delay with which a deadline is noticed if nobody asks.
const TICK: Duration = Duration::from_millis(100);
/// How often everything is looked at: settings that another node edited, versions, lines, and what nobody shipped.
const ROUND: Duration = Duration::from_secs(1);
/// How long a look at a part may take.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// Tickets looked at by one run: it takes some milliseconds, during which that Redis node does nothing else.
const SWEEP_TICKETS: u32 = 512;
/// Such runs of one zone in one round.
const SWEEPS_MAX: usize = 20;

impl Cluster {
    /// Runs until `shutdown` says so.
    pub async fn run(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let recovering = tokio::spawn(self.clone().recover(shutdown.clone()));
        tokio::spawn(self.clone().ask_primaries(shutdown.clone()));
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = Rounds::default();
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                _ = shutdown.wait_for(|stop| *stop) => break,
            }
            if rounds.is_due() {
                self.round().await;
            } else {
                self.tick();
            }
        }
        // A recovery that is under way goes on elsewhere.
        recovering.abort();
    }

    /// Offers with something due, and those that somebody watches, or that a line ends with.
    fn tick(self: &Arc<Self>) {
        let known = self.directory.known();
        let now = self.now().0;
        let is_due = |cell: &&Arc<OfferCell>| {
            let is_watched = cell.stock.receiver_count() > 0 || cell.stops_a_line.load(Ordering::Relaxed);
            cell.place.is_live() && (is_watched || cell.next_deadline.load(Ordering::Relaxed) <= now)
        };
        known.offers.values().filter(is_due).for_each(|cell| self.look_at_offer(cell));
        self.tell_lines_what_is_left(&known);
    }

    /// Everything.
    async fn round(self: &Arc<Self>) {
        self.look_at_health();
        let known = self.directory.known();
        self.notice_what_was_abandoned(&known);
        known.offers.values().filter(|cell| cell.place.is_live()).for_each(|cell| self.look_at_offer(cell));
        self.tell_lines_what_is_left(&known);
        known.zones.values().filter(|cell| cell.place.is_live()).for_each(|cell| self.look_at_zone(cell));
        let tags: BTreeSet<u32> = known.offers.values().map(|cell| cell.place.entry().tag).collect();
        for tag in tags {
            // A tag with too much under way needs no relay now.
            let _ = self.decider.relay(tag);
        }
        for zone in known.zones.values() {
            let _ = self.decider.relay_zone(zone.place.number());
        }
    }

    /// Settles what is due, and shows what there is. Reading is the audit as well: what Redis does not have as it should is a case for
    /// recovery. In a task of its own, so that a part of Redis that does not answer holds nothing else up.
    fn look_at_offer(self: &Arc<Self>, cell: &Arc<OfferCell>) {
        if !cell.place.begin_look() {
            return;
        }
        let (cluster, cell) = (self.clone(), cell.clone());
        tokio::spawn(async move {
            if let Err(error) = cluster.read_offer(&cell).await {
                tracing::debug!(offer = cell.id.as_str(), %error, "an offer could not be looked at");
            }
            cell.place.was_looked_at();
        });
    }

    fn look_at_zone(self: &Arc<Self>, cell: &Arc<ZoneCell>) {
        if !cell.place.begin_look() {
            return;
        }
        let (cluster, cell) = (self.clone(), cell.clone());
        tokio::spawn(async move {
            if let Err(error) = cluster.sweep_zone(&cell).await {
                tracing::debug!(zone = cell.id.as_str(), %error, "a line could not be looked at");
            }
            cell.place.was_looked_at();
        });
    }

    async fn sweep_zone(&self, cell: &ZoneCell) -> Result<(), EngineError> {
        for _ in 0..SWEEPS_MAX {
            if !self.at_zone(cell, |home| self.decider.sweep(home, SWEEP_TICKETS)).await? {
                break;
            }
        }
        self.at_zone(cell, |home| self.decider.minute(home)).await?;
        self.read_zone(cell).await.map(drop)
    }

    fn tell_lines_what_is_left(&self, known: &Known) {
        for cell in known.zones.values() {
            if let Some(settings) = &*cell.settings.load() {
                tell_line_what_is_left(known, cell, settings);
            }
        }
    }

    /// What a node began to make or to recover and left.
    fn notice_what_was_abandoned(&self, known: &Known) {
        let recovering = known.places().map(Place::entry).filter(|entry| entry.standing == Standing::Recovering);
        for entry in recovering.chain(known.making.iter().cloned().map(Arc::new)) {
            if known.age_ms(&entry) >= TAKE_OVER_AFTER.as_millis() as i64 {
                self.doubts.add(Doubt::of(&entry), &"a node began and did not end");
            }
        }
    }

    /// Asks each component once, in a task of its own, so that one that hangs holds nothing else up.
    fn look_at_health(self: &Arc<Self>) {
        let Ok(looking) = self.looks_at_health.clone().try_acquire_owned() else { return };
        let cluster = self.clone();
        tokio::spawn(async move {
            let _looking = looking;
            // A part that hangs must not make what is known of the others old.
            let (redis, ledger, ends, positions) = tokio::join!(
                timeout(LOOK_WITHIN, cluster.follow_time()),
                timeout(LOOK_WITHIN, cluster.directory.refresh()),
                timeout(LOOK_WITHIN, cluster.ends.read()),
                timeout(LOOK_WITHIN, cluster.ledger.positions()),
            );
            let (redis, ledger) = (redis.unwrap_or(false), ledger.is_ok_and(|read| read.is_ok()));
            let (ends, positions) = (ends.ok().and_then(Result::ok), positions.ok().and_then(Result::ok));
            let behind = cluster.look_how_far_behind(ends.as_deref(), positions.as_ref());
            let known = cluster.directory.known();
            let mut health = cluster.health.lock();
            (health.redis, health.kafka, health.ledger) = (redis, ends.is_some(), ledger && positions.is_some());
            health.behind = behind;
            if let Some(ends) = ends {
                health.topic = ends.iter().map(|end| end.end.max(0).cast_unsigned()).sum();
            }
            if let Some(positions) = positions {
                health.projected = positions.values().map(|position| (*position).max(0).cast_unsigned()).sum();
            }
            health.recovering = known.places().filter(|place| !place.is_live()).count() as u64;
        });
    }

    /// Redis's clock is what decides; passes and what is shown go by it too. False: Redis does not answer.
    async fn follow_time(&self) -> bool {
        let before = self.own_time();
        let Ok(time) = self.decider.time().await else { return false };
        self.ahead_ms.store(time.0 - (before + self.own_time()) / 2, Ordering::Relaxed);
        true
    }
}

/// As this node last saw the offer that stops this line.
pub(super) fn tell_line_what_is_left(known: &Known, cell: &ZoneCell, settings: &ZoneSettings) {
    let Some(offer) = &settings.offer else { return cell.set_left(OfferLeft::Untied) };
    let Some(offer) = known.offers.get(offer) else { return cell.set_left(OfferLeft::Unknown) };
    offer.stops_a_line.store(true, Ordering::Relaxed);
    let shown = offer.shown.load();
    cell.set_left(shown.as_ref().map_or(OfferLeft::Unknown, |state| OfferLeft::Some(state.stock.remaining)));
}

/// When everything is next looked at.
struct Rounds(Instant);

impl Default for Rounds {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Rounds {
    fn is_due(&mut self) -> bool {
        let due = Instant::now() >= self.0;
        if due {
            self.0 = Instant::now() + ROUND;
        }
        due
    }
}
