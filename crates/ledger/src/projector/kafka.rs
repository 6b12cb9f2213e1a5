//! Carries the topic into the tables: the projector of the cluster shape, one on each node.
//!
//! Kafka shares the partitions out among the nodes; how far each is projected stands in the ledger and moves in the transaction of its rows.
//! That transaction first locks the positions of its partitions, in a fixed order, and compares them with what it has read. So a member that was
//! thought dead and the one that took its partitions over may both try, and every record is applied once: what is applied already is skipped.
//!
//! What is kept in memory (units taken, fences) belongs to the partitions at hand. It is counted anew after every assignment, and whenever a
//! position is not where this member left it; and only offers that a batch is about are counted, under the lock of their partition.
//!
//! A failing database or broker never ends it: it is said once, and tried again. The topic keeps everything meanwhile.

mod batch;
mod fences;
mod intake;
mod positions;
mod retry;

use super::{BACKOFF_MAX, BACKOFF_MIN, GIVEN_UP, SILENT};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use batch::{SAID_AFTER, Work};
use bunho_journal::kafka::{Assignment, Connection, Consumer, ConsumerOptions, KafkaError, Received};
use futures_util::FutureExt;
use intake::{Intake, Portion};
use positions::Positions;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How a node projects the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// How it reads; the group is the same on all nodes.
    pub consumer: ConsumerOptions,
    /// How long records gather before they are written.
    pub gather: Duration,
    /// Most records of a transaction, more or less.
    pub records_max: usize,
    /// Pause after a try of what a guard refused that helped nobody: what is refused for good must not slow down the rest.
    pub retry_pause: Duration,
}

impl KafkaOptions {
    /// Records gather for 20 ms, as many as 20,000: some 30 MB. What was refused is tried again after a second.
    #[must_use]
    pub fn usual(group: &str) -> Self {
        let consumer = ConsumerOptions { batch_records_max: 5_000, ..ConsumerOptions::usual(group) };
        Self { consumer, gather: Duration::from_millis(20), records_max: 20_000, retry_pause: Duration::from_secs(1) }
    }
}

/// The projector; [`Self::run`] does the work, the rest says how it goes.
pub struct KafkaProjector {
    ledger: Ledger,
    connection: Connection,
    options: KafkaOptions,
    healthy: AtomicBool,
    parked: watch::Sender<u64>,
    fenced: AtomicU64,
    /// Another process is the member that this one was to be: it goes on as one that is new each time.
    doubled: AtomicBool,
}

/// Completes when it is to end. Of one type, so that all of this is built once.
type Shutdown<'a> = dyn Future<Output = ()> + Send + 'a;

/// Why a membership ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    /// Somebody shut it down.
    #[error("it was shut down")]
    Shutdown,
    /// The topic cannot be read on.
    #[error("the topic cannot be read on")]
    Topic(#[source] KafkaError),
    /// The tables stand before what was read: somebody brought back an older copy.
    #[error(
        "the ledger stands at record {stored} of partition {partition} and reading had come to {read}: it was set back, and is projected from there"
    )]
    SetBack { partition: i32, stored: i64, read: i64 },
}

impl KafkaProjector {
    /// A projector from a topic into `ledger`. Each node of an installation has one.
    #[must_use]
    pub fn new(ledger: Ledger, connection: Connection, options: KafkaOptions) -> Self {
        let (healthy, parked, fenced) = (AtomicBool::new(true), watch::Sender::new(0), AtomicU64::new(0));
        Self { ledger, connection, options, healthy, parked, fenced, doubled: AtomicBool::new(false) }
    }

    /// Whether the last attempt, at reading or writing, succeeded.
    #[must_use]
    pub fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Events that a guard refused, or that could not be read, and that nobody has mended yet: of all nodes, as far as this one knows.
    #[must_use]
    pub fn parked(&self) -> u64 {
        *self.parked.borrow()
    }

    /// The same, to wait for a change of it.
    #[must_use]
    pub fn watch_parked(&self) -> watch::Receiver<u64> {
        self.parked.subscribe()
    }

    /// Messages that this node dropped because they stood after the fence that ended their epoch.
    #[must_use]
    pub fn fenced(&self) -> u64 {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Projects its share of the topic until `shutdown` completes.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) {
        let shutdown: Pin<&mut Shutdown<'_>> = pin!(shutdown.fuse());
        self.memberships(shutdown).await;
    }

