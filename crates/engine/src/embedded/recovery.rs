//! Start: the ledger's state at its offset, then the journal after it.

use super::mistakes::without_key;
use super::{Embedded, Numbers, Offers, ZoneCell, Zones};
use crate::clock::Clock;
use crate::random::Randomness;
use crate::types::Options;
use arc_swap::ArcSwap;
use bunho_domain::event::{Event, OfferChange, ZoneChange};
use bunho_domain::line::Line;
use bunho_domain::offer::Offer;
use bunho_domain::planted::{self, Bug};
use bunho_domain::time::Millis;
use bunho_journal::{Journal, JournalError, crash_point};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use tokio::sync::watch;

/// Records read from the journal at a time.
const REPLAY_RECORDS: usize = 10_000;

/// Counted from here for ids; below it are the zones' numbers, from which their jitter is seeded.
const FIRST_NONCE: u64 = 1 << 32;

/// An engine that is being filled: events first, in any number and from any source, then [`Recovery::start`].
#[derive(Default)]
pub struct Recovery {
    offers: BTreeMap<u32, Offer>,
    zones: BTreeMap<u32, Line>,
    numbers: Numbers,
    /// The latest time that anything recorded was decided at.
    latest: Millis,
    /// Events about something that was never defined: a ledger or journal that was tampered with.
    orphans: u64,
    random: Randomness,
    wanted: Option<watch::Sender<u64>>,
}

impl Recovery {
    /// An engine all of whose randomness comes from `seed`, for a simulation that repeats itself.
    #[cfg(feature = "simulation")]
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { random: Randomness::Seeded(seed), ..Self::default() }
    }

    /// Numbers up to these have been given out, to things since deleted too.
    pub fn numbers_used(&mut self, offer: u32, zone: u32) {
        self.numbers.offer = self.numbers.offer.max(offer);
        self.numbers.zone = self.numbers.zone.max(zone);
    }

    /// Makes the state what an event says.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::Offer(event) => {
                self.numbers_used(event.offer, 0);
                match &event.change {
                    OfferChange::Claim(claim) => self.latest = self.latest.max(claim.updated_at),
                    OfferChange::Standby(place) => self.latest = self.latest.max(place.updated_at),
                    OfferChange::Defined(_) | OfferChange::Deleted => {}
                }
                match (&event.change, self.offers.get_mut(&event.offer)) {
                    (OfferChange::Deleted, _) => {
                        self.offers.remove(&event.offer);
                    }
                    (OfferChange::Claim(_), Some(offer)) if planted::is(Bug::KeyForgotten) => offer.apply(&without_key(event)),
                    (_, Some(offer)) => offer.apply(event),
                    (OfferChange::Defined(settings), None) => {
                        let mut offer = Offer::new(event.offer, (**settings).clone());
                        offer.apply(event);
                        self.offers.insert(event.offer, offer);
                    }
                    _ => self.orphans += 1,
                }
            }
            Event::Zone(event) => {
                self.numbers_used(0, event.zone);
                if let ZoneChange::Admitted { at, .. } | ZoneChange::Left { at, .. } = &event.change {
                    self.latest = self.latest.max(*at);
                }
                match (&event.change, self.zones.get_mut(&event.zone)) {
                    (ZoneChange::Deleted, _) => {
                        self.zones.remove(&event.zone);
                    }
                    (change, Some(line)) => line.replay(change),
                    (ZoneChange::Defined(settings), None) => {
                        let seed = self.random.number(event.zone.into());
                        self.zones.insert(event.zone, Line::new(event.zone, (**settings).clone(), seed, self.latest));
                    }
                    _ => self.orphans += 1,
                }
            }
        }
    }

    /// Applies every record of the journal after `offset`. Returns how many there were.
    ///
    /// # Errors
    /// The journal cannot be read, or something in it is missing.
    pub fn replay(&mut self, journal: &Journal, offset: u64) -> Result<u64, JournalError> {
        let mut after = offset;
        loop {
            let records = journal.read(after, REPLAY_RECORDS)?;
            let Some((last, _)) = records.last() else { return Ok(after - offset) };
            after = *last;
            crash_point!("engine::replay_read");
            for (_, record) in &records {
                self.latest = self.latest.max(record.at);
                for event in &record.events {
                    self.apply(event);
                }
            }
        }
    }

    /// Events that named an offer or zone nobody defined. More than none means that the data folder was edited.
    #[must_use]
    pub const fn orphans(&self) -> u64 {
        self.orphans
    }

    /// The time that a clock must not be before: the latest that a process told, or that anything recorded was decided at, unless an
    /// operator has said that those times are wrong.
    #[must_use]
    pub fn floor(&self, journal: &Journal) -> Millis {
        let recorded = if self.latest > journal.disbelieved() { self.latest } else { Millis(0) };
        recorded.max(journal.time_told())
    }

    /// The latest time that anything recorded was decided at.
    #[must_use]
    pub const fn latest(&self) -> Millis {
        self.latest
    }

    /// The engine will say there which journal offset it waits to see projected, and it will only rise.
    #[must_use]
    pub fn wanting(mut self, wanted: watch::Sender<u64>) -> Self {
        self.wanted = Some(wanted);
        self
    }

    /// Brings the engine to life. Lines listen first; holds whose deadline passed meanwhile expire at once.
    #[must_use]
    pub fn start(self, journal: Journal, projected: watch::Receiver<u64>, options: Options) -> Arc<Embedded> {
        let clock = Clock::starting_at(self.floor(&journal), options.time.clone());
        let now = clock.now();
        let disbelieved = self.latest > now;
        let mut offers = Offers::default();
        for (_, offer) in self.offers {
            offers.insert(offer, None);
        }
        let mut zones = Zones::default();
        for (_, mut line) in self.zones {
            if disbelieved {
                line.redate(now);
            }
            line.recover(now);
            zones.insert(ZoneCell::new(line));
        }
        crash_point!("engine::recovered");
        Arc::new(Embedded {
            replayed: journal.last(),
            journal,
            clock,
            noted: AtomicI64::new(0),
            ticket_keys: ArcSwap::from_pointee(options.ticket_keys.clone()),
            options,
            offers: ArcSwap::from_pointee(offers),
            zones: ArcSwap::from_pointee(zones),
            numbers: Mutex::new(self.numbers),
            projected,
            wanted: self.wanted.unwrap_or_else(|| watch::Sender::new(0)),
            random: self.random,
            nonces: AtomicU64::new(FIRST_NONCE),
        })
    }
}
