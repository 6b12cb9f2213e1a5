//! The cluster engine: several nodes, state in Redis Cluster, truth in Kafka and SQL.
//!
//! The flow of one claim: `Engine::claim` → `offers.rs` finds where the offer lives (`directory.rs`) → `redis/` decides it there in one script, which
//! also writes what happened into an outbox → `shipping.rs` carries that into Kafka → the outbox entry is removed under a check of the offer's epoch → the
//! answer leaves. The projector (crates/ledger) carries the topic into SQL.
//!
//! * `directory.rs`: which offers and zones there are, where, and under which epoch: kept in SQL, cached here.
//! * `offers.rs`, `zones.rs`: the commands of clients. `define.rs`: those of operators. `figures.rs`: numbers for whoever watches.
//! * `background.rs`: what happens when nobody asks. `recovery.rs`: what happens when Redis is empty, behind or in doubt.
//!
//! **Invariant:** nothing is decided on a state that may be behind the topic. A Redis node that was restarted or promoted has another
//! identity than the one under which a state was written, and the script suspends what it finds so; `recovery.rs` takes it from there.

mod background;
mod define;
mod directory;
mod figures;
mod offers;
mod place;
pub mod preflight;
mod recovery;
pub mod redis;
mod rounds;
mod shipping;
mod zones;

pub use figures::ClusterFigures;
pub use recovery::RestoreError;

use crate::error::EngineError;
use crate::random::Randomness;
use crate::types::Ack;
use arc_swap::ArcSwap;
use bunho_domain::ticket::TicketKeys;
use bunho_domain::time::Millis;
use bunho_journal::kafka::{Connection, Ends, KafkaError, Producer, ProducerFigures, ProducerOptions};
use bunho_ledger::{Ledger, LedgerError};
use directory::Directory;
use figures::Figures;
use parking_lot::Mutex;
use recovery::Doubts;
use redis::{DecideError, Decider, DeciderOptions, Shipper};
use rounds::Rounds;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::{Semaphore, mpsc};

/// Limits and choices of one node's cluster engine.
#[derive(Clone)]
pub struct ClusterOptions {
    /// Of what decides in Redis. Its `ack` says how durable an answer is.
    pub decider: DeciderOptions,
    /// The topic.
    pub kafka: Connection,
    /// Requests of one zone, or of one offer, that may be under way at once on this node; more are shed.
    pub in_flight_max: u32,
    /// What signs tickets; every node has the same.
    pub ticket_keys: TicketKeys,
}

/// One node's part of the cluster.
pub struct Cluster {
    options: ClusterOptions,
    decider: Decider,
    ledger: Ledger,
    producer: Arc<Producer>,
    ends: Ends,
    directory: Arc<Directory>,
    doubts: Doubts,
    ticket_keys: ArcSwap<TicketKeys>,
    random: Randomness,
    nonces: AtomicU64,
    /// How far Redis's clock is ahead of this node's, in milliseconds.
    ahead_ms: AtomicI64,
    ledger_waits: Rounds,
    health: Mutex<ClusterHealth>,
    /// One look at a time.
    looks_at_health: Arc<Semaphore>,
    figures: Figures,
}

