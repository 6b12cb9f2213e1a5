//! The decisions about claims, and what all decisions share. Each checks in the order of the contract, then emits.
//!
//! Cost: O(log n) in the number of open holds, independent of everything else; a hold is settled once in its life.

use super::once::{are_same, with_pass};
use super::refusal::Refusal;
use super::settings::ConfirmBy;
use super::{Actor, ClaimRequest, Offer, OfferState, Pass, Restock, Step, Stock, Taken};
use crate::claim::{Claim, Status};
use crate::event::{Event, OfferChange, OfferEvent};
use crate::ids::{ClaimId, UserId};
use crate::limits::{ENDED_PER_USER_MAX, REFUSAL_CLAIMS_MAX, SETTLE_MOST};
use crate::planted::{self, Bug};
use crate::time::Millis;

impl Offer {
    /// Takes units for a user.
    ///
    /// # Errors
    /// The first [`Refusal`] in the order: key reused, not open, closed, forbidden, pass, pass used, limit, quantity, sold out.
    pub fn claim(&mut self, request: ClaimRequest<'_>, step: &mut Step<'_>) -> Result<Taken, Refusal> {
        self.settle_all(step);
        let user = self.book.find_user(request.user);
        if let (Some(user), Some(key)) = (user, request.key)
            && let Some(claim) = self.book.find_key(user, key)
        {
            let same = claim.quantity == request.quantity && are_same(claim.attributes.as_deref(), request.attributes);
            return if same { Ok(Taken { claim: claim.as_first_answered(), replayed: true }) } else { Err(Refusal::KeyReused) };
        }
        self.check_entry(request.pass, step.now)?;
        let pass = self.unused_pass(request.pass)?;
        self.check_limit(user, request.quantity)?;
        self.check_quantity(request.quantity)?;
        let promised = self.waits.first().is_some() && !planted::is(Bug::StandbyOvertaken);
        if promised || request.quantity > self.remaining() {
            return Err(self.sold_out());
        }
        let named = pass.map(|pass| with_pass(request.attributes, &pass));
        let request = ClaimRequest { attributes: named.as_deref().or(request.attributes), ..request };
        let claim = self.take(request, self.settings.hold_seconds, step);
        Ok(Taken { claim, replayed: false })
    }

    /// Makes a hold final. Repeating it answers with the same claim.
    ///
    /// # Errors
    /// [`Refusal::UnknownClaim`], [`Refusal::Forbidden`], [`Refusal::DeadlinePassed`] or [`Refusal::NotHeld`].
    pub fn confirm(&mut self, actor: Actor<'_>, id: ClaimId, step: &mut Step<'_>) -> Result<Claim, Refusal> {
        self.settle_all(step);
        let mut claim = self.owned(actor, id)?;
        if matches!(actor, Actor::User(_)) && self.settings.confirm_by == ConfirmBy::Service {
            return Err(Refusal::Forbidden);
        }
        match claim.status {
            Status::Confirmed => Ok(claim),
            Status::Held => {
                claim.granted = grant(&claim.user, claim.id, step);
                Ok(self.change(claim, Status::Confirmed, step))
            }
            Status::Expired => Err(Refusal::DeadlinePassed),
            status => Err(Refusal::NotHeld { status }),
        }
    }

    /// Gives a hold back. Repeating it answers with the same claim.
    ///
    /// # Errors
    /// [`Refusal::UnknownClaim`] or [`Refusal::NotHeld`].
    pub fn release(&mut self, actor: Actor<'_>, id: ClaimId, step: &mut Step<'_>) -> Result<Claim, Refusal> {
        self.settle_all(step);
        let claim = self.owned(actor, id)?;
        match claim.status {
            Status::Released => Ok(claim),
            Status::Held => {
                let claim = self.change(claim, Status::Released, step);
                self.serve_waiting(step);
                Ok(claim)
            }
            status => Err(Refusal::NotHeld { status }),
        }
    }

