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
//! * `lua/`: the rules, as `bunho_domain::offer` has them, and what surrounds one run of the script.
//! * `link.rs`: the way to the node that has a slot, and what an error says about whether a run happened.
//! * `tag.rs`: gathering commands, shipping what they wrote, answering when it is durable.
//! * `offers.rs`: the commands. `wire.rs`, `msgpack.rs`: how they are packed.
//! * `line.rs`: the waiting lines, decided by the rules of `bunho_domain::line`.
//!
//! **Invariant:** no answer is given that depends on an entry that is still in the outbox (unless `Ack::Engine` asks for it); and an entry
//! leaves the outbox only after the journal has it and the offer still has the epoch under which it was decided.

pub mod line;
mod link;
mod msgpack;
mod offers;
mod script;
mod shipper;
mod tag;
mod wire;

pub use link::{EntryId, Patience};
pub use msgpack::Malformed;
pub use offers::OfferState as ReadOffer;
pub use shipper::{Entry, MemoryJournal, Shipment, Shipper};
pub use tag::Gathering;

use crate::types::Ack;
use bunho_domain::time::Millis;
use link::{Link, RunError};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tag::{Answer, Left, Order, Repeat, Tag, To, Until};
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
    /// Tests move it, in Unix milliseconds. Only offers that were created under such a clock obey it.
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
    /// The offer's state is in doubt or being loaded; nothing happened.
    #[error("the offer is suspended")]
    Suspended,
    /// The node knows the offer by another epoch; nothing happened.
    #[error("the offer's epoch is {current} by now")]
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
    /// There is an offer of this number already.
    #[error("there is an offer of this number already")]
    Exists,
    /// A clock was given for an offer that does not obey one.
    #[error("the offer was not created for a clock that is set")]
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
            RunError::Full => Self::Overloaded,
            RunError::MayHaveRun(reason) | RunError::Broken(reason) => Self::Indeterminate(reason.clone()),
        }
    }
}

/// What one node asks Redis through.
pub struct Decider {
    options: DeciderOptions,
    link: Arc<Link>,
    shipper: Shipper,
    tags: Mutex<HashMap<u32, mpsc::Sender<Order>>>,
}

impl Decider {
    /// Finds the cluster.
    ///
    /// # Errors
    /// [`DecideError::Unreachable`]: no node answers, or what answers is not a cluster.
    pub async fn open(options: DeciderOptions, shipper: Shipper) -> Result<Self, DecideError> {
        let link = Link::open(&options.seeds, options.patience.clone(), options.replicas).await.map_err(DecideError::Unreachable)?;
        Ok(Self { options, link: Arc::new(link), shipper, tags: Mutex::default() })
    }

    /// Ships what a tag's outbox still holds, whoever wrote it, some hundred entries at a time. For a node's background.
    ///
    /// # Errors
    /// [`DecideError::Overloaded`].
    pub fn relay(&self, tag: u32) -> Result<(), DecideError> {
        self.tag(tag).try_send(tag::relay(tag, EntryId::default(), Left::Now)).map_err(|_| DecideError::Overloaded)
    }

    /// Ships and removes what a tag's outbox still holds, what an epoch that has ended left included, until it is empty. For the
    /// time between suspending offers and loading them anew.
    ///
    /// # Errors
    /// [`DecideError::Indeterminate`]: the journal did not take it in time.
    pub async fn drain(&self, tag: u32) -> Result<(), DecideError> {
        let give_up = tokio::time::Instant::now() + self.options.durable_within;
        let home = Home { tag, offer: tag, epoch: 0 };
        loop {
            let answer = self.ask(home, tag::read_outbox(tag, EntryId::default()), Repeat::Yes, Until::Decided).await?;
            let left = tag::done(&answer, tag)?.map_err(|_| Malformed("reading the outbox was refused"))?.array()?;
            if left == 0 {
                return Ok(());
            }
            if tokio::time::Instant::now() > give_up {
                return Err(DecideError::Indeterminate("the outbox is not empty yet".into()));
            }
            self.tag(tag).try_send(tag::relay(tag, EntryId::default(), Left::Ever)).map_err(|_| DecideError::Overloaded)?;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The time that commands are given, where tests set it.
    fn clock(&self) -> Option<Millis> {
        match &self.options.clock {
            DeciderClock::Redis => None,
            DeciderClock::Manual(clock) => Some(Millis(clock.load(Ordering::Relaxed))),
        }
    }

    /// Sends a packed command to the task of its tag and waits for the answer.
    async fn ask(&self, home: Home, command: Vec<u8>, repeat: Repeat, until: Until) -> Answer {
        let until = if self.options.ack == Ack::Engine { Until::Decided } else { until };
        let (to, answer) = oneshot::channel();
        let order = Order { command, offer: home.offer, repeat, until, tries: 0, to: To::Caller(to) };
        self.tag(home.tag).try_send(order).map_err(|_| DecideError::Overloaded)?;
        match tokio::time::timeout(self.options.durable_within, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(DecideError::Indeterminate("the task of its tag has ended".into())),
            Err(_) => Err(DecideError::Indeterminate("it was not durable in time".into())),
        }
    }

    /// The task of a tag, which is started at its first use.
    fn tag(&self, number: u32) -> mpsc::Sender<Order> {
        let mut tags = self.tags.lock();
        if let Some(orders) = tags.get(&number).filter(|orders| !orders.is_closed()) {
            return orders.clone();
        }
        let (orders, queue) = mpsc::channel(self.options.in_flight_max);
        let (link, shipper, gathering) = (self.link.clone(), self.shipper.clone(), self.options.gathering.clone());
        tokio::spawn(Tag::new(&self.options.prefix, number, link, shipper, gathering, queue).serve());
        tags.insert(number, orders.clone());
        orders
    }
}
