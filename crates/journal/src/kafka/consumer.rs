//! Messages out of the topic, for the projector.
//!
//! Partitions are shared out among the members of a consumer group, by Kafka. *Positions are the caller's*: they stand in the ledger, where they move in
//! the transaction of the rows. So nothing is ever committed to Kafka, and each assignment asks the caller where to go on. Everything comes through
//! [`Consumer::next`] in one order: an assignment, its batches, its revocation. A caller that applies what it gets in that order and compares the
//! position within its transaction applies every record exactly once, even when it was thought dead and another member went on.
//!
//! One thread of its own polls, decodes and waits: when batches are not taken it stops reading, so memory is bounded by the batches under way and
//! the client's own read-ahead. A caller that takes nothing for longer than `answer_within` loses its partitions and gets them, or others, assigned anew.
//!
//! The assignment is "eager": in a rebalance everything is revoked and assigned anew. That costs a pause of some 100 ms when a node comes or goes,
//! which nobody but the ledger's lag sees, and has fewer states than the cooperative way.

use super::connection::{Reach, TOLD_EVERY};
use super::{Connection, KafkaError, Message, Unreadable};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::BorrowedMessage;
use rdkafka::types::{RDKafkaErrorCode as Code, RDKafkaRespErr};
use rdkafka::{ClientContext, Message as _, Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How messages are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerOptions {
    /// The group whose members share the partitions: one for each ledger.
    pub group: String,
    /// What the group knows this member by, where that outlives its process: one that was killed and is started again has its partitions back at once,
    /// and not only when it is taken for dead. Of two processes with the same one the newer is the member; see [`KafkaError::Fenced`].
    pub instance: Option<String>,
    /// Most records in a batch.
    pub batch_records_max: usize,
    /// Batches that may wait to be taken.
    pub batches_waiting_max: usize,
    /// A member that is not heard of for this long is taken for dead.
    pub session_timeout: Duration,
    /// The caller takes a batch, or answers an assignment or a revocation, within this.
    pub answer_within: Duration,
}

impl ConsumerOptions {
    /// Batches of 2,000, four of which may wait; ten seconds until a dead member is replaced; half a minute for a batch.
    #[must_use]
    pub fn usual(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            instance: None,
            batch_records_max: 2_000,
            batches_waiting_max: 4,
            session_timeout: Duration::from_secs(10),
            answer_within: Duration::from_secs(30),
        }
    }
}

/// What happens next to who reads.
#[derive(Debug)]
pub enum Turn {
    /// Partitions are this member's from now on. Say where to go on in each; nothing is read before.
    Assigned(Assignment),
    /// Records, in order within each partition.
    Records(Batch),
    /// All partitions are this member's no longer. What came before is applied already (or given up), as this comes after it.
    Revoked(Revocation),
}

/// Partitions that have become this member's. Dropped without an answer, reading ends with an error.
#[derive(Debug)]
pub struct Assignment {
    partitions: Vec<i32>,
    answer: SyncSender<HashMap<i32, i64>>,
}

impl Assignment {
    /// The partitions, ascending; may be none, when there are more members than partitions.
    #[must_use]
    pub fn partitions(&self) -> &[i32] {
        &self.partitions
    }

    /// Reads on from these places: for each partition the offset of the first record wanted, 0 if none was ever applied.
    pub fn start(self, positions: HashMap<i32, i64>) {
        // The thread that asked may have given up; then there is another assignment.
        let _ = self.answer.send(positions);
    }
}

/// Partitions that are this member's no longer. Another member gets them once this is answered or dropped.
#[derive(Debug)]
pub struct Revocation {
    _answered_when_dropped: SyncSender<()>,
}

impl Revocation {
    /// Everything that came before is applied or given up.
    pub fn done(self) {}
}

/// Records that were read together.
#[derive(Debug)]
pub struct Batch {
    /// In order within each partition.
    pub records: Vec<Received>,
}

/// One record.
#[derive(Debug)]
pub struct Received {
    /// Partition.
    pub partition: i32,
    /// Number within it. Ascending, not always dense.
    pub offset: i64,
    /// What it says, or the record itself where that cannot be read: to be parked, never skipped.
    pub message: Result<Message, Unread>,
}

