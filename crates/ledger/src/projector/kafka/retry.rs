//! What a guard refused is tried again with the next batch that is about its offer, or soon after one that came during a pause.
//!
//! Several nodes write to the topic, each in its own order: a claim that takes the units which another claim gave back may stand before it.
//! Then the capacity guard (or that on a user's places) refuses it, and it fits as soon as the other one is there.

use super::super::batch::Place;
use super::super::park::event as parked_event;
use super::batch::{OFFSET_MAX, journal_offset};
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

/// Of one partition: what is parked of another is its owner's, whose counts would not know that it was mended.
const PARKED: &str = "SELECT journal_offset, event_index, payload, parked_at FROM parked_events
    WHERE journal_offset >= ? AND journal_offset <= ? AND resolved_at IS NULL AND reason <> 'unreadable'
    ORDER BY journal_offset, event_index";

/// Offers of which something is parked.
#[derive(Debug, Default)]
pub(super) struct Retry {
    offers: BTreeSet<u32>,
    /// Of these a batch came during the pause, or more is parked than was tried at once: it may be what makes room, and the last one for long.
    missed: BTreeSet<u32>,
    not_before: Option<Instant>,
    /// Offers of which more is parked than can be tried at once.
    rounds: BTreeMap<u32, Round>,
    /// Of these the try under way leaves something out.
    left_out: BTreeSet<u32>,
}

/// Several tries that together are about all that is parked of an offer, so that what is refused for good keeps nobody from being tried.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    /// What was tried up to here.
    upto: Option<Key>,
    /// It may have made room for what was tried before.
    helped: bool,
}

/// What an event is known by in `parked_events`.
type Key = (u64, u32);

/// An event that was parked.
pub(super) type Tried = BTreeMap<Key, (Place, Event)>;

impl Retry {
    /// Reads what is parked of `partitions`.
    pub(super) async fn read(connection: &mut Connection<'_>, partitions: impl Iterator<Item = i32>) -> Result<Self, LedgerError> {
        let mut offers = BTreeSet::new();
        each(connection, partitions, |_, event| {
            offers.extend(offer_of(&event));
        })
        .await?;
        // What was known of batches that came meanwhile is not known any more.
        Ok(Self { missed: offers.clone(), offers, ..Self::default() })
    }

    /// Offers that are to be tried without a batch of theirs, once the pause is over.
    pub(super) fn take_missed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.missed).into_iter().collect()
    }

    /// When [`Self::take_missed`] has something; none: never, as things stand.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.missed.is_empty()).then(|| self.not_before.unwrap_or_else(Instant::now))
    }

    /// What is parked of those of `offers` that are worth a try, in the partitions whose locks are held.
    pub(super) async fn events(
        &mut self,
        connection: &mut Connection<'_>,
        partitions: &[i32],
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
        self.left_out.clear();
        each(connection, partitions.iter().copied(), |place, event| {
            let key = (place.offset, place.index);
            let Some(offer) = offer_of(&event).filter(|offer| wanted.contains(offer)) else { return };
            if self.rounds.get(&offer).is_some_and(|round| Some(key) <= round.upto) {
                return;
            }
            if tried.len() < AT_ONCE_MAX {
                tried.insert(key, (place, event));
            } else {
                self.left_out.insert(offer);
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
    pub(super) fn done(&mut self, pause: Duration, healed: &[Key], still: impl Iterator<Item = u32>, tried: &Tried) {
        if tried.is_empty() {
            return;
        }
        self.not_before = healed.is_empty().then(|| Instant::now() + pause);
        let helped: BTreeSet<u32> = healed.iter().filter_map(|key| offer_of(&tried.get(key)?.1)).collect();
        let last: BTreeMap<u32, Key> = tried.iter().filter_map(|(key, (_, event))| Some((offer_of(event)?, *key))).collect();
        for (offer, key) in last {
            let helped = helped.contains(&offer);
            if self.left_out.contains(&offer) {
                let round = self.rounds.entry(offer).or_default();
                *round = Round { upto: Some(key), helped: round.helped || helped };
            } else if let Some(round) = self.rounds.remove(&offer) {
                if round.helped || helped {
                    self.missed.insert(offer);
                }
            } else {
                self.offers.remove(&offer);
            }
        }
        self.missed.append(&mut self.left_out);
        self.offers.extend(still);
    }
}

/// Says that these are in the tables now.
pub(super) async fn resolve(connection: &mut Connection<'_>, healed: &[Key], at: Millis) -> Result<(), LedgerError> {
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

async fn each(
    connection: &mut Connection<'_>,
    partitions: impl Iterator<Item = i32>,
    mut on_event: impl FnMut(Place, Event),
) -> Result<(), LedgerError> {
    for partition in partitions {
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
        let parked =
            query(PARKED).bind(journal_offset(partition, 0).cast_signed()).bind(journal_offset(partition, OFFSET_MAX).cast_signed());
        parked.for_each(connection, LedgerError::sql("read parked events"), on_row).await?;
    }
    Ok(())
}
