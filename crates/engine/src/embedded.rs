//! The embedded engine: state in memory, one mutex per offer and per zone, durable through the journal.
//!
//! **Invariant:** no lock is held across an await. A decision locks, decides, appends its events to the
//! journal's open batch and unlocks; then it waits.
//!
//! **Invariant:** nothing is said about state that is not durable. Each cell keeps the commit of the last
//! record that touched it; answers about it, refusals and reads too, wait for that commit. Where it has long
//! been durable (a quiet offer, a sold-out one) the wait is one atomic load.

mod background;
mod define;
mod mistakes;
mod offers;
pub mod recovery;
mod zones;

use crate::clock::Clock;
use crate::error::EngineError;
use crate::random::Randomness;
use crate::seen::Refusals;
use crate::types::Options;
use arc_swap::ArcSwap;
use bunho_domain::event::Event;
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::line::Line;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::{Offer, Stock};
use bunho_domain::ticket::TicketKeys;
use bunho_journal::{Commit, Journal, crash_point};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use tokio::sync::watch;

/// One node's live state.
pub struct Embedded {
    journal: Journal,
    clock: Clock,
    /// When the time was last noted for a restart.
    noted: AtomicI64,
    options: Options,
    ticket_keys: ArcSwap<TicketKeys>,
    offers: ArcSwap<Offers>,
    zones: ArcSwap<Zones>,
    /// Held while something is created, edited or deleted, so that what one edit refers to cannot vanish meanwhile.
    numbers: Mutex<Numbers>,
    projected: watch::Receiver<u64>,
    /// Tells whoever carries the journal into the ledger that somebody waits for this offset.
    wanted: watch::Sender<u64>,
    /// Last record of before the start.
    replayed: u64,
    random: Randomness,
    nonces: AtomicU64,
}

/// Last numbers given to an offer and a zone; never given again.
#[derive(Debug, Default)]
struct Numbers {
    offer: u32,
    zone: u32,
}

#[derive(Clone, Default)]
struct Offers {
    by_id: BTreeMap<OfferId, Arc<OfferCell>>,
    by_number: BTreeMap<u32, Arc<OfferCell>>,
}

#[derive(Clone, Default)]
struct Zones {
    by_id: BTreeMap<ZoneId, Arc<ZoneCell>>,
}

/// An offer and what surrounds it.
struct OfferCell {
    id: OfferId,
    number: u32,
    guarded: Mutex<GuardedOffer>,
    /// The zone whose pass it wants; read without the lock.
    zone: ArcSwap<Option<ZoneId>>,
    /// When the sweeper should next look, Unix milliseconds; `i64::MAX`: never. Written under the lock.
    next_deadline: AtomicI64,
    in_flight: AtomicU32,
    stock: watch::Sender<Option<Stock>>,
    refused: Refusals,
}

struct GuardedOffer {
    offer: Offer,
    /// The last record that changed it.
    last: Option<Commit>,
}

/// A zone and what surrounds it.
struct ZoneCell {
    number: u32,
    guarded: Mutex<GuardedZone>,
    settings: ArcSwap<ZoneSettings>,
    /// What is left of the tied offer as last known durably; -1: no offer is tied, or the ticker has not looked yet.
    left: AtomicI64,
    in_flight: AtomicU32,
}

struct GuardedZone {
    line: Line,
    /// The last record that admitted somebody or defined the zone.
    last: Option<Commit>,
    /// A reservation of sequence numbers that is not known to be durable yet: epoch and first number beyond.
    reservation: Option<(Commit, u32, u32)>,
    /// Nothing may be recorded about it any more. Requests that found it before it was deleted still hold it.
    deleted: bool,
}

