//! Settings as they are written in a file, with their defaults. Nothing here is checked yet.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that can be set, as it is written in a file. Times are in the unit of the name's end.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where data lies.
    pub data: DataSettings,
    /// Addresses and limits.
    pub server: ServerSettings,
    /// Shape, durability and back pressure.
    pub engine: EngineSettings,
    /// SQL.
    pub ledger: LedgerSettings,
    /// What the nodes of a cluster share.
    pub cluster: ClusterSettings,
    /// Where the cluster decides.
    pub redis: RedisSettings,
    /// Where the cluster writes down what was decided.
    pub kafka: KafkaSettings,
    /// Who callers are.
    pub auth: AuthSettings,
    /// Administration.
    pub console: ConsoleSettings,
    /// What stands before a line.
    pub join: JoinSettings,
    /// Passes.
    pub pass: PassSettings,
    /// Encryption of connections.
    pub tls: TlsSettings,
    /// Spans to a collector.
    pub trace: TraceSettings,
    /// Numbers for operators.
    pub metrics: MetricsSettings,
    /// Telling others of what happens.
    pub webhooks: WebhookSettings,
    /// How long people are known.
    pub retention: RetentionSettings,
    /// Logging.
    pub log: LogSettings,
}

/// `[data]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// The data folder: journal, ledger.db, keys.
    pub dir: PathBuf,
}

/// `[server]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// Address that serves clients (and, without `admin_listen`, operators).
    pub listen: String,
    /// Address of its own for administration, metrics and docs.
    pub admin_listen: Option<String>,
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Largest request head.
    pub header_bytes_max: usize,
    /// A client must have sent its request's head within this.
    pub header_timeout_ms: u64,
    /// A client must have sent its request's body within this.
    pub body_timeout_ms: u64,
    /// An answer that is not there after this is `indeterminate` (writes) or `overloaded` (reads).
    pub request_timeout_ms: u64,
    /// Connections that the kernel keeps until they are accepted; `net.core.somaxconn` caps it.
    pub backlog: u32,
    /// Open connections. For one more, an idle or half-sent one is closed; where all are busy, the newcomer is told 503.
    pub connections_max: usize,
    /// Requests under way in all.
    pub in_flight_max: usize,
    /// Requests under way of one zone, or of one offer.
    pub in_flight_per_zone_max: u32,
    /// Open event streams.
    pub streams_max: usize,
    /// How long a server that was told to stop goes on serving, not ready, before it lets nobody in.
    pub drain_delay_seconds: u64,
    /// How long a stopping server lets requests finish.
    pub drain_seconds: u64,
}

/// `[engine]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct EngineSettings {
    /// `embedded` or `cluster`.
    pub shape: String,
    /// `engine`, `journal` or `ledger`.
    pub ack: String,
    /// Bytes that may wait for the journal before new work is shed.
    pub journal_backlog_bytes_max: usize,
}

/// `[ledger]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LedgerSettings {
    /// `postgres://…` or `mysql://…`; none: `ledger.db` in the data folder.
    pub url: Option<String>,
}

/// `[cluster]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ClusterSettings {
    /// Folder of the keys that sign tickets and passes, the same on every node; none: the data folder.
    pub secrets_dir: Option<PathBuf>,
    /// Names of findings (`redis.appendonly`) that a start accepts although a promise rests on them.
    pub waive: Vec<String>,
}

/// `[redis]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RedisSettings {
    /// Some nodes of the cluster, as `redis://user:password@host:port`; they tell of the rest.
    pub nodes: Vec<String>,
    /// What every key begins with.
    pub prefix: String,
    /// Replicas that must have a decision before it is answered.
    pub replicas: usize,
}

/// `[kafka]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaSettings {
    /// Some brokers, `host:port` with commas between.
    pub brokers: String,
    /// The topic; made where there is none.
    pub topic: String,
    /// Its partitions, for good.
    pub partitions: i32,
    /// Copies of each partition.
    pub replication: i32,
    /// How long its records stay; 0: for ever.
    pub retention_hours: u32,
    /// More settings of librdkafka, such as `sasl.mechanism`.
    pub properties: BTreeMap<String, String>,
}

