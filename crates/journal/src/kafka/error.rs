//! What can go wrong with the topic, but for producing, which has errors of its own.

use rdkafka::error::KafkaError as ClientError;

/// Why the topic could not be used.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    /// A broker refused, or none answered.
    #[error("could not {what}")]
    Client {
        /// What was tried.
        what: &'static str,
        /// What the client library said.
        source: rdkafka::error::KafkaError,
    },
    /// The client library does not take a setting. Without its value, which may be a password.
    #[error("the client library refuses the setting {name}: {why}")]
    Setting {
        /// The setting.
        name: String,
        /// What the client library said.
        why: String,
    },
    /// A broker refused an administrative request.
    #[error("could not {what}: {code}")]
    Refused {
        /// What was tried.
        what: &'static str,
        /// What the broker said.
        code: rdkafka::types::RDKafkaErrorCode,
    },
    /// The topic is not there.
    #[error("the topic {topic} does not exist")]
    NoTopic {
        /// Its name.
        topic: String,
    },
    /// Records from the caller's position on are not in the topic.
    #[error(
        "partition {partition} of the topic has records {first} to {end} (exclusive), and reading is to go on at {position}: the topic was \
         cut or made anew, or the position is that of another topic"
    )]
    OutOfRange {
        /// Which partition.
        partition: i32,
        /// Where the caller wanted to go on.
        position: i64,
        /// First record there is.
        first: i64,
        /// After the last record there is.
        end: i64,
    },
    /// Another process has joined the group under the same fixed identity.
    #[error("another process reads the topic as {instance}")]
    Fenced {
        /// The identity.
        instance: String,
    },
    /// An assignment was not answered with a position for each of its partitions.
    #[error("reading ended, as positions were asked for and not given")]
    NotAnswered,
    /// A thread of the client has ended.
    #[error("could not {what}, as its thread has ended")]
    Stopped {
        /// What was tried.
        what: &'static str,
    },
}

impl KafkaError {
    pub(super) const fn client(what: &'static str) -> impl Fn(rdkafka::error::KafkaError) -> Self {
        move |source| match source {
            ClientError::ClientConfig(_, why, name, value) => Self::Setting { why: without(&why, &value), name },
            source => Self::Client { what, source },
        }
    }
}

/// What is said of a value may repeat it.
fn without(why: &str, value: &str) -> String {
    if value.is_empty() { why.to_owned() } else { why.replace(value, "***") }
}
