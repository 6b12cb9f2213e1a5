//! Where the topic is, and what every client of it has in common.

use super::KafkaError;
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use std::time::Duration;

/// Largest message. A claim's is below 10 KiB even when every character of its attributes is escaped; zones' and offers' are smaller.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1_024;

/// Where the topic is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Brokers to begin with, `host:port` with commas between; they tell of the others.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// How long a question to the brokers may take.
    pub timeout: Duration,
    /// More settings of librdkafka, such as `sasl.mechanism`; what the promises rest on is set after them and cannot be changed here.
    pub properties: Vec<(String, String)>,
}

impl Connection {
    /// Settings for a client; `purpose` is seen in the brokers' logs.
    pub(super) fn client(&self, purpose: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", format!("bunho-{purpose}"))
            // A broker that comes back is found within a second.
            .set("reconnect.backoff.ms", "50")
            .set("reconnect.backoff.max.ms", "1000")
            .set("socket.connection.setup.timeout.ms", "10000")
            .set("socket.keepalive.enable", "true")
            // Claims are small and wait for their acknowledgement: nothing is held back to fill a packet.
            .set("socket.nagle.disable", "true")
            // A topic that was misspelled must not come into being.
            .set("allow.auto.create.topics", "false")
            .set_log_level(RDKafkaLogLevel::Info);
        config
    }
}

/// Runs what blocks until a broker answers on a thread where that disturbs nobody.
pub(super) async fn blocking<T: Send + 'static>(
    what: &'static str,
    ask: impl FnOnce() -> Result<T, KafkaError> + Send + 'static,
) -> Result<T, KafkaError> {
    tokio::task::spawn_blocking(ask).await.map_err(|_| KafkaError::Stopped { what })?
}

/// librdkafka's own lines, as this program's. It calls many things errors that it then mends by itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log(level, facility, line);
    }

    fn error(&self, error: rdkafka::error::KafkaError, reason: &str) {
        report(&error, reason);
    }
}

pub(super) fn log(level: RDKafkaLogLevel, facility: &str, line: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => tracing::error!(facility, "Kafka client: {line}"),
        RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(facility, "Kafka client: {line}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => tracing::debug!(facility, "Kafka client: {line}"),
    }
}

pub(super) fn report(error: &rdkafka::error::KafkaError, reason: &str) {
    tracing::warn!(%error, "Kafka client: {reason}");
}
