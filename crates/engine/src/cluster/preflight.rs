//! Whether Redis is set so that the promises hold. Asked at each start and by `bunho doctor`.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisError, RedisResult};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Something that a promise rests on and that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What an operator calls it who waives the promise: `redis.appendonly`.
    pub name: &'static str,
    /// What is wrong, what breaks by it, and the mend.
    pub what: String,
}

/// Oldest version with what the scripts need: a script that is told before its first write whether there is memory.
const VERSION_MIN: (u32, u32) = (7, 0);
/// How far the clocks of a Redis node and of this node may differ. Redis's is the one that decides; this one dates passes in between.
const SKEW_MAX: Duration = Duration::from_secs(2);
/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was seen, and what of it is not as it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// In a line.
    pub seen: String,
    /// What is not as it must be.
    pub findings: Vec<Finding>,
}

/// Why Redis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// No node answers.
    #[error("no node answers")]
    Unreachable(#[source] RedisError),
    /// It answers, and does not let us in.
    #[error("it does not let us in")]
    LockedOut(#[source] RedisError),
    /// It is one Redis by itself.
    #[error("it is not a cluster")]
    NoCluster(#[source] RedisError),
}

impl From<RedisError> for LookError {
    fn from(error: RedisError) -> Self {
        let is_locked_out = error.kind() == redis::ErrorKind::AuthenticationFailed
            || matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM"))
            || error.kind() == redis::ErrorKind::InvalidClientConfig;
        if is_locked_out { Self::LockedOut(error) } else { Self::Unreachable(error) }
    }
}

/// Looks at every node of the cluster that the first of `nodes` to answer tells of.
///
/// # Errors
/// No node answers, what answers is no cluster, or it refuses who we say we are.
pub async fn look(nodes: &[String]) -> Result<Look, LookError> {
    let mut look = look_once(nodes).await?;
    for _ in 1..LOOKS_MAX {
        if !look.findings.iter().any(|finding| matches!(finding.name, "redis.replicas" | "redis.primaries")) {
            break;
        }
        tokio::time::sleep(BETWEEN_LOOKS).await;
        look = look_once(nodes).await?;
    }
    Ok(look)
}

/// A cluster that has just been started may not know all of itself: it is looked at again before it is said to lack something.
const LOOKS_MAX: u32 = 4;
const BETWEEN_LOOKS: Duration = Duration::from_secs(1);

async fn look_once(nodes: &[String]) -> Result<Look, LookError> {
    let (seed, mut connection) = first(nodes).await?;
    let listed = redis::cmd("CLUSTER").arg("NODES").query_async::<String>(&mut connection).await;
    let listed = listed.map_err(|error| match error.detail() {
        Some(detail) if detail.contains("cluster support disabled") => LookError::NoCluster(error),
        _ => error.into(),
    })?;
    let cluster = Cluster::read(&listed);
    let mut look = Look::default();
    let (mut version, mut replicated) = (String::new(), 0);
    for (id, address) in &cluster.primaries {
        let replicas = cluster.replicas.get(id).map_or(&[][..], Vec::as_slice);
        if replicas.is_empty() {
            look.add("redis.replicas", format!(
                "primary {address} has no replica; if its disk is lost, what it decided since the last shipped entry must be loaded anew: add one with CLUSTER REPLICATE"
            ));
        }
        // A cluster may tell addresses that only it knows; then the one that was given is all there is to ask.
        let mut node = match connect(&at(&seed, address)).await {
            Ok(node) => node,
            Err(error) => {
                look.add(
                    "redis.reachable",
                    format!(
                        "primary {address} of the cluster cannot be reached from here: {error}; open the way, or set cluster-announce-ip"
                    ),
                );
                continue;
            }
        };
        version = settings(&mut node, address, &mut look).await?;
        if !replicas.is_empty() {
            if has_replica_that_follows(&mut node).await? {
                replicated += 1;
            } else {
                look.add(
                    "redis.replicas",
                    format!("primary {address} has replicas of which none follows it: look into their logs, and set masterauth where a password is needed"),
                );
            }
        }
        for replica in replicas {
            look.replica(&seed, replica).await;
        }
    }
    if cluster.primaries.len() < 3 {
        let primaries = cluster.primaries.len();
        look.add(
            "redis.primaries",
            format!("the cluster has {primaries} primaries; with fewer than three none can be replaced when it fails"),
        );
    }
    look.seen = format!("version {version}, {} primaries, {replicated} of them replicated", cluster.primaries.len());
    Ok(look)
}

/// Whose keys they are, and on which cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The installation; none: none has said so, or the keys are gone.
    pub installation: Option<String>,
    /// Ids of the cluster's nodes. They keep them when their keys are lost; another cluster has others.
    pub nodes: BTreeSet<String>,
}

/// Which installation has the keys with this prefix. With `own` it is that one unless another has said so before.
///
/// # Errors
/// As [`look`].
pub async fn owner(nodes: &[String], prefix: &str, own: Option<&str>) -> Result<Owner, LookError> {
    let (seed, mut connection) = first(nodes).await?;
    let listed: String = redis::cmd("CLUSTER").arg("NODES").query_async(&mut connection).await?;
    let key = format!("{prefix}:installation");
    let mut ask = redis::Cmd::new();
    match own {
        Some(own) => ask.arg("SET").arg(&key).arg(own).arg("NX").arg("GET"),
        None => ask.arg("GET").arg(&key),
    };
    let mut last = RedisError::from((redis::ErrorKind::Client, "no primary has the slot of its keys"));
    for address in Cluster::read(&listed).primaries.values() {
        let asked = match connect(&at(&seed, address)).await {
            Ok(mut node) => ask.query_async::<Option<String>>(&mut node).await,
            Err(error) => Err(error),
        };
        match asked {
            Ok(owner) => {
                let nodes = listed.lines().filter_map(|line| line.split(' ').next()).map(ToOwned::to_owned).collect();
                return Ok(Owner { installation: owner.or_else(|| own.map(str::to_owned)), nodes });
            }
            // One of the primaries has it.
            Err(error) if error.code() == Some("MOVED") => {}
            Err(error) => last = error,
        }
    }
    Err(last.into())
}

impl Look {
    fn add(&mut self, name: &'static str, what: String) {
        self.findings.push(Finding { name, what });
    }

    /// A replica is promoted with the settings that it has.
    async fn replica(&mut self, seed: &ConnectionInfo, address: &str) {
        let asked = match connect(&at(seed, address)).await {
            Ok(mut node) => settings(&mut node, address, self).await,
            Err(error) => Err(error),
        };
        if let Err(error) = asked {
            self.add(
                "redis.replicas",
                format!(
                    "replica {address} cannot be asked from here: {error}; when it is promoted it decides with settings that nobody has looked at"
                ),
            );
        }
    }
}

/// One that the cluster lists may never have come to copy anything: its primary knows.
async fn has_replica_that_follows(primary: &mut MultiplexedConnection) -> RedisResult<bool> {
    let info: String = redis::cmd("INFO").arg("replication").query_async(primary).await?;
    Ok(info.lines().any(|line| line.starts_with("slave") && line.split(',').any(|field| field.trim() == "state=online")))
}

async fn settings(node: &mut MultiplexedConnection, address: &str, look: &mut Look) -> RedisResult<String> {
    let info: String = redis::cmd("INFO").arg("server").query_async(node).await?;
    let line = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    // Valkey says of which Redis it is; what counts is that.
    let version = line("redis_version:").unwrap_or_default().to_owned();
    let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < VERSION_MIN {
        look.add("redis.version", format!("{address} is version {version}; 7.0 or later is needed"));
    }
    match redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy").arg("appendonly").arg("appendfsync").query_async(node).await {
        Ok(settings) => check_settings(&settings, address, look),
        Err(error) => look.add(
            "redis.config",
            format!("{address} does not tell its settings ({error}): check maxmemory-policy noeviction and appendonly yes yourself, or allow CONFIG GET"),
        ),
    }
    let before = now();
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(node).await?;
    let (time, after) = (Duration::from_secs(seconds) + Duration::from_micros(micros), now());
    let skew = if time > after { time - after } else { before.saturating_sub(time) };
    if skew > SKEW_MAX {
        look.add(
            "redis.clock",
            format!(
                "{address} differs by {:.1} s from this node's clock: set both by NTP, as Redis's decides deadlines",
                skew.as_secs_f64()
            ),
        );
    }
    Ok(version)
}

