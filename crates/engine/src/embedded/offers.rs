//! Claims, standby and stock: lock, decide, record, unlock, wait.

use super::{Embedded, GuardedOffer, OfferCell, until_durable};
use crate::Decided;
use crate::bulkhead::InFlight;
use crate::error::EngineError;
use crate::types::Ack;
use bunho_domain::claim::Claim;
use bunho_domain::event::Event;
use bunho_domain::ids::{ClaimId, OfferId, StandbyId, ZoneId};
use bunho_domain::limits::SETTLE_MOST;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Forgotten, Offer, Restock, StandbyRequest, StandbyView, Step, Stock, Taken};
use bunho_domain::planted::{self, Bug};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Commit, crash_point};
use parking_lot::MutexGuard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

impl Embedded {
    pub(crate) async fn claim(&self, offer: &OfferId, request: ClaimRequest<'_>) -> Decided<Taken> {
        let cell = self.offer_cell(offer)?;
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        self.decide(&cell, Asker::Client, |offer, step| offer.claim(request, step)).await
    }

    pub(crate) async fn confirm(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        let Some(cell) = self.cell_of(claim.offer_number()) else { return Ok(Err(Refusal::UnknownClaim)) };
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        self.decide(&cell, Asker::Client, |offer, step| offer.confirm(actor, claim, step)).await
    }

    pub(crate) async fn release(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        let Some(cell) = self.cell_of(claim.offer_number()) else { return Ok(Err(Refusal::UnknownClaim)) };
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        self.decide(&cell, Asker::Client, |offer, step| offer.release(actor, claim, step)).await
    }

    pub(crate) async fn take_back(&self, claim: ClaimId, restock: Restock, audit: Audit) -> Decided<Claim> {
        let Some(cell) = self.cell_of(claim.offer_number()) else { return Ok(Err(Refusal::UnknownClaim)) };
        self.decide(&cell, Asker::Operator(&audit), |offer, step| offer.take_back(claim, restock, step)).await
    }

    pub(crate) async fn read_claim(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        let Some(cell) = self.cell_of(claim.offer_number()) else { return Ok(Err(Refusal::UnknownClaim)) };
        self.decide(&cell, Asker::Client, |offer, step| offer.claim_by_id(actor, claim, step)).await
    }

    pub(crate) async fn join_standby(&self, offer: &OfferId, request: StandbyRequest<'_>) -> Decided<StandbyView> {
        let cell = self.offer_cell(offer)?;
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        self.decide(&cell, Asker::Client, |offer, step| offer.join_standby(request, step)).await
    }

    pub(crate) async fn read_standby(&self, actor: Actor<'_>, standby: StandbyId) -> Decided<StandbyView> {
        let Some(cell) = self.cell_of(standby.offer_number()) else { return Ok(Err(Refusal::UnknownStandby)) };
        self.decide(&cell, Asker::Client, |offer, step| offer.standby_by_id(actor, standby, step)).await
    }

    pub(crate) async fn leave_standby(&self, actor: Actor<'_>, standby: StandbyId) -> Decided<()> {
        let Some(cell) = self.cell_of(standby.offer_number()) else { return Ok(Err(Refusal::UnknownStandby)) };
        self.decide(&cell, Asker::Client, |offer, step| offer.leave_standby(actor, standby, step)).await
    }

    pub(crate) async fn offer(&self, offer: &OfferId) -> Result<(OfferSettings, Stock), EngineError> {
        let cell = self.offer_cell(offer)?;
        let (read, commit) = self.locked(&cell, None, |offer, step| (offer.settings().clone(), offer.stock(step)))?;
        until_durable(commit).await?;
        Ok(read)
    }

    pub(crate) async fn restock(&self, offer: &OfferId, delta: i64, audit: Audit) -> Decided<()> {
        let cell = self.offer_cell(offer)?;
        self.decide(&cell, Asker::Operator(&audit), |offer, step| offer.restock(delta, step)).await
    }

    pub(crate) async fn close_offer(&self, offer: &OfferId, audit: Audit) -> Decided<()> {
        let cell = self.offer_cell(offer)?;
        self.decide(&cell, Asker::Operator(&audit), |offer, step| {
            offer.close(step);
            Ok(())
        })
        .await
    }

