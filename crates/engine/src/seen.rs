//! What a process knows of all offers and zones at this moment, for whoever watches it: nothing of it asks Redis, SQL or a disk, and what is
//! not known is not said.

use crate::{Embedded, Engine};
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::line::Status;
use bunho_domain::offer::Stock;
use bunho_domain::offer::refusal::Refusal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// An offer as this process knows it.
#[derive(Clone, Debug)]
pub struct OfferSeen {
    /// Its name.
    pub id: OfferId,
    /// Its numbers; none: not known, or not durable in time.
    pub stock: Option<Stock>,
    /// Nothing is decided about it, since its state is being restored. None: in this shape that does not happen.
    pub suspended: Option<bool>,
    /// Requests of clients that were refused here, by the code of the contract; only those that there were.
    pub refused: Vec<(&'static str, u64)>,
}

/// A zone as this process knows it.
#[derive(Clone, Debug)]
pub struct ZoneSeen {
    /// Its name.
    pub id: ZoneId,
    /// How its line stands; none: not known.
    pub status: Option<Status>,
    /// Its state is being restored, and nobody is let in meanwhile.
    pub suspended: bool,
}

impl Engine {
    /// Every offer, in order of id. The embedded engine shows durable numbers alone, and waits so long for its disk, once for all of them.
    pub async fn offers_seen(&self, within: Duration) -> Vec<OfferSeen> {
        match self {
            Self::Embedded(engine) => engine.offers_seen(within).await,
            Self::Cluster(engine) => engine.offers_seen(),
        }
    }

    /// Every zone, in order of id.
    #[must_use]
    pub fn zones_seen(&self) -> Vec<ZoneSeen> {
        match self {
            Self::Embedded(engine) => engine.zones_seen(),
            Self::Cluster(engine) => engine.zones_seen(),
        }
    }
}

impl Embedded {
    fn zones_seen(&self) -> Vec<ZoneSeen> {
        let seen = |report: crate::ZoneReport| ZoneSeen { id: report.settings.id.clone(), status: Some(report.status), suspended: false };
        self.zones().into_iter().map(seen).collect()
    }
}

/// How many requests about an offer were refused, by why.
#[derive(Debug, Default)]
pub struct Refusals([AtomicU64; CODES.len()]);

/// Codes of the contract, in the order of [`place`].
const CODES: [&str; 17] = [
    "not_open",
    "closed",
    "pass_required",
    "pass_invalid",
    "forbidden",
    "limit_reached",
    "quantity_invalid",
    "sold_out",
    "key_reused",
    "not_held",
    "deadline_passed",
    "unknown_claim",
    "unknown_standby",
    "no_standby",
    "quantity_taken",
    "in_use",
    "pass_used",
];

const fn place(refusal: &Refusal) -> usize {
    match refusal {
        Refusal::NotOpen { .. } => 0,
        Refusal::Closed => 1,
        Refusal::PassRequired => 2,
        Refusal::PassInvalid => 3,
        Refusal::Forbidden => 4,
        Refusal::LimitReached { .. } => 5,
        Refusal::QuantityInvalid { .. } => 6,
        Refusal::SoldOut { .. } => 7,
        Refusal::KeyReused => 8,
        Refusal::NotHeld { .. } => 9,
        Refusal::DeadlinePassed => 10,
        Refusal::UnknownClaim => 11,
        Refusal::UnknownStandby => 12,
        Refusal::NoStandby => 13,
        Refusal::QuantityTaken { .. } => 14,
        Refusal::InUse => 15,
        Refusal::PassUsed => 16,
    }
}

impl Refusals {
    /// Counts what was refused, and hands on what was decided.
    pub(crate) fn counted<T>(&self, decided: Result<T, Refusal>) -> Result<T, Refusal> {
        if let Err(refusal) = &decided {
            self.0[place(refusal)].fetch_add(1, Ordering::Relaxed);
        }
        decided
    }

    /// Those that there were.
    pub(crate) fn read(&self) -> Vec<(&'static str, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed));
        CODES.into_iter().zip(counts).filter(|(_, count)| *count > 0).collect()
    }

    /// The code under which a refusal is counted.
    #[must_use]
    pub const fn code(refusal: &Refusal) -> &'static str {
        CODES[place(refusal)]
    }
}
