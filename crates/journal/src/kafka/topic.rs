//! The topic's settings: made right, or found wrong with the way to mend it.
//!
//! Nothing that exists is changed here. A topic that somebody made with other settings had a reason or is a mistake, and only they know which.

use super::connection::{MESSAGE_BYTES_MAX, Reach, blocking};
use super::{Connection, KafkaError};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What the topic must be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Partitions. Never changed later: a key would move to another one, and its order would be lost.
    pub partitions: i32,
    /// Copies of each.
    pub replication: i32,
    /// How long records stay.
    pub retention: Retention,
}

/// How long records stay in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// For ever: what happened can be read from the topic alone. (Not which offers live where: see the ledger's directory.)
    Unlimited,
    /// At least this long. Longer than the longest time in which the projector may stand still.
    AtLeast(Duration),
}

/// One setting that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The setting, as Kafka calls it.
    pub setting: &'static str,
    /// What it is.
    pub value: String,
    /// What it must be, and why.
    pub must_be: String,
    /// What to do.
    pub mend: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {} and must be {}; {}", self.setting, self.value, self.must_be, self.mend)
    }
}

impl TopicSettings {
    /// How many copies must have a record before it counts: two of three, so that one broker may be lost and one may be out.
    #[must_use]
    pub const fn min_insync_replicas(&self) -> i32 {
        if self.replication >= 3 { 2 } else { 1 }
    }