    /// Takes a confirmed claim back (a refund). Repeating it answers with the same claim.
    ///
    /// # Errors
    /// [`Refusal::UnknownClaim`] or [`Refusal::NotHeld`].
    pub fn take_back(&mut self, id: ClaimId, restock: Restock, step: &mut Step<'_>) -> Result<Claim, Refusal> {
        self.settle_all(step);
        let claim = self.owned(Actor::Service(None), id)?;
        match claim.status {
            Status::Returned => Ok(claim),
            Status::Confirmed => {
                let claim = self.change(claim, Status::Returned, step);
                match restock {
                    Restock::Yes => self.serve_waiting(step),
                    Restock::No => self.set_quantity(self.settings.quantity.saturating_sub(claim.quantity).max(self.taken()), step),
                }
                Ok(claim)
            }
            status => Err(Refusal::NotHeld { status }),
        }
    }

    /// Ends holds whose deadline has come, and serves standby with what is left; at most so many of each. True: there is more.
    ///
    /// The caller repeats this, with a journal record for each round, until nothing is due, and decides only then. So a
    /// sweeper that is late changes no result, and a hundred thousand holds that fall due at once neither stop
    /// the world nor make one enormous record.
    pub fn settle(&mut self, most: usize, step: &mut Step<'_>) -> bool {
        let mut left = most;
        while let Some((deadline, seq)) = self.deadlines.first() {
            let due = deadline <= step.now && !(deadline == step.now && planted::is(Bug::DeadlineInclusive));
            if !due {
                break;
            }
            if left == 0 {
                return true;
            }
            self.deadlines.pop(|seq| self.book.deadline(seq));
            if self.book.is_due(seq, deadline)
                && let Some(claim) = self.book.claim_at(seq)
            {
                self.change(claim, Status::Expired, step);
                left -= 1;
            }
        }
        self.serve_standby(self.settings.standby_hold_seconds, most, step)
    }

    /// As [`Self::settle`] without a bound: after the caller has settled at this instant, it finds nothing to do.
    pub(super) fn settle_all(&mut self, step: &mut Step<'_>) {
        while self.settle(SETTLE_MOST, step) {}
    }

    pub(super) fn stock_at(&self, now: Millis) -> Stock {
        Stock {
            quantity: self.settings.quantity,
            remaining: self.remaining(),
            held: self.book.held,
            confirmed: self.book.confirmed,
            standby: self.waits.count,
            version: self.version,
            state: self.state_at(now),
        }
    }

    pub(super) fn owned(&self, actor: Actor<'_>, id: ClaimId) -> Result<Claim, Refusal> {
        self.book.claim(id).filter(|claim| actor.may_see(&claim.user)).ok_or(Refusal::UnknownClaim)
    }

    pub(super) fn state_at(&self, now: Millis) -> OfferState {
        if self.settings.closes_at.is_some_and(|closes_at| now >= closes_at) {
            OfferState::Closed
        } else if self.settings.opens_at.is_some_and(|opens_at| now < opens_at) {
            OfferState::NotOpen
        } else if self.remaining() == 0 || self.waits.count > 0 {
            OfferState::SoldOut
        } else {
            OfferState::Open
        }
    }

    pub(super) const fn taken(&self) -> u32 {
        self.book.held + self.book.confirmed
    }

    pub(super) const fn remaining(&self) -> u32 {
        // Saturating for replay alone: an edit that lowers the quantity may be applied before the claims that it counts.
        self.settings.quantity.saturating_sub(self.taken())
    }

    pub(super) fn check_entry(&self, pass: Pass, now: Millis) -> Result<(), Refusal> {
        match (self.state_at(now), self.settings.opens_at) {
            (OfferState::NotOpen, Some(opens_at)) => return Err(Refusal::NotOpen { opens_at }),
            (OfferState::Closed, _) => return Err(Refusal::Closed),
            _ => {}
        }
        if self.settings.grant_only {
            return Err(Refusal::Forbidden);
        }
        match (self.settings.zone.is_some(), pass) {
            (true, Pass::Missing) => Err(Refusal::PassRequired),
            (true, Pass::Invalid) => Err(Refusal::PassInvalid),
            _ => Ok(()),
        }
    }

    /// A client that claims and gives back for ever fills the memory; at some point it is told to stop.
    pub(super) fn check_ended(&self, user: Option<u32>) -> Result<(), Refusal> {
        if user.is_some_and(|user| self.book.user(user).ended >= ENDED_PER_USER_MAX) { Err(self.limit_reached(user)) } else { Ok(()) }
    }

