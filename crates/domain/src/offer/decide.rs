//! The decisions of an offer. Each checks in the order of the contract, then emits.
//!
//! Cost: O(log n) in the number of open holds, independent of everything else; a hold is settled once in its life.

use super::refusal::Refusal;
use super::settings::{ConfirmBy, OfferSettings};
use super::{Actor, ClaimRequest, Offer, OfferState, Pass, Restock, StandbyRequest, StandbyView, Step, Stock, Taken};
use crate::claim::{Claim, Standby, StandbyStatus, Status};
use crate::event::{Event, OfferChange, OfferEvent};
use crate::ids::{ClaimId, StandbyId, UserId};
use crate::limits::{ENDED_PER_USER_MAX, QUANTITY_MAX, REFUSAL_CLAIMS_MAX, SETTLE_MOST};
use crate::time::Millis;
use std::cmp::Reverse;

impl Offer {
    /// Takes units for a user.
    ///
    /// # Errors
    /// The first [`Refusal`] in the order: key reused, not open, closed, forbidden, pass, limit, quantity, sold out.
    pub fn claim(&mut self, request: ClaimRequest<'_>, step: &mut Step<'_>) -> Result<Taken, Refusal> {
        self.settle_all(step);
        let user = self.book.find_user(request.user);
        if let (Some(user), Some(key)) = (user, request.key)
            && let Some(claim) = self.book.find_key(user, key)
        {
            let same = claim.quantity == request.quantity && claim.attributes.as_deref() == request.attributes;
            return if same { Ok(Taken { claim: claim.as_first_answered(), replayed: true }) } else { Err(Refusal::KeyReused) };
        }
        self.check_entry(request.pass, step.now)?;
        self.check_limit(user, request.quantity)?;
        self.check_quantity(request.quantity)?;
        if self.waits.first().is_some() || request.quantity > self.remaining() {
            return Err(self.sold_out());
        }
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

    /// Replaces the settings. The caller has checked them by themselves with [`OfferSettings::check`].
    ///
    /// # Errors
    /// [`Refusal::QuantityTaken`] when fewer units would be left than are taken.
    pub fn define(&mut self, mut settings: OfferSettings, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        let taken = self.taken();
        if settings.quantity < taken {
            return Err(Refusal::QuantityTaken { taken });
        }
        settings.revision = self.settings.revision + 1;
        // Who waits is served by the next settling: what this edit grants is then locked, not what the old one did.
        self.emit(OfferChange::Defined(Box::new(settings)), step);
        Ok(())
    }

    /// Emits the event that creates it; once, for an offer made by [`Offer::new`].
    pub fn create(&mut self, step: &mut Step<'_>) {
        self.emit(OfferChange::Defined(Box::new(self.settings.clone())), step);
    }

    /// Adds units, or takes away units that nobody has.
    ///
    /// # Errors
    /// [`Refusal::QuantityTaken`] below what is taken; [`Refusal::QuantityInvalid`] above [`QUANTITY_MAX`].
    pub fn restock(&mut self, delta: i64, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        let taken = self.taken();
        let quantity = i64::from(self.settings.quantity).saturating_add(delta);
        if quantity < i64::from(taken) {
            return Err(Refusal::QuantityTaken { taken });
        }
        let quantity = u32::try_from(quantity).ok().filter(|&quantity| quantity <= QUANTITY_MAX);
        self.set_quantity(quantity.ok_or(Refusal::QuantityInvalid { min: taken, max: QUANTITY_MAX })?, step);
        self.serve_waiting(step);
        Ok(())
    }

    /// Ends it now. Holds can still be confirmed until their deadline. Twice, too.
    pub fn close(&mut self, step: &mut Step<'_>) {
        self.settle_all(step);
        if self.settings.closes_at.is_none_or(|closes_at| closes_at > step.now) {
            let mut settings = self.settings.clone();
            settings.closes_at = Some(step.now);
            // An offer that is closed before it opened never opens.
            settings.opens_at = settings.opens_at.filter(|&opens_at| opens_at <= step.now);
            settings.revision += 1;
            self.emit(OfferChange::Defined(Box::new(settings)), step);
        }
    }

    /// Deletes it.
    ///
    /// # Errors
    /// [`Refusal::InUse`] while units are taken, or people wait on the standby of an offer that is not closed.
    pub fn delete(&mut self, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        if self.taken() > 0 || (self.waits.count > 0 && self.state_at(step.now) != OfferState::Closed) {
            return Err(Refusal::InUse);
        }
        self.emit(OfferChange::Deleted, step);
        Ok(())
    }

    /// Ends holds whose deadline has come, and serves standby with what is left; at most so many of each. True: there is more.
    ///
    /// The caller repeats this, with a journal record for each round, until nothing is due, and decides only then. So a
    /// sweeper that is late changes no result, and a hundred thousand holds that fall due at once neither stop
    /// the world nor make one enormous record.
    pub fn settle(&mut self, most: usize, step: &mut Step<'_>) -> bool {
        let mut left = most;
        while let Some(&Reverse((deadline, seq))) = self.deadlines.peek() {
            if deadline > step.now {
                break;
            }
            if left == 0 {
                return true;
            }
            self.deadlines.pop();
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

    /// The place at `seq`, which exists.
    pub(super) fn view(&self, seq: u32) -> StandbyView {
        let standby = self.waits.at(seq).cloned().expect("the caller has seen this place");
        let waits = standby.status == StandbyStatus::Waiting;
        StandbyView { position: if waits { self.waits.position(seq) } else { 0 }, standby }
    }

    fn state_at(&self, now: Millis) -> OfferState {
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

    const fn taken(&self) -> u32 {
        self.book.held + self.book.confirmed
    }

    const fn remaining(&self) -> u32 {
        // Saturating for replay alone: an edit that lowers the quantity may be applied before the claims that it counts.
        self.settings.quantity.saturating_sub(self.taken())
    }

    fn check_entry(&self, pass: Pass, now: Millis) -> Result<(), Refusal> {
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
    fn check_ended(&self, user: Option<u32>) -> Result<(), Refusal> {
        if user.is_some_and(|user| self.book.user(user).ended >= ENDED_PER_USER_MAX) { Err(self.limit_reached(user)) } else { Ok(()) }
    }

    fn within_limit(&self, user: Option<u32>, quantity: u32) -> bool {
        let taken = user.map_or(0, |user| self.book.user(user).taken);
        self.settings.per_user_limit.is_none_or(|limit| u64::from(taken) + u64::from(quantity) <= u64::from(limit))
    }

    fn check_limit(&self, user: Option<u32>, quantity: u32) -> Result<(), Refusal> {
        self.check_ended(user)?;
        if self.within_limit(user, quantity) { Ok(()) } else { Err(self.limit_reached(user)) }
    }

    fn limit_reached(&self, user: Option<u32>) -> Refusal {
        Refusal::LimitReached { claims: user.map_or_else(Vec::new, |user| self.book.live_claims(user, REFUSAL_CLAIMS_MAX)) }
    }

    fn check_quantity(&self, quantity: u32) -> Result<(), Refusal> {
        let (min, max) = (self.settings.min_per_claim, self.settings.max_per_claim);
        if (min..=max).contains(&quantity) { Ok(()) } else { Err(Refusal::QuantityInvalid { min, max }) }
    }

    fn sold_out(&self) -> Refusal {
        Refusal::SoldOut { standby_possible: self.settings.standby, held: self.book.held, remaining: self.remaining() }
    }

    /// Writes a new claim, held for `seconds`; 0: confirmed at once. Everything has been checked.
    fn take(&mut self, request: ClaimRequest<'_>, seconds: u32, step: &mut Step<'_>) -> Claim {
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
    fn give(&mut self, user: &UserId, by: ClaimId, now: Millis, events: &mut Vec<Event>) -> Option<ClaimId> {
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
        let request = ClaimRequest { user, quantity, key: None, attributes: Some(&attributes), pass: Pass::Valid, nonce: by.nonce() };
        Some(self.take(request, 0, &mut step).id)
    }

    /// Whether the first who waits would be served, or passed over, were the offer open.
    pub(super) fn first_is_served(&self) -> bool {
        self.waits.first().is_some_and(|place| place.quantity <= self.remaining() || !self.can_be_served(place.quantity))
    }

    /// Whether so many units are left, or may come back by holds that end. With nothing left, refunds are waited for too.
    fn can_be_served(&self, quantity: u32) -> bool {
        quantity <= self.settings.quantity && (self.remaining() == 0 || quantity <= self.remaining() + self.book.held)
    }

    /// Whether a place still stands for its user: it waits, or what it was served with is still held.
    fn is_open(&self, place: &Standby) -> bool {
        match (place.status, place.claim) {
            (StandbyStatus::Waiting, _) => true,
            (StandbyStatus::Served, Some(claim)) => self.book.claim(claim).is_some_and(|claim| claim.status == Status::Held),
            _ => false,
        }
    }

    /// Serves who waits, with the hold of standby; what is left undone the next settling does.
    fn serve_waiting(&mut self, step: &mut Step<'_>) {
        self.serve_standby(self.settings.standby_hold_seconds, SETTLE_MOST, step);
    }

    /// Gives units that are left to who waits for them, strictly in order, at most so many times. True: there is more.
    ///
    /// A place that wants more than is left keeps those behind it waiting while open holds may still bring what it wants.
    /// One that nothing on its way can satisfy, or whose user's limit is used up, is passed over: else one
    /// request for too much would keep the last units from everybody.
    fn serve_standby(&mut self, hold_seconds: u32, most: usize, step: &mut Step<'_>) -> bool {
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
                    pass: Pass::Valid,
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

    fn set_quantity(&mut self, quantity: u32, step: &mut Step<'_>) {
        let mut settings = self.settings.clone();
        settings.quantity = quantity;
        settings.revision += 1;
        self.emit(OfferChange::Defined(Box::new(settings)), step);
    }

    fn change(&mut self, mut claim: Claim, status: Status, step: &mut Step<'_>) -> Claim {
        claim.status = status;
        claim.version += 1;
        claim.updated_at = step.now;
        self.emit(OfferChange::Claim(Box::new(claim.clone())), step);
        claim
    }

    fn change_standby(&mut self, mut place: Standby, status: StandbyStatus, claim: Option<ClaimId>, step: &mut Step<'_>) {
        place.status = status;
        place.version += 1;
        place.updated_at = step.now;
        place.claim = claim;
        self.emit(OfferChange::Standby(Box::new(place)), step);
    }

    fn emit(&mut self, change: OfferChange, step: &mut Step<'_>) {
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