/// `[auth]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct AuthSettings {
    /// `header` or `jwt`.
    pub user: String,
    /// Addresses or CIDR blocks that may send `X-Bunho-User` without a key.
    pub trusted_proxies: Vec<String>,
    /// For `user = "jwt"`.
    pub jwt: JwtSettings,
}

/// `[auth.jwt]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct JwtSettings {
    /// Required `iss`.
    pub issuer: Option<String>,
    /// Required `aud`.
    pub audience: Option<String>,
    /// PEM file of one public key.
    pub key_file: Option<PathBuf>,
    /// JWKS file.
    pub jwks_file: Option<PathBuf>,
    /// Where a JWKS is fetched from, and again when an unknown `kid` comes.
    pub jwks_url: Option<String>,
}

/// `[console]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct ConsoleSettings {
    /// Addresses or CIDR blocks that may administer; none: all.
    pub allow_from: Vec<String>,
}

/// `[join]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct JoinSettings {
    /// Joins from one address in a minute; 0: any number.
    pub per_address_per_minute: u32,
    /// As many of them at once.
    pub per_address_burst: u32,
    /// Joins from one network in a minute; 0: any number.
    pub per_prefix_per_minute: u32,
    /// As many of them at once.
    pub per_prefix_burst: u32,
    /// Bits of an IPv4 address that name its network.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that name its network.
    pub ipv6_prefix: u8,
    /// Addresses or CIDR blocks that are not limited.
    pub exempt: Vec<String>,
    /// For zones with `enqueue = "token"`.
    pub token: TokenSettings,
}

/// `[join.token]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TokenSettings {
    /// Required `iss`, where set.
    pub issuer: Option<String>,
    /// File of the secret that the site signs with (HS256).
    pub secret_file: Option<PathBuf>,
    /// PEM file of the site's public key.
    pub key_file: Option<PathBuf>,
    /// JWKS file of the site's public keys.
    pub jwks_file: Option<PathBuf>,
}

/// `[pass]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PassSettings {
    /// `iss` of passes.
    pub issuer: String,
    /// How long a new key is published before it signs; on a cluster two seconds at least.
    pub key_publish_seconds: u64,
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// Which addresses speak it, once there is a certificate: `all`, `public` or `admin`.
    pub addresses: String,
    /// PEM file of the certificate and what stands between it and its authority.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key.
    pub key_file: Option<PathBuf>,
    /// `off`, `optional` or `required`: whether clients show a certificate.
    pub client_auth: String,
    /// PEM file of the authorities whose clients' certificates count.
    pub client_ca_file: Option<PathBuf>,
    /// How long browsers come back through TLS alone; 0: says nothing of it.
    pub hsts_seconds: u64,
}

/// `[trace]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TraceSettings {
    /// Where spans go, such as `http://127.0.0.1:4318/v1/traces`; none: nowhere.
    pub otlp_endpoint: Option<String>,
    /// Of requests that nobody else traces, how many are: `0.01`.
    pub sample_ratio: Ratio,
}

/// A part of a whole, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ratio(pub u32);

/// Millionths of one.
pub(crate) const WHOLE: u32 = 1_000_000;

impl Serialize for Ratio {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(f64::from(self.0) / f64::from(WHOLE))
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let part = f64::deserialize(deserializer)?;
        if (0.0..=1.0).contains(&part) {
            Ok(Self((part * f64::from(WHOLE)).round() as u32))
        } else {
            Err(serde::de::Error::custom("must be a number from 0.0 to 1.0"))
        }
    }
}

/// `[metrics]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct MetricsSettings {
    /// Zones, and offers, with series of their own.
    pub series_max: usize,
}

