//! The strategies in which a script in Redis decides and Kafka carries the order to SQL.

use super::{Failure, World};
use crate::job::Job;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How long a producer takes to be ready, generously.
const WARM: Duration = Duration::from_millis(500);
/// How long one call of Kafka's may take.
const CALL: Duration = Duration::from_secs(10);
/// Orders that the consumer writes in one statement.
const BATCH_MAX: usize = 500;

/// A producer as its defaults are, with what nobody leaves out: acknowledged by all, idempotent.
pub struct Kafka {
    producer: ThreadedProducer<Answers>,
    topic: String,
}

/// Wakes who waits for an acknowledgement.
pub struct Answers;

impl ClientContext for Answers {}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<oneshot::Sender<bool>>;

    fn delivery(&self, result: &DeliveryResult<'_>, waiter: Self::DeliveryOpaque) {
        let _ = waiter.send(result.is_ok());
    }
}

impl Kafka {
    /// A producer that is connected. It blocks.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn open(job: &Job) -> Result<Self, Failure> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &job.brokers)
            .set("acks", "all")
            .set("enable.idempotence", "true")
            .set("reconnect.backoff.max.ms", "500");
        let text = |error: rdkafka::error::KafkaError| Failure::Other(error.to_string());
        let producer: ThreadedProducer<Answers> = config.create_with_context(Answers).map_err(text)?;
        // An application that has been up for a while is connected, and has the number that makes it idempotent.
        producer.client().fetch_metadata(Some(&job.topic), CALL).map_err(text)?;
        std::thread::sleep(WARM);
        Ok(Self { producer, topic: job.topic.clone() })
    }

    /// Hands an order to the producer; the receiver learns what became of it.
    fn send(&self, user: i64) -> Result<oneshot::Receiver<bool>, Failure> {
        let (waiter, receiver) = oneshot::channel();
        let (key, text) = (user.to_string(), user.to_string());
        let record = BaseRecord::with_opaque_to(&self.topic, Box::new(waiter)).key(&key).payload(&text);
        self.producer.send(record).map_err(|(error, _)| Failure::Other(error.to_string()))?;
        Ok(receiver)
    }

    /// Waits until the broker has all that was handed over. It blocks.
    pub fn flush(&self) {
        let _ = self.producer.flush(CALL * 3);
    }
}

/// Answered as soon as the producer has the order.
pub async fn unawaited(world: &World, user: i64) -> Result<bool, Failure> {
    if !world.redis()?.decide(user, world.job.quantity).await? {
        return Ok(false);
    }
    // Its callback would write a line into a log.
    drop(world.kafka()?.send(user)?);
    Ok(true)
}

/// Answered when the broker has the order.
pub async fn awaited(world: &World, user: i64) -> Result<bool, Failure> {
    if !world.redis()?.decide(user, world.job.quantity).await? {
        return Ok(false);
    }
    match world.kafka()?.send(user)?.await {
        Ok(true) => Ok(true),
        // It may have arrived all the same, so the unit is not given back.
        _ => Err(Failure::Other("Kafka did not acknowledge".into())),
    }
}

/// Carries orders from the topic to SQL: a batch, then its offset. A batch whose offset was not kept is written again, which the unique index bears.
pub struct Tail {
    consumer: BaseConsumer,
    topic: String,
    /// The next offset.
    next: i64,
}

impl Tail {
    /// A consumer where the last one stopped. It blocks.
    ///
    /// # Errors
    /// Kafka does not answer.
    pub fn open(job: &Job) -> Result<Self, String> {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &job.brokers).set("group.id", &job.topic).set("enable.auto.commit", "false");
        config.set("auto.offset.reset", "earliest").set("reconnect.backoff.max.ms", "500").set("fetch.wait.max.ms", "50");
        let text = |error: rdkafka::error::KafkaError| error.to_string();
        let consumer: BaseConsumer = config.create().map_err(text)?;
        let mut place = TopicPartitionList::new();
        place.add_partition(&job.topic, 0);
        let began = Instant::now();
        let committed = loop {
            match consumer.committed_offsets(place.clone(), CALL) {
                Ok(committed) => break committed,
                // The first group of a new broker has to wait until it has a coordinator.
                Err(_) if began.elapsed() < CALL * 3 => std::thread::sleep(Duration::from_millis(100)),
                Err(error) => return Err(error.to_string()),
            }
        };
        let next = committed.find_partition(&job.topic, 0).and_then(|partition| partition.offset().to_raw()).unwrap_or(0).max(0);
        place.set_partition_offset(&job.topic, 0, Offset::Offset(next)).map_err(text)?;
        consumer.assign(&place).map_err(text)?;
        Ok(Self { consumer, topic: job.topic.clone(), next })
    }

    /// Users whose orders are next; none after a tenth of a second without any. It blocks.
    pub fn batch(&mut self) -> Vec<i64> {
        let mut users = Vec::new();
        let mut wait = Duration::from_millis(100);
        while users.len() < BATCH_MAX {
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let text = message.payload().and_then(|bytes| std::str::from_utf8(bytes).ok());
                    users.extend(text.and_then(|text| text.parse::<i64>().ok()));
                    self.next = message.offset() + 1;
                    wait = Duration::ZERO;
                }
                // It connects again by itself.
                Some(Err(_)) | None => break,
            }
        }
        users
    }

    /// Keeps how far SQL has come. It blocks.
    pub fn keep(&self) {
        let mut place = TopicPartitionList::new();
        let kept = place
            .add_partition_offset(&self.topic, 0, Offset::Offset(self.next))
            .and_then(|()| self.consumer.commit(&place, CommitMode::Sync));
        if let Err(error) = kept {
            eprintln!("bunho-lab: the consumer's offset is not kept: {error}");
        }
    }

    /// Whether the topic has nothing more. It blocks.
    #[must_use]
    pub fn at_end(&self, since: Instant) -> bool {
        match self.consumer.fetch_watermarks(&self.topic, 0, CALL) {
            Ok((_, high)) => self.next >= high,
            // A broker that does not come back is not waited for any longer.
            Err(_) => since.elapsed() > CALL * 3,
        }
    }
}
