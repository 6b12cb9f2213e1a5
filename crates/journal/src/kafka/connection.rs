//! Where the topic is, and what every client of it has in common.

use super::KafkaError;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaErrorCode as Code;
use rdkafka::{ClientConfig, ClientContext};
use std::sync::atomic::{AtomicBool, Ordering};
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

/// How a client gets on with the brokers, said when that changes. librdkafka calls many things errors that it then mends by itself, and
/// tells of every attempt: a line each would be many a second for as long as an outage lasts.
#[derive(Debug)]
pub(super) struct Reach {
    /// What the client is for.
    purpose: &'static str,
    out: AtomicBool,
}

/// How often librdkafka tells a client that is polled which brokers it is connected to; so soon is the end of an outage known.
pub(super) const TOLD_EVERY: Duration = Duration::from_secs(2);

impl Reach {
    pub(super) const fn of(purpose: &'static str) -> Self {
        Self { purpose, out: AtomicBool::new(false) }
    }

    /// A broker has answered.
    pub(super) fn works(&self) {
        if self.out.load(Ordering::Relaxed) && self.out.swap(false, Ordering::Relaxed) {
            tracing::info!(client = self.purpose, "Kafka answers again");
        }
    }
}

impl ClientContext for Reach {
    fn error(&self, error: ClientError, reason: &str) {
        let code = error.rdkafka_error_code();
        // One broker of several is no outage: the others have its partitions within seconds.
        let is_passing = matches!(code, Some(Code::BrokerTransportFailure | Code::OperationTimedOut | Code::Resolve | Code::Fatal));
        if is_passing || self.out.swap(true, Ordering::Relaxed) {
            tracing::debug!(client = self.purpose, %error, "Kafka client: {reason}");
        } else {
            tracing::warn!(client = self.purpose, %error, "Kafka cannot be used and is tried again: {reason}");
        }
    }

    /// What it is connected to, as JSON.
    fn stats_raw(&self, statistics: &[u8]) {
        const CONNECTED: &[u8] = b"\"state\":\"UP\"";
        if self.out.load(Ordering::Relaxed) && statistics.windows(CONNECTED.len()).any(|part| part == CONNECTED) {
            self.works();
        }
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let client = self.purpose;
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(client, facility, "Kafka client: {line}");
            }
            // Of connections that failed and requests without an answer: `error` says what they amount to.
            _ if matches!(facility, "FAIL" | "ERROR" | "REQTMOUT") => tracing::debug!(client, facility, "Kafka client: {line}"),
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => tracing::warn!(client, facility, "Kafka client: {line}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::debug!(client, facility, "Kafka client: {line}");
            }
        }
    }
}
