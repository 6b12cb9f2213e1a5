//! Deciding in Redis Cluster, by homes and not by ids: one script a run, durable through the outbox and the journal.
//!
//! Everything of an offer is in one slot, under a tag: the number of the offer that it grants, or its own. So confirming a claim and
//! granting what it grants is one step. Keys of tag 7, with offers 7 and 9, of which 9 grants 7:
//!
//! ```text
//! bunho:{7}:outbox                              stream: what was decided and is not known to be in the journal
//! bunho:{7}:7      bunho:{7}:9                  hash: o state, t terms, c<seq> claims, s<seq> standby, u<user>, k<user>\0<key> -> seq
//! bunho:{7}:7:due  bunho:{7}:9:due              sorted set: open holds by deadline
//! bunho:{7}:7:wait bunho:{7}:9:wait             sorted set: who waits on standby, by order of joining
//! ```
//!
//! A zone's line has a tag of its own, `{z7}` for zone 7, an outbox as offers have, and keys that `lua/line/prelude.lua` names.
//!
//! * `lua/`: the rules, as `bunho_domain::offer` and `bunho_domain::line` have them, and what surrounds one run of a script.
//! * `link.rs`: the way to the node that has a slot, and what an error says about whether a run happened.
//! * `figures.rs`: what is counted on that way, and what a primary says of itself.
//! * `tag.rs`: gathering commands, shipping what they wrote, answering when it is durable. `order.rs`: one command on that way. `of.rs`: what is
//!   different between offers and zones.
//! * `offers.rs`, `zones.rs`: the commands. `wire.rs`, `msgpack.rs`: how they are packed; for zones in `line.rs` and below.
//!
//! **Invariant:** no answer is given that depends on an entry that is still in the outbox (unless `Ack::Engine` asks for it); and an entry
//! leaves the outbox only after the journal has it and the offer or zone still has the epoch under which it was decided.

mod figures;
pub mod line;
mod link;
mod msgpack;
mod of;
mod offers;
mod order;
mod script;
mod shipper;
mod tag;
mod wire;
mod zones;

pub use figures::{LinkFigures, PrimaryFigures};
pub use line::{Facts, Report as ReadZone, ZoneHome};
pub use link::{EntryId, Patience};
pub use msgpack::Malformed;
pub use of::Of;
pub use offers::OfferState as ReadOffer;
pub use shipper::{Entry, Errand, MemoryJournal, Question, Shipment, Shipper};
pub use tag::Gathering;
pub use wire::Standing;
pub use zones::ZoneDeletion;

use crate::types::Ack;
use bunho_domain::time::Millis;
use link::{Link, RunError};
use order::{Answer, Left, Order, Repeat, Request, To, Until};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tag::Tag;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

/// Where an offer lives, and as whom the node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Home {
    /// The number of the offer that it grants when it is created, or its own. Never changes.
    pub tag: u32,
    /// Its number.
    pub offer: u32,
    /// Its epoch, as this node knows it: raised whenever its state in Redis was in doubt.
    pub epoch: u32,
}

/// What time commands are decided at.
#[derive(Clone)]
pub enum DeciderClock {
    /// Redis's own.
    Redis,
    /// Tests move it, in Unix milliseconds. Only offers and zones that were created under such a clock obey it.
    Manual(Arc<AtomicI64>),
}

/// Limits and choices of a cluster engine.
#[derive(Clone)]
pub struct DeciderOptions {
    /// Nodes to ask for the rest, as `redis://` addresses; the first one's name and password are used for all.
    pub seeds: Vec<String>,
    /// What keys begin with.
    pub prefix: String,
    /// Replicas that should have what a run wrote before its answers are used; none: not waited for.
    pub replicas: Option<usize>,
    /// How durable a decision is when it is answered. [`Ack::Ledger`] is [`Ack::Journal`] here; the rest of the way is the caller's.
    pub ack: Ack,
    /// How long an answer may wait to be durable before the result is called unknown.
    pub durable_within: Duration,
    /// Commands of one tag that may be under way at once.
    pub in_flight_max: usize,
    /// How commands are gathered.
    pub gathering: Gathering,
    /// How long Redis may take.
    pub patience: Patience,
    /// What time is.
    pub clock: DeciderClock,
}

