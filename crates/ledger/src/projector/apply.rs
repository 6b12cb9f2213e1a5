//! One batch, inside one transaction: in which order its rows are written, and what becomes of those that a guard
//! refuses.

use super::batch::{Batch, OfferDraft};
use super::claims::{self, CLAIMS, ClaimRow, NEW_CLAIMS, bind_claim, known};
use super::guard::{self, Known, Reason, Working};
use super::multi_row::Kind::{Long, Text};
use super::multi_row::{Conflict, MultiRow};
use super::park::{self, Parked};
use super::prune::{self, Sweeps};
use super::settings::{self, Written};
use super::state::{OfferState, State, keep_ms};
use super::{tickets, twins, webhooks};
use crate::error::LedgerError;
use crate::sql::Connection;
use crate::words;
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneChange, ZoneEvent};
use bunho_journal::crash_point;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

static STANDBY: MultiRow = MultiRow::insert(
    "standby",
    &[
        ("id", Text),
        ("offer_number", Long),
        ("offer_id", Text),
        ("user_id", Text),
        ("quantity", Long),
        ("status", Text),
        ("version", Long),
        ("created_at", Text),
        ("updated_at", Text),
        ("claim_id", Text),
    ],
    Conflict::Replace {
        key: "id",
        columns: &["user_id", "quantity", "status", "version", "updated_at", "claim_id"],
        newer: Some(("version", ">")),
    },
);

/// What a transaction changes in the projector's memory, once it is committed.
pub(crate) struct Applied {
    offers: Working,
    deleted_offers: Vec<u32>,
    /// None: the zone is deleted.
    keep_ms: Vec<(u32, Option<i64>)>,
    sweeps: Sweeps,
    parked: Vec<Parked>,
}

impl Applied {
    pub(crate) fn parked_count(&self) -> u64 {
        self.parked.len() as u64
    }

    /// What the guards refused.
    pub(crate) fn parked(&self) -> &[Parked] {
        &self.parked
    }

    pub(crate) fn log(&self) {
        self.parked.iter().for_each(Parked::log);
    }

    /// Enters it into `state`, after the commit. Gives back what the guards refused.
    pub(crate) fn enter(self, state: &mut State) -> Vec<Parked> {
        state.offers.extend(self.offers);
        for number in &self.deleted_offers {
            state.offers.remove(number);
        }
        for (zone, keep_ms) in self.keep_ms {
            match keep_ms {
                Some(keep_ms) => state.keep_ms.insert(zone, keep_ms),
                None => state.keep_ms.remove(&zone),
            };
        }
        state.sweeps = self.sweeps;
        self.parked
    }
}

/// Writes all of `batch` but its offset. Nothing is entered into `state` before the commit.
pub(crate) async fn apply(connection: &mut Connection<'_>, state: &State, batch: &Batch<'_>) -> Result<Applied, LedgerError> {
    let mut parked = Vec::new();
    let known = known(connection, batch).await?;
    let mut working = guard::working(state, batch);
    let sorted = guard::sort(batch, &known, &mut working);
    write_offers(connection, batch, &mut working, &mut parked).await?;
    crash_point!("projector::offers");
    let refused = write_claims(connection, batch, &known, &sorted, &mut working, &mut parked).await?;
    crash_point!("projector::claims");
    write_history(connection, batch, &known, &refused).await?;
    crash_point!("projector::history");
    write_standby(connection, batch, &working, &mut parked).await?;
    crash_point!("projector::standby");
    let keep_ms = write_zones(connection, batch, &mut parked).await?;
    crash_point!("projector::zones");
    tickets::write(connection, batch).await?;
    crash_point!("projector::tickets");
    let sweeps = prune::step(connection, state, batch, &keep_ms).await?;
    crash_point!("projector::pruned");
    webhooks::write(connection, state, batch, &known, &refused, &working).await?;
    crash_point!("projector::webhooks");
    park::write(connection, &parked).await?;
    let deleted_offers = batch.offers.iter().filter(|(_, draft)| draft.deleted_at.is_some()).map(|(number, _)| *number).collect();
    Ok(Applied { offers: working, deleted_offers, keep_ms, sweeps, parked })
}