impl Offers {
    fn insert(&mut self, offer: Offer, last: Option<Commit>) {
        let (id, number) = (offer.id().clone(), offer.number());
        let cell = Arc::new(OfferCell {
            id: id.clone(),
            number,
            zone: ArcSwap::from_pointee(offer.settings().zone.clone()),
            next_deadline: AtomicI64::new(offer.next_deadline().map_or(i64::MAX, |at| at.0)),
            guarded: Mutex::new(GuardedOffer { offer, last }),
            in_flight: AtomicU32::new(0),
            stock: watch::Sender::new(None),
            refused: Refusals::default(),
        });
        self.by_id.insert(id, cell.clone());
        self.by_number.insert(number, cell);
    }
}

impl Zones {
    fn insert(&mut self, cell: ZoneCell) {
        let id = cell.settings.load().id.clone();
        self.by_id.insert(id, Arc::new(cell));
    }
}

impl ZoneCell {
    fn new(line: Line) -> Self {
        Self {
            number: line.number(),
            left: AtomicI64::new(-1),
            settings: ArcSwap::from_pointee(line.settings().clone()),
            guarded: Mutex::new(GuardedZone { line, last: None, reservation: None, deleted: false }),
            in_flight: AtomicU32::new(0),
        }
    }

    /// The zone under its lock, unless it has been deleted.
    fn lock(&self) -> Result<MutexGuard<'_, GuardedZone>, EngineError> {
        let guarded = self.guarded.lock();
        if guarded.deleted { Err(EngineError::UnknownZone) } else { Ok(guarded) }
    }
}

impl Embedded {
    /// Signs and reads tickets with these from now on.
    pub(crate) fn set_ticket_keys(&self, keys: TicketKeys) {
        self.ticket_keys.store(Arc::new(keys));
    }

    /// Bits for an id.
    pub(crate) fn nonce(&self) -> u64 {
        self.random.number(self.nonces.fetch_add(1, Ordering::Relaxed))
    }

    fn offer_cell(&self, id: &OfferId) -> Result<Arc<OfferCell>, EngineError> {
        self.offers.load().by_id.get(id).cloned().ok_or(EngineError::UnknownOffer)
    }

    fn zone_cell(&self, id: &ZoneId) -> Result<Arc<ZoneCell>, EngineError> {
        self.zones.load().by_id.get(id).cloned().ok_or(EngineError::UnknownZone)
    }

    /// Refuses new work while it could not be made durable soon, or ever.
    fn check_journal(&self) -> Result<(), EngineError> {
        if self.journal.poisoned() {
            Err(EngineError::Poisoned)
        } else if self.journal.pressure() > self.options.journal_backlog_bytes_max {
            Err(EngineError::Overloaded)
        } else {
            Ok(())
        }
    }

    fn record(&self, now: bunho_domain::time::Millis, events: &[Event], audit: Option<&bunho_journal::Audit>) -> Commit {
        self.journal.append(now, events, audit)
    }

    /// Waits until everything recorded so far is in the ledger.
    pub(crate) async fn ledger_caught_up(&self) -> Result<(), EngineError> {
        self.until_projected(self.journal.last()).await
    }

    async fn until_projected(&self, offset: u64) -> Result<(), EngineError> {
        let mut projected = self.projected.clone();
        self.wanted.send_if_modified(|wanted| std::mem::replace(wanted, offset.max(*wanted)) < offset);
        let wait = projected.wait_for(|projected| *projected >= offset);
        match tokio::time::timeout(LEDGER_WAIT, wait).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(EngineError::LedgerBehind),
        }
    }

    /// Stops the journal after writing what was decided. Nothing may be decided afterwards.
    pub fn close(&self) {
        self.journal.close();
    }

    /// Server time, in Unix milliseconds.
    #[must_use]
    pub fn now(&self) -> bunho_domain::time::Millis {
        self.clock.now()
    }

    /// The journal, for the projector and for health.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }
}

/// How long an answer waits for the ledger before it says that the ledger is behind.
const LEDGER_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

async fn until_durable(commit: Option<Commit>) -> Result<(), EngineError> {
    match commit {
        Some(commit) if !commit.is_durable() => {
            commit.durable().await.map_err(EngineError::indeterminate)?;
            crash_point!("engine::durable");
            Ok(())
        }
        _ => Ok(()),
    }
}
