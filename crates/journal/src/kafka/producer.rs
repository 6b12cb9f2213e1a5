//! Messages into the topic. Each answers once: with its place, or with what is known of it.
//!
//! librdkafka gathers messages for at most `linger` into one request a partition, numbers them (idempotence), so that a repeated request writes
//! nothing twice, and repeats until `delivery_timeout` is over. What then has no answer may or may not be in the topic, and is never reported as
//! refused. Order within a key is the order of calls.

use super::connection::{MESSAGE_BYTES_MAX, Reach, TOLD_EVERY};
use super::{Connection, KafkaError, Message};
use crate::measure::{Spread, SpreadRead, TIMES_US};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientContext, Message as _};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerOptions {
    /// After which a message without an acknowledgement is given up as unknown.
    pub delivery_timeout: Duration,
    /// How long the first message of a request waits for others; at most 2 ms, as someone waits for the answer.
    pub linger: Duration,
    /// Most messages that wait or are on their way; one more is refused at once.
    pub queue_max: usize,
}

impl ProducerOptions {
    /// Ten seconds, one millisecond, and messages for about two seconds of 50,000 a second: some 100 MB at a claim's usual 1 KiB.
    pub const USUAL: Self = Self { delivery_timeout: Duration::from_secs(10), linger: Duration::from_millis(1), queue_max: 100_000 };
}

/// Where a message stands in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Partition.
    pub partition: i32,
    /// Number within it.
    pub offset: i64,
}

/// Why a message has no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    /// Too many messages wait already. It is not in the topic.
    #[error("too many messages wait for Kafka")]
    Full,
    /// It is certainly not in the topic.
    #[error("the message was not written")]
    NotWritten(#[source] ClientError),
    /// It may be in the topic, or come into it.
    #[error("whether the message was written is not known")]
    Unknown(#[source] ClientError),
}

/// How much was sent since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProducerFigures {
    /// Taken, and not yet answered.
    pub in_flight: u64,
    /// Acknowledged.
    pub acked: u64,
    /// Certainly not written, without those for which there was no room.
    pub not_written: u64,
    /// Given up as unknown.
    pub unknown: u64,
    /// Refused at once for want of room.
    pub full: u64,
}

/// The answer to one message. Dropping it changes nothing about the message.
#[derive(Debug)]
#[must_use = "a message is in the topic only once this says so"]
pub struct Delivery(oneshot::Receiver<Result<Place, ProduceError>>);

impl Future for Delivery {
    type Output = Result<Place, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The client always answers, even when it ends; were it not to, nothing would be known.
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(ProduceError::Unknown(ClientError::Canceled))))
    }
}

/// Sends to one topic; shared by all who send.
pub struct Producer {
    client: ArcSwap<Client>,
    /// Held while a client that has ended for good is replaced.
    replacing: Mutex<()>,
    connection: Connection,
    options: ProducerOptions,
    counters: Arc<Counters>,
}

type Client = ThreadedProducer<Answers>;
type Answer = oneshot::Sender<Result<Place, ProduceError>>;

/// Who waits for the answer to one message, and since when.
struct Waiter {
    to: Answer,
    since: Instant,
}

impl Producer {
    /// Sets a producer up. It connects by itself, now and whenever it has to.
    ///
    /// # Errors
    /// The settings are not ones that the client library knows.
    pub fn new(connection: Connection, options: ProducerOptions) -> Result<Self, KafkaError> {
        let counters = Arc::new(Counters::default());
        let client = client(&connection, &options, &counters)?;
        Ok(Self { client: ArcSwap::from_pointee(client), replacing: Mutex::new(()), connection, options, counters })
    }

    /// Sends a message; `key` decides its partition. Never waits: the answer is the future's.
    ///
    /// # Errors
    /// It was not taken, so it is not in the topic.
    pub fn produce(&self, key: &str, message: &Message) -> Result<Delivery, ProduceError> {
        self.produce_encoded(key, &message.encode())
    }

    /// As [`Self::produce`], for a message that is encoded already.
    ///
    /// # Errors
    /// It was not taken, so it is not in the topic.
    pub fn produce_encoded(&self, key: &str, bytes: &[u8]) -> Result<Delivery, ProduceError> {
        let (waiter, answer) = oneshot::channel();
        let client = self.client.load();
        let waiter = Waiter { to: waiter, since: Instant::now() };
        let waiter = match self.send(&client, key, bytes, Box::new(waiter)) {
            Ok(()) => return Ok(Delivery(answer)),
            Err((ClientError::MessageProduction(Code::Fatal), waiter)) => waiter,
            Err((error, _)) => return Err(self.refused(error)),
        };
        // The brokers lost or contradicted the numbers of this client's messages; it never sends again, so another one does.
        self.replace(&client).map_err(|error| self.refused(error))?;
        match self.send(&self.client.load(), key, bytes, waiter) {
            Ok(()) => Ok(Delivery(answer)),
            Err((error, _)) => Err(self.refused(error)),
        }
    }

    /// How much was sent.
    #[must_use]
    pub fn figures(&self) -> ProducerFigures {
        self.counters.read()
    }

    /// Microseconds until messages were answered, given up ones included.
    #[must_use]
    pub fn took_us(&self) -> SpreadRead {
        self.counters.took_us.read()
    }

