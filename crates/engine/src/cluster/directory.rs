//! Which offers and zones there are and where they live, as this node knows it.
//!
//! The directory itself is in SQL, since it must outlive Redis and every node must see the same one (`bunho_ledger::directory`). Requests read
//! a copy without a lock. What is not found in the copy is looked up again, once for all who ask at that time, so an
//! offer that another node has just made is found; and a background task looks every second.

use super::figures::STATE_SHOWN_FOR;
use super::place::Place;
use super::redis::{Of, ReadOffer};
use super::rounds::Rounds;
use crate::error::EngineError;
use crate::seen::Refusals;
use arc_swap::{ArcSwap, ArcSwapOption};
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{OfferLeft, Status};
use bunho_domain::offer::Stock;
use bunho_ledger::directory::{Entry, Kind, Standing};
use bunho_ledger::{Ledger, LedgerError};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Instant;
use tokio::sync::watch;

/// The node's copy.
pub(super) struct Directory {
    ledger: Ledger,
    rounds: Rounds,
    known: ArcSwap<Known>,
}

/// One state of it.
#[derive(Default)]
pub(super) struct Known {
    version: Option<u64>,
    /// When it was read: by the database's clock in Unix milliseconds, and by this node's.
    read: Option<(i64, Instant)>,
    pub(super) offers: BTreeMap<OfferId, Arc<OfferCell>>,
    pub(super) offers_by_number: BTreeMap<u32, Arc<OfferCell>>,
    pub(super) zones: BTreeMap<ZoneId, Arc<ZoneCell>>,
    pub(super) zones_by_number: BTreeMap<u32, Arc<ZoneCell>>,
    /// Ids by number, of deleted ones too: what is still on its way to Kafka needs its key.
    names: HashMap<(Kind, u32), Arc<str>>,
    /// Entries that a node began to make and perhaps never finished.
    pub(super) making: Vec<Entry>,
}

/// An offer and what this node keeps about it.
pub(super) struct OfferCell {
    pub(super) id: OfferId,
    pub(super) place: Place,
    /// As it was last read from Redis; none: not since this node knows of it.
    pub(super) shown: ArcSwapOption<ReadOffer>,
    /// When that was.
    shown_at: Mutex<Option<Instant>>,
    pub(super) refused: Refusals,
    /// When it should be settled even if nobody asks, Unix milliseconds; `i64::MAX`: never.
    pub(super) next_deadline: AtomicI64,
    /// A zone is tied to it, or was: then it is looked at as if somebody watched.
    pub(super) stops_a_line: AtomicBool,
    pub(super) stock: watch::Sender<Option<Stock>>,
    /// The highest version that Redis has told of.
    pub(super) version: AtomicU64,
}

/// No offer is tied to the zone.
const UNTIED: i64 = -1;
/// It was not looked at yet, neither for whether one is tied nor for what that one has.
const UNKNOWN: i64 = -2;

/// A zone and what this node keeps about it.
pub(super) struct ZoneCell {
    pub(super) id: ZoneId,
    pub(super) place: Place,
    pub(super) settings: ArcSwapOption<ZoneSettings>,
    /// What is left of the tied offer, or [`UNTIED`], or [`UNKNOWN`].
    left: AtomicI64,
    /// As its line was last seen, and when.
    status: Mutex<Option<(Instant, Status)>>,
}

impl OfferCell {
    /// As it was within the last seconds.
    pub(super) fn seen(&self) -> Option<Arc<ReadOffer>> {
        let at = (*self.shown_at.lock())?;
        if at.elapsed() < STATE_SHOWN_FOR { self.shown.load_full() } else { None }
    }

    /// Takes in what Redis has told.
    pub(super) fn show(&self, state: ReadOffer) {
        self.next_deadline.store(state.next_deadline.map_or(i64::MAX, |at| at.0), Ordering::Relaxed);
        let stock = state.stock;
        self.version.fetch_max(stock.version, Ordering::Relaxed);
        self.shown.store(Some(Arc::new(state)));
        *self.shown_at.lock() = Some(Instant::now());
        self.stock.send_if_modified(|shown| shown.replace(stock) != Some(stock));
    }
}

