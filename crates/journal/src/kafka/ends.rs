//! How far each partition goes: what the projector must reach before an engine may be rebuilt from the ledger.

use super::connection::{Reach, blocking};
use super::{Connection, KafkaError};
use parking_lot::Mutex;
use rdkafka::consumer::ConsumerContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use std::sync::Arc;
use std::time::Duration;

impl ConsumerContext for Reach {}

/// Where a partition begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Which.
    pub partition: i32,
    /// The first record there is.
    pub first: i64,
    /// The place of the next record: one more than the last.
    pub end: i64,
}

/// A connection that asks for the ends; of no consumer group.
///
/// A client that failed is not used again: one that has once heard of a partition without a leader, as after a broker hung, may go on
/// failing for minutes after all others are served.
#[derive(Clone)]
pub struct Ends {
    client: Arc<Mutex<Arc<BaseConsumer<Reach>>>>,
    connection: Connection,
}

impl Ends {
    /// Connects when it is first asked.
    ///
    /// # Errors
    /// The settings are not ones that the client library knows.
    pub fn of(connection: &Connection) -> Result<Self, KafkaError> {
        Ok(Self { client: Arc::new(Mutex::new(client(connection)?)), connection: connection.clone() })
    }

    /// Every partition's ends, by partition.
    ///
    /// # Errors
    /// The topic is missing, or no broker answers in time.
    pub async fn read(&self) -> Result<Vec<End>, KafkaError> {
        let Self { client: kept, connection } = self.clone();
        // The client that is given up ends here too, which may take a moment.
        blocking("ask where the topic ends", move || {
            let used = kept.lock().clone();
            let ends = ends(&used, &connection);
            if ends.is_err() {
                let fresh = client(&connection)?;
                let mut kept = kept.lock();
                if Arc::ptr_eq(&kept, &used) {
                    *kept = fresh;
                }
            }
            ends
        })
        .await
    }
}

fn client(connection: &Connection) -> Result<Arc<BaseConsumer<Reach>>, KafkaError> {
    connection.client("ends").create_with_context(Reach::of("ends")).map(Arc::new).map_err(KafkaError::client("set up a client"))
}

fn ends(client: &BaseConsumer<Reach>, Connection { topic, timeout, .. }: &Connection) -> Result<Vec<End>, KafkaError> {
    // Nothing is subscribed to; what the client has to tell waits for this.
    while client.poll(Duration::ZERO).is_some() {}
    let metadata = client.fetch_metadata(Some(topic), *timeout).map_err(KafkaError::client("ask for the topic's partitions"))?;
    let mut partitions: Vec<_> = metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
    partitions.sort_unstable();
    if partitions.is_empty() {
        return Err(KafkaError::NoTopic { topic: topic.clone() });
    }
    let end_of = |partition| {
        let ends = client.fetch_watermarks(topic, partition, *timeout);
        let (first, end) = ends.map_err(KafkaError::client("ask where a partition ends"))?;
        Ok(End { partition, first, end })
    };
    let ends = partitions.into_iter().map(end_of).collect::<Result<_, KafkaError>>()?;
    client.context().works();
    Ok(ends)
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").field("topic", &self.connection.topic).finish_non_exhaustive()
    }
}