    fn send(&self, client: &Client, key: &str, bytes: &[u8], waiter: Box<Waiter>) -> Result<(), (ClientError, Box<Waiter>)> {
        // Counted before it is sent: the answer may be there before this returns.
        self.counters.in_flight.fetch_add(1, Ordering::Relaxed);
        let record = BaseRecord::with_opaque_to(&self.connection.topic, waiter).key(key).payload(bytes);
        client.send(record).map_err(|(error, record)| {
            self.counters.in_flight.fetch_sub(1, Ordering::Relaxed);
            (error, record.delivery_opaque)
        })
    }

    fn refused(&self, error: ClientError) -> ProduceError {
        if error == ClientError::MessageProduction(Code::QueueFull) {
            self.counters.full.fetch_add(1, Ordering::Relaxed);
            return ProduceError::Full;
        }
        self.counters.not_written.fetch_add(1, Ordering::Relaxed);
        ProduceError::NotWritten(error)
    }

    fn replace(&self, ended: &Arc<Client>) -> Result<(), ClientError> {
        let _one_at_a_time = self.replacing.lock();
        if !Arc::ptr_eq(ended, &self.client.load()) {
            return Ok(());
        }
        let why = ended.client().fatal_error();
        tracing::error!(?why, "the Kafka producer has ended for good and is replaced; what it had not delivered is not known");
        match client(&self.connection, &self.options, &self.counters) {
            Ok(new) => self.client.store(Arc::new(new)),
            Err(KafkaError::Client { source, .. }) => return Err(source),
            Err(_) => return Err(ClientError::Canceled),
        }
        Ok(())
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topic", &self.connection.topic).field("figures", &self.figures()).finish_non_exhaustive()
    }
}

fn client(connection: &Connection, options: &ProducerOptions, counters: &Arc<Counters>) -> Result<Client, KafkaError> {
    let timeout_ms = options.delivery_timeout.as_millis();
    connection
        .client("producer")
        .set("enable.idempotence", "true")
        .set("acks", "all")
        // Idempotence keeps their order.
        .set("max.in.flight.requests.per.connection", "5")
        .set("message.timeout.ms", timeout_ms.to_string())
        // A broker that hangs is asked again (or another one is) before the time is over.
        .set("request.timeout.ms", (timeout_ms / 2).clamp(1, 5_000).to_string())
        .set("socket.timeout.ms", timeout_ms.clamp(1_000, 10_000).to_string())
        .set("retry.backoff.ms", "20")
        .set("retry.backoff.max.ms", "500")
        .set("linger.ms", options.linger.as_millis().to_string())
        .set("queue.buffering.max.messages", options.queue_max.to_string())
        // As many KiB as messages, so that the number is what counts for messages of up to a KiB and memory for larger ones.
        .set("queue.buffering.max.kbytes", options.queue_max.max(1_024).to_string())
        .set("message.max.bytes", MESSAGE_BYTES_MAX.to_string())
        .set("compression.codec", "lz4")
        // What Java clients do, so that other programs' messages with the same key go to the same partition.
        .set("partitioner", "murmur2_random")
        .set("statistics.interval.ms", TOLD_EVERY.as_millis().to_string())
        .create_with_context(Answers { counters: counters.clone(), reach: Reach::of("producer") })
        .map_err(KafkaError::client("set up a producer"))
}

#[derive(Debug)]
struct Counters {
    in_flight: AtomicU64,
    acked: AtomicU64,
    not_written: AtomicU64,
    unknown: AtomicU64,
    full: AtomicU64,
    took_us: Spread,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            acked: AtomicU64::new(0),
            not_written: AtomicU64::new(0),
            unknown: AtomicU64::new(0),
            full: AtomicU64::new(0),
            took_us: Spread::over(&TIMES_US),
        }
    }
}

impl Counters {
    fn read(&self) -> ProducerFigures {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProducerFigures {
            in_flight: of(&self.in_flight),
            acked: of(&self.acked),
            not_written: of(&self.not_written),
            unknown: of(&self.unknown),
            full: of(&self.full),
        }
    }
}

/// Takes the client's answers to those who wait for them.
struct Answers {
    counters: Arc<Counters>,
    reach: Reach,
}

impl ClientContext for Answers {
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

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<Waiter>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiter: Self::DeliveryOpaque) {
        let answer = match result {
            Ok(message) => Ok(Place { partition: message.partition(), offset: message.offset() }),
            Err((error, _)) if is_certain(error) => Err(ProduceError::NotWritten(error.clone())),
            Err((error, _)) => Err(ProduceError::Unknown(error.clone())),
        };
        let counters = &self.counters;
        let counter = match answer {
            Ok(_) => &counters.acked,
            Err(ProduceError::Unknown(_)) => &counters.unknown,
            Err(ProduceError::NotWritten(_) | ProduceError::Full) => &counters.not_written,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        counters.took_us.note_since(waiter.since);
        // Who no longer waits is not told.
        let _ = waiter.to.send(answer);
    }
}

/// Errors that every attempt for the message must have met alike, or that were found before the first: it was never written. Others (a broker
/// that refuses now may have written at the attempt before, whose answer was lost) say nothing for certain.
const fn is_certain(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::MessageProduction(
            Code::PurgeQueue | Code::UnknownTopic | Code::UnknownPartition | Code::MessageSizeTooLarge | Code::InvalidRecord
        )
    )
}
