//! A limited quantity: who may take how much of it, until when, and who gets what comes back.
//!
//! Every method is one decision: it first settles what time alone has decided (holds past their deadline),
//! then checks, then changes state by *applying* the events that it also returns. Replay applies the same
//! events through the same [`Offer::apply`], so a restarted engine cannot differ from the one that ran.

mod book;
mod deadlines;
mod decide;
mod edit;
mod forget;
mod index;
pub mod once;
pub mod refusal;
pub mod settings;
mod slab;
mod standby;
mod texts;
mod waits;

use crate::claim::{Claim, Standby};
use crate::event::{Event, OfferChange, OfferEvent};
use crate::ids::{ClaimId, IdempotencyKey, OfferId, StandbyId, UserId};
use crate::time::Millis;
use book::Book;
use deadlines::Deadlines;
pub use forget::{ForgetRequest, Forgotten};
use once::PassId;
use refusal::Refusal;
use settings::OfferSettings;
use waits::Waits;

/// One offer and all its claims.
#[derive(Debug)]
pub struct Offer {
    number: u32,
    settings: OfferSettings,
    version: u64,
    deleted: bool,
    book: Book,
    waits: Waits,
    deadlines: Deadlines,
}

/// What surrounds one decision.
pub struct Step<'a> {
    /// Server time.
    pub now: Millis,
    /// The offer that this one grants, where it grants one; locked together with it.
    pub grants: Option<&'a mut Offer>,
    /// Where events go, in the order they happened. They belong in one journal record.
    pub events: &'a mut Vec<Event>,
}

/// Whether the caller showed a pass of the offer's zone. Offers without a zone do not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// A valid one, and which.
    Valid(PassId),
    /// None.
    Missing,
    /// One that is forged, expired or another zone's.
    Invalid,
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub enum Actor<'a> {
    /// A user, for their own claims; others' do not exist for them.
    User(&'a UserId),
    /// A service or admin key: for one user's claims, or for anybody's.
    Service(Option<&'a UserId>),
}

/// A request to take units.
#[derive(Clone, Copy, Debug)]
pub struct ClaimRequest<'a> {
    /// For whom.
    pub user: &'a UserId,
    /// How many; 0 stands for every number that cannot be one.
    pub quantity: u32,
    /// The client's name for this attempt.
    pub key: Option<&'a IdempotencyKey>,
    /// Compact JSON with sorted keys: an object with one member at least, and none that is called [`once::PASS_ATTRIBUTE`].
    pub attributes: Option<&'a str>,
    /// Whether a pass was shown.
    pub pass: Pass,
    /// Random bits for the claim's id.
    pub nonce: u64,
}

/// A granted request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The claim, as its first answer showed it.
    pub claim: Claim,
    /// Whether this is the answer of an earlier request with the same key.
    pub replayed: bool,
}

/// A request for a place on standby.
#[derive(Clone, Copy, Debug)]
pub struct StandbyRequest<'a> {
    /// For whom.
    pub user: &'a UserId,
    /// How many units; 0 stands for every number that cannot be one.
    pub quantity: u32,
    /// Whether a pass was shown.
    pub pass: Pass,
    /// Random bits for the id.
    pub nonce: u64,
}

/// A place on standby with what only the whole list knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyView {
    /// The place.
    pub standby: Standby,
    /// 1 for who is served next; 0 once it no longer waits.
    pub position: u32,
}

/// What happens to units of a returned claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restock {
    /// They can be taken again, by standby first.
    Yes,
    /// They leave the offer: its quantity shrinks.
    No,
}

/// Whether an offer can be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfferState {
    /// It opens later.
    NotOpen,
    /// It can.
    Open,
    /// Nothing is left, or what is left is promised to standby.
    SoldOut,
    /// It is over.
    Closed,
}

/// An offer's numbers at one version: `remaining + held + confirmed = quantity`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// Units there are.
    pub quantity: u32,
    /// Units nobody has.
    pub remaining: u32,
    /// Units that await confirmation.
    pub held: u32,
    /// Units taken for good.
    pub confirmed: u32,
    /// Places waiting on standby.
    pub standby: u32,
    /// Raised by every change of the offer.
    pub version: u64,
    /// Whether it can be claimed.
    pub state: OfferState,
}