async fn write_offers(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
    working: &mut Working,
    parked: &mut Vec<Parked>,
) -> Result<(), LedgerError> {
    for (&number, draft) in &batch.offers {
        if !draft.defined.is_empty() {
            define_offer(connection, number, draft, working, parked).await?;
        }
        settings::touch_offer(connection, number, draft).await?;
    }
    Ok(())
}

/// Writes the newest definition that the guards let in; those after it are parked.
async fn define_offer(
    connection: &mut Connection<'_>,
    number: u32,
    draft: &OfferDraft<'_>,
    working: &mut Working,
    parked: &mut Vec<Parked>,
) -> Result<(), LedgerError> {
    for &(version, event) in draft.defined.iter().rev() {
        let revision = event.state.revision;
        if working.get(&number).is_some_and(|offer| revision < offer.revision) {
            // A newer one was here first.
            return Ok(());
        }
        let (id, quantity) = (event.state.id.as_str(), u64::from(event.state.quantity));
        let (taken, guards) = working.get(&number).map_or_else(Default::default, |offer| (offer.taken, offer.guards));
        let reason = if taken > quantity {
            Reason::Capacity
        } else if settings::define_offer(connection, number, version, event).await? == Written::Refused {
            Reason::IdInUse
        } else {
            working.insert(number, OfferState { id: id.into(), revision, quantity, taken, guards });
            return Ok(());
        };
        let change = OfferChange::Defined(Box::new(event.state.clone()));
        let whole = Event::Offer(OfferEvent { offer: number, version, change });
        parked.push(Parked::definition(event.place, whole, Some(id.to_owned()), reason));
    }
    Ok(())
}

/// Writes the claims' last states; returns the indexes of the claims that were refused, whose events are all parked.
async fn write_claims(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
    known: &HashMap<usize, Known>,
    sorted: &guard::Sorted,
    working: &mut Working,
    parked: &mut Vec<Parked>,
) -> Result<HashSet<usize>, LedgerError> {
    let mut refused: Vec<(usize, Reason)> = Vec::new();
    let mut rows = Vec::with_capacity(sorted.free.len() + sorted.taken.len());
    for &index in &sorted.free {
        if working.contains_key(&batch.claims[index].offer) {
            rows.push(index);
        } else {
            refused.push((index, Reason::UnknownOffer));
        }
    }
    for &index in &sorted.taken {
        match guard::admit(&batch.claims[index], known.get(&index), working) {
            Ok(()) => rows.push(index),
            Err(reason) => refused.push((index, reason)),
        }
    }
    // Changes before new ones: a place is free again before somebody new takes it, and nothing that is new frees any.
    let (changed, mut new): (Vec<_>, Vec<_>) = rows.into_iter().partition(|index| known.contains_key(index));
    sort_by_user(batch, &mut new);
    claims::supersede(connection, batch, &changed).await?;
    let mut twice = Vec::new();
    for (statement, rows) in [(&CLAIMS, &changed), (&NEW_CLAIMS, &new)] {
        let conflicts = statement
            .write(connection, rows, |&index, binder| {
                let claim = &batch.claims[index];
                let newest = claim.newest();
                let journal_offset = newest.place.offset;
                bind_claim(&ClaimRow { claim: newest.state, journal_offset }, binder);
            })
            .await
            .map_err(LedgerError::sql("write claims"))?;
        twice.extend(conflicts.into_iter().map(|conflict| rows[conflict]));
    }
    if !twice.is_empty() {
        new.retain(|index| !twice.contains(index));
    }
    for index in twins::find(connection, &batch.claims, &new, working).await? {
        twins::remove(connection, &batch.claims[index]).await?;
        twice.push(index);
    }
    for &index in &twice {
        claims::keep_present(connection, &batch.claims[index]).await?;
    }
    for index in twice {
        guard::withdraw(&batch.claims[index], known.get(&index), working);
        refused.push((index, Reason::Duplicate));
    }
    for &(index, reason) in &refused {
        let claim = &batch.claims[index];
        let offer = offer_name(working, claim.offer);
        parked.extend(claim.states.iter().map(|&event| Parked::claim(event, offer.clone(), reason)));
    }
    Ok(refused.into_iter().map(|(index, _)| index).collect())
}