/// A record that cannot be read.
#[derive(Debug)]
pub struct Unread {
    /// Why.
    pub why: Unreadable,
    /// Its key.
    pub key: Option<Vec<u8>>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// A member of the group.
#[derive(Debug)]
pub struct Consumer {
    turns: mpsc::Receiver<Result<Turn, KafkaError>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long the thread waits for a record before it looks whether it is to end.
const TICK: Duration = Duration::from_millis(50);
/// How long a member that ends waits until the group has its place back.
const LEAVING: Duration = Duration::from_secs(1);

impl Consumer {
    /// Joins the group.
    ///
    /// # Errors
    /// The settings are not ones that the client library knows.
    pub fn join(connection: &Connection, options: &ConsumerOptions) -> Result<Self, KafkaError> {
        let (send, turns) = mpsc::channel(options.batches_waiting_max.max(1));
        let stop = Arc::new(AtomicBool::new(false));
        let member = Member {
            topic: connection.topic.clone(),
            turns: send.clone(),
            stop: stop.clone(),
            answer_within: options.answer_within,
            generation: AtomicU64::new(0),
            positions: Mutex::default(),
            reach: Reach::of("projector"),
        };
        let client = client(connection, options, member)?;
        client.subscribe(&[&connection.topic]).map_err(KafkaError::client("read the topic"))?;
        let reading = Reading {
            client,
            turns: send,
            stop: stop.clone(),
            batch_records_max: options.batch_records_max.max(1),
            instance: options.instance.clone(),
        };
        let thread = std::thread::Builder::new().name("kafka-consumer".into()).spawn(move || reading.run());
        let thread = thread.map_err(|_| KafkaError::Stopped { what: "start reading" })?;
        Ok(Self { turns, stop, thread: Some(thread) })
    }

    /// What happens next. Cancelling it loses nothing. After an error there is nothing more: join anew.
    ///
    /// # Errors
    /// Reading has ended.
    pub async fn next(&mut self) -> Result<Turn, KafkaError> {
        self.turns.recv().await.unwrap_or(Err(KafkaError::Stopped { what: "read the topic" }))
    }

    /// Leaves the group, so that others need not wait until this member is taken for dead. Dropping does the same without waiting for it.
    pub async fn leave(mut self) {
        let thread = self.thread.take();
        drop(self);
        // A thread that panicked has told of it.
        let _ = tokio::task::spawn_blocking(move || thread.map(JoinHandle::join)).await;
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.turns.close();
        // What waits is dropped, so that whoever waits for an answer to it goes on.
        while self.turns.try_recv().is_ok() {}
    }
}

fn client(connection: &Connection, options: &ConsumerOptions, member: Member) -> Result<BaseConsumer<Member>, KafkaError> {
    let session_ms = options.session_timeout.as_millis();
    let mut config = connection.client("projector");
    if let Some(instance) = &options.instance {
        config.set("group.instance.id", instance);
    }
    config
        .set("group.id", &options.group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A position outside of the topic is an error with a name, never a jump to either end.
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "range")
        .set("session.timeout.ms", session_ms.to_string())
        .set("heartbeat.interval.ms", (session_ms / 4).max(1).to_string())
        // Twice, as one wait for the caller may follow another before the thread polls again.
        .set("max.poll.interval.ms", (options.answer_within.as_millis() * 2).max(session_ms).to_string())
        // What the client reads ahead, in KiB.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.max.bytes", "8388608")
        .set("max.partition.fetch.bytes", "1048576")
        .set("fetch.wait.max.ms", "100")
        .set("fetch.error.backoff.ms", "100")
        .set("statistics.interval.ms", TOLD_EVERY.as_millis().to_string())
        .create_with_context(member)
        .map_err(KafkaError::client("set up a consumer"))
}

/// The thread.
struct Reading {
    client: BaseConsumer<Member>,
    turns: mpsc::Sender<Result<Turn, KafkaError>>,
    stop: Arc<AtomicBool>,
    batch_records_max: usize,
    instance: Option<String>,
}

impl Reading {
    fn run(self) {
        let mut pending: Vec<Received> = Vec::new();
        let mut generation = 0;
        while !self.stop.load(Ordering::Relaxed) {
            // What has been read leaves as soon as nothing more is there at once.
            let wait = if pending.is_empty() { TICK } else { Duration::ZERO };
            let polled = self.client.poll(wait);
            let now = self.client.context().generation.load(Ordering::Relaxed);
            if now != generation {
                // Read before a rebalance and not handed out: whoever has the partition now reads it from the caller's position.
                pending.clear();
                generation = now;
            }
            let ended = match polled {
                Some(Ok(message)) => {
                    pending.push(received(&message));
                    pending.len() >= self.batch_records_max && !self.hand_out(&mut pending)
                }
                Some(Err(error)) => self.ends_with(error),
                None => !pending.is_empty() && !self.hand_out(&mut pending),
            };
            if ended {
                break;
            }
        }
        if self.instance.is_some() && self.stop.load(Ordering::Relaxed) {
            self.give_up_place();
        }
        // Dropping the client leaves the group.
    }

    /// A member with a fixed identity keeps its place when it ends, for as long as it is not taken for dead. One that is told to leave gives it up, so
    /// that others have its partitions at once.
    fn give_up_place(&self) {
        let end = Instant::now() + LEAVING;
        let had = !self.client.assignment().is_ok_and(|assigned| assigned.count() == 0);
        self.client.unsubscribe();
        // The revocation is answered within `poll`, and the group is told after it.
        let before = self.client.context().generation.load(Ordering::Relaxed);
        while had && Instant::now() < end && self.client.context().generation.load(Ordering::Relaxed) == before {
            let _ = self.client.poll(TICK);
        }
        let _ = self.client.poll(TICK);
    }

