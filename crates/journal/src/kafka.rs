//! The log of the cluster shape: one Kafka topic.
//!
//! * [`cloudevents`]: an event as a message, and a message as an event. Knows nothing of Kafka.
//! * [`topic`]: makes the topic with the settings that the promises rest on, and says what is wrong with one that is there.
//! * [`producer`]: messages in, each with the place it got, or with what is known of one that got none.
//! * [`consumer`]: messages out, for the projector, from positions that the caller keeps.
//!
//! What is written here is what nodes have decided already (Redis holds it, with an outbox entry, until it is acknowledged), so a
//! message may come twice: events carry whole states and versions, and are applied by version.

pub mod cloudevents;
mod connection;
pub mod consumer;
mod ends;
mod error;
pub mod producer;
pub mod topic;

pub use cloudevents::{Content, Kind, Message, Unreadable};
pub use connection::Connection;
pub use consumer::{Assignment, Batch, Consumer, ConsumerOptions, Received, Revocation, Turn, Unread};
pub use ends::{End, Ends};
pub use error::KafkaError;
pub use producer::{Delivery, Place, ProduceError, Producer, ProducerFigures, ProducerOptions};
pub use topic::{Finding, Retention, TopicSettings};
