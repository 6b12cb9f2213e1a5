//! Settings: raw text → one checked [`Config`] → running parts.
//!
//! Order: defaults < file (TOML) < environment (`BUNHO_` + path, `__` between levels) < flags. Everything is
//! checked before a port is bound; a refusal names the setting and says how to mend it (exit code 64).
//! `bunho.example.toml` at the root of the repository explains every setting; a test keeps it equal to the defaults.

mod cluster;
mod join;
pub(crate) mod live;
mod settings;
mod shown;
mod tls;
mod trace;
mod webhooks;

pub use cluster::ClusterConfig;
pub use join::{JoinConfig, Rate};
pub(crate) use settings::WHOLE;
pub use settings::{
    AuthSettings, ClusterSettings, ConsoleSettings, DataSettings, EngineSettings, JoinSettings, JwtSettings, KafkaSettings, LedgerSettings,
    LogSettings, MetricsSettings, PassSettings, Ratio, RedisSettings, RetentionSettings, ServerSettings, Settings, TlsSettings,
    TokenSettings, TraceSettings, WebhookSettings,
};
pub use tls::{ClientAuth, TlsConfig};
pub use trace::TraceConfig;
pub use webhooks::WebhookConfig;

use arc_swap::ArcSwap;
use bunho_engine::Ack;
use bunho_ledger::Place;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Checked settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder.
    pub data: PathBuf,
    /// Address that serves clients.
    pub listen: SocketAddr,
    /// Address of its own for administration, metrics and docs.
    pub admin_listen: Option<SocketAddr>,
    /// Bounds of the edge.
    pub limits: Limits,
    /// One process, or several on Redis and Kafka.
    pub shape: Shape,
    /// Where SQL is.
    pub ledger: Place,
    /// Folder of the keys that sign tickets and passes.
    pub secrets: PathBuf,
    /// How durable an answered claim is.
    pub ack: Ack,
    /// Bytes that may wait for the journal.
    pub journal_backlog_bytes_max: usize,
    /// How users prove who they are.
    pub users: Users,
    /// Proxies whose word on whom they speak for is taken.
    pub trusted_proxies: Vec<Network>,
    /// Who may administer, by address; none: all.
    pub console_allow_from: Vec<Network>,
    /// What stands before a line.
    pub join: JoinConfig,
    /// `iss` of passes.
    pub pass_issuer: String,
    /// How long a new key of passes is shown before it signs.
    pub pass_key_published: Duration,
    /// Encryption of connections.
    pub tls: Option<TlsConfig>,
    /// Spans to a collector.
    pub trace: Option<TraceConfig>,
    /// Zones, and offers, with series of their own in `/metrics`.
    pub metrics_series_max: usize,
    /// How others are told of what happens.
    pub webhooks: WebhookConfig,
    /// Days after an offer ended, after which those who had something in it are forgotten; 0: never.
    pub forget_after_days: u32,
    /// Log format.
    pub log_json: bool,
    /// Log filter.
    pub log_level: String,
}

/// The configuration in force, which changes as a whole.
pub type LiveConfig = Arc<ArcSwap<Config>>;

/// Where state lives.
#[derive(Clone, Debug)]
pub enum Shape {
    /// In this process.
    Embedded,
    /// In Redis Cluster, for several processes.
    Cluster(Box<ClusterConfig>),
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Cluster(_) => "cluster",
        })
    }
}

/// Bounds of the edge.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes_max: usize,
    /// Largest request head.
    pub header_bytes_max: usize,
    /// Time for a request's head.
    pub header_timeout: Duration,
    /// Time for a request's body.
    pub body_timeout: Duration,
    /// Time for an answer.
    pub request_timeout: Duration,
    /// Connections that the kernel keeps until they are accepted.
    pub backlog: u16,
    /// Open connections.
    pub connections_max: usize,
    /// Requests under way.
    pub in_flight_max: usize,
    /// Requests under way of one zone or offer.
    pub in_flight_per_zone_max: u32,
    /// Open event streams.
    pub streams_max: usize,
    /// Time to go on serving, not ready, when told to stop.
    pub drain_delay: Duration,
    /// Time to finish when stopping.
    pub drain: Duration,
}

/// How users prove who they are.
#[derive(Clone, Debug)]
pub enum Users {
    /// `X-Bunho-User` is believed, from these networks or (empty) from anyone, which only loopback allows.
    Header {
        /// Who may send it.
        trusted: Vec<Network>,
    },
    /// A JWT.
    Jwt(JwtSettings),
}