    pub(crate) async fn forget(&self, number: u32, request: ForgetRequest<'_>) -> Decided<Forgotten> {
        let cell = self.cell_of(number).ok_or(EngineError::UnknownOffer)?;
        self.decide(&cell, Asker::Forgetting, |offer, step| offer.forget(request, step)).await
    }

    pub(crate) fn watch_stock(&self, offer: &OfferId) -> Result<watch::Receiver<Option<Stock>>, EngineError> {
        Ok(self.offer_cell(offer)?.stock.subscribe())
    }

    pub(crate) fn zone_of(&self, offer: &OfferId) -> Result<Option<ZoneId>, EngineError> {
        Ok((**self.offer_cell(offer)?.zone.load()).clone())
    }

    pub(crate) fn offer_id(&self, number: u32) -> Option<OfferId> {
        self.cell_of(number).map(|cell| cell.id.clone())
    }

    pub(crate) fn offer_number(&self, offer: &OfferId) -> Result<u32, EngineError> {
        Ok(self.offer_cell(offer)?.number)
    }

    pub(crate) fn offer_ids(&self) -> Vec<OfferId> {
        self.offers.load().by_id.keys().cloned().collect()
    }

    pub(crate) fn offer_numbers(&self) -> Vec<u32> {
        self.offers.load().by_number.keys().copied().collect()
    }

    pub(crate) fn claims_from(&self, number: u32, from: u32, most: u32) -> (Vec<Claim>, Option<u32>) {
        self.cell_of(number).map_or((Vec::new(), None), |cell| cell.guarded.lock().offer.claims_from(from, most))
    }

    pub(super) fn cell_of(&self, number: u32) -> Option<Arc<OfferCell>> {
        self.offers.load().by_number.get(&number).cloned()
    }

    /// Decides and waits as long as [`Ack`] says.
    async fn decide<T>(
        &self,
        cell: &Arc<OfferCell>,
        asker: Asker<'_>,
        decision: impl FnOnce(&mut Offer, &mut Step<'_>) -> Result<T, Refusal>,
    ) -> Decided<T> {
        let audit = match asker {
            Asker::Operator(audit) => Some(audit),
            Asker::Client | Asker::Forgetting => None,
        };
        let (decided, commit) = self.locked(cell, audit, decision)?;
        // What others are refused says nothing of the crowd.
        let decided = if matches!(asker, Asker::Client) { cell.refused.counted(decided) } else { decided };
        let Some(commit) = commit else {
            // Nothing has touched it since the start. What the start replayed is durable, and may not be in the ledger yet.
            if self.options.ack == Ack::Ledger {
                self.until_projected(self.replayed).await?;
            }
            return Ok(decided);
        };
        if planted::is(Bug::AnswerBeforeDurable) || (planted::is(Bug::RefusalShowsUndurable) && decided.is_err()) {
            return Ok(decided);
        }
        match self.options.ack {
            Ack::Engine => {}
            Ack::Journal => until_durable(Some(commit)).await?,
            Ack::Ledger => {
                let offset = commit.offset();
                until_durable(Some(commit)).await?;
                self.until_projected(offset).await?;
                crash_point!("engine::projected");
            }
        }
        Ok(decided)
    }

    /// One decision under the offer's lock, and under the lock of the offer that it grants. An offer that is granted
    /// grants nothing itself (checked where offers are defined), so locks are taken in one order only.
    ///
    /// Returns the commit to wait for: the last that touched the offer, whether or not this decision wrote anything.
    pub(super) fn locked<T>(
        &self,
        cell: &Arc<OfferCell>,
        audit: Option<&Audit>,
        decision: impl FnOnce(&mut Offer, &mut Step<'_>) -> T,
    ) -> Result<(T, Option<Commit>), EngineError> {
        self.check_journal()?;
        let (mut guarded, grants_cell, now) = self.lock_settled(cell)?;
        let mut grants = grants_cell.as_ref().map(|cell| cell.guarded.lock());
        let mut events: Vec<Event> = Vec::new();
        let whole = AbortOnPanic;
        let mut step = Step { now, grants: grants.as_mut().map(|grants| &mut grants.offer), events: &mut events };
        let decided = decision(&mut guarded.offer, &mut step);
        if !events.is_empty() {
            crash_point!("engine::offer_decided");
        }
        self.record_offers(now, &events, audit, cell, &mut guarded, grants_cell.as_ref().zip(grants.as_deref_mut()));
        drop(whole);
        // What is refused because of the granted offer's state depends on that offer's last record as well; it is in
        // the same journal, so the later of the two commits covers both.
        let commit = later(guarded.last.as_ref(), grants.as_ref().and_then(|grants| grants.last.as_ref()));
        Ok((decided, commit))
    }

    /// Locks an offer with nothing due on it at the instant that is returned, at which the caller decides. What was due has
    /// been recorded in bounded rounds, and between two of them others had the lock.
    fn lock_settled<'a>(&self, cell: &'a Arc<OfferCell>) -> Result<Settled<'a>, EngineError> {
        loop {
            let mut guarded = cell.guarded.lock();
            if guarded.offer.is_deleted() {
                return Err(EngineError::UnknownOffer);
            }
            let grants_cell = guarded.offer.settings().grants.as_ref().and_then(|id| self.offers.load().by_id.get(id).cloned());
            let now = self.clock.now();
            let more = {
                let mut grants = grants_cell.as_ref().map(|cell| cell.guarded.lock());
                let mut events: Vec<Event> = Vec::new();
                let whole = AbortOnPanic;
                let granted_more = grants
                    .as_mut()
                    .is_some_and(|grants| grants.offer.settle(SETTLE_MOST, &mut Step { now, grants: None, events: &mut events }));
                let mut step = Step { now, grants: grants.as_mut().map(|grants| &mut grants.offer), events: &mut events };
                let more = guarded.offer.settle(SETTLE_MOST, &mut step) || granted_more;
                if !events.is_empty() {
                    crash_point!("engine::offer_settled");
                }
                self.record_offers(now, &events, None, cell, &mut guarded, grants_cell.as_ref().zip(grants.as_deref_mut()));
                drop(whole);
                more
            };
            if !more {
                return Ok((guarded, grants_cell, now));
            }
            MutexGuard::unlock_fair(guarded);
        }
    }

