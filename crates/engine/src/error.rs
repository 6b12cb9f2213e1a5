//! What an engine can fail with. Refusals are not errors; they are values of the domain.

use std::error::Error;

/// What lies below a failure, whichever shape it is from.
type Cause = Box<dyn Error + Send + Sync>;

/// Why an engine could not decide, or could not say what it decided.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such offer.
    #[error("no such offer")]
    UnknownOffer,
    /// No such zone.
    #[error("no such zone")]
    UnknownZone,
    /// The ticket is forged, edited or another zone's.
    #[error("the ticket is not one that was given out for this zone")]
    TicketInvalid,
    /// The ticket's place is gone.
    #[error("the ticket's place is gone")]
    TicketGone,
    /// The client polls much faster than it was told to.
    #[error("polled too fast")]
    TooFast {
        /// When to come back.
        retry_ms: u32,
    },
    /// Too much is in flight; nothing happened.
    #[error("too much is in flight")]
    Overloaded,
    /// The journal, or Redis, failed after the decision: it may or may not have happened.
    #[error("the result is unknown")]
    Indeterminate(#[source] Cause),
    /// Its state is being restored; nothing happened.
    #[error("its state is being restored")]
    Suspended,
    /// Something that decisions need cannot be reached; nothing happened.
    #[error("something that is needed to decide cannot be reached")]
    Unavailable(#[source] Cause),
    /// The journal has failed before the decision; nothing happened.
    #[error("the journal has failed")]
    Poisoned,
    /// The ledger did not catch up in time; what was decided stands.
    #[error("the ledger is behind")]
    LedgerBehind,
    /// An edit named a revision that is no longer the newest.
    #[error("the revision is {current} by now")]
    Conflict {
        /// The newest revision.
        current: u32,
    },
    /// An edit names something that does not exist or cannot be used so.
    #[error("{field} {reason}")]
    Reference {
        /// The setting.
        field: &'static str,
        /// What it must be.
        reason: &'static str,
    },
    /// It is still in use, so it cannot be deleted.
    #[error("still in use: {0}")]
    InUse(&'static str),
}

impl EngineError {
    pub(crate) fn indeterminate(cause: impl Into<Cause>) -> Self {
        Self::Indeterminate(cause.into())
    }

    pub(crate) fn unavailable(cause: impl Into<Cause>) -> Self {
        Self::Unavailable(cause.into())
    }
}