impl ZoneCell {
    /// Takes in how its line stands.
    pub(super) fn show(&self, status: Status) {
        *self.status.lock() = Some((Instant::now(), status));
    }

    /// As it stood within the last seconds.
    pub(super) fn seen(&self) -> Option<Status> {
        (*self.status.lock()).filter(|(at, _)| at.elapsed() < STATE_SHOWN_FOR).map(|(_, status)| status)
    }

    pub(super) fn left(&self) -> OfferLeft {
        match self.left.load(Ordering::Relaxed) {
            UNTIED => OfferLeft::Untied,
            left => u32::try_from(left).map_or(OfferLeft::Unknown, OfferLeft::Some),
        }
    }

    /// Takes in what the tied offer was last seen to have.
    pub(super) fn set_left(&self, left: OfferLeft) {
        let left = match left {
            OfferLeft::Untied => UNTIED,
            OfferLeft::Unknown => UNKNOWN,
            OfferLeft::Some(left) => left.into(),
        };
        self.left.store(left, Ordering::Relaxed);
    }
}

impl Directory {
    /// Reads it for the first time.
    ///
    /// # Errors
    /// The database cannot be read.
    pub(super) async fn open(ledger: Ledger) -> Result<Self, LedgerError> {
        let directory = Self { ledger, rounds: Rounds::default(), known: ArcSwap::default() };
        directory.read().await?;
        Ok(directory)
    }

    pub(super) fn known(&self) -> Arc<Known> {
        self.known.load_full()
    }

    /// Looks whether it has changed.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`]: the database cannot be read.
    pub(super) async fn refresh(&self) -> Result<(), EngineError> {
        self.rounds.after_now(self.read()).await.map_err(EngineError::unavailable)
    }

    async fn read(&self) -> Result<(), LedgerError> {
        let before = self.known.load_full();
        if before.version == Some(self.ledger.directory_version().await?) {
            return Ok(());
        }
        let directory = self.ledger.directory().await?;
        let read = Some((directory.read_ms, Instant::now()));
        let mut known = Known { version: Some(directory.version), read, ..Known::default() };
        for entry in directory.entries {
            known.names.insert((entry.kind, entry.number), entry.id.as_str().into());
            match (entry.standing, entry.kind) {
                (Standing::Deleted, _) => {}
                (Standing::Making, _) => known.making.push(entry),
                (Standing::Live | Standing::Recovering, Kind::Offer) => known.offer(entry, &before),
                (Standing::Live | Standing::Recovering, Kind::Zone) => known.zone(entry, &before),
            }
        }
        self.known.store(Arc::new(known));
        Ok(())
    }

    /// An offer by its id; looked up again where it is not known.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`], or the database cannot be asked.
    pub(super) async fn offer(&self, id: &OfferId) -> Result<Arc<OfferCell>, EngineError> {
        if let Some(cell) = self.known.load().offers.get(id) {
            return Ok(cell.clone());
        }
        self.refresh().await?;
        self.known.load().offers.get(id).cloned().ok_or(EngineError::UnknownOffer)
    }

    /// As [`Self::offer`], by number.
    ///
    /// # Errors
    /// As [`Self::offer`].
    pub(super) async fn offer_of(&self, number: u32) -> Result<Arc<OfferCell>, EngineError> {
        if let Some(cell) = self.known.load().offers_by_number.get(&number) {
            return Ok(cell.clone());
        }
        self.refresh().await?;
        self.known.load().offers_by_number.get(&number).cloned().ok_or(EngineError::UnknownOffer)
    }