    fn retention_ms(&self) -> i64 {
        match self.retention {
            Retention::Unlimited => -1,
            Retention::AtLeast(time) => i64::try_from(time.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// What [`KafkaError::Refused`] says was tried where the brokers did not make the topic.
pub const MAKE: &str = "make the topic";

/// Makes the topic if it is missing, then checks it. An empty list is a topic on which the promises hold.
///
/// # Errors
/// No broker answers in time, or making it is refused.
pub async fn ensure(connection: &Connection, settings: &TopicSettings) -> Result<Vec<Finding>, KafkaError> {
    let admin = admin(connection)?;
    if placement(&admin, connection).await?.is_none() {
        create(&admin, connection, settings).await?;
    }
    // A broker that was asked to make it may tell another one later.
    let end = Instant::now() + connection.timeout;
    loop {
        match check_with(&admin, connection, settings).await {
            Err(KafkaError::NoTopic { .. }) if Instant::now() < end => tokio::time::sleep(Duration::from_millis(50)).await,
            result => return result,
        }
    }
}

/// What about the topic is not as it must be.
///
/// # Errors
/// It is missing, or no broker answers in time.
pub async fn check(connection: &Connection, settings: &TopicSettings) -> Result<Vec<Finding>, KafkaError> {
    check_with(&admin(connection)?, connection, settings).await
}

/// The name that the Kafka cluster gave itself when it was made: tells whether two configurations mean the same one.
///
/// # Errors
/// No broker answers in time.
pub async fn cluster_id(connection: &Connection) -> Result<String, KafkaError> {
    let (admin, timeout) = (admin(connection)?, connection.timeout);
    let what = "ask for the cluster's id";
    let id = blocking(what, move || Ok(admin.inner().fetch_cluster_id(timeout))).await?;
    id.ok_or(KafkaError::Refused { what, code: RDKafkaErrorCode::OperationTimedOut })
}

type Admin = Arc<AdminClient<Reach>>;

fn admin(connection: &Connection) -> Result<Admin, KafkaError> {
    let admin = connection.client("admin").create_with_context(Reach::of("admin")).map_err(KafkaError::client("set up a client"))?;
    Ok(Arc::new(admin))
}

fn within(connection: &Connection) -> AdminOptions {
    AdminOptions::new().request_timeout(Some(connection.timeout)).operation_timeout(Some(connection.timeout))
}

async fn create(admin: &Admin, connection: &Connection, settings: &TopicSettings) -> Result<(), KafkaError> {
    let what = MAKE;
    let (insync, retention) = (settings.min_insync_replicas().to_string(), settings.retention_ms().to_string());
    let topic = NewTopic::new(&connection.topic, settings.partitions, TopicReplication::Fixed(settings.replication))
        .set("min.insync.replicas", &insync)
        .set("cleanup.policy", "delete")
        .set("retention.ms", &retention)
        .set("retention.bytes", "-1")
        .set("unclean.leader.election.enable", "false")
        // The producer compresses; a broker that was to do it again would only lose time.
        .set("compression.type", "producer");
    let results = admin.create_topics([&topic], &within(connection)).await.map_err(KafkaError::client(what))?;
    match results.into_iter().next() {
        // Two nodes that start together both try.
        Some(Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists))) => Ok(()),
        Some(Err((_, code))) => Err(KafkaError::Refused { what, code }),
        None => Err(KafkaError::Stopped { what }),
    }
}

/// How many partitions the topic has, and how many copies the one with the fewest.
async fn placement(admin: &Admin, connection: &Connection) -> Result<Option<(usize, usize)>, KafkaError> {
    let (admin, Connection { topic, timeout, .. }) = (admin.clone(), connection.clone());
    let what = "ask for the topic's partitions";
    blocking(what, move || {
        let metadata = admin.inner().fetch_metadata(Some(&topic), timeout).map_err(KafkaError::client(what))?;
        let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
        Ok(partitions.iter().map(|partition| partition.replicas().len()).min().map(|fewest| (partitions.len(), fewest)))
    })
    .await
}

async fn check_with(admin: &Admin, connection: &Connection, settings: &TopicSettings) -> Result<Vec<Finding>, KafkaError> {
    let topic = &connection.topic;
    let missing = || KafkaError::NoTopic { topic: topic.clone() };
    let (partitions, copies) = placement(admin, connection).await?.ok_or_else(missing)?;
    let what = "read the topic's settings";
    let described = admin.describe_configs([&ResourceSpecifier::Topic(topic)], &within(connection)).await;
    let config = match described.map_err(KafkaError::client(what))?.into_iter().next() {
        // A broker that has just heard of the topic may not have heard of its settings, and then lists none; one that has lists dozens.
        Some(Ok(config)) if config.entries.is_empty() => return Err(missing()),
        Some(Ok(config)) => config,
        Some(Err(RDKafkaErrorCode::UnknownTopicOrPartition)) => return Err(missing()),
        Some(Err(code)) => return Err(KafkaError::Refused { what, code }),
        None => return Err(KafkaError::Stopped { what }),
    };
    let mut findings = check_placement(topic, settings, partitions, copies);
    findings.extend(check_config(topic, settings, &config));
    Ok(findings)
}

fn check_placement(topic: &str, settings: &TopicSettings, partitions: usize, copies: usize) -> Vec<Finding> {
    let mut findings = Vec::new();
    if usize::try_from(settings.partitions) != Ok(partitions) {
        findings.push(Finding {
            setting: "partitions",
            value: partitions.to_string(),
            must_be: settings.partitions.to_string(),
            mend: format!(
                "say {partitions} in the configuration; the partitions of a topic with records are never changed, as keys would move"
            ),
        });
    }
    if usize::try_from(settings.replication).is_ok_and(|wanted| copies < wanted) {
        findings.push(Finding {
            setting: "replication.factor",
            value: copies.to_string(),
            must_be: format!("at least {}", settings.replication),
            mend: format!(
                "add replicas to every partition of {topic} with kafka-reassign-partitions, or say {copies} in the configuration"
            ),
        });
    }
    findings
}

fn check_config(topic: &str, settings: &TopicSettings, config: &ConfigResource) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Rule { setting, must_be, good, holds } in rules(settings) {
        let value = config.get(setting).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
        if !holds(value) {
            let mend = format!("kafka-configs --alter --entity-type topics --entity-name {topic} --add-config {setting}={good}");
            findings.push(Finding { setting, value: value.to_owned(), must_be, mend });
        }
    }
    findings
}

/// What one setting must be: in words, a value that is right, and the test.
struct Rule {
    setting: &'static str,
    must_be: String,
    good: String,
    holds: Box<dyn Fn(&str) -> bool>,
}

fn rules(settings: &TopicSettings) -> [Rule; 7] {
    let rule = |setting, must_be: &str, good: &str, holds: Box<dyn Fn(&str) -> bool>| {
        let (must_be, good) = (must_be.to_owned(), good.to_owned());
        Rule { setting, must_be, good, holds }
    };
    let exactly = |wanted: &'static str| Box::new(move |value: &str| value == wanted);
    let insync = i64::from(settings.min_insync_replicas());
    let insync_is = if insync > 1 { format!("{insync}, or a record counts that only one broker has") } else { "1".into() };
    // With more than there are copies nothing could ever be written.
    let copies = i64::from(settings.replication).max(1);
    let retention = settings.retention_ms();
    let retention_is = if retention < 0 { "-1 (unlimited)".into() } else { format!("at least {retention}, or -1") };
    let largest = MESSAGE_BYTES_MAX as i64;
    [
        rule(
            "min.insync.replicas",
            &insync_is,
            &insync.to_string(),
            Box::new(move |value| number(value, |value| (insync..=copies).contains(&value))),
        ),
        rule("cleanup.policy", "delete, as a compacted topic forgets", "delete", exactly("delete")),
        rule(
            "retention.ms",
            &retention_is,
            &retention.to_string(),
            Box::new(move |value| number(value, |value| value < 0 || (retention >= 0 && value >= retention))),
        ),
        rule("retention.bytes", "-1 (unlimited)", "-1", Box::new(|value| number(value, |value| value < 0))),
        rule(
            "unclean.leader.election.enable",
            "false, or a broker that missed records may become the one that counts",
            "false",
            exactly("false"),
        ),
        rule(
            "max.message.bytes",
            &format!("at least {largest}"),
            &(4 * largest).to_string(),
            Box::new(move |value| number(value, |value| value >= largest)),
        ),
        rule("compression.type", "producer or lz4", "producer", Box::new(|value| matches!(value, "producer" | "lz4"))),
    ]
}

fn number(value: &str, holds: impl Fn(i64) -> bool) -> bool {
    value.parse().is_ok_and(holds)
}
