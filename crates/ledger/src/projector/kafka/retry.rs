//! What a guard refused is tried again with the next batch that is about its offer, or soon after one that came during a pause.
//!
//! Several nodes write to the topic, each in its own order: a claim that takes the units which another claim gave back may stand before it.
//! Then the capacity guard (or that on a user's places) refuses it, and it fits as soon as the other one is there.

use super::super::batch::Place;
use super::super::park::event as parked_event;
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::sql::{Connection, Row, query};
use crate::timestamp::Timestamp;
use bunho_domain::event::Event;
use bunho_domain::time::Millis;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Of very many, so many are tried at once.
const AT_ONCE_MAX: usize = 1_000;
/// Pause after a try that helped nobody: what is refused for good must not slow down the rest.
const PAUSE: Duration = Duration::from_secs(1);

const PARKED: &str = "SELECT journal_offset, event_index, payload, parked_at FROM parked_events
    WHERE resolved_at IS NULL AND reason <> 'unreadable' ORDER BY journal_offset, event_index";

/// Offers of which something is parked.
#[derive(Debug, Default)]
pub(super) struct Retry {
    offers: BTreeSet<u32>,
    /// Of these a batch came during the pause: it may be what makes room, and the last one for long.
    missed: BTreeSet<u32>,
    not_before: Option<Instant>,
}

/// An event that was parked.
pub(super) type Tried = BTreeMap<(u64, u32), (Place, Event)>;

impl Retry {
    pub(super) async fn read(connection: &mut Connection<'_>) -> Result<Self, LedgerError> {
        let mut offers = BTreeSet::new();
        each(connection, |_, event| {
            offers.extend(offer_of(&event));
        })
        .await?;
        // What was known of batches that came meanwhile is not known any more.
        Ok(Self { missed: offers.clone(), offers, not_before: None })
    }

    /// Offers that are to be tried without a batch of theirs, once the pause is over.
    pub(super) fn take_missed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.missed).into_iter().collect()
    }

    /// When [`Self::take_missed`] has something; none: never, as things stand.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.missed.is_empty()).then(|| self.not_before.unwrap_or_else(Instant::now))
    }

    /// What is parked of those of `offers` that are worth a try.
    pub(super) async fn events(
        &mut self,
        connection: &mut Connection<'_>,
        offers: impl Iterator<Item = u32>,
    ) -> Result<Tried, LedgerError> {
        let mut tried = Tried::new();
        let wanted: BTreeSet<u32> = offers.filter(|offer| self.offers.contains(offer)).collect();
        if wanted.is_empty() {
            return Ok(tried);
        }
        if self.not_before.is_some_and(|until| Instant::now() < until) {
            self.missed.extend(wanted);
            return Ok(tried);
        }
        self.missed.retain(|offer| !wanted.contains(offer));
        each(connection, |place, event| {
            if tried.len() < AT_ONCE_MAX && offer_of(&event).is_some_and(|offer| wanted.contains(&offer)) {
                tried.insert((place.offset, place.index), (place, event));
            }
        })
        .await?;
        Ok(tried)
    }

    /// Something of this offer was parked.
    pub(super) fn note(&mut self, offer: u32) {
        self.offers.insert(offer);
    }

    /// After a try, committed.
    pub(super) fn done(&mut self, healed: usize, still: impl Iterator<Item = u32>, tried: &Tried) {
        if tried.is_empty() {
            return;
        }
        self.not_before = (healed == 0).then(|| Instant::now() + PAUSE);
        if tried.len() < AT_ONCE_MAX {
            for (_, event) in tried.values() {
                offer_of(event).map(|offer| self.offers.remove(&offer));
            }
        }
        self.offers.extend(still);
    }
}

/// Says that these are in the tables now.
pub(super) async fn resolve(connection: &mut Connection<'_>, healed: &[(u64, u32)], at: Millis) -> Result<(), LedgerError> {
    let at = Timestamp::new(at);
    for &(offset, index) in healed {
        query("UPDATE parked_events SET resolved_at = ? WHERE journal_offset = ? AND event_index = ?")
            .bind(at.as_str())
            .bind(offset.cast_signed())
            .bind(index)
            .execute(connection)
            .await
            .map_err(LedgerError::sql("resolve a parked event"))?;
    }
    Ok(())
}

pub(super) const fn offer_of(event: &Event) -> Option<u32> {
    match event {
        Event::Offer(event) => Some(event.offer),
        Event::Zone(_) => None,
    }
}

async fn each(connection: &mut Connection<'_>, mut on_event: impl FnMut(Place, Event)) -> Result<(), LedgerError> {
    let on_row = |row: &Row| {
        let mut columns = Columns::of(row, "parked_events");
        let (offset, index, payload): (i64, u32, &str) = (columns.take()?, columns.take()?, columns.take()?);
        let at = columns.time("parked_at")?;
        // A person may have edited it.
        if let Some(event) = parked_event(payload) {
            on_event(Place { offset: offset.cast_unsigned(), index, at }, event);
        }
        Ok(())
    };
    query(PARKED).for_each(connection, LedgerError::sql("read parked events"), on_row).await
}