    async fn memberships(&self, mut shutdown: Pin<&mut Shutdown<'_>>) {
        let mut backoff = BACKOFF_MIN;
        loop {
            let mut progressed = false;
            match self.membership(&mut progressed, shutdown.as_mut()).await {
                Ended::Shutdown => return,
                Ended::Topic(error @ KafkaError::Fenced { .. }) => self.is_doubled(&error),
                ended => self.failed(&ended),
            }
            if progressed {
                backoff = BACKOFF_MIN;
            }
            tokio::select! {
                () = &mut shutdown => return,
                () = tokio::time::sleep(backoff) => {},
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    /// Joins the group and does what comes, until something ends it.
    async fn membership(&self, progressed: &mut bool, mut shutdown: Pin<&mut Shutdown<'_>>) -> Ended {
        let mut options = self.options.consumer.clone();
        if self.doubled.load(Ordering::Relaxed) {
            options.instance = None;
        }
        let consumer = match Consumer::join(&self.connection, &options) {
            Ok(consumer) => consumer,
            Err(error) => return Ended::Topic(error),
        };
        let mut intake = Intake::of(consumer, self.options.gather, self.options.records_max);
        let mut work = Work::default();
        let ended = loop {
            let portion = tokio::select! {
                () = &mut shutdown => break Ended::Shutdown,
                portion = intake.next() => portion,
                () = tokio::time::sleep(SAID_AFTER), if work.has_unsaid() => {
                    work.say_parked();
                    continue;
                }
                () = until(work.retry_due()), if work.retry_due().is_some() => Ok(Portion::Records(Vec::new())),
            };
            let done = match portion {
                Ok(Portion::Assigned(assignment)) => {
                    tokio::select! {
                        () = &mut shutdown => break Ended::Shutdown,
                        () = self.assigned(&mut work, assignment) => Ok(()),
                    }
                }
                Ok(Portion::Records(records)) => {
                    let mut applied = pin!(self.records(&mut work, &records));
                    tokio::select! {
                        () = &mut shutdown => {
                            // What is being written is committed as a rule; else another member writes it.
                            tokio::time::timeout(SILENT, applied).await.ok();
                            break Ended::Shutdown;
                        }
                        done = &mut applied => done,
                    }
                }
                Ok(Portion::Revoked(revocation)) => {
                    work = Work::default();
                    revocation.done();
                    Ok(())
                }
                Err(error) => Err(Ended::Topic(error)),
            };
            match done {
                Ok(()) => *progressed = true,
                Err(ended) => break ended,
            }
        };
        intake.leave().await;
        ended
    }

    /// Says where to read on, as soon as the ledger does.
    async fn assigned(&self, work: &mut Work, assignment: Assignment) {
        let mut backoff = BACKOFF_MIN;
        let stored = loop {
            if let Some(stored) = self.attempt(self.begin(assignment.partitions()), &mut backoff).await {
                break stored;
            }
        };
        let position = |partition: &i32| (*partition, stored.get(partition).copied().unwrap_or(0));
        let next: HashMap<i32, i64> = assignment.partitions().iter().map(position).collect();
        *work = Work::reading_from(next.clone());
        assignment.start(next);
    }

    async fn begin(&self, partitions: &[i32]) -> Result<Positions, LedgerError> {
        let mut writing = self.ledger.begin_write().await?;
        positions::begin(&mut writing.connection(), partitions).await?;
        writing.commit().await.map_err(LedgerError::sql("begin to project partitions"))?;
        self.ledger.positions().await
    }

    /// Applies records, however often that takes.
    async fn records(&self, work: &mut Work, records: &[Received]) -> Result<(), Ended> {
        let mut backoff = BACKOFF_MIN;
        loop {
            if let Some(done) = self.attempt(self.apply(work, records), &mut backoff).await {
                return done;
            }
        }
    }

    /// What an attempt came to. None: it failed, and it is time for another one.
    async fn attempt<T>(&self, attempt: impl Future<Output = Result<T, LedgerError>>, backoff: &mut Duration) -> Option<T> {
        match self.in_time(AssertUnwindSafe(attempt).catch_unwind()).await {
            Ok(done) => {
                self.well();
                return Some(done);
            }
            // Two members met in the tables, and one of them steps back.
            Err(error) if error.is_deadlock() => tracing::debug!(error = &error as &dyn std::error::Error, "a batch is tried again"),
            Err(error) => self.failed(&error),
        }
        tokio::time::sleep(*backoff).await;
        *backoff = (*backoff * 2).min(BACKOFF_MAX);
        None
    }

    /// Waits for an attempt. A database that falls silent in the middle is reported soon, and given up later.
    async fn in_time<T, P>(&self, attempt: impl Future<Output = Result<Result<T, LedgerError>, P>>) -> Result<T, LedgerError> {
        let mut attempt = pin!(attempt);
        let ended = match tokio::time::timeout(SILENT, attempt.as_mut()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.failed(&LedgerError::Silent);
                tokio::time::timeout(GIVEN_UP - SILENT, attempt).await.unwrap_or(Ok(Err(LedgerError::Silent)))
            }
        };
        ended.unwrap_or(Err(LedgerError::Panicked))
    }

    /// Two processes that each took the other's place for ever would project nothing.
    fn is_doubled(&self, error: &KafkaError) {
        self.doubled.store(true, Ordering::Relaxed);
        tracing::error!(
            "{error}: was a data folder copied, or is an earlier process of this node still there? This one goes on as a member without a fixed identity; \
             give each node a data folder of its own, without another's node.id, and start it again"
        );
    }

    fn well(&self) {
        if !self.healthy.swap(true, Ordering::Relaxed) {
            tracing::info!("the projector goes on");
        }
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        if self.healthy.swap(false, Ordering::Relaxed) {
            tracing::error!(error, "the projector cannot go on; the topic keeps everything and it tries again");
        }
    }
}

async fn until(due: Option<Instant>) {
    if let Some(due) = due {
        tokio::time::sleep_until(due.into()).await;
    }
}
