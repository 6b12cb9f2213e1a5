//! The settings of the cluster shape, checked.

use super::{Refused, Settings, Shape, in_range};
use bunho_journal::kafka::{Connection, Retention, TopicSettings};
use bunho_ledger::Place;
use std::time::Duration;

/// Where a cluster decides, and where it writes down what was decided.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// Some nodes of Redis Cluster, as URLs.
    pub redis_nodes: Vec<String>,
    /// What keys begin with.
    pub redis_prefix: String,
    /// Replicas that must have a decision before it is answered.
    pub redis_replicas: usize,
    /// The topic.
    pub kafka: Connection,
    /// What the topic must be like.
    pub topic: TopicSettings,
    /// Findings that a start accepts.
    pub waive: Vec<String>,
}

/// How long a question to the brokers may take.
const KAFKA_TIMEOUT: Duration = Duration::from_secs(10);
/// Partitions of one topic: the ledger keeps a record's partition and offset in one number.
const PARTITIONS_MAX: i32 = 10_000;

/// How often nodes look for keys that others made, with a second for the looking.
const KEYS_KNOWN_WITHIN: Duration = Duration::from_secs(2);

impl Settings {
    /// Where SQL is.
    pub(super) fn ledger_place(&self) -> Result<Place, Refused> {
        let Some(url) = &self.ledger.url else { return Ok(Place::Sqlite(self.data.dir.join("ledger.db"))) };
        Place::parse(url).map_err(|problem| {
            Refused::new(
                "ledger.url",
                problem.to_string(),
                "write it as postgres://user:password@host:5432/database or mysql://…, or leave it out",
            )
        })
    }

    /// How long a key of passes is published before it signs; on a cluster until every node can know it.
    pub(super) fn pass_key_published(&self) -> Result<Duration, Refused> {
        let published = Duration::from_secs(in_range("pass.key_publish_seconds", self.pass.key_publish_seconds, 0, 86_400)?);
        Ok(if self.engine.shape == "cluster" { published.max(KEYS_KNOWN_WITHIN) } else { published })
    }

    /// Where state lives.
    pub(super) fn shape(&self, ledger: &Place) -> Result<Shape, Refused> {
        match self.engine.shape.as_str() {
            "embedded" => Ok(Shape::Embedded),
            "cluster" => self.cluster_config(ledger).map(|config| Shape::Cluster(Box::new(config))),
            other => Err(Refused::new("engine.shape", format!("is {other:?}"), "use \"embedded\" or \"cluster\"")),
        }
    }

    fn cluster_config(&self, ledger: &Place) -> Result<ClusterConfig, Refused> {
        let (redis, kafka) = (&self.redis, &self.kafka);
        if redis.nodes.is_empty() {
            return Err(Refused::new(
                "redis.nodes",
                "names no node",
                "name some, as [\"redis://10.0.0.1:6379\", \"redis://10.0.0.2:6379\"]",
            ));
        }
        if redis.nodes.iter().any(|node| node.starts_with("rediss://")) {
            return Err(Refused::new(
                "redis.nodes",
                "asks for TLS (rediss://), which is not built in",
                "write redis:// and keep the way to Redis within a network of your own, or let a proxy beside this node encrypt it",
            ));
        }
        if let Some(node) = redis.nodes.iter().find(|node| !node.starts_with("redis://")) {
            // A password may stand before the host.
            let shown = node.rsplit_once('@').map_or(&**node, |(_, host)| host);
            return Err(Refused::new("redis.nodes", format!("{shown:?} is not a URL"), "write it as redis://user:password@host:6379"));
        }
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        if !is_plain(&redis.prefix) {
            return Err(Refused::new("redis.prefix", format!("is {:?}", redis.prefix), "use letters, digits, '-', '_' and '.'"));
        }
        if kafka.brokers.trim().is_empty() {
            return Err(Refused::new("kafka.brokers", "names no broker", "name some, as \"10.0.0.1:9092,10.0.0.2:9092\""));
        }
        if !is_plain(&kafka.topic) {
            return Err(Refused::new("kafka.topic", format!("is {:?}", kafka.topic), "use letters, digits, '-', '_' and '.'"));
        }
        for (setting, value, most) in
            [("kafka.partitions", kafka.partitions, PARTITIONS_MAX), ("kafka.replication", kafka.replication, i16::MAX.into())]
        {
            if !(1..=most).contains(&value) {
                return Err(Refused::new(setting, format!("is {value}"), format!("use a number from 1 to {most}")));
            }
        }
        if ledger.file().is_some() {
            return Err(Refused::new("ledger.url", "is missing", "several nodes need one database: postgres://… or mysql://…"));
        }
        let retention = match kafka.retention_hours {
            0 => Retention::Unlimited,
            hours => Retention::AtLeast(Duration::from_secs(u64::from(hours) * 3_600)),
        };
        Ok(ClusterConfig {
            redis_nodes: redis.nodes.clone(),
            redis_prefix: redis.prefix.clone(),
            redis_replicas: redis.replicas,
            kafka: Connection {
                brokers: kafka.brokers.clone(),
                topic: kafka.topic.clone(),
                timeout: KAFKA_TIMEOUT,
                properties: kafka.properties.clone().into_iter().collect(),
            },
            topic: TopicSettings { partitions: kafka.partitions, replication: kafka.replication, retention },
            waive: self.cluster.waive.clone(),
        })
    }
}