    pub(super) fn within_limit(&self, user: Option<u32>, quantity: u32) -> bool {
        let taken = user.map_or(0, |user| self.book.user(user).taken);
        self.settings.per_user_limit.is_none_or(|limit| u64::from(taken) + u64::from(quantity) <= u64::from(limit))
    }

    pub(super) fn check_limit(&self, user: Option<u32>, quantity: u32) -> Result<(), Refusal> {
        self.check_ended(user)?;
        if self.within_limit(user, quantity) { Ok(()) } else { Err(self.limit_reached(user)) }
    }

    pub(super) fn limit_reached(&self, user: Option<u32>) -> Refusal {
        Refusal::LimitReached { claims: user.map_or_else(Vec::new, |user| self.book.live_claims(user, REFUSAL_CLAIMS_MAX)) }
    }

    pub(super) fn check_quantity(&self, quantity: u32) -> Result<(), Refusal> {
        let (min, max) = (self.settings.min_per_claim, self.settings.max_per_claim);
        if (min..=max).contains(&quantity) { Ok(()) } else { Err(Refusal::QuantityInvalid { min, max }) }
    }

    pub(super) fn sold_out(&self) -> Refusal {
        Refusal::SoldOut { standby_possible: self.settings.standby, held: self.book.held, remaining: self.remaining() }
    }

    /// Writes a new claim, held for `seconds`; 0: confirmed at once. Everything has been checked.
    pub(super) fn take(&mut self, request: ClaimRequest<'_>, seconds: u32, step: &mut Step<'_>) -> Claim {
        let id = ClaimId::new(self.number, self.book.next_seq(), request.nonce);
        let granted = if seconds == 0 { grant(request.user, id, step) } else { None };
        let claim = Claim {
            id,
            user: request.user.clone(),
            quantity: request.quantity,
            status: if seconds == 0 { Status::Confirmed } else { Status::Held },
            version: 1,
            key: request.key.cloned(),
            attributes: request.attributes.map(Into::into),
            created_at: step.now,
            updated_at: step.now,
            hold_expires_at: (seconds > 0).then(|| step.now.plus_seconds(seconds)),
            ordinal: self.book.free_ordinal(self.book.find_user(request.user), self.settings.per_user_limit),
            granted,
        };
        self.emit(OfferChange::Claim(Box::new(claim.clone())), step);
        claim
    }

    /// Gives one grant to a user who has not had one, where units are left that nobody waits for.
    pub(super) fn give(&mut self, user: &UserId, by: ClaimId, now: Millis, events: &mut Vec<Event>) -> Option<ClaimId> {
        let mut step = Step { now, grants: None, events };
        self.settle_all(&mut step);
        let known = self.book.find_user(user);
        let quantity = self.settings.min_per_claim;
        if self.deleted
            || self.state_at(now) != OfferState::Open
            || known.is_some_and(|user| self.book.user(user).had)
            || !self.within_limit(known, quantity)
            || quantity > self.remaining()
        {
            return None;
        }
        // Confirmed at once: a gift is not paid for. The reason it was given stands in its attributes.
        let attributes = format!("{{\"granted_by\":\"{by}\"}}");
        let request = ClaimRequest { user, quantity, key: None, attributes: Some(&attributes), pass: Pass::Missing, nonce: by.nonce() };
        Some(self.take(request, 0, &mut step).id)
    }

    pub(super) fn change(&mut self, mut claim: Claim, status: Status, step: &mut Step<'_>) -> Claim {
        claim.status = status;
        claim.version += 1;
        claim.updated_at = step.now;
        self.emit(OfferChange::Claim(Box::new(claim.clone())), step);
        claim
    }

    pub(super) fn emit(&mut self, change: OfferChange, step: &mut Step<'_>) {
        let event = OfferEvent { offer: self.number, version: self.version + 1, change };
        self.apply(&event);
        step.events.push(Event::Offer(event));
    }
}

/// What confirming claim `by` gives its user: decided in the confirming step, so that a crash cannot come between.
fn grant(user: &UserId, by: ClaimId, step: &mut Step<'_>) -> Option<ClaimId> {
    let Step { now, grants, events } = step;
    grants.as_mut()?.give(user, by, *now, events)
}
