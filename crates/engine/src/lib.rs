//! Where live state sits and decisions are made.
//!
//! [`Engine`] is an enum: nothing above this crate knows which shape answers. [`Embedded`]: state in memory, made durable by the journal before
//! anything about it is said. [`Cluster`]: state in Redis, decided there, made durable by Kafka before anything about it is said.
//!
//! The flow of one claim, embedded: `Engine::claim` → [`embedded`] locks the offer, asks the domain to decide, appends
//! the events to the journal while it holds the lock (so the journal's order is the order of decisions),
//! unlocks, and waits until that journal batch is durable.

mod bulkhead;
mod clock;
pub mod cluster;
pub mod embedded;
mod error;
mod random;
mod references;
mod seen;
mod types;

pub use clock::TimeSource;
pub use cluster::{Cluster, ClusterOptions, JoinError};
pub use embedded::Embedded;
pub use embedded::recovery::Recovery;
pub use error::EngineError;
pub use seen::{OfferSeen, Refusals, ZoneSeen};
pub use types::{Ack, Entry, Options, Subject, ZoneReport};

use bunho_domain::claim::Claim;
use bunho_domain::ids::{ClaimId, OfferId, StandbyId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Forgotten, Restock, StandbyRequest, StandbyView, Stock, Taken};
use bunho_domain::ticket::TicketKeys;
use bunho_domain::time::Millis;
use bunho_journal::Audit;
use std::sync::Arc;
use tokio::sync::watch;

/// A decision, a refusal, or a failure to decide.
pub type Decided<T> = Result<Result<T, Refusal>, EngineError>;

/// Live state and decisions, in whichever shape this installation has.
#[derive(Clone)]
pub enum Engine {
    /// One process, state in memory.
    Embedded(Arc<Embedded>),
    /// Several processes, state in Redis Cluster.
    Cluster(Arc<Cluster>),
}

