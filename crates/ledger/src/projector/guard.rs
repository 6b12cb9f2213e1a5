//! The capacity guard, and which claims of a batch change anything: pure decisions over what the tables held before.
//!
//! Rows that free units are written before rows that take some. So a valid history never trips over its own order:
//! whoever released a claim and took another in one batch has one of them in the unique index at any moment, and the
//! sum of an offer only rises towards what the batch ends with.

use super::batch::{Batch, ClaimStates};
use super::state::{OfferState, State};
use bunho_domain::claim::{Claim, Status};
use std::collections::HashMap;

/// What the ledger held of a claim before the batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) version: u32,
    pub(crate) units_taken: u64,
}

/// Why an event was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The offer has no row: it was never defined here, is deleted, or its definition was refused.
    UnknownOffer,
    /// More units would be taken than the offer has.
    Capacity,
    /// Two claims would hold one user's place, or one key would name two claims.
    Duplicate,
    /// Another live offer or zone has the id.
    IdInUse,
    /// What stands in the topic is no message that this release can read.
    Unreadable,
}

impl Reason {
    /// The word in `parked_events.reason`.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::UnknownOffer => "unknown_offer",
            Self::Capacity => "capacity",
            Self::Duplicate => "duplicate",
            Self::IdInUse => "id_in_use",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Indexes into a batch's claims.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Their last state takes nothing; written first.
    pub(crate) free: Vec<usize>,
    /// Their last state is taken; written last.
    pub(crate) taken: Vec<usize>,
}

/// Offers that the batch touches, as they will be when it is committed.
pub(crate) type Working = HashMap<u32, OfferState>;

pub(crate) fn units_taken(quantity: u32, status: Status) -> u64 {
    if status.is_taken() { quantity.into() } else { 0 }
}

/// The live offers that `batch` touches, with definitions not yet applied.
pub(crate) fn working(state: &State, batch: &Batch<'_>) -> Working {
    batch.offers.keys().filter_map(|number| Some((*number, state.offers.get(number)?.clone()))).collect()
}

/// Sorts out the claims whose last state is newer than what the ledger holds, and gives back what they free.
pub(crate) fn sort(batch: &Batch<'_>, known: &HashMap<usize, Known>, working: &mut Working) -> Sorted {
    let mut sorted = Sorted::default();
    for (index, claim) in batch.claims.iter().enumerate() {
        if let Some(offer) = working.get_mut(&claim.offer) {
            offer.guards.note(claim.last());
        }
        let before = known.get(&index);
        if before.is_some_and(|before| before.version >= claim.last().version) {
            continue;
        }
        if claim.last().status.is_taken() {
            sorted.taken.push(index);
        } else {
            sorted.free.push(index);
            if let (Some(before), Some(offer)) = (before, working.get_mut(&claim.offer)) {
                offer.taken = offer.taken.saturating_sub(before.units_taken);
            }
        }
    }
    sorted
}

/// Adds what `claim` newly takes, where there is room for it.
pub(crate) fn admit(claim: &ClaimStates<'_>, before: Option<&Known>, working: &mut Working) -> Result<(), Reason> {
    let offer = working.get_mut(&claim.offer).ok_or(Reason::UnknownOffer)?;
    let (before, after) = units_before_and_after(claim.last(), before);
    let taken = offer.taken.saturating_sub(before) + after;
    if after > before && taken > offer.quantity {
        return Err(Reason::Capacity);
    }
    offer.taken = taken;
    Ok(())
}

/// Takes back what [`admit`] added, because the row was refused.
pub(crate) fn withdraw(claim: &ClaimStates<'_>, before: Option<&Known>, working: &mut Working) {
    if let Some(offer) = working.get_mut(&claim.offer) {
        let (before, after) = units_before_and_after(claim.last(), before);
        offer.taken = (offer.taken + before).saturating_sub(after);
    }
}

fn units_before_and_after(claim: &Claim, before: Option<&Known>) -> (u64, u64) {
    (before.map_or(0, |before| before.units_taken), units_taken(claim.quantity, claim.status))
}