/// Why a node could not become part of the cluster.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// Redis cannot be reached, or is no cluster.
    #[error(transparent)]
    Redis(#[from] DecideError),
    /// Kafka's client cannot be set up.
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    /// The directory cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Errands that wait for the task that does them; each is of one tag, and a tag has one shipment under way.
const ERRANDS_MAX: usize = 1_024;

impl Cluster {
    /// Finds Redis, sets the producer up and reads the directory. [`Self::run`] does what happens when nobody asks.
    ///
    /// # Errors
    /// [`JoinError`].
    pub async fn join_cluster(options: ClusterOptions, ledger: Ledger) -> Result<Arc<Self>, JoinError> {
        let producer = Arc::new(Producer::new(options.kafka.clone(), ProducerOptions::USUAL)?);
        let ends = Ends::of(&options.kafka)?;
        let directory = Arc::new(Directory::open(ledger.clone()).await?);
        let (errands, to_do) = mpsc::channel(ERRANDS_MAX);
        tokio::spawn(shipping::ship(producer.clone(), directory.clone(), to_do));
        let decider = Decider::open(options.decider.clone(), Shipper::Channel(errands)).await?;
        Ok(Arc::new(Self {
            ticket_keys: ArcSwap::from_pointee(options.ticket_keys.clone()),
            decider,
            ledger,
            producer,
            ends,
            directory,
            doubts: Doubts::default(),
            random: Randomness::default(),
            nonces: AtomicU64::new(0),
            ahead_ms: AtomicI64::new(0),
            ledger_waits: Rounds::default(),
            health: Mutex::default(),
            looks_at_health: Arc::new(Semaphore::new(1)),
            figures: Figures::default(),
            options,
        }))
    }

    /// Signs and reads tickets with these from now on.
    pub(crate) fn set_ticket_keys(&self, keys: TicketKeys) {
        self.ticket_keys.store(Arc::new(keys));
    }

    /// Server time: Redis's, as this node last knew it.
    pub(crate) fn now(&self) -> Millis {
        Millis(self.own_time() + self.ahead_ms.load(Ordering::Relaxed))
    }

    /// This node's clock, in Unix milliseconds.
    fn own_time(&self) -> i64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
    }

    pub(crate) fn nonce(&self) -> u64 {
        self.random.number(self.nonces.fetch_add(1, Ordering::Relaxed))
    }

    /// How much was sent to Kafka.
    #[must_use]
    pub fn shipped(&self) -> ProducerFigures {
        self.producer.figures()
    }

    /// How this node sees the cluster.
    #[must_use]
    pub fn health(&self) -> ClusterHealth {
        *self.health.lock()
    }

    /// Waits until everything that was in the topic when this was called is in the ledger.
    pub(crate) async fn ledger_caught_up(&self) -> Result<(), EngineError> {
        self.ledger_waits.after_now(self.wait_for_ledger()).await.map_err(|_| EngineError::LedgerBehind)
    }

    async fn wait_for_ledger(&self) -> Result<(), String> {
        let ends = self.ends.read().await.map_err(|error| error.to_string())?;
        let ends = ends.into_iter().map(|end| (end.partition, end.end)).collect();
        match self.ledger.reached(&ends, LEDGER_WAIT).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("it did not catch up in time".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// With `ack = ledger` an answer waits for SQL too.
    async fn until_in_ledger(&self) -> Result<(), EngineError> {
        if self.options.decider.ack == Ack::Ledger { self.ledger_caught_up().await } else { Ok(()) }
    }
}

/// How a node sees the cluster, as of the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClusterHealth {
    /// Redis answers.
    pub redis: bool,
    /// Kafka answers.
    pub kafka: bool,
    /// The database answers.
    pub ledger: bool,
    /// Sum of the ends of the topic's partitions.
    pub topic: u64,
    /// Sum of the ledger's positions in them.
    pub projected: u64,
    /// How long ago the oldest record came into the topic that the ledger does not have.
    pub behind: Duration,
    /// Offers and zones that are being restored.
    pub recovering: u64,
}

impl ClusterHealth {
    /// Whether what is decided can be decided and made durable.
    #[must_use]
    pub const fn decides(&self) -> bool {
        self.redis && self.kafka
    }
}

/// How long an answer waits for the ledger before it says that the ledger is behind.
const LEDGER_WAIT: Duration = Duration::from_secs(5);

impl From<DecideError> for EngineError {
    fn from(error: DecideError) -> Self {
        match error {
            DecideError::UnknownOffer => Self::UnknownOffer,
            DecideError::UnknownZone => Self::UnknownZone,
            DecideError::Suspended | DecideError::Epoch { .. } => Self::Suspended,
            DecideError::Overloaded => Self::Overloaded,
            DecideError::Conflict { current } => Self::Conflict { current },
            DecideError::Unavailable(_) | DecideError::Exists | DecideError::Clock | DecideError::Unreachable(_) => {
                Self::unavailable(error)
            }
            // It says so itself.
            DecideError::Indeterminate(why) => Self::indeterminate(why),
            DecideError::Malformed(_) => Self::indeterminate(error),
        }
    }
}