/// A CIDR block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Reads `10.0.0.0/8`, `::1` or `192.168.1.7`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address.parse().ok()?, Some(prefix.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let most = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let prefix = prefix.unwrap_or(most);
        (prefix <= most).then_some(Self { address, prefix })
    }

    /// Whether the block has this address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address {
            IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 4),
            IpAddr::V6(v6) => (u128::from(v6), 6),
        };
        let ((own, own_kind), (other, other_kind)) = (bits(self.address), bits(address.to_canonical()));
        own_kind == other_kind && (self.prefix == 0 || (own ^ other) >> (128 - u32::from(self.prefix)) == 0)
    }
}

/// A setting that is refused.
#[derive(Debug, thiserror::Error)]
#[error("setting `{setting}` refused: {problem}\n  mend: {mend}")]
pub struct Refused {
    /// Its path, as in the file.
    pub setting: String,
    /// What is wrong.
    pub problem: String,
    /// How to mend it.
    pub mend: String,
}

impl Refused {
    pub(crate) fn new(setting: impl Into<String>, problem: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into(), mend: mend.into() }
    }
}

/// What the command line may set.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`
    pub config: Option<PathBuf>,
    /// `--data`
    pub data: Option<PathBuf>,
    /// `--listen`
    pub listen: Option<String>,
}

/// Reads settings from file, environment and flags.
///
/// # Errors
/// The file cannot be read or parsed, or a setting does not exist or has the wrong type.
pub fn read(flags: &Flags, environment: impl Iterator<Item = (String, String)>) -> Result<Settings, Refused> {
    let mut table = match &flags.config {
        Some(path) => read_file(path)?,
        None => toml::Table::new(),
    };
    for (name, value) in environment {
        // Names without a level are not ours: orchestrators set BUNHO_PORT, BUNHO_SERVICE_HOST and the like.
        let Some(path) = name.strip_prefix("BUNHO_").filter(|path| path.contains("__")) else { continue };
        let path: Vec<String> = path.split("__").map(str::to_ascii_lowercase).collect();
        if path.iter().any(String::is_empty) {
            return Err(Refused::new(name, "has an empty part in its name", "write it as BUNHO_SERVER__LISTEN, or unset it"));
        }
        set(&mut table, &path, &value).map_err(|problem| Refused::new(path.join("."), problem, format!("unset {name}, or mend it")))?;
    }
    let mut settings: Settings = serde_path_to_error::deserialize(toml::Value::Table(table)).map_err(|error| {
        let problem = error.inner().message().to_string();
        let path = error.path().to_string();
        let setting = if path.trim_matches('.').is_empty() { "(file or environment)".to_owned() } else { path };
        Refused::new(setting, problem, "see `bunho config --print` for every setting and its form")
    })?;
    if let Some(data) = &flags.data {
        settings.data.dir.clone_from(data);
    }
    if let Some(listen) = &flags.listen {
        settings.server.listen.clone_from(listen);
    }
    Ok(settings)
}

fn read_file(path: &Path) -> Result<toml::Table, Refused> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Refused::new("--config", format!("{}: {error}", path.display()), "name a file that can be read"))?;
    text.parse().map_err(|error: toml::de::Error| {
        Refused::new("--config", format!("{}: {}", path.display(), error.to_string().trim()), "mend the file's TOML")
    })
}

