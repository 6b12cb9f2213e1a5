//! Forgetting a person: what they took stays taken, and nobody can tell any more who it was.
//!
//! It is an event of each claim and each place like any other: a newer version of it, whose user is a pseudonym that stands for nobody, and
//! which has neither key nor attributes. So sums and counts stay what they were, and whoever follows the events (a replay, another
//! node, the ledger) forgets as well.

use super::refusal::Refusal;
use super::{Offer, OfferState, Step};
use crate::claim::{StandbyStatus, Status};
use crate::event::OfferChange;
use crate::ids::{ClaimId, StandbyId, UserId};

/// Who is to be forgotten, and what is known of theirs in this offer. Ids that are not this user's are passed by, so that it can be asked again.
#[derive(Clone, Copy, Debug)]
pub struct ForgetRequest<'a> {
    /// Who.
    pub user: &'a UserId,
    /// What stands in the user's place: one that nobody has in this offer.
    pub pseudonym: &'a UserId,
    /// Claims; with the places at most [`crate::limits::FORGET_MOST`].
    pub claims: &'a [ClaimId],
    /// Places on standby.
    pub places: &'a [StandbyId],
    /// Whether these are all that are left of theirs, so that the name itself can go.
    pub last: bool,
}

/// What was forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Claims that were given the pseudonym.
    pub claims: u32,
    /// Places on standby.
    pub places: u32,
}

impl Offer {
    /// Puts a pseudonym in a user's place. Whoever still waits on the standby of the closed offer gives the place up by it. Twice, too.
    ///
    /// # Errors
    /// [`Refusal::InUse`] while the offer is not closed (the person, unknown by then, could take units a second time) or while one of
    /// the claims is held.
    pub fn forget(&mut self, request: ForgetRequest<'_>, step: &mut Step<'_>) -> Result<Forgotten, Refusal> {
        self.settle_all(step);
        let ForgetRequest { user, pseudonym, claims, places, last } = request;
        let claims: Vec<_> = claims.iter().filter_map(|&id| self.book.claim(id)).filter(|claim| claim.user == *user).collect();
        if self.state_at(step.now) != OfferState::Closed || claims.iter().any(|claim| claim.status == Status::Held) {
            return Err(Refusal::InUse);
        }
        let mut forgotten = Forgotten::default();
        for mut claim in claims {
            claim.user = pseudonym.clone();
            (claim.key, claim.attributes) = (None, None);
            claim.version += 1;
            claim.updated_at = step.now;
            self.emit(OfferChange::Claim(Box::new(claim)), step);
            forgotten.claims += 1;
        }
        for &id in places {
            let Some(mut place) = self.waits.get(id).filter(|place| place.user == *user).cloned() else { continue };
            if place.status == StandbyStatus::Waiting {
                place.status = StandbyStatus::Left;
            }
            place.user = pseudonym.clone();
            place.version += 1;
            place.updated_at = step.now;
            self.emit(OfferChange::Standby(Box::new(place)), step);
            forgotten.places += 1;
        }
        if last {
            self.book.erase_name(user);
        }
        Ok(forgotten)
    }
}
