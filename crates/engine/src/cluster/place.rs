//! Asking Redis about an offer or a zone where the directory says that it lives.

use super::Cluster;
use super::recovery::Doubt;
use super::redis::line::ZoneHome;
use super::redis::{DecideError, Home, Of};
use crate::bulkhead::InFlight;
use crate::error::EngineError;
use arc_swap::ArcSwap;
use bunho_ledger::directory::{Entry, Kind, Standing};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Where something lives, and what this node has under way there.
pub(super) struct Place {
    entry: ArcSwap<Entry>,
    in_flight: AtomicU32,
    is_looked_at: AtomicBool,
}

impl Place {
    pub(super) fn new(entry: Entry) -> Self {
        Self { entry: ArcSwap::from_pointee(entry), in_flight: AtomicU32::new(0), is_looked_at: AtomicBool::new(false) }
    }

    /// As the directory has it.
    pub(super) fn entry(&self) -> Arc<Entry> {
        self.entry.load_full()
    }

    pub(super) fn set(&self, entry: Entry) {
        self.entry.store(Arc::new(entry));
    }

    pub(super) fn number(&self) -> u32 {
        self.entry.load().number
    }

    pub(super) fn is_live(&self) -> bool {
        self.entry.load().standing == Standing::Live
    }

    /// Whether the background may begin a look: one at a time, until [`Self::was_looked_at`].
    pub(super) fn begin_look(&self) -> bool {
        !self.is_looked_at.swap(true, Ordering::Acquire)
    }

    pub(super) fn was_looked_at(&self) {
        self.is_looked_at.store(false, Ordering::Release);
    }
}

impl From<&Entry> for Home {
    fn from(entry: &Entry) -> Self {
        Self { tag: entry.tag, offer: entry.number, epoch: entry.epoch }
    }
}

impl From<&Entry> for Of {
    fn from(entry: &Entry) -> Self {
        match entry.kind {
            Kind::Offer => Self::Offer(entry.number),
            Kind::Zone => Self::Zone(entry.number),
        }
    }
}

impl From<&Entry> for ZoneHome {
    fn from(entry: &Entry) -> Self {
        Self { number: entry.number, epoch: entry.epoch }
    }
}

impl Cluster {
    /// Asks where it lives. What Redis says that the directory does not is looked up once, and else is a case for recovery.
    pub(super) async fn ask_at<T, F>(&self, place: &Place, ask: impl Fn(&Entry) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, DecideError>>,
    {
        let _in_flight = InFlight::enter(&place.in_flight, self.options.in_flight_max)?;
        if !place.is_live() {
            // Another node may have let it go on since this one last looked; without the database nobody can have.
            let _ = self.directory.refresh().await;
            if !place.is_live() {
                return Err(suspended(place.entry().kind));
            }
        }
        let entry = place.entry();
        let error = match ask(&entry).await {
            Err(error @ (DecideError::UnknownOffer | DecideError::UnknownZone | DecideError::Suspended | DecideError::Epoch { .. })) => {
                error
            }
            answered => return Ok(answered?),
        };
        self.directory.refresh().await?;
        if !self.directory.known().has(entry.kind, entry.number) {
            return Err(match entry.kind {
                Kind::Offer => EngineError::UnknownOffer,
                Kind::Zone => EngineError::UnknownZone,
            });
        }
        if place.is_live() {
            let now = place.entry();
            if now.epoch != entry.epoch {
                return Ok(ask(&now).await?);
            }
            self.doubts.add(Doubt::of(&entry), &error);
        }
        Err(suspended(entry.kind))
    }
}

fn suspended(kind: Kind) -> EngineError {
    match kind {
        Kind::Offer => EngineError::Suspended,
        Kind::Zone => EngineError::unavailable("the line is being restored"),
    }
}