fn set(table: &mut toml::Table, path: &[String], value: &str) -> Result<(), String> {
    let [first, rest @ ..] = path else { return Err("has an empty name".into()) };
    if rest.is_empty() {
        // `100`, `true` and `["a"]` are TOML; what is not is a string.
        let parsed = format!("v = {value}").parse::<toml::Table>().ok().and_then(|mut table| table.remove("v"));
        table.insert(first.clone(), parsed.unwrap_or_else(|| toml::Value::String(value.into())));
        return Ok(());
    }
    let next = table.entry(first.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    next.as_table_mut().ok_or_else(|| format!("`{first}` is a value, not a group of settings")).and_then(|table| set(table, rest, value))
}

impl Settings {
    /// Checks everything that can be checked without touching the outside.
    ///
    /// # Errors
    /// The first setting that is refused.
    pub fn check(self) -> Result<Config, Refused> {
        let listen = address("server.listen", &self.server.listen)?;
        let admin_listen = self.server.admin_listen.as_deref().map(|text| address("server.admin_listen", text)).transpose()?;
        if admin_listen == Some(listen) && listen.port() != 0 {
            return Err(Refused::new("server.admin_listen", "is the address of server.listen", "leave it out, or choose another port"));
        }
        let ack = match self.engine.ack.as_str() {
            "engine" => Ack::Engine,
            "journal" => Ack::Journal,
            "ledger" => Ack::Ledger,
            other => return Err(Refused::new("engine.ack", format!("is {other:?}"), "use \"engine\", \"journal\" or \"ledger\"")),
        };
        let log_json = match self.log.format.as_str() {
            "text" => false,
            "json" => true,
            other => return Err(Refused::new("log.format", format!("is {other:?}"), "use \"text\" or \"json\"")),
        };
        let ledger = self.ledger_place()?;
        let shape = self.shape(&ledger)?;
        if self.pass.issuer.is_empty() {
            return Err(Refused::new("pass.issuer", "is empty", "name whoever issues passes, e.g. \"bunho\""));
        }
        let trusted_proxies = networks("auth.trusted_proxies", &self.auth.trusted_proxies)?;
        Ok(Config {
            users: self.users(listen, &trusted_proxies)?,
            join: self.join(&trusted_proxies)?,
            console_allow_from: networks("console.allow_from", &self.console.allow_from)?,
            trusted_proxies,
            pass_key_published: self.pass_key_published()?,
            shape,
            ledger,
            secrets: self.cluster.secrets_dir.unwrap_or_else(|| self.data.dir.clone()),
            data: self.data.dir,
            listen,
            admin_listen,
            limits: limits(&self.server)?,
            ack,
            journal_backlog_bytes_max: in_range(
                "engine.journal_backlog_bytes_max",
                self.engine.journal_backlog_bytes_max as u64,
                1 << 16,
                1 << 32,
            )? as usize,
            pass_issuer: self.pass.issuer,
            tls: tls::check(self.tls, admin_listen.is_some())?,
            trace: trace::check(self.trace)?,
            metrics_series_max: in_range("metrics.series_max", self.metrics.series_max as u64, 1, 100_000)? as usize,
            webhooks: self.webhooks.check()?,
            forget_after_days: in_range("retention.forget_after_days", self.retention.forget_after_days, 0, 36_500)? as u32,
            log_json,
            log_level: self.log.level,
        })
    }

    fn users(&self, listen: SocketAddr, trusted: &[Network]) -> Result<Users, Refused> {
        match self.auth.user.as_str() {
            "header" => {
                if trusted.is_empty() && !listen.ip().is_loopback() {
                    return Err(Refused::new(
                        "auth.user",
                        format!("\"header\" would believe anyone who reaches {listen}"),
                        "set auth.trusted_proxies to the addresses of the proxy that sets X-Bunho-User, set auth.user = \"jwt\", or listen on loopback",
                    ));
                }
                Ok(Users::Header { trusted: trusted.to_vec() })
            }
            "jwt" => {
                let jwt = &self.auth.jwt;
                let sources = [jwt.key_file.is_some(), jwt.jwks_file.is_some(), jwt.jwks_url.is_some()];
                if sources.iter().filter(|set| **set).count() != 1 {
                    return Err(Refused::new(
                        "auth.jwt",
                        "needs exactly one source of keys",
                        "set one of auth.jwt.key_file, auth.jwt.jwks_file or auth.jwt.jwks_url",
                    ));
                }
                if jwt.issuer.is_none() {
                    return Err(Refused::new("auth.jwt.issuer", "is missing", "set it to the `iss` that your tokens carry"));
                }
                Ok(Users::Jwt(jwt.clone()))
            }
            other => Err(Refused::new("auth.user", format!("is {other:?}"), "use \"header\" or \"jwt\"")),
        }
    }
}

fn networks(setting: &str, texts: &[String]) -> Result<Vec<Network>, Refused> {
    let network = |text: &String| {
        let refused = || Refused::new(setting, format!("{text:?} is not a network"), "write it as \"10.0.0.0/8\" or \"10.1.2.3\"");
        Network::parse(text).ok_or_else(refused)
    };
    texts.iter().map(network).collect()
}

fn address(setting: &str, text: &str) -> Result<SocketAddr, Refused> {
    text.parse().map_err(|_| Refused::new(setting, format!("{text:?} is not an address"), "write it as 127.0.0.1:8080 or [::1]:8080"))
}

fn in_range(setting: &str, value: u64, least: u64, most: u64) -> Result<u64, Refused> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(Refused::new(setting, format!("is {value}"), format!("use a number from {least} to {most}")))
    }
}

