//! One node of a cluster: checked against what the others agreed on, then joined.

use super::identity::NodeId;
use crate::config::{ClusterConfig, Config};
use crate::exit::{Failure, chain};
use crate::preflight;
use crate::secrets;
use crate::secrets::tickets::TicketSecrets;
use bunho_engine::cluster::redis::DeciderOptions;
use bunho_engine::{Cluster, ClusterOptions};
use bunho_journal::kafka::topic;
use bunho_ledger::{KafkaOptions, KafkaProjector, Ledger};
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// One running node of the cluster shape, without HTTP.
pub struct ClusterNode {
    /// Live state.
    pub engine: Arc<Cluster>,
    /// SQL.
    pub ledger: Ledger,
    /// What carries the topic into SQL, for the partitions that are this node's.
    pub projector: Arc<KafkaProjector>,
    /// Whose data folder this is.
    pub(super) id: NodeId,
    /// What the start went on with.
    pub(super) findings: Vec<String>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl ClusterNode {
    /// Looks whether the promises can hold here, and joins.
    ///
    /// # Errors
    /// Something cannot be reached, is set so that a promise does not hold, or is another installation's.
    pub async fn open(config: &Config, cluster: &ClusterConfig) -> Result<Self, Failure> {
        let id = NodeId::of(&config.data)?;
        let ledger = Ledger::open(&config.ledger).await?;
        preflight::check_installation(&ledger).await?;
        let tickets = TicketSecrets::load(&config.secrets)?;
        // What another installation has is not looked into, and nothing is said or made before all of it will do.
        let facts = facts(config, cluster, tickets.names()).await?;
        for fact in &facts {
            fact.same_as(&ledger, ledger.agreed(fact.name).await?)?;
        }
        let runs = ledger.agreed(facts[0].name).await?.is_some();
        let look = preflight::look(cluster, &ledger).await;
        let no_topic = look.no_topic;
        let findings = look.findings.iter().map(|finding| format!("{}: {finding}", finding.name)).collect();
        look.refuse_or_waive(&cluster.waive, runs)?;
        if no_topic {
            preflight::make_topic(cluster).await?;
        }
        for fact in &facts {
            fact.same_as(&ledger, ledger.agree(fact.name, &fact.own).await?)?;
        }
        let signature = preflight::sign(cluster, &ledger).await?;
        let options = ClusterOptions {
            decider: DeciderOptions {
                prefix: cluster.redis_prefix.clone(),
                replicas: (cluster.redis_replicas > 0).then_some(cluster.redis_replicas),
                ack: config.ack,
                in_flight_max: config.limits.in_flight_per_zone_max as usize,
                ..DeciderOptions::new(cluster.redis_nodes.clone())
            },
            kafka: cluster.kafka.clone(),
            in_flight_max: config.limits.in_flight_per_zone_max,
            ticket_keys: tickets.keys(),
        };
        let engine = Cluster::join_cluster(options, ledger.clone()).await.map_err(|error| Failure::unavailable(chain(&error)))?;
        let group = format!("{}-{}", cluster.kafka.topic, GROUP);
        let mut how = KafkaOptions::usual(&group);
        how.consumer.instance = Some(format!("bunho-{id}"));
        let projector = Arc::new(KafkaProjector::new(ledger.clone(), cluster.kafka.clone(), how));
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![tokio::spawn(engine.clone().run(stopped.clone())), tokio::spawn(signature.keep(stopped.clone())), {
            let projector = projector.clone();
            let mut stopped = stopped;
            tokio::spawn(async move {
                let stopped = async move { drop(stopped.wait_for(|stop| *stop).await) };
                projector.run(stopped).await;
            })
        }];
        Ok(Self { engine, ledger, projector, id, findings, stop, tasks })
    }

    /// Waits until the ledger holds what the topic has now.
    ///
    /// # Errors
    /// It does not within some seconds.
    pub async fn catch_up(&self) -> Result<(), Failure> {
        bunho_engine::Engine::Cluster(self.engine.clone())
            .ledger_caught_up()
            .await
            .map_err(|_| Failure::internal("the ledger does not take what the topic has; the log says why"))
    }

    /// Lets the others have this node's partitions. What it decided is in Redis and Kafka.
    pub async fn close(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
        self.ledger.close().await;
    }
}

/// Of the consumer group: one for each ledger, and a topic has one.
const GROUP: &str = "ledger";

/// What all nodes of an installation must have in common; it stands in its database, said by whoever was first.
struct Fact {
    name: &'static str,
    own: String,
    mend: String,
}

impl Fact {
    fn same_as(&self, ledger: &Ledger, agreed: Option<String>) -> Result<(), Failure> {
        let Self { name, own, mend } = self;
        match agreed {
            Some(agreed) if agreed != *own => Err(Failure::configuration(format_args!(
                "the {name} here is {own}, and the other nodes of {} have {agreed}\n  mend: {mend}",
                ledger.place()
            ))),
            _ => Ok(()),
        }
    }
}

async fn facts(config: &Config, cluster: &ClusterConfig, ticket_names: &[u8; 32]) -> Result<[Fact; 4], Failure> {
    let kafka = topic::cluster_id(&cluster.kafka).await.map_err(|error| preflight::kafka_failure(cluster, &error))?;
    let secrets = config.secrets.display();
    let fact = |name, own: String, mend: &str| Fact { name, own, mend: mend.to_owned() };
    Ok([
        fact(
            "kafka topic",
            format!("{} of cluster {kafka}", cluster.kafka.topic),
            "each installation needs a database and a topic of its own: ledger.url, kafka.topic",
        ),
        fact("kafka partitions", cluster.topic.partitions.to_string(), "set kafka.partitions to what it was made with"),
        fact("redis prefix", cluster.redis_prefix.clone(), "set redis.prefix to what the other nodes have"),
        fact(
            "ticket key",
            secrets::tickets::fingerprint(ticket_names),
            &format!("copy keys/ from another node to {secrets}, or share one folder: cluster.secrets_dir"),
        ),
    ])
}