impl DeciderOptions {
    /// The usual choices.
    #[must_use]
    pub fn new(seeds: Vec<String>) -> Self {
        Self {
            seeds,
            prefix: "bunho".into(),
            replicas: None,
            ack: Ack::Journal,
            durable_within: Duration::from_secs(5),
            in_flight_max: 10_000,
            gathering: Gathering {
                wait: Duration::from_millis(1),
                commands_max: 64,
                runs_max: 2,
                outbox_max: 20_000,
                relay_after: Duration::from_millis(100),
                idle: Duration::from_secs(60),
            },
            patience: Patience { connect: Duration::from_secs(1), respond: Duration::from_secs(2), cluster: Duration::from_secs(3) },
            clock: DeciderClock::Redis,
        }
    }
}

/// Why the cluster engine could not decide, or could not say what it decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// Redis knows no such offer: it was deleted, or Redis has lost it.
    #[error("Redis knows no such offer")]
    UnknownOffer,
    /// Redis knows no such zone: it was deleted, or Redis has lost it.
    #[error("Redis knows no such zone")]
    UnknownZone,
    /// The state is in doubt or being loaded; nothing happened.
    #[error("the offer or zone is suspended")]
    Suspended,
    /// The node knows the offer or zone by another epoch; nothing happened.
    #[error("the epoch is {current} by now")]
    Epoch {
        /// The one in Redis.
        current: u32,
    },
    /// Too much is in flight, or waits for the journal, or Redis is full; nothing happened.
    #[error("too much is in flight")]
    Overloaded,
    /// Redis cannot decide at the moment; nothing happened.
    #[error("Redis cannot decide at the moment: {0}")]
    Unavailable(String),
    /// It may or may not have happened.
    #[error("the result is unknown: {0}")]
    Indeterminate(String),
    /// An edit named a revision that is no longer the newest.
    #[error("the revision is {current} by now")]
    Conflict {
        /// The newest revision.
        current: u32,
    },
    /// There is one of this number already.
    #[error("there is an offer or zone of this number already")]
    Exists,
    /// A clock was given for an offer or zone that does not obey one.
    #[error("it was not created for a clock that is set")]
    Clock,
    /// Redis answered something that this program cannot read.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The cluster was not found.
    #[error("Redis Cluster cannot be reached")]
    Unreachable(#[source] redis::RedisError),
}

impl From<&RunError> for DecideError {
    fn from(error: &RunError) -> Self {
        match error {
            RunError::NotRun(reason) | RunError::Fault(reason) => Self::Unavailable(reason.clone()),
            RunError::Full(_) => Self::Overloaded,
            RunError::MayHaveRun(reason) | RunError::Broken(reason) => Self::Indeterminate(reason.clone()),
        }
    }
}

/// What one node asks Redis through.
pub struct Decider {
    options: DeciderOptions,
    link: Arc<Link>,
    shipper: Shipper,
    tags: Arc<Mutex<HashMap<Of, mpsc::Sender<Request>>>>,
}

impl Decider {
    /// Finds the cluster.
    ///
    /// # Errors
    /// [`DecideError::Unreachable`]: no node answers, or what answers is not a cluster.
    pub async fn open(options: DeciderOptions, shipper: Shipper) -> Result<Self, DecideError> {
        let link = Link::open(&options.seeds, options.patience.clone(), options.replicas).await.map_err(DecideError::Unreachable)?;
        Ok(Self { options, link: Arc::new(link), shipper, tags: Arc::default() })
    }

    /// What was counted on the way to Redis.
    #[must_use]
    pub fn figures(&self) -> &LinkFigures {
        &self.link.figures
    }

    /// Addresses of the nodes that have slots.
    pub(super) fn primaries(&self) -> Vec<(String, u16)> {
        self.link.primaries()
    }

    /// What a primary says of itself. None: it does not answer, or does not let this user ask.
    pub(super) async fn primary_figures(&self, address: &(String, u16)) -> Option<PrimaryFigures> {
        self.link.primary_figures(address).await
    }

    /// Redis's clock.
    ///
    /// # Errors
    /// [`DecideError::Unavailable`].
    pub async fn time(&self) -> Result<Millis, DecideError> {
        self.link.time().await.map(Millis).map_err(|error| DecideError::Unavailable(error.to_string()))
    }

    /// Ships what a tag's outbox still holds although whoever wrote it should have shipped it by now. For a node's background.
    ///
    /// # Errors
    /// [`DecideError::Overloaded`].
    pub fn relay(&self, tag: u32) -> Result<(), DecideError> {
        self.relay_left(Of::Offer(tag), Left::Now)
    }

