//! What has really happened: every record that a power cut would leave, read from the disk without the journal's help, held to
//! the promises one by one.
//!
//! This is the simulation's own bookkeeping and shares no code with the engine's. Everything that a client is told must
//! stand here at that moment (`told`), and every restart must know exactly this (`agreement`).

pub mod offer;
pub mod zone;

use crate::machine::Finding;
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneChange, ZoneEvent};
use bunho_domain::ids::{ClaimId, OfferId};
use bunho_journal::Record;
use offer::{Giver, OfferHistory};
use std::collections::BTreeMap;
use zone::ZoneHistory;

/// Refuses what must not be.
macro_rules! ensure {
    ($condition:expr, $($message:tt)+) => {
        if !$condition {
            return Err(format!($($message)+));
        }
    };
}
pub(crate) use ensure;

/// All of it.
#[derive(Default)]
pub struct History {
    /// Last record.
    pub offset: u64,
    /// The engine's clock cannot be before this: the last record's time within one life.
    pub at: i64,
    /// The time of each record, the first at index 0.
    times: Vec<i64>,
    /// The latest time of a claim, a place on standby, an admission or a leave.
    floor: i64,
    /// Records of an earlier time than the one before, which only a restart with an earlier clock may bring.
    pub back_in_time: u64,
    /// The latest that any clock has ever said.
    pub clock_max: i64,
    /// Every offer ever, by number.
    pub offers: BTreeMap<u32, OfferHistory>,
    /// Every zone ever, by number.
    pub zones: BTreeMap<u32, ZoneHistory>,
    /// Grants that a confirmed claim names and that have not been seen: never for longer than a record.
    pub promised: BTreeMap<ClaimId, ClaimId>,
    /// Records by kind of event, for the report.
    pub events: u64,
}

impl History {
    /// Nothing has happened, and the clock says this.
    #[must_use]
    pub fn beginning(clock_max: i64) -> Self {
        Self { clock_max, ..Self::default() }
    }

    /// Takes in the next record.
    ///
    /// # Errors
    /// The promise that it breaks.
    pub fn feed(&mut self, offset: u64, record: &Record) -> Result<(), Finding> {
        ensure!(offset == self.offset + 1, "record {offset} follows record {}", self.offset);
        ensure!(record.at.0 >= self.at, "record {offset} is of {}, the one before it of {}: time ran backwards", record.at.0, self.at);
        ensure!(record.at.0 <= self.clock_max, "record {offset} is of {}, later than any clock has said", record.at.0);
        self.back_in_time += u64::from(self.times.last().is_some_and(|last| record.at.0 < *last));
        self.offset = offset;
        self.at = record.at.0;
        self.times.push(record.at.0);
        for event in &record.events {
            self.events += 1;
            if is_timed(event) {
                self.floor = record.at.0;
            }
            let result = match event {
                Event::Offer(event) => self.feed_offer(record, event),
                Event::Zone(event) => self.feed_zone(record, event),
            };
            result.map_err(|finding| format!("record {offset}: {finding}"))?;
        }
        Ok(())
    }

    fn feed_offer(&mut self, record: &Record, event: &OfferEvent) -> Result<(), Finding> {
        let number = event.offer;
        if let (OfferChange::Defined(settings), false) = (&event.change, self.offers.contains_key(&number)) {
            let highest = self.offers.last_key_value().map_or(0, |(number, _)| *number);
            ensure!(number > highest, "offer number {number} is given after {highest}");
            self.offers.insert(number, OfferHistory::new(number, (**settings).clone()));
        }
        // What confirming would give, told by the offer that is granted as it stands now: its own events come first.
        let giver = match &event.change {
            OfferChange::Claim(claim) => self.giver(number, claim.user.clone(), record.at.0),
            _ => None,
        };
        let Some(offer) = self.offers.get_mut(&number) else { return Err(format!("offer {number} was never defined")) };
        offer.feed(record, event, giver.as_ref(), self.offset)?;
        if let OfferChange::Claim(claim) = &event.change {
            if let Some(granted) = claim.granted
                && claim.status == bunho_domain::claim::Status::Confirmed
                && !self.knows(granted)
            {
                self.promised.insert(granted, claim.id);
            }
            self.promised.remove(&claim.id);
        }
        Ok(())
    }

    fn knows(&self, claim: ClaimId) -> bool {
        self.offers.get(&claim.offer_number()).is_some_and(|offer| offer.claims.contains_key(&claim))
    }

    fn giver(&self, number: u32, user: bunho_domain::ids::UserId, at: i64) -> Option<Giver> {
        let grants = self.offers.get(&number)?.settings.grants.as_ref()?;
        let granted = self.by_id(grants)?;
        Some(Giver { number: granted.number, gives: granted.would_give(&user, at) })
    }

    /// The living offer of this name.
    #[must_use]
    pub fn by_id(&self, id: &OfferId) -> Option<&OfferHistory> {
        self.offers.values().rfind(|offer| offer.settings.id == *id && !offer.deleted)
    }

    fn feed_zone(&mut self, record: &Record, event: &ZoneEvent) -> Result<(), Finding> {
        let number = event.zone;
        if let (ZoneChange::Defined(settings), false) = (&event.change, self.zones.contains_key(&number)) {
            let highest = self.zones.last_key_value().map_or(0, |(number, _)| *number);
            ensure!(number > highest, "zone number {number} is given after {highest}");
            self.zones.insert(number, ZoneHistory::new(number, (**settings).clone()));
        }
        let Some(zone) = self.zones.get_mut(&number) else { return Err(format!("zone {number} was never defined")) };
        zone.feed(record.at.0, event, self.offset)
    }

    /// A process starts that finds the ledger at `projected`, and `noted` beside the journal. Its clock is floored by what ARCHITECTURE.md
    /// says: the noted time, claims, standby, tickets and the records that are replayed. A definition that the ledger has
    /// alone, of the second before a kill, does not count (a known gap).
    pub fn restarted(&mut self, projected: u64, noted: i64, clock_ms: i64) {
        let replayed = self.times.iter().skip(projected as usize).copied().max();
        self.at = self.floor.max(replayed.unwrap_or(0)).max(noted);
        for zone in self.zones.values_mut() {
            zone.restarted(clock_ms);
        }
    }

    /// Every named grant must be there by now.
    ///
    /// # Errors
    /// One is not.
    pub fn check_grants(&self) -> Result<(), Finding> {
        match self.promised.first_key_value() {
            Some((granted, by)) => Err(format!("claim {by} says that it was granted {granted}, which is nowhere")),
            None => Ok(()),
        }
    }
}

/// Whether the ledger keeps the event's time for a restart.
fn is_timed(event: &Event) -> bool {
    match event {
        Event::Offer(event) => matches!(event.change, OfferChange::Claim(_) | OfferChange::Standby(_)),
        Event::Zone(event) => matches!(event.change, ZoneChange::Admitted { .. } | ZoneChange::Left { .. }),
    }
}