fn check_settings(settings: &BTreeMap<String, String>, address: &str, look: &mut Look) {
    let setting = |name: &str| settings.get(name).map_or("", String::as_str);
    let policy = setting("maxmemory-policy");
    if policy != "noeviction" {
        look.add(
            "redis.maxmemory-policy",
            format!("{address} has maxmemory-policy {policy}, which throws claims away when memory is full: set it to noeviction"),
        );
    }
    if setting("appendonly") != "yes" {
        look.add(
            "redis.appendonly",
            format!("{address} has appendonly {}: after a restart all must be loaded anew: set it to yes", setting("appendonly")),
        );
    } else if setting("appendfsync") == "no" {
        look.add(
            "redis.appendfsync",
            format!("{address} has appendfsync no: a power cut takes half a minute of decisions back: set it to everysec or always"),
        );
    }
}

/// Asks all at once: several that are silent are waited for once.
async fn first(nodes: &[String]) -> RedisResult<(ConnectionInfo, MultiplexedConnection)> {
    let attempts = nodes.iter().map(|node| {
        Box::pin(async move {
            let info = node.as_str().into_connection_info()?;
            connect(&info).await.map(|connection| (info, connection))
        })
    });
    if nodes.is_empty() {
        return Err((redis::ErrorKind::Client, "no address of the cluster is set").into());
    }
    futures_util::future::select_ok(attempts).await.map(|(first, _)| first)
}

