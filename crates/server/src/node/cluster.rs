//! One node of a cluster: checked against what the others agreed on, then joined.

use crate::config::{ClusterConfig, Config};
use crate::exit::{Failure, chain};
use crate::preflight;
use crate::secrets;
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
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl ClusterNode {
    /// Looks whether the promises can hold here, and joins.
    ///
    /// # Errors
    /// Something cannot be reached, is set so that a promise does not hold, or is another installation's.
    pub async fn open(config: &Config, cluster: &ClusterConfig) -> Result<Self, Failure> {
        let ledger = Ledger::open(&config.ledger).await?;
        let ticket_secret = secrets::ticket_secret(&config.secrets)?;
        agree(&ledger, config, cluster, &ticket_secret).await?;
        preflight::refuse_or_waive(&preflight::look(cluster, &ledger).await?.findings, &cluster.waive)?;
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
            ticket_secret,
        };
        let engine = Cluster::join_cluster(options, ledger.clone()).await.map_err(|error| Failure::unavailable(chain(&error)))?;
        let group = format!("{}-{}", cluster.kafka.topic, GROUP);
        let projector = Arc::new(KafkaProjector::new(ledger.clone(), cluster.kafka.clone(), KafkaOptions::usual(&group)));
        let (stop, stopped) = watch::channel(false);
        let tasks = vec![tokio::spawn(engine.clone().run(stopped.clone())), {
            let projector = projector.clone();
            let mut stopped = stopped;
            let runtime = tokio::runtime::Handle::current();
            tokio::task::spawn_blocking(move || {
                runtime.block_on(projector.run(async move {
                    let _ = stopped.wait_for(|stop| *stop).await;
                }));
            })
        }];
        Ok(Self { engine, ledger, projector, stop, tasks })
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

/// What all nodes of an installation must have in common stands in its database, said by whoever was first.
async fn agree(ledger: &Ledger, config: &Config, cluster: &ClusterConfig, ticket_secret: &[u8; 32]) -> Result<(), Failure> {
    let kafka = topic::cluster_id(&cluster.kafka).await.map_err(|error| Failure::unavailable(chain(&error)))?;
    let secrets = config.secrets.display();
    let facts = [
        (
            "kafka topic",
            format!("{} of cluster {kafka}", cluster.kafka.topic),
            "each installation needs a database and a topic of its own".to_owned(),
        ),
        ("kafka partitions", cluster.topic.partitions.to_string(), "set kafka.partitions to what it was made with".to_owned()),
        ("redis prefix", cluster.redis_prefix.clone(), "set redis.prefix to what the other nodes have".to_owned()),
        (
            "ticket key",
            secrets::fingerprint(ticket_secret),
            format!("copy keys/ from another node to {secrets}, or share one folder: cluster.secrets_dir"),
        ),
    ];
    for (name, own, mend) in facts {
        if let Some(agreed) = ledger.agree(name, &own).await? {
            return Err(Failure::configuration(format_args!(
                "the {name} here is {own}, and the other nodes of {} have {agreed}\n  mend: {mend}",
                ledger.place()
            )));
        }
    }
    Ok(())
}
