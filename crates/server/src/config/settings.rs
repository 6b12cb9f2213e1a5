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
    /// Passes.
    pub pass: PassSettings,
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
    /// Open connections; more are closed at once.
    pub connections_max: usize,
    /// Requests under way in all.
    pub in_flight_max: usize,
    /// Requests under way of one zone, or of one offer.
    pub in_flight_per_zone_max: u32,
    /// Open event streams.
    pub streams_max: usize,
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

/// `[pass]`
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct PassSettings {
    /// `iss` of passes.
    pub issuer: String,
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
            // Below the 20,000 open files that many systems allow at most; each connection is one.
            connections_max: 16_384,
            in_flight_max: 20_000,
            in_flight_per_zone_max: 10_000,
            streams_max: 5_000,
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

impl Default for PassSettings {
    fn default() -> Self {
        Self { issuer: "bunho".into() }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { format: "text".into(), level: "info".into() }
    }
}
