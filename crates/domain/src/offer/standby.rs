//! Standby: joining, leaving, and who gets what comes back.

use super::refusal::Refusal;
use super::{Actor, ClaimRequest, Offer, OfferState, Pass, StandbyRequest, StandbyView, Step};
use crate::claim::{Standby, StandbyStatus, Status};
use crate::event::OfferChange;
use crate::ids::{ClaimId, StandbyId};
use crate::limits::SETTLE_MOST;

impl Offer {
    /// Joins standby. A user has one place at a time: joining again for as many units answers with it, also when it has been
    /// served and its claim is still held. Where units are left and nobody is ahead, the place is served at once, as a claim.
    ///
    /// # Errors
    /// [`Refusal::NotOpen`], [`Refusal::Closed`], [`Refusal::NoStandby`], pass refusals, [`Refusal::LimitReached`]
    /// (also for a second place) or [`Refusal::QuantityInvalid`].
    pub fn join_standby(&mut self, request: StandbyRequest<'_>, step: &mut Step<'_>) -> Result<StandbyView, Refusal> {
        self.settle_all(step);
        self.check_entry(request.pass, step.now)?;
        if !self.settings.standby {
            return Err(Refusal::NoStandby);
        }
        let user = self.book.find_user(request.user);
        if let Some(place) = user.and_then(|user| self.waits.at(self.book.user(user).place)).filter(|place| self.is_open(place)) {
            return if place.quantity == request.quantity { Ok(self.view(place.id.seq())) } else { Err(self.limit_reached(user)) };
        }
        self.check_limit(user, request.quantity)?;
        self.check_quantity(request.quantity)?;
        // What can never be served would only keep others waiting.
        if !self.can_be_served(request.quantity) {
            let max = self.settings.max_per_claim.min(self.remaining() + self.book.held);
            return Err(Refusal::QuantityInvalid { min: self.settings.min_per_claim, max });
        }
        let seq = self.waits.next_seq();
        let place = Standby {
            id: StandbyId::new(self.number, seq, request.nonce),
            user: request.user.clone(),
            quantity: request.quantity,
            status: StandbyStatus::Waiting,
            version: 1,
            created_at: step.now,
            updated_at: step.now,
            claim: None,
        };
        self.emit(OfferChange::Standby(Box::new(place)), step);
        // Who joins while units are left gets what a claim would get, no longer hold.
        self.serve_standby(self.settings.hold_seconds, SETTLE_MOST, step);
        Ok(self.view(seq))
    }

    /// Gives a place on standby up; twice, too.
    ///
    /// # Errors
    /// [`Refusal::UnknownStandby`] when there is none for this caller.
    pub fn leave_standby(&mut self, actor: Actor<'_>, id: StandbyId, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        let place = self.waits.get(id).filter(|place| actor.may_see(&place.user)).ok_or(Refusal::UnknownStandby)?;
        if place.status == StandbyStatus::Waiting {
            let place = place.clone();
            self.change_standby(place, StandbyStatus::Left, None, step);
            // Whoever was first may have waited for more units than were left.
            self.serve_waiting(step);
        }
        Ok(())
    }

    /// The place at `seq`, which exists.
    pub(super) fn view(&self, seq: u32) -> StandbyView {
        let standby = self.waits.at(seq).cloned().expect("the caller has seen this place");
        let waits = standby.status == StandbyStatus::Waiting;
        StandbyView { position: if waits { self.waits.position(seq) } else { 0 }, standby }
    }

    /// Whether the first who waits would be served, or passed over, were the offer open.
    pub(super) fn first_is_served(&self) -> bool {
        self.waits.first().is_some_and(|place| place.quantity <= self.remaining() || !self.can_be_served(place.quantity))
    }

    /// Whether so many units are left, or may come back by holds that end. With nothing left, refunds are waited for too.
    pub(super) fn can_be_served(&self, quantity: u32) -> bool {
        quantity <= self.settings.quantity && (self.remaining() == 0 || quantity <= self.remaining() + self.book.held)
    }

    /// Whether a place still stands for its user: it waits, or what it was served with is still held.
    pub(super) fn is_open(&self, place: &Standby) -> bool {
        match (place.status, place.claim) {
            (StandbyStatus::Waiting, _) => true,
            (StandbyStatus::Served, Some(claim)) => self.book.claim(claim).is_some_and(|claim| claim.status == Status::Held),
            _ => false,
        }
    }

    /// Serves who waits, with the hold of standby; what is left undone the next settling does.
    pub(super) fn serve_waiting(&mut self, step: &mut Step<'_>) {
        self.serve_standby(self.settings.standby_hold_seconds, SETTLE_MOST, step);
    }

    /// Gives units that are left to who waits for them, strictly in order, at most so many times. True: there is more.
    ///
    /// A place that wants more than is left keeps those behind it waiting while open holds may still bring what it wants.
    /// One that nothing on its way can satisfy, or whose user's limit is used up, is passed over: else one
    /// request for too much would keep the last units from everybody.
    pub(super) fn serve_standby(&mut self, hold_seconds: u32, most: usize, step: &mut Step<'_>) -> bool {
        if self.waits.count == 0 || !matches!(self.state_at(step.now), OfferState::Open | OfferState::SoldOut) {
            return false;
        }
        for _ in 0..most {
            let Some(place) = self.waits.first().cloned() else { return false };
            let within_limit = self.within_limit(self.book.find_user(&place.user), place.quantity);
            if !within_limit || !self.can_be_served(place.quantity) {
                self.change_standby(place, StandbyStatus::Passed, None, step);
            } else if place.quantity <= self.remaining() {
                let request = ClaimRequest {
                    user: &place.user,
                    quantity: place.quantity,
                    key: None,
                    attributes: None,
                    pass: Pass::Missing,
                    nonce: place.id.nonce(),
                };
                let claim = self.take(request, hold_seconds, step);
                self.change_standby(place, StandbyStatus::Served, Some(claim.id), step);
            } else {
                return false;
            }
        }
        self.first_is_served()
    }

    pub(super) fn change_standby(&mut self, mut place: Standby, status: StandbyStatus, claim: Option<ClaimId>, step: &mut Step<'_>) {
        place.status = status;
        place.version += 1;
        place.updated_at = step.now;
        place.claim = claim;
        self.emit(OfferChange::Standby(Box::new(place)), step);
    }
}