/// Calls that wait in both shapes.
macro_rules! delegate {
    ($($(#[$doc:meta])* async fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $result:ty;)*) => {
        impl Engine {
            $($(#[$doc])* pub async fn $name(&self $(, $arg: $type)*) -> $result {
                match self {
                    Self::Embedded(engine) => engine.$name($($arg),*).await,
                    Self::Cluster(engine) => engine.$name($($arg),*).await,
                }
            })*
        }
    };
}

/// Calls that only a cluster waits for.
macro_rules! delegate_ready {
    ($($(#[$doc:meta])* async fn $name:ident(&self $(, $arg:ident: $type:ty)*) -> $result:ty;)*) => {
        impl Engine {
            $($(#[$doc])* pub async fn $name(&self $(, $arg: $type)*) -> $result {
                match self {
                    Self::Embedded(engine) => engine.$name($($arg),*),
                    Self::Cluster(engine) => engine.$name($($arg),*).await,
                }
            })*
        }
    };
}

delegate! {
    /// Takes units of an offer. Answers when the claim is as durable as [`Ack`] says.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn claim(&self, offer: &OfferId, request: ClaimRequest<'_>) -> Decided<Taken>;
    /// Makes a hold final.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn confirm(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim>;
    /// Gives a hold back.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn release(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim>;
    /// Takes a confirmed claim back.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn take_back(&self, claim: ClaimId, restock: Restock, audit: Audit) -> Decided<Claim>;
    /// Reads a claim.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn read_claim(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim>;
    /// Joins an offer's standby.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn join_standby(&self, offer: &OfferId, request: StandbyRequest<'_>) -> Decided<StandbyView>;
    /// Reads a place on standby.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn read_standby(&self, actor: Actor<'_>, standby: StandbyId) -> Decided<StandbyView>;
    /// Gives a place on standby up.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn leave_standby(&self, actor: Actor<'_>, standby: StandbyId) -> Decided<()>;
    /// An offer's settings and numbers.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`], or the journal failed.
    async fn offer(&self, offer: &OfferId) -> Result<(OfferSettings, Stock), EngineError>;
    /// Creates or replaces an offer. True: it was created.
    ///
    /// # Errors
    /// [`EngineError::Conflict`], [`EngineError::Reference`]; refusals are inside.
    async fn put_offer(&self, settings: OfferSettings, if_revision: Option<u32>, audit: Audit) -> Decided<bool>;
    /// Adds or removes units of an offer.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn restock(&self, offer: &OfferId, delta: i64, audit: Audit) -> Decided<()>;
    /// Ends an offer now.
    ///
    /// # Errors
    /// [`EngineError`]; refusals are inside.
    async fn close_offer(&self, offer: &OfferId, audit: Audit) -> Decided<()>;
    /// Deletes an offer that nobody has anything of.
    ///
    /// # Errors
    /// [`EngineError::InUse`] while another setting names it; refusals are inside.
    async fn delete_offer(&self, offer: &OfferId, audit: Audit) -> Decided<()>;
    /// Joins a zone's line, or enters at once.
    ///
    /// # Errors
    /// [`EngineError`].
    async fn join(&self, zone: &ZoneId, client_key: Option<&str>) -> Result<Entry, EngineError>;
    /// Polls with a ticket.
    ///
    /// # Errors
    /// [`EngineError::TicketInvalid`], [`EngineError::TicketGone`], [`EngineError::TooFast`] and the rest.
    async fn poll(&self, zone: &ZoneId, token: &str) -> Result<Entry, EngineError>;
    /// Gives a place, or an active session, up. Twice, too.
    ///
    /// # Errors
    /// [`EngineError::TicketInvalid`] and the rest.
    async fn leave(&self, zone: &ZoneId, token: &str) -> Result<(), EngineError>;
    /// Puts a pseudonym in a user's place in the `number`-th offer, which must be closed.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`] and the rest; refusals are inside.
    async fn forget(&self, number: u32, request: ForgetRequest<'_>) -> Decided<Forgotten>;
    /// Creates or replaces a zone. True: it was created.
    ///
    /// # Errors
    /// [`EngineError::Conflict`], [`EngineError::Reference`].
    async fn put_zone(&self, settings: ZoneSettings, if_revision: Option<u32>, audit: Audit) -> Result<bool, EngineError>;
    /// Pauses a zone, or lets it go on.
    ///
    /// # Errors
    /// [`EngineError`].
    async fn pause_zone(&self, zone: &ZoneId, paused: bool, audit: Audit) -> Result<(), EngineError>;
    /// Ends every ticket of a zone and starts a new epoch.
    ///
    /// # Errors
    /// [`EngineError`].
    async fn reset_zone(&self, zone: &ZoneId, audit: Audit) -> Result<(), EngineError>;
    /// Deletes a zone that nobody waits for or is in.
    ///
    /// # Errors
    /// [`EngineError::InUse`].
    async fn delete_zone(&self, zone: &ZoneId, audit: Audit) -> Result<(), EngineError>;
    /// Waits until the ledger holds everything that was decided before this call.
    ///
    /// # Errors
    /// [`EngineError::LedgerBehind`] when that takes too long.
    async fn ledger_caught_up(&self) -> Result<(), EngineError>;
}

delegate_ready! {
    /// One zone.
    ///
    /// # Errors
    /// [`EngineError::UnknownZone`].
    async fn zone(&self, zone: &ZoneId) -> Result<ZoneReport, EngineError>;
    /// An offer's numbers as they change, at most ten times a second.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`].
    async fn watch_stock(&self, offer: &OfferId) -> Result<watch::Receiver<Option<Stock>>, EngineError>;
    /// The number of an offer, by its id.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`].
    async fn offer_number(&self, offer: &OfferId) -> Result<u32, EngineError>;
    /// A zone's number and epoch; passes from before a reset, or of a deleted zone of the same name, carry others.
    ///
    /// # Errors
    /// [`EngineError::UnknownZone`].
    async fn zone_generation(&self, zone: &ZoneId) -> Result<(u32, u32), EngineError>;
    /// A zone's number and settings, without asking how its line stands.
    ///
    /// # Errors
    /// [`EngineError::UnknownZone`].
    async fn zone_settings(&self, zone: &ZoneId) -> Result<(u32, Arc<ZoneSettings>), EngineError>;
    /// The zone whose pass an offer wants.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`].
    async fn zone_of(&self, offer: &OfferId) -> Result<Option<ZoneId>, EngineError>;
}

impl Engine {
    /// Server time: what deadlines, windows and passes are measured by.
    #[must_use]
    pub fn now(&self) -> Millis {
        match self {
            Self::Embedded(engine) => engine.now(),
            Self::Cluster(engine) => engine.now(),
        }
    }

    /// Signs and reads tickets with these from now on.
    pub fn set_ticket_keys(&self, keys: TicketKeys) {
        match self {
            Self::Embedded(engine) => engine.set_ticket_keys(keys),
            Self::Cluster(engine) => engine.set_ticket_keys(keys),
        }
    }

    /// Random bits for an id: not to be guessed by who does not know this process's memory.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        match self {
            Self::Embedded(engine) => engine.nonce(),
            Self::Cluster(engine) => engine.nonce(),
        }
    }

    /// Every offer's id, in order.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn offer_ids(&self) -> Result<Vec<OfferId>, EngineError> {
        match self {
            Self::Embedded(engine) => Ok(engine.offer_ids()),
            Self::Cluster(engine) => engine.offer_ids().await,
        }
    }

    /// Every zone that can be asked, in order of id.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn zones(&self) -> Result<Vec<ZoneReport>, EngineError> {
        match self {
            Self::Embedded(engine) => Ok(engine.zones()),
            Self::Cluster(engine) => engine.zones().await,
        }
    }

    /// The id of an offer, by the number that claims carry.
    ///
    /// # Errors
    /// [`EngineError::UnknownOffer`].
    pub async fn offer_id(&self, number: u32) -> Result<OfferId, EngineError> {
        match self {
            Self::Embedded(engine) => engine.offer_id(number).ok_or(EngineError::UnknownOffer),
            Self::Cluster(engine) => engine.offer_id(number).await,
        }
    }

    /// Claims of the `number`-th offer in the order of taking, from sequence number `from` on, at most `most`; and where to
    /// go on. For reconciliation.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn claims_from(&self, number: u32, from: u32, most: u32) -> Result<(Vec<Claim>, Option<u32>), EngineError> {
        match self {
            Self::Embedded(engine) => Ok(engine.claims_from(number, from, most)),
            Self::Cluster(engine) => engine.claims_from(number, from, most).await,
        }
    }

    /// Numbers of all offers, in order. For reconciliation.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`].
    pub async fn offer_numbers(&self) -> Result<Vec<u32>, EngineError> {
        match self {
            Self::Embedded(engine) => Ok(engine.offer_numbers()),
            Self::Cluster(engine) => engine.offer_numbers().await,
        }
    }
}