/// `[webhooks]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct WebhookSettings {
    /// Whether addresses may begin with `http://`.
    pub allow_http: bool,
    /// Private addresses or CIDR blocks that messages may go to all the same.
    pub allow_private: Vec<String>,
    /// PEM file of certificates that sign those of receivers, beside Mozilla's.
    pub ca_file: Option<PathBuf>,
    /// How long an attempt may take.
    pub timeout_ms: u64,
    /// Attempts under way to one webhook.
    pub concurrency: usize,
    /// Seconds before each further attempt; after the last a message is given up.
    pub retry_seconds: Vec<u32>,
    /// Webhooks in all.
    pub webhooks_max: usize,
    /// Messages that may wait for one webhook before it is turned off.
    pub pending_max: u64,
    /// Messages of one webhook that are kept after they were given up.
    pub dead_max: u64,
}

/// `[retention]`
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct RetentionSettings {
    /// Days after an offer ended, after which those who had something in it are forgotten; 0: never.
    pub forget_after_days: u64,
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// `text` or `json`.
    pub format: String,
    /// A tracing filter: `info`, `bunho_server=debug,info`, …
    pub level: String,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self { dir: "./bunho-data".into() }
    }
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8080".into(),
            admin_listen: None,
            body_bytes_max: 64 * 1_024,
            header_bytes_max: 16 * 1_024,
            header_timeout_ms: 5_000,
            body_timeout_ms: 5_000,
            request_timeout_ms: 10_000,
            // The most the kernel takes, so that an operator who raises net.core.somaxconn is heard.
            backlog: 65_535,
            // Below the 20,000 open files that many systems allow at most; each connection is one.
            connections_max: 16_384,
            in_flight_max: 20_000,
            in_flight_per_zone_max: 10_000,
            streams_max: 5_000,
            drain_delay_seconds: 0,
            drain_seconds: 10,
        }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        // 64 MiB are about 300,000 claims that wait for one disk: beyond that, waiting longer helps nobody.
        Self { shape: "embedded".into(), ack: "journal".into(), journal_backlog_bytes_max: 64 * 1_024 * 1_024 }
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self { nodes: Vec::new(), prefix: "bunho".into(), replicas: 1 }
    }
}

impl Default for KafkaSettings {
    fn default() -> Self {
        Self {
            brokers: String::new(),
            topic: "bunho".into(),
            partitions: 12,
            replication: 3,
            retention_hours: 0,
            properties: BTreeMap::new(),
        }
    }
}

impl Default for AuthSettings {
    fn default() -> Self {
        Self { user: "header".into(), trusted_proxies: Vec::new(), jwt: JwtSettings::default() }
    }
}

impl Default for JoinSettings {
    fn default() -> Self {
        Self {
            // Off: where a proxy is not in auth.trusted_proxies all of an event's people seem to call from its address, and a limit that nobody chose would
            // stop them all on the day.
            per_address_per_minute: 0,
            per_address_burst: 1_000,
            per_prefix_per_minute: 0,
            per_prefix_burst: 10_000,
            ipv4_prefix: 24,
            ipv6_prefix: 56,
            exempt: Vec::new(),
            token: TokenSettings::default(),
        }
    }
}

impl Default for PassSettings {
    fn default() -> Self {
        // A minute: those who verify keep the set of keys no longer, as it says.
        Self { issuer: "bunho".into(), key_publish_seconds: 60 }
    }
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            addresses: "all".into(),
            cert_file: None,
            key_file: None,
            client_auth: "off".into(),
            client_ca_file: None,
            // A year, as the lists of browsers ask.
            hsts_seconds: 31_536_000,
        }
    }
}

impl Default for TraceSettings {
    fn default() -> Self {
        Self { otlp_endpoint: None, sample_ratio: Ratio(WHOLE / 100) }
    }
}

impl Default for MetricsSettings {
    fn default() -> Self {
        // With some twenty series each, a zone or an offer is what a server of Prometheus has thousands of times.
        Self { series_max: 1_000 }
    }
}

impl Default for WebhookSettings {
    fn default() -> Self {
        Self {
            allow_http: false,
            allow_private: Vec::new(),
            ca_file: None,
            timeout_ms: 15_000,
            concurrency: 8,
            // As Standard Webhooks advises: ten attempts over three days and a bit.
            retry_seconds: vec![5, 300, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400],
            webhooks_max: 50,
            // At some 700 bytes each 350 MB.
            pending_max: 500_000,
            dead_max: 10_000,
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: "text".into(), level: "info".into() }
    }
}
