//! How far each partition goes: what the projector must reach before an engine may be rebuilt from the ledger.

use super::connection::{Reach, blocking};
use super::{Connection, KafkaError};
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
#[derive(Clone)]
pub struct Ends {
    client: Arc<BaseConsumer<Reach>>,
    connection: Connection,
}

impl Ends {
    /// Connects when it is first asked.
    ///
    /// # Errors
    /// The settings are not ones that the client library knows.
    pub fn of(connection: &Connection) -> Result<Self, KafkaError> {
        let client = connection.client("ends").create_with_context(Reach::of("ends")).map_err(KafkaError::client("set up a client"))?;
        Ok(Self { client: Arc::new(client), connection: connection.clone() })
    }

    /// Every partition's ends, by partition.
    ///
    /// # Errors
    /// The topic is missing, or no broker answers in time.
    pub async fn read(&self) -> Result<Vec<End>, KafkaError> {
        let Self { client, connection: Connection { topic, timeout, .. } } = self.clone();
        blocking("ask where the topic ends", move || {
            // Nothing is subscribed to; what the client has to tell waits for this.
            while client.poll(Duration::ZERO).is_some() {}
            let metadata = client.fetch_metadata(Some(&topic), timeout).map_err(KafkaError::client("ask for the topic's partitions"))?;
            let mut partitions: Vec<_> =
                metadata.topics().iter().flat_map(|topic| topic.partitions()).map(|partition| partition.id()).collect();
            partitions.sort_unstable();
            if partitions.is_empty() {
                return Err(KafkaError::NoTopic { topic });
            }
            let end_of = |partition| {
                let ends = client.fetch_watermarks(&topic, partition, timeout);
                let (first, end) = ends.map_err(KafkaError::client("ask where a partition ends"))?;
                Ok(End { partition, first, end })
            };
            let ends = partitions.into_iter().map(end_of).collect::<Result<_, KafkaError>>()?;
            client.context().works();
            Ok(ends)
        })
        .await
    }
}

impl std::fmt::Debug for Ends {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ends").field("topic", &self.connection.topic).finish_non_exhaustive()
    }
}