    /// A zone by its id; looked up again where it is not known.
    ///
    /// # Errors
    /// [`EngineError::UnknownZone`], or the database cannot be asked.
    pub(super) async fn zone(&self, id: &ZoneId) -> Result<Arc<ZoneCell>, EngineError> {
        if let Some(cell) = self.known.load().zones.get(id) {
            return Ok(cell.clone());
        }
        self.refresh().await?;
        self.known.load().zones.get(id).cloned().ok_or(EngineError::UnknownZone)
    }

    /// Whether an offer or zone has this epoch and is decided on, as of some moment after this was asked.
    pub(super) async fn is_current(&self, of: Of, epoch: u32) -> bool {
        if self.refresh().await.is_err() {
            return false;
        }
        let known = self.known.load();
        let place = match of {
            Of::Offer(number) => known.offers_by_number.get(&number).map(|cell| &cell.place),
            Of::Zone(number) => known.zones_by_number.get(&number).map(|cell| &cell.place),
        };
        // One that is being made decides its first definition.
        let is_made = place.is_some_and(|place| place.is_live() && place.entry().epoch == epoch);
        is_made || known.making.iter().any(|entry| Of::from(entry) == of && entry.epoch == epoch)
    }

    /// The id of whatever has or had this number.
    pub(super) async fn name(&self, kind: Kind, number: u32) -> Option<Arc<str>> {
        if let Some(name) = self.known.load().names.get(&(kind, number)) {
            return Some(name.clone());
        }
        self.refresh().await.ok()?;
        self.known.load().names.get(&(kind, number)).cloned()
    }
}

impl Known {
    /// Whether an offer or zone with this number has been made and not deleted.
    pub(super) fn has(&self, kind: Kind, number: u32) -> bool {
        match kind {
            Kind::Offer => self.offers_by_number.contains_key(&number),
            Kind::Zone => self.zones_by_number.contains_key(&number),
        }
    }

    /// Where every one of them lives.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.offers.values().map(|cell| &cell.place).chain(self.zones.values().map(|cell| &cell.place))
    }

    /// How long ago an entry was changed, in milliseconds, by the database's clock: no other clock has a say in who takes over.
    pub(super) fn age_ms(&self, entry: &Entry) -> i64 {
        self.read.map_or(0, |(at, read)| at + read.elapsed().as_millis() as i64 - entry.changed_ms)
    }

    fn offer(&mut self, entry: Entry, before: &Self) {
        let Ok(id) = OfferId::parse(&entry.id) else {
            tracing::error!(entry.id, "the directory has an offer whose id is none");
            return;
        };
        let cell = match before.offers_by_number.get(&entry.number) {
            Some(cell) => {
                cell.place.set(entry);
                cell.clone()
            }
            None => Arc::new(OfferCell {
                id: id.clone(),
                place: Place::new(entry),
                shown: ArcSwapOption::empty(),
                shown_at: Mutex::new(None),
                refused: Refusals::default(),
                next_deadline: AtomicI64::new(0),
                stops_a_line: AtomicBool::new(false),
                stock: watch::Sender::new(None),
                version: AtomicU64::new(0),
            }),
        };
        self.offers_by_number.insert(cell.place.number(), cell.clone());
        self.offers.insert(id, cell);
    }

    fn zone(&mut self, entry: Entry, before: &Self) {
        let Ok(id) = ZoneId::parse(&entry.id) else {
            tracing::error!(entry.id, "the directory has a zone whose id is none");
            return;
        };
        let cell = match before.zones_by_number.get(&entry.number) {
            Some(cell) => {
                cell.place.set(entry);
                cell.clone()
            }
            None => Arc::new(ZoneCell {
                id: id.clone(),
                place: Place::new(entry),
                settings: ArcSwapOption::empty(),
                left: AtomicI64::new(UNKNOWN),
                status: Mutex::new(None),
            }),
        };
        self.zones_by_number.insert(cell.place.number(), cell.clone());
        self.zones.insert(id, cell);
    }
}
