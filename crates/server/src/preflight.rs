//! Whether the promises can hold on the cluster that is configured: asked at each start and by `bunho doctor`.

use crate::config::ClusterConfig;
use crate::exit::{Failure, chain};
use crate::node::installation;
use crate::telemetry::say::say;
use bunho_engine::cluster::preflight::{self as redis, LookError, Owner};
use bunho_journal::kafka::{Ends, KafkaError, topic};
use bunho_ledger::Ledger;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;
use tokio::sync::watch;

/// Something that a promise rests on and that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What an operator calls it who waives the promise, as `redis.appendonly`, `kafka.min.insync.replicas` or `postgres.fsync`.
    pub name: String,
    what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What was seen of each component, and what of it is not as it must be.
#[derive(Debug, Default)]
pub struct Look {
    /// Component and a line about it, or why it cannot be used.
    pub components: Vec<(&'static str, Result<String, Failure>)>,
    /// What is not as it must be.
    pub findings: Vec<Finding>,
    /// There is no topic yet.
    pub no_topic: bool,
}

/// What a failover of Redis makes true for a while. Claims are not lost by it; the next failure costs time.
const PASSING: [&str; 2] = ["redis.replicas", "redis.primaries"];

/// Looks at Redis, Kafka and the database, and changes nothing.
pub async fn look(cluster: &ClusterConfig, ledger: &Ledger) -> Look {
    let mut look = Look::default();
    let seen = look.redis(cluster, ledger).await;
    look.components.push(("Redis", seen));
    let seen = look.topic(cluster, ledger).await;
    look.components.push(("Kafka", seen));
    let seen = look.ledger(ledger).await;
    look.components.push(("SQL", seen));
    look
}

impl Look {
    async fn redis(&mut self, cluster: &ClusterConfig, ledger: &Ledger) -> Result<String, Failure> {
        let seen = redis::look(&cluster.redis_nodes).await.map_err(redis_failure)?;
        self.findings.extend(seen.findings.into_iter().map(|finding| Finding { name: finding.name.into(), what: finding.what }));
        let owner = owner(cluster, None).await?;
        let installation = ledger.installation().await?;
        match &owner.installation {
            Some(_) if owner.installation != installation => return Err(foreign_keys(cluster)),
            None if installation.is_some() && !is_known(&owner, ledger.agreed(REDIS_NODES).await?) => {
                self.findings.push(Finding { name: REDIS_INSTALLATION.into(), what: OTHER_REDIS.into() });
            }
            _ => {}
        }
        Ok(seen.seen)
    }

    async fn topic(&mut self, cluster: &ClusterConfig, ledger: &Ledger) -> Result<String, Failure> {
        let name = &cluster.kafka.topic;
        match topic::check(&cluster.kafka, &cluster.topic).await {
            Ok(wrong) => self.findings.extend(wrong.into_iter().map(of_topic)),
            Err(KafkaError::NoTopic { .. }) => {
                self.no_topic = true;
                return Ok(format!("brokers {} answer; the first start makes topic {name}", cluster.kafka.brokers));
            }
            Err(error) => return Err(kafka_failure(cluster, &error)),
        }
        let ends = async { Ends::of(&cluster.kafka)?.read().await }.await.map_err(|error| kafka_failure(cluster, &error))?;
        let messages: i64 = ends.iter().map(|end| end.end).sum();
        // Whoever was first says which installation this is before anything is decided.
        if messages > 0 && ledger.installation().await?.is_none() {
            return Err(Failure::configuration(format_args!(
                "topic {name} has had {messages} messages, and {} knows nothing of the installation that they are of\n  mend: bring that installation's database back from its copy; or begin anew with a topic of its own: kafka.topic",
                ledger.place()
            )));
        }
        Ok(format!("topic {name}, {} partitions, {} copies of each", cluster.topic.partitions, cluster.topic.replication))
    }

    async fn ledger(&mut self, ledger: &Ledger) -> Result<String, Failure> {
        check_installation(ledger).await?;
        let check = ledger.check().await?;
        self.findings.extend(check.findings.into_iter().map(|finding| Finding { name: finding.name.into(), what: finding.to_string() }));
        Ok(format!("{}, schema {}", check.database, check.schema_version))
    }

