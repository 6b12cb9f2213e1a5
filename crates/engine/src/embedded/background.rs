//! What happens when nobody asks: holds expire, tickets fall silent, minutes end, stock is shown.
//!
//! Nothing here decides a result. Every decision settles what is due by itself, so a ticker that is late or
//! gone delays only what nobody is asking about.

use super::offers::AbortOnPanic;
use super::{Embedded, OfferCell, ZoneCell, until_durable};
use crate::seen::OfferSeen;
use bunho_domain::offer::Stock;
use bunho_journal::{Commit, crash_point};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, timeout_at};

/// Ten times a second: the rate at which stock is pushed at most, and the delay with which silence is noticed.
const TICK: Duration = Duration::from_millis(100);

/// How often the time is noted for a restart.
const NOTE_TIME_MS: i64 = 1_000;

/// Tickets looked at while a zone's lock is held once: few enough that a poll behind it does not notice.
const SWEEP_TICKETS: usize = 1_024;

impl Embedded {
    /// Runs until `shutdown` says so.
    pub async fn tick(self: Arc<Self>, mut shutdown: tokio::sync::watch::Receiver<bool>) {
        // Without the ticker nothing falls silent and no standby is served: better no process than a node that half lives.
        let _alive = AbortOnPanic;
        let mut interval = tokio::time::interval(TICK);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            if self.journal.poisoned() {
                return;
            }
            self.follow_time();
            self.tick_offers().await;
            self.tick_zones().await;
        }
    }

    /// One round of [`Self::tick`], for a simulation that decides when it comes.
    #[cfg(feature = "simulation")]
    pub async fn tick_once(&self) {
        self.follow_time();
        self.tick_offers().await;
        self.tick_zones().await;
    }

    /// Looks at the system's clock, and leaves word of the time once a second, so that a restart with an earlier clock is at most so
    /// much before it. The ticker's work; callable by hand for tests without one.
    pub fn follow_time(&self) {
        self.clock.follow();
        let now = self.clock.now();
        if now.0 - self.noted.load(Ordering::Relaxed) >= NOTE_TIME_MS {
            self.noted.store(now.0, Ordering::Relaxed);
            self.journal.note_time(now);
        }
    }

    /// Settles what is due and shows durable numbers to who watches.
    async fn tick_offers(&self) {
        let offers = self.offers.load_full();
        let now = self.clock.now().0;
        let looked_at = |cell: &&Arc<OfferCell>| cell.next_deadline.load(Ordering::Relaxed) <= now || cell.stock.receiver_count() > 0;
        // All are settled before the first commit is waited for, so that they share one sync.
        let settled: Vec<_> = offers.by_number.values().filter(looked_at).filter_map(|cell| Some((cell, self.settle(cell)?))).collect();
        for (cell, (stock, commit)) in settled {
            if until_durable(commit).await.is_err() {
                return;
            }
            crash_point!("engine::ticked");
            cell.stock.send_if_modified(|shown| shown.replace(stock) != Some(stock));
        }
    }

    /// Every offer's durable numbers, as far as they are durable within some time: all are settled before the first commit is waited for.
    pub(crate) async fn offers_seen(&self, within: Duration) -> Vec<OfferSeen> {
        let offers = self.offers.load_full();
        let settled: Vec<_> = offers.by_id.values().map(|cell| (cell, self.settle(cell))).collect();
        let until = tokio::time::Instant::now() + within;
        let mut seen = Vec::with_capacity(settled.len());
        for (cell, settled) in settled {
            let stock = match settled {
                Some((stock, commit)) => timeout_at(until, until_durable(commit)).await.is_ok_and(|done| done.is_ok()).then_some(stock),
                None => None,
            };
            seen.push(OfferSeen { id: cell.id.clone(), stock, suspended: None, refused: cell.refused.read() });
        }
        seen
    }

    /// An offer's numbers and the commit that makes them true. None: the journal has failed, or it was deleted.
    fn settle(&self, cell: &Arc<OfferCell>) -> Option<(Stock, Option<Commit>)> {
        self.locked(cell, None, |offer, step| {
            let stock = offer.stock(step);
            cell.note_deadline(offer);
            stock
        })
        .ok()
    }

    async fn tick_zones(&self) {
        let zones = self.zones.load_full();
        for cell in zones.by_id.values() {
            self.tick_zone(cell);
            let offer = cell.settings.load().offer.clone();
            if let Some(offer) = offer.and_then(|offer| self.offer_cell(&offer).ok())
                && let Some((stock, commit)) = self.settle(&offer)
                && until_durable(commit).await.is_ok()
            {
                cell.left.store(stock.remaining.into(), Ordering::Relaxed);
            }
            // A zone with a long sweep behind it lets others go first.
            tokio::task::yield_now().await;
        }
    }

    fn tick_zone(&self, cell: &ZoneCell) {
        loop {
            let Ok(mut guarded) = cell.lock() else { return };
            let now = self.clock.now();
            self.take_reservation(&mut guarded);
            let more = guarded.line.sweep(now, SWEEP_TICKETS);
            crash_point!("engine::swept");
            let mut events = Vec::new();
            guarded.line.minute(now, &mut events);
            guarded.line.reserve(&mut events);
            self.record_zone(&mut guarded, now, events, None);
            if !more {
                return;
            }
        }
    }
}
