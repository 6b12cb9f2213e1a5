//! Settings as they are written in a file, with their defaults. Nothing here is checked yet.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Everything that can be set, as it is written in a file. Times are in the unit of the name's end.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where data lies.
    pub data: DataSettings,
    /// Addresses and limits.
    pub server: ServerSettings,
    /// Durability and back pressure.
    pub engine: EngineSettings,
    /// Who callers are.
    pub auth: AuthSettings,
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
    /// `engine`, `journal` or `ledger`.
    pub ack: String,
    /// Bytes that may wait for the journal before new work is shed.
    pub journal_backlog_bytes_max: usize,
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
        Self { ack: "journal".into(), journal_backlog_bytes_max: 64 * 1_024 * 1_024 }
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