    /// Refuses what cannot be used, and what is found, but for what an operator accepts by name, and for what passes while the installation
    /// runs: a node that starts again in the middle of a failover must not stay away because of it.
    ///
    /// # Errors
    /// The first that cannot be used; else what is found and not accepted.
    pub fn refuse_or_waive(self, waived: &[String], runs: bool) -> Result<(), Failure> {
        self.components.into_iter().try_for_each(|(_, seen)| seen.map(drop))?;
        let (passing, others): (Vec<Finding>, Vec<Finding>) =
            self.findings.into_iter().partition(|finding| runs && PASSING.contains(&&*finding.name) && !waived.contains(&finding.name));
        for finding in passing {
            tracing::warn!("something is out, {}: {finding}", finding.name);
            say(format!("DEGRADED {}: {finding}", finding.name));
        }
        refuse_or_waive(&others, waived)
    }
}

/// Refuses the database of an embedded installation.
///
/// # Errors
/// It is one, or cannot be read.
pub async fn check_installation(ledger: &Ledger) -> Result<(), Failure> {
    ledger.installation().await?.map_or(Ok(()), |id| installation::check_is_cluster(&id, ledger))
}

/// Says which installation the database and the keys in Redis are of, if nobody has yet: both know its name from here on.
///
/// # Errors
/// The keys are another one's, they would be in another Redis than those of the other nodes, or one of the two cannot be used.
pub async fn sign(cluster: &ClusterConfig, ledger: &Ledger) -> Result<Signature, Failure> {
    let installation = ledger.join(&installation::cluster_id()?).await?;
    installation::check_is_cluster(&installation, ledger)?;
    let found = owner(cluster, None).await?;
    if found.installation.is_none() {
        // Two nodes that start together, each with a Redis of its own, agree on one.
        let agreed = ledger.agree(REDIS_NODES, &list(&found.nodes)).await?;
        if !is_known(&found, agreed) {
            refuse_or_waive(&[Finding { name: REDIS_INSTALLATION.into(), what: OTHER_REDIS.into() }], &cluster.waive)?;
        }
    }
    let mut signature = Signature { cluster: cluster.clone(), ledger: ledger.clone(), installation, said: None };
    signature.renew().await?;
    Ok(signature)
}

/// What says in Redis whose keys it has, and in the database which Redis it is. A Redis that was emptied loses it and one that is replaced node by node
/// makes it out of date, so whoever runs renews it: a node that starts is then let in, and one that was given another Redis by mistake is not.
pub struct Signature {
    cluster: ClusterConfig,
    ledger: Ledger,
    installation: String,
    /// The nodes that the database was told of.
    said: Option<BTreeSet<String>>,
}

/// How soon after Redis was emptied a node can be started that has not been told that this may be.
const RENEWED_EVERY: Duration = Duration::from_secs(5);

impl Signature {
    async fn renew(&mut self) -> Result<(), Failure> {
        let found = owner(&self.cluster, Some(&self.installation)).await?;
        if found.installation.as_ref() != Some(&self.installation) {
            return Err(foreign_keys(&self.cluster));
        }
        if self.said.as_ref() != Some(&found.nodes) {
            self.ledger.agree_anew(REDIS_NODES, &list(&found.nodes)).await?;
            self.said = Some(found.nodes);
        }
        Ok(())
    }