impl Offer {
    /// A new offer with nothing taken.
    #[must_use]
    pub fn new(number: u32, settings: OfferSettings) -> Self {
        Self {
            number,
            settings,
            version: 0,
            deleted: false,
            book: Book::new(number),
            waits: Waits::new(number),
            deadlines: Deadlines::default(),
        }
    }

    /// Its number, which ids carry.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.number
    }

    /// What the operator said of it.
    #[must_use]
    pub const fn settings(&self) -> &OfferSettings {
        &self.settings
    }

    /// Its name.
    #[must_use]
    pub const fn id(&self) -> &OfferId {
        &self.settings.id
    }

    /// Whether it was deleted; nothing may be decided any more.
    #[must_use]
    pub const fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// Its numbers, after settling what is due.
    pub fn stock(&mut self, step: &mut Step<'_>) -> Stock {
        self.settle_all(step);
        self.stock_at(step.now)
    }

    /// A claim by its id, after settling what is due.
    ///
    /// # Errors
    /// [`Refusal::UnknownClaim`] when there is none for this caller.
    pub fn claim_by_id(&mut self, actor: Actor<'_>, id: ClaimId, step: &mut Step<'_>) -> Result<Claim, Refusal> {
        self.settle_all(step);
        self.owned(actor, id)
    }

    /// A place on standby by its id, after settling what is due.
    ///
    /// # Errors
    /// [`Refusal::UnknownStandby`] when there is none for this caller.
    pub fn standby_by_id(&mut self, actor: Actor<'_>, id: StandbyId, step: &mut Step<'_>) -> Result<StandbyView, Refusal> {
        self.settle_all(step);
        let place = self.waits.get(id).filter(|place| actor.may_see(&place.user)).ok_or(Refusal::UnknownStandby)?;
        Ok(self.view(place.id.seq()))
    }

    /// The earliest instant at which [`Self::settle`] may have something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Millis> {
        // Whoever waits may be served when the offer opens, or at once where an edit made that possible.
        let serving = self.first_is_served().then(|| self.settings.opens_at.unwrap_or(Millis(0)));
        let expiring = self.deadlines.first().map(|(at, _)| at);
        serving.into_iter().chain(expiring).min()
    }

    /// Claims from sequence number `from` on, at most `most`, in order; for reconciliation. Also the number to go on
    /// from, none at the end.
    #[must_use]
    pub fn claims_from(&self, from: u32, most: u32) -> (Vec<Claim>, Option<u32>) {
        let end = from.saturating_add(most).min(self.book.next_seq());
        let claims = (from..end).filter_map(|seq| self.book.claim_at(seq)).collect();
        (claims, (end < self.book.next_seq()).then_some(end))
    }

    /// Makes the state what an event says, live or in replay. Events that are not newer than the state change nothing.
    pub fn apply(&mut self, event: &OfferEvent) {
        self.version = self.version.max(event.version);
        match &event.change {
            OfferChange::Defined(settings) => {
                if settings.revision >= self.settings.revision {
                    self.settings = (**settings).clone();
                }
            }
            OfferChange::Claim(claim) => {
                if self.book.put(claim) && claim.status == crate::claim::Status::Held && claim.hold_expires_at.is_some() {
                    let seq = claim.id.seq();
                    self.deadlines.push((self.book.deadline(seq), seq));
                }
            }
            OfferChange::Standby(place) => {
                if self.waits.put(place) {
                    let index = self.book.user_index(&place.user);
                    let user = self.book.user_mut(index);
                    let seq = place.id.seq();
                    if user.place == book::NONE || user.place < seq {
                        user.place = seq;
                    }
                    if matches!(place.status, crate::claim::StandbyStatus::Left | crate::claim::StandbyStatus::Passed) {
                        user.ended += 1;
                    }
                }
            }
            OfferChange::Deleted => self.deleted = true,
        }
    }
}

impl Actor<'_> {
    fn may_see(self, owner: &UserId) -> bool {
        match self {
            Self::User(user) | Self::Service(Some(user)) => user == owner,
            Self::Service(None) => true,
        }
    }
}
