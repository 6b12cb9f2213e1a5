//! What one claim is, and what one place on standby is: whole states, as events carry them.

use crate::ids::{ClaimId, IdempotencyKey, StandbyId, UserId};
use crate::time::Millis;

/// Where a claim stands. `Held` awaits confirmation; `Confirmed` is final but for a return; the rest are ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Taken, awaits confirmation until its deadline.
    Held,
    /// Taken for good.
    Confirmed,
    /// Given back before confirmation.
    Released,
    /// Its deadline passed before confirmation.
    Expired,
    /// Given back after confirmation, by an administrator.
    Returned,
}

impl Status {
    /// Whether its units count against the offer's quantity and the user's limit.
    #[must_use]
    pub const fn is_taken(self) -> bool {
        matches!(self, Self::Held | Self::Confirmed)
    }
}

/// A claim's whole state. Every event carries one; applying a higher version replaces the lower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which claim; it also tells the offer's number.
    pub id: ClaimId,
    /// Whose.
    pub user: UserId,
    /// Units taken.
    pub quantity: u32,
    /// Where it stands.
    pub status: Status,
    /// 1 when taken, one more with every change.
    pub version: u32,
    /// The client's name for the attempt that took it.
    pub key: Option<IdempotencyKey>,
    /// What the client attached, as compact JSON of an object with sorted keys.
    pub attributes: Option<Box<str>>,
    /// When it was taken.
    pub created_at: Millis,
    /// When it last changed.
    pub updated_at: Millis,
    /// The deadline it was taken with; kept after the hold has ended. None: it was confirmed at once.
    pub hold_expires_at: Option<Millis>,
    /// Which of the user's allowed claims this is, from 1; none where no small limit applies.
    /// The ledger's unique index on it is the last guard against "twice".
    pub ordinal: Option<u32>,
    /// The claim that confirming this one gave.
    pub granted: Option<ClaimId>,
}

impl Claim {
    /// The claim as its first answer showed it: version 1. A replayed Idempotency-Key answers with this,
    /// whatever became of the claim since.
    #[must_use]
    pub fn as_first_answered(&self) -> Self {
        let mut first = self.clone();
        first.version = 1;
        first.updated_at = first.created_at;
        if first.hold_expires_at.is_some() {
            first.status = Status::Held;
            first.granted = None;
        } else {
            first.status = Status::Confirmed;
        }
        first
    }
}

/// Where a place on standby stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StandbyStatus {
    /// Waits for units to come back.
    Waiting,
    /// Got a claim.
    Served,
    /// Given up by its owner.
    Left,
    /// Passed over: by the time units came back, its user's limit was used up.
    Passed,
}

/// A standby's whole state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standby {
    /// Which one; it also tells the offer's number.
    pub id: StandbyId,
    /// Whose.
    pub user: UserId,
    /// Units waited for.
    pub quantity: u32,
    /// Where it stands.
    pub status: StandbyStatus,
    /// 1 when joined, one more with every change.
    pub version: u32,
    /// When it was joined.
    pub created_at: Millis,
    /// When it last changed.
    pub updated_at: Millis,
    /// The claim it was served with.
    pub claim: Option<ClaimId>,
}
