//! Whether the promises can hold on the cluster that is configured: asked at each start and by `bunho doctor`.

use crate::config::ClusterConfig;
use crate::exit::{Failure, chain};
use bunho_engine::cluster::preflight as redis;
use bunho_journal::kafka::topic;
use bunho_ledger::Ledger;
use std::fmt;

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Component and a line about it.
    pub seen: Vec<(&'static str, String)>,
    /// What is not as it must be.
    pub findings: Vec<Finding>,
}

/// Looks at Redis, Kafka and the database. Makes the topic where there is none.
///
/// # Errors
/// One of them cannot be reached.
pub async fn look(cluster: &ClusterConfig, ledger: &Ledger) -> Result<Look, Failure> {
    let mut look = Look::default();
    let redis = redis::look(&cluster.redis_nodes).await.map_err(|error| {
        Failure::unavailable(format_args!(
            "Redis Cluster cannot be used: {error}\n  mend: start it, or name other nodes in redis.nodes; a Redis that is not a cluster will not do (cluster-enabled yes)"
        ))
    })?;
    look.seen.push(("Redis", redis.seen));
    look.findings.extend(redis.findings.into_iter().map(|finding| Finding { name: finding.name.into(), what: finding.what }));
    let wrong = topic::ensure(&cluster.kafka, &cluster.topic).await.map_err(|error| {
        Failure::unavailable(format_args!(
            "Kafka topic {} cannot be used: {}\n  mend: start the brokers, or name others in kafka.brokers",
            cluster.kafka.topic,
            chain(&error)
        ))
    })?;
    look.seen.push((
        "Kafka",
        format!("topic {}, {} partitions, {} copies of each", cluster.kafka.topic, cluster.topic.partitions, cluster.topic.replication),
    ));
    look.findings
        .extend(wrong.into_iter().map(|finding| Finding { name: format!("kafka.{}", finding.setting), what: finding.to_string() }));
    let check = ledger.check().await?;
    look.seen.push(("SQL", format!("{}, schema {}", check.database, check.schema_version)));
    look.findings.extend(check.findings.into_iter().map(|finding| Finding { name: finding.name.into(), what: finding.to_string() }));
    Ok(look)
}

/// Refuses what is found, but for what an operator accepts by name; that is said at every start.
///
/// # Errors
/// What is found and not accepted.
pub fn refuse_or_waive(findings: &[Finding], waived: &[String]) -> Result<(), Failure> {
    let (waived, refused): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|finding| waived.contains(&finding.name));
    for finding in waived {
        tracing::warn!("a promise is waived, {}: {finding}", finding.name);
        println!("WAIVED {}: {finding}", finding.name);
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
}