/// In the order of the index on users: a third faster than visiting its pages at random.
fn sort_by_user(batch: &Batch<'_>, rows: &mut [usize]) {
    // The first 16 bytes tell nearly all users apart, so that few comparisons look one up.
    let start = |index: usize| {
        let mut start = [0; 16];
        let user = batch.claims[index].last().user.as_str().as_bytes();
        let length = user.len().min(start.len());
        start[..length].copy_from_slice(&user[..length]);
        u128::from_be_bytes(start)
    };
    let user = |index: usize| (&batch.claims[index].last().user, batch.claims[index].offer);
    let mut keyed: Vec<(u128, usize)> = rows.iter().map(|&index| (start(index), index)).collect();
    keyed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| user(a.1).cmp(&user(b.1))));
    for (row, (_, index)) in rows.iter_mut().zip(keyed) {
        *row = index;
    }
}

/// Writes the states that are not the ones in `claim_rows`. What was there before, the schema keeps by itself.
async fn write_history(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
    known: &HashMap<usize, Known>,
    refused: &HashSet<usize>,
) -> Result<(), LedgerError> {
    let mut rows = Vec::new();
    for (index, claim) in batch.claims.iter().enumerate() {
        let stored = known.get(&index).map_or(0, |known| known.version).max(claim.last().version);
        // Nearly every claim of a rush has one state.
        if claim.states[0].state.version < stored && !refused.contains(&index) {
            let before = claim.states.iter().filter(|event| event.state.version < stored);
            rows.extend(before.map(|event| ClaimRow { claim: event.state, journal_offset: event.place.offset }));
        }
    }
    claims::write_history(connection, &rows).await
}

async fn write_standby(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
    working: &Working,
    parked: &mut Vec<Parked>,
) -> Result<(), LedgerError> {
    let mut rows = Vec::with_capacity(batch.standby.len());
    for (id, event) in &batch.standby {
        match working.get(&id.offer_number()) {
            Some(offer) => rows.push((&offer.id, event.state)),
            None => parked.push(Parked::standby(*event, offer_name(working, id.offer_number()), Reason::UnknownOffer)),
        }
    }
    let written = STANDBY
        .write(connection, &rows, |(offer_id, standby), binder| {
            binder
                .shown(standby.id)
                .value(standby.id.offer_number())
                .value(Arc::clone(offer_id))
                .text(standby.user.as_str())
                .value(standby.quantity)
                .value(words::standby(standby.status))
                .value(standby.version)
                .time(standby.created_at)
                .time(standby.updated_at)
                .shown_or_null(standby.claim);
        })
        .await;
    written.map(drop).map_err(LedgerError::sql("write standby"))
}

/// Writes the zones' own rows; returns for how long the tickets of each are kept from now on.
async fn write_zones(
    connection: &mut Connection<'_>,
    batch: &Batch<'_>,
    parked: &mut Vec<Parked>,
) -> Result<Vec<(u32, Option<i64>)>, LedgerError> {
    let mut keep = Vec::new();
    for (&number, draft) in &batch.zones {
        if let Some(event) = draft.defined {
            match settings::define_zone(connection, number, event).await? {
                Written::Yes => keep.push((number, Some(keep_ms(event.state)))),
                Written::Refused => {
                    let whole = Event::Zone(ZoneEvent { zone: number, change: ZoneChange::Defined(Box::new(event.state.clone())) });
                    parked.push(Parked::definition(event.place, whole, None, Reason::IdInUse));
                }
            }
        }
        settings::touch_zone(connection, number, draft).await?;
        if draft.deleted_at.is_some() {
            keep.push((number, None));
        }
    }
    Ok(keep)
}

/// The offer's id, or its number where it has none here.
fn offer_name(working: &Working, number: u32) -> String {
    working.get(&number).map_or_else(|| format!("#{number}"), |offer| offer.id.to_string())
}