fn limits(server: &ServerSettings) -> Result<Limits, Refused> {
    let ms = |setting: &str, value| in_range(setting, value, 10, 600_000).map(Duration::from_millis);
    let count = |setting: &str, value: usize| in_range(setting, value as u64, 1, 10_000_000).map(|value| value as usize);
    Ok(Limits {
        body_bytes_max: in_range("server.body_bytes_max", server.body_bytes_max as u64, 1_024, 16 << 20)? as usize,
        // hyper's buffer must hold a whole head and is never smaller than 8 KiB.
        header_bytes_max: in_range("server.header_bytes_max", server.header_bytes_max as u64, 8_192, 1 << 20)? as usize,
        header_timeout: ms("server.header_timeout_ms", server.header_timeout_ms)?,
        body_timeout: ms("server.body_timeout_ms", server.body_timeout_ms)?,
        request_timeout: ms("server.request_timeout_ms", server.request_timeout_ms)?,
        backlog: in_range("server.backlog", server.backlog.into(), 1, u16::MAX.into())? as u16,
        connections_max: count("server.connections_max", server.connections_max)?,
        in_flight_max: count("server.in_flight_max", server.in_flight_max)?,
        in_flight_per_zone_max: in_range("server.in_flight_per_zone_max", server.in_flight_per_zone_max.into(), 1, 10_000_000)? as u32,
        streams_max: count("server.streams_max", server.streams_max)?,
        drain_delay: Duration::from_secs(in_range("server.drain_delay_seconds", server.drain_delay_seconds, 0, 600)?),
        drain: Duration::from_secs(in_range("server.drain_seconds", server.drain_seconds, 0, 600)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn environment_goes_over_file_and_flags_over_environment() {
        let flags = Flags { listen: Some("127.0.0.1:1".into()), ..Flags::default() };
        let settings = read(
            &flags,
            environment(&[
                ("BUNHO_SERVER__LISTEN", "127.0.0.1:2"),
                ("BUNHO_SERVER__BODY_BYTES_MAX", "2048"),
                ("BUNHO_AUTH__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
                ("BUNHO_PORT", "tcp://10.0.0.1:80"),
            ]),
        )
        .unwrap();
        assert_eq!(settings.server.listen, "127.0.0.1:1");
        assert_eq!(settings.server.body_bytes_max, 2_048);
        assert_eq!(settings.auth.trusted_proxies, ["10.0.0.0/8"]);
    }

    #[test]
    fn refusals_name_the_setting() {
        let check = |pairs: &[(&str, &str)]| {
            read(&Flags::default(), environment(pairs)).and_then(|settings| settings.check().map(|_| ())).unwrap_err().setting
        };
        for (pairs, setting) in [
            (&[("BUNHO_SERVER__LISTEN", "0.0.0.0:8080")][..], "auth.user"),
            (&[("BUNHO_SERVER__LISTEN", "nowhere")], "server.listen"),
            (&[("BUNHO_ENGINE__ACK", "hope")], "engine.ack"),
            (&[("BUNHO_SERVER__BODY_BYTES_MAX", "1")], "server.body_bytes_max"),
            (&[("BUNHO_SERVER__NONSENSE", "1")], "server.nonsense"),
            (&[("BUNHO_NONSENSE__X", "1")], "nonsense"),
            (&[("BUNHO_SERVER__BODY_BYTES_MAX", "many")], "server.body_bytes_max"),
            (&[("BUNHO_AUTH__TRUSTED_PROXIES", "[1]")], "auth.trusted_proxies[0]"),
            (&[("BUNHO_AUTH__JWT__ISSUER", "1")], "auth.jwt.issuer"),
            (&[("BUNHO_SERVER__", "1")], "BUNHO_SERVER__"),
            (&[("BUNHO___LISTEN", "1")], "BUNHO___LISTEN"),
            (&[("BUNHO_AUTH__USER", "jwt")], "auth.jwt"),
            (&[("BUNHO_TLS__CERT_FILE", "a.pem")], "tls.key_file"),
            (&[("BUNHO_TLS__KEY_FILE", "a.pem")], "tls.cert_file"),
            (&[("BUNHO_TLS__ADDRESSES", "some")], "tls.addresses"),
            (&[("BUNHO_TLS__ADDRESSES", "admin"), ("BUNHO_TLS__CERT_FILE", "a"), ("BUNHO_TLS__KEY_FILE", "a")], "tls.addresses"),
            (&[("BUNHO_TLS__CLIENT_AUTH", "required")], "tls.client_ca_file"),
            (&[("BUNHO_TLS__CLIENT_AUTH", "maybe")], "tls.client_auth"),
            (&[("BUNHO_TLS__CLIENT_CA_FILE", "ca.pem")], "tls.client_auth"),
            (&[("BUNHO_TRACE__SAMPLE_RATIO", "1.5")], "trace.sample_ratio"),
            (&[("BUNHO_TRACE__OTLP_ENDPOINT", "collector:4318")], "trace.otlp_endpoint"),
            (&[("BUNHO_PASS__KEY_PUBLISH_SECONDS", "100000")], "pass.key_publish_seconds"),
            (&[("BUNHO_JOIN__PER_ADDRESS_PER_MINUTE", "10000001")], "join.per_address_per_minute"),
            (&[("BUNHO_JOIN__PER_ADDRESS_BURST", "0")], "join.per_address_burst"),
            (&[("BUNHO_JOIN__PER_PREFIX_BURST", "0")], "join.per_prefix_burst"),
            (&[("BUNHO_JOIN__IPV4_PREFIX", "33")], "join.ipv4_prefix"),
            (&[("BUNHO_JOIN__IPV6_PREFIX", "65")], "join.ipv6_prefix"),
            (&[("BUNHO_JOIN__EXEMPT", "[\"x\"]")], "join.exempt"),
            (&[("BUNHO_JOIN__TOKEN__ISSUER", "shop")], "join.token"),
            (&[("BUNHO_JOIN__TOKEN__KEY_FILE", "a"), ("BUNHO_JOIN__TOKEN__SECRET_FILE", "b")], "join.token"),
            (&[("BUNHO_ENGINE__SHAPE", "cluster"), ("BUNHO_REDIS__NODES", "[\"rediss://a:1\"]")], "redis.nodes"),
            (&[("BUNHO_AUTH__TRUSTED_PROXIES", "[\"x\"]")], "auth.trusted_proxies"),
            (&[("BUNHO_CONSOLE__ALLOW_FROM", "[\"10.0.0.0/8\", \"10.0.0.0/40\"]")], "console.allow_from"),
            (&[("BUNHO_CONSOLE__ALLOW_FROM", "10.0.0.0/8")], "console.allow_from"),
            (&[("BUNHO_RETENTION__FORGET_AFTER_DAYS", "36501")], "retention.forget_after_days"),
            (&[("BUNHO_RETENTION__FORGET_AFTER_DAYS", "-1")], "retention.forget_after_days"),
            (&[("BUNHO_RETENTION__FORGET_AFTER_DAYS", "9223372036854775808")], "retention.forget_after_days"),
            (&[("BUNHO_RETENTION__FORGET_AFTER_DAYS", "1.5")], "retention.forget_after_days"),
            (&[("BUNHO_RETENTION__FORGET_AFTER_DAYS", "30 days")], "retention.forget_after_days"),
        ] {
            assert_eq!(check(pairs), setting, "{pairs:?}");
        }
    }

    #[test]
    fn the_sample_file_says_the_defaults_and_knows_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../bunho.example.toml");
        let flags = Flags { config: Some(path.into()), ..Flags::default() };
        assert_eq!(read(&flags, std::iter::empty()).unwrap(), Settings::default());
        let text = std::fs::read_to_string(path).unwrap();
        let printed = toml::Table::try_from(Settings::default()).unwrap();
        for (group, settings) in &printed {
            assert!(text.contains(&format!("[{group}]")), "[{group}] is missing");
            for setting in settings.as_table().unwrap().keys() {
                assert!(
                    text.contains(&format!("{setting} =")) || text.contains(&format!("[{group}.{setting}]")),
                    "{group}.{setting} is missing"
                );
            }
        }
    }

    #[test]
    fn networks_hold_their_addresses() {
        let network = Network::parse("10.0.0.0/8").unwrap();
        assert!(network.contains("10.200.1.1".parse().unwrap()));
        assert!(network.contains("::ffff:10.1.1.1".parse().unwrap()));
        assert!(!network.contains("11.0.0.1".parse().unwrap()));
        assert!(Network::parse("10.0.0.0/33").is_none());
    }
}