    /// The same for a zone.
    ///
    /// # Errors
    /// [`DecideError::Overloaded`].
    pub fn relay_zone(&self, number: u32) -> Result<(), DecideError> {
        self.relay_left(Of::Zone(number), Left::Now)
    }

    /// Ships and removes what a tag's outbox still holds, what an epoch that has ended left included, until it is empty. For the
    /// time between suspending offers and loading them anew.
    ///
    /// # Errors
    /// [`DecideError::Indeterminate`]: the journal did not take it in time.
    pub async fn drain(&self, tag: u32) -> Result<(), DecideError> {
        self.drain_of(Of::Offer(tag)).await
    }

    /// The same for a zone.
    ///
    /// # Errors
    /// [`DecideError::Indeterminate`]: the journal did not take it in time.
    pub async fn drain_zone(&self, number: u32) -> Result<(), DecideError> {
        self.drain_of(Of::Zone(number)).await
    }

    async fn drain_of(&self, tag: Of) -> Result<(), DecideError> {
        let (Of::Offer(number) | Of::Zone(number)) = tag;
        let give_up = tokio::time::Instant::now() + self.options.durable_within;
        loop {
            let read = tag.read_outbox(EntryId::default(), 1, None);
            let answer = self.ask_about(tag, number, Vec::new(), read, Repeat::Freely, Until::Decided).await?;
            let left = wire::done(&answer).ok_or(Malformed("reading the outbox was refused"))?.array()?;
            if left == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() > give_up {
                return Err(DecideError::Indeterminate("the outbox is not empty yet".into()));
            }
            self.relay_left(tag, Left::Ever)?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn relay_left(&self, tag: Of, left: Left) -> Result<(), DecideError> {
        self.send(tag, Request::Relay(left))
    }

    /// The time that commands are given, where tests set it.
    fn clock(&self) -> Option<Millis> {
        match &self.options.clock {
            DeciderClock::Redis => None,
            DeciderClock::Manual(clock) => Some(Millis(clock.load(Ordering::Relaxed))),
        }
    }

    /// Sends a packed command to the task of its tag and waits for the answer.
    async fn ask_about(&self, tag: Of, offer: u32, others: Vec<u32>, command: Vec<u8>, repeat: Repeat, until: Until) -> Answer {
        let until = if self.options.ack == Ack::Engine { Until::Decided } else { until };
        let (to, answer) = oneshot::channel();
        let order = Order { command, offer, others, repeat, until, tries: 0, to: To::Caller(to) };
        self.send(tag, Request::Decide(order))?;
        match tokio::time::timeout(self.options.durable_within, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(DecideError::Indeterminate("the task of its tag has ended".into())),
            Err(_) => Err(DecideError::Indeterminate("it was not durable in time".into())),
        }
    }

    fn send(&self, tag: Of, mut request: Request) -> Result<(), DecideError> {
        // One that has just ended for want of work takes nothing more; the next one is new.
        for _ in 0..2 {
            match self.tag(tag).try_send(request) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Full(_)) => return Err(DecideError::Overloaded),
                Err(TrySendError::Closed(back)) => request = back,
            }
        }
        Err(DecideError::Unavailable("the task of its tag has ended".into()))
    }

    /// The task of a tag, which is started when there is none.
    fn tag(&self, of: Of) -> mpsc::Sender<Request> {
        let mut tags = self.tags.lock();
        if let Some(orders) = tags.get(&of).filter(|orders| !orders.is_closed()) {
            return orders.clone();
        }
        let (orders, queue) = mpsc::channel(self.options.in_flight_max);
        let (link, shipper, gathering) = (self.link.clone(), self.shipper.clone(), self.options.gathering.clone());
        let tag = Tag::new(&self.options.prefix, of, link, shipper, gathering, queue);
        // Not a handle that counts: when nobody decides any more the tasks end, and they do so when nobody can send.
        let all = Arc::downgrade(&self.tags);
        tokio::spawn(async move {
            tag.serve().await;
            let Some(tags) = all.upgrade() else { return };
            let mut tags = tags.lock();
            if tags.get(&of).is_some_and(mpsc::Sender::is_closed) {
                tags.remove(&of);
            }
        });
        tags.insert(of, orders.clone());
        orders
    }
}