/// Another node of the cluster, with the user and password of the one that is configured.
fn at(seed: &ConnectionInfo, address: &str) -> ConnectionInfo {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "6379"));
    let (own_host, own_port) = match seed.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => (host.clone(), *port),
        _ => (String::new(), 6379),
    };
    let host = if host.is_empty() { own_host } else { host.to_owned() };
    seed.clone().set_addr(ConnectionAddr::Tcp(host, port.parse().unwrap_or(own_port)))
}

async fn connect(info: &ConnectionInfo) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(PATIENCE)).set_response_timeout(Some(PATIENCE));
    redis::Client::open(info.clone())?.get_multiplexed_async_connection_with_config(&config).await
}

fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What `CLUSTER NODES` lists.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cluster {
    /// Address by id, of primaries that have slots.
    primaries: BTreeMap<String, String>,
    /// Addresses of replicas that are well, by the id of what they follow.
    replicas: BTreeMap<String, Vec<String>>,
}

impl Cluster {
    fn read(listed: &str) -> Self {
        let mut cluster = Self::default();
        for line in listed.lines() {
            let fields: Vec<&str> = line.split(' ').collect();
            let [id, address, flags, primary, ..] = fields[..] else { continue };
            let flags: BTreeSet<&str> = flags.split(',').collect();
            if flags.contains("fail") || flags.contains("handshake") || flags.contains("noaddr") {
                continue;
            }
            let address = address.split_once('@').map_or(address, |(address, _)| address);
            if flags.contains("master") && fields.len() > 8 {
                cluster.primaries.insert(id.into(), address.into());
            } else if flags.contains("slave") {
                cluster.replicas.entry(primary.into()).or_default().push(address.into());
            }
        }
        cluster
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_nodes_is_read() {
        let cluster = Cluster::read(
            "a 127.0.0.1:1@2,host myself,master - 0 1 1 connected 0-5460\n\
             b 127.0.0.1:2@3 master - 0 1 2 connected 5461-16383\n\
             c 127.0.0.1:3@4 slave a 0 1 1 connected\n\
             d 127.0.0.1:4@5 slave,fail b 0 1 1 disconnected\n\
             e 127.0.0.1:5@6 master - 0 1 1 connected\n",
        );
        assert_eq!(cluster.primaries.values().collect::<Vec<_>>(), ["127.0.0.1:1", "127.0.0.1:2"]);
        assert_eq!(cluster.replicas, [("a".into(), vec!["127.0.0.1:3".into()])].into());
    }

    #[test]
    fn settings_that_lose_claims_are_found() {
        let settings = |policy: &str, aof: &str, fsync: &str| {
            [("maxmemory-policy", policy), ("appendonly", aof), ("appendfsync", fsync)].map(|(name, is)| (name.into(), is.into())).into()
        };
        for (policy, aof, fsync, names) in [
            ("noeviction", "yes", "everysec", &[][..]),
            ("allkeys-lru", "yes", "always", &["redis.maxmemory-policy"]),
            ("noeviction", "no", "everysec", &["redis.appendonly"]),
            ("noeviction", "yes", "no", &["redis.appendfsync"]),
        ] {
            let mut look = Look::default();
            check_settings(&settings(policy, aof, fsync), "node", &mut look);
            assert_eq!(look.findings.iter().map(|finding| finding.name).collect::<Vec<_>>(), names);
        }
    }
}