    /// False when nobody takes it any more.
    fn hand_out(&self, pending: &mut Vec<Received>) -> bool {
        let records = std::mem::take(pending);
        self.turns.blocking_send(Ok(Turn::Records(Batch { records }))).is_ok()
    }

    /// Whether reading ends with this error; most are of brokers that are out for a while, and the client goes on by itself.
    fn ends_with(&self, error: ClientError) -> bool {
        let member = self.client.context();
        if let (Some((Code::FencedInstanceId, _)), Some(instance)) = (self.client.client().fatal_error(), &self.instance) {
            let _ = member.turns.blocking_send(Err(KafkaError::Fenced { instance: instance.clone() }));
            return true;
        }
        let end = match error {
            // The partition stands still from now on. Mostly its position is outside; otherwise a broker had not caught up with itself.
            ClientError::MessageConsumption(Code::AutoOffsetReset | Code::OffsetOutOfRange) => {
                self.out_of_range().unwrap_or(KafkaError::Client { what: "read on in a partition", source: error })
            }
            ClientError::MessageConsumptionFatal(_) => KafkaError::Client { what: "read the topic", source: error },
            _ => {
                tracing::debug!(%error, "reading the topic goes on after an error");
                return false;
            }
        };
        let _ = member.turns.blocking_send(Err(end));
        true
    }

    /// Which of the assigned partitions does not have the position that was asked for.
    fn out_of_range(&self) -> Option<KafkaError> {
        let member = self.client.context();
        let asked = member.positions.lock().clone();
        asked.into_iter().find_map(|(partition, position)| {
            let (first, end) = self.client.fetch_watermarks(&member.topic, partition, Duration::from_secs(5)).ok()?;
            (position < first || position > end).then_some(KafkaError::OutOfRange { partition, position, first, end })
        })
    }
}

fn received(message: &BorrowedMessage<'_>) -> Received {
    let bytes = message.payload().unwrap_or_default();
    let unread = |why| Unread { why, key: message.key().map(Into::into), bytes: bytes.to_vec() };
    Received { partition: message.partition(), offset: message.offset(), message: Message::decode(bytes).map_err(unread) }
}

/// What the client's callbacks need; they run within `poll`, on the thread.
struct Member {
    topic: String,
    turns: mpsc::Sender<Result<Turn, KafkaError>>,
    stop: Arc<AtomicBool>,
    answer_within: Duration,
    /// One more with every assignment and revocation.
    generation: AtomicU64,
    /// Where the caller said to go on.
    positions: Mutex<HashMap<i32, i64>>,
    reach: Reach,
}

impl Member {
    fn assigned(&self, client: &BaseConsumer<Self>, partitions: Vec<i32>) {
        let (answer, answered) = sync_channel(1);
        let asked = Turn::Assigned(Assignment { partitions: partitions.clone(), answer });
        let positions = self.turns.blocking_send(Ok(asked)).ok().and_then(|()| self.wait(&answered));
        let list = positions.and_then(|positions| {
            let mut list = TopicPartitionList::new();
            for partition in &partitions {
                list.add_partition_offset(&self.topic, *partition, Offset::Offset(*positions.get(partition)?)).ok()?;
            }
            *self.positions.lock() = positions;
            Some(list)
        });
        let result = match &list {
            Some(list) => client.assign(list),
            None => {
                let _ = self.turns.blocking_send(Err(KafkaError::NotAnswered));
                self.stop.store(true, Ordering::Relaxed);
                client.unassign()
            }
        };
        self.check(result);
    }

    fn revoked(&self, client: &BaseConsumer<Self>) {
        let (done, answered) = sync_channel(0);
        let told = Turn::Revoked(Revocation { _answered_when_dropped: done });
        if self.turns.blocking_send(Ok(told)).is_ok() {
            self.wait::<()>(&answered);
        }
        self.positions.lock().clear();
        self.check(client.unassign());
    }

    /// The caller's answer; none if there is none in time, or the caller has gone.
    fn wait<T>(&self, answered: &Receiver<T>) -> Option<T> {
        let end = Instant::now() + self.answer_within;
        loop {
            match answered.recv_timeout(TICK) {
                Ok(answer) => return Some(answer),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) if self.stop.load(Ordering::Relaxed) || Instant::now() >= end => return None,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    fn check(&self, result: Result<(), ClientError>) {
        if let Err(source) = result {
            let _ = self.turns.blocking_send(Err(KafkaError::Client { what: "take partitions over", source }));
            self.stop.store(true, Ordering::Relaxed);
        }
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.reach.log(level, facility, line);
    }

    fn error(&self, error: ClientError, reason: &str) {
        self.reach.error(error, reason);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        self.reach.stats_raw(statistics);
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, client: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        self.generation.fetch_add(1, Ordering::Relaxed);
        if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let mut partitions: Vec<i32> = list.elements_for_topic(&self.topic).iter().map(|element| element.partition()).collect();
            partitions.sort_unstable();
            self.assigned(client, partitions);
        } else {
            self.revoked(client);
        }
    }
}
