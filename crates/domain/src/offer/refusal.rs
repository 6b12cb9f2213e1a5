//! Refusals: answers, not errors. Each maps to one stable code of the HTTP contract.

use crate::claim::Status;
use crate::ids::ClaimId;
use crate::time::Millis;

/// Why a request about an offer was not done. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The offer opens later.
    NotOpen {
        /// When.
        opens_at: Millis,
    },
    /// The offer is over.
    Closed,
    /// The offer's zone wants a pass and none came.
    PassRequired,
    /// The pass is forged, expired or another zone's.
    PassInvalid,
    /// The pass has taken its claim.
    PassUsed,
    /// The caller may not do this.
    Forbidden,
    /// The user has all they may have.
    LimitReached {
        /// Live claims of the user, at most [`crate::limits::REFUSAL_CLAIMS_MAX`].
        claims: Vec<ClaimId>,
    },
    /// The quantity is outside what one claim may take.
    QuantityInvalid {
        /// Fewest units in one claim.
        min: u32,
        /// Most units in one claim.
        max: u32,
    },
    /// Too few units are left, or people on standby are ahead.
    SoldOut {
        /// Whether standby can be joined.
        standby_possible: bool,
        /// Units that are held and may come back.
        held: u32,
        /// Units left, fewer than were asked for (or promised to standby).
        remaining: u32,
    },
    /// The Idempotency-Key was used with another body.
    KeyReused,
    /// The claim is not in the state that the change needs.
    NotHeld {
        /// The state it is in.
        status: Status,
    },
    /// The hold's deadline had passed.
    DeadlinePassed,
    /// No such claim for this caller.
    UnknownClaim,
    /// No such place on standby for this caller.
    UnknownStandby,
    /// The offer keeps no standby.
    NoStandby,
    /// The new quantity is below what is taken.
    QuantityTaken {
        /// Units held and confirmed.
        taken: u32,
    },
    /// The offer still has live claims or people on standby.
    InUse,
}