    /// Renews it until it is told to stop. What goes wrong meanwhile is said by those who need Redis more.
    pub async fn keep(mut self, mut stopped: watch::Receiver<bool>) {
        loop {
            let renewed = async {
                tokio::time::sleep(RENEWED_EVERY).await;
                self.renew().await
            };
            tokio::select! {
                renewed = renewed => if let Err(failure) = renewed {
                    tracing::debug!("the installation's name could not be renewed in Redis: {failure}");
                },
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }
}

/// What the database calls the nodes of Redis Cluster.
const REDIS_NODES: &str = "redis nodes";
const REDIS_INSTALLATION: &str = "redis.installation";
const OTHER_REDIS: &str = "Redis has no keys of this installation and none of the nodes that the others knew last: two nodes with a Redis each would sell everything \
    twice; name the others' in redis.nodes, or accept this once if all of Redis was replaced";

async fn owner(cluster: &ClusterConfig, own: Option<&str>) -> Result<Owner, Failure> {
    redis::owner(&cluster.redis_nodes, &cluster.redis_prefix, own).await.map_err(redis_failure)
}

/// Whether it is the Redis that was there before: emptied perhaps, and some of its nodes others. One of which nobody has said anything is.
fn is_known(found: &Owner, agreed: Option<String>) -> bool {
    agreed.is_none_or(|agreed| agreed.split(' ').any(|node| found.nodes.contains(node)))
}

fn list(nodes: &BTreeSet<String>) -> String {
    nodes.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

fn foreign_keys(cluster: &ClusterConfig) -> Failure {
    Failure::configuration(format_args!(
        "Redis has keys that begin with {}: and are another installation's\n  mend: each installation needs a database and a prefix of its own: ledger.url, redis.prefix; of one that is gone for good, delete its keys",
        cluster.redis_prefix
    ))
}

fn redis_failure(error: LookError) -> Failure {
    let what = format!("Redis Cluster cannot be used: {}", chain(&error));
    match error {
        LookError::Unreachable(_) => Failure::unavailable(format_args!("{what}\n  mend: start it, or name other nodes in redis.nodes")),
        LookError::LockedOut(_) => {
            Failure::configuration(format_args!("{what}\n  mend: say user and password in redis.nodes, as redis://user:password@host:6379"))
        }
        LookError::NoCluster(_) => Failure::configuration(format_args!(
            "{what}\n  mend: name nodes of a cluster in redis.nodes (cluster-enabled yes); or use engine.shape = \"embedded\", which needs no Redis"
        )),
    }
}

/// Makes the topic, and looks whether the brokers made it as it must be.
///
/// # Errors
/// They did not.
pub async fn make_topic(cluster: &ClusterConfig) -> Result<(), Failure> {
    let wrong = topic::ensure(&cluster.kafka, &cluster.topic).await.map_err(|error| kafka_failure(cluster, &error))?;
    refuse_or_waive(&wrong.into_iter().map(of_topic).collect::<Vec<_>>(), &cluster.waive)
}

fn of_topic(finding: topic::Finding) -> Finding {
    Finding { name: format!("kafka.{}", finding.setting), what: finding.to_string() }
}

/// Why the topic cannot be used.
pub fn kafka_failure(cluster: &ClusterConfig, error: &KafkaError) -> Failure {
    let what = format!("Kafka topic {} cannot be used: {}", cluster.kafka.topic, chain(error));
    match error {
        // It answers, and refuses.
        KafkaError::Refused { what: topic::MAKE, .. } => Failure::configuration(format_args!(
            "{what}\n  mend: set kafka.partitions and kafka.replication ({} copies need as many brokers) to what the brokers can give, or make the topic yourself",
            cluster.topic.replication
        )),
        KafkaError::Setting { .. } => Failure::configuration(format_args!(
            "{what}\n  mend: write in kafka.properties what librdkafka's CONFIGURATION.md has; encryption to the brokers (ssl) is not built in"
        )),
        _ => Failure::unavailable(format_args!(
            "{what}\n  mend: start the brokers, or name others in kafka.brokers; what they want to know of a client stands in kafka.properties"
        )),
    }
}

/// Refuses what is found, but for what an operator accepts by name; that is said at every start.
///
/// # Errors
/// What is found and not accepted.
fn refuse_or_waive(findings: &[Finding], waived: &[String]) -> Result<(), Failure> {
    let (waived, refused): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|finding| waived.contains(&finding.name));
    for finding in waived {
        tracing::warn!("a promise is waived, {}: {finding}", finding.name);
        say(format!("WAIVED {}: {finding}", finding.name));
    }
    if refused.is_empty() {
        return Ok(());
    }
    let lines: String = refused.iter().map(|finding| format!("\n  {}: {finding}", finding.name)).collect();
    Err(Failure::configuration(format_args!(
        "promises would not hold here:{lines}\n  mend: as said above, or accept one by its name in cluster.waive"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_waived_by_name_is_refused() {
        let findings = ["redis.appendonly", "postgres.fsync"].map(|name| Finding { name: name.into(), what: "is off".into() });
        let refused = refuse_or_waive(&findings, &["redis.appendonly".into()]).expect_err("one is left").to_string();
        assert!(refused.contains("postgres.fsync") && !refused.contains("redis.appendonly"), "{refused}");
        refuse_or_waive(&findings, &["redis.appendonly".into(), "postgres.fsync".into()]).expect("both are accepted");
    }

    #[test]
    fn a_failover_keeps_no_node_of_a_running_installation_away() {
        let look = |name: &str| Look { findings: vec![Finding { name: name.into(), what: "is out".into() }], ..Look::default() };
        look("redis.replicas").refuse_or_waive(&[], false).expect_err("a first start");
        look("redis.replicas").refuse_or_waive(&[], true).expect("it passes");
        look("redis.appendonly").refuse_or_waive(&[], true).expect_err("that does not pass");
    }
}