    /// Records what happened to an offer, and to the one it grants, under their locks.
    fn record_offers(
        &self,
        now: Millis,
        events: &[Event],
        audit: Option<&Audit>,
        cell: &OfferCell,
        guarded: &mut GuardedOffer,
        grants: Option<(&Arc<OfferCell>, &mut GuardedOffer)>,
    ) {
        if events.is_empty() {
            return;
        }
        let number = guarded.offer.number();
        let apart = planted::is(Bug::GrantApart);
        let commit = if apart { self.record_apart(now, events, audit, number) } else { self.record(now, events, audit) };
        crash_point!("engine::offer_recorded");
        if let Some((cell, grants)) = grants
            && events.iter().any(|event| matches!(event, Event::Offer(event) if event.offer != number))
        {
            crash_point!("engine::grant_recorded");
            grants.last = Some(commit.clone());
            cell.note_deadline(&grants.offer);
        }
        cell.note_deadline(&guarded.offer);
        guarded.last = Some(commit);
    }
}

/// Who asks for a decision.
#[derive(Clone, Copy)]
enum Asker<'a> {
    /// A client. What it is refused is counted.
    Client,
    /// An operator, whose deed is recorded with it.
    Operator(&'a Audit),
    /// An operator or retention, who has somebody forgotten: that is in no audit of an offer.
    Forgetting,
}

/// A locked offer, the offer that it grants, and the instant at which nothing is due on either.
type Settled<'a> = (MutexGuard<'a, GuardedOffer>, Option<Arc<OfferCell>>, Millis);

/// A bug between changing the state and recording the change would leave a state that no journal knows, with the lock
/// free for the next request. Better no process: a restart knows exactly what is durable.
pub(super) struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}

impl OfferCell {
    pub(super) fn note_deadline(&self, offer: &Offer) {
        self.next_deadline.store(offer.next_deadline().map_or(i64::MAX, |at| at.0), Ordering::Relaxed);
    }
}

fn later(one: Option<&Commit>, other: Option<&Commit>) -> Option<Commit> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if one.offset() >= other.offset() { one } else { other }.clone()),
        (one, other) => one.or(other).cloned(),
    }
}
