//! A node brought to life, without HTTP: `serve`, `reconcile` and `rebuild` all start here, so that they agree on what there is.

mod cluster;
mod embedded;
mod identity;
pub(crate) mod installation;

pub use cluster::ClusterNode;
pub use embedded::{Accepted, EmbeddedNode, journal_path};

use crate::app::Record;
use crate::config::{Config, Shape};
use crate::exit::Failure;
use bunho_engine::Engine;
use bunho_ledger::Ledger;
use std::path::Path;

/// Makes the data folder where it is missing; it holds keys, so it is its owner's alone.
///
/// # Errors
/// It cannot be made or written.
pub fn prepare(data: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::DirBuilderExt;
    let refused = |error: std::io::Error| {
        Failure::data(format_args!(
            "the data folder {} cannot be used: {error}\n  mend: choose another with --data, or make it writable",
            data.display()
        ))
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(data).map_err(refused)?;
    let probe = data.join(".write-probe");
    std::fs::write(&probe, b"ok").and_then(|()| std::fs::remove_file(&probe)).map_err(refused)
}

/// A running node of either shape.
pub enum Node {
    /// All of it is in this process and its data folder.
    Embedded(EmbeddedNode),
    /// One of several.
    Cluster(ClusterNode),
}

impl Node {
    /// Opens what the configuration names. What runs in the background runs from here on.
    ///
    /// # Errors
    /// Something cannot be used or reached; nothing has been changed then.
    pub async fn open(config: &Config) -> Result<Self, Failure> {
        Ok(match &config.shape {
            Shape::Embedded => Self::Embedded(EmbeddedNode::open(config).await?),
            Shape::Cluster(cluster) => Self::Cluster(ClusterNode::open(config, cluster).await?),
        })
    }

    /// Live state.
    #[must_use]
    pub fn engine(&self) -> Engine {
        match self {
            Self::Embedded(node) => Engine::Embedded(node.engine.clone()),
            Self::Cluster(node) => Engine::Cluster(node.engine.clone()),
        }
    }

    /// SQL.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        match self {
            Self::Embedded(node) => &node.ledger,
            Self::Cluster(node) => &node.ledger,
        }
    }

    /// What was decided, and what carries it into SQL; for health and metrics.
    #[must_use]
    pub fn record(&self) -> Record {
        match self {
            Self::Embedded(node) => Record::Journal { journal: node.journal.clone(), projector: node.projector.clone() },
            Self::Cluster(node) => Record::Kafka { cluster: node.engine.clone(), projector: node.projector.clone() },
        }
    }

    /// What it is called among the nodes of its installation.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Embedded(_) => "local".to_owned(),
            Self::Cluster(node) => node.id.to_string(),
        }
    }

    /// What the start found and went on with, since it was waived or passes.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        match self {
            Self::Embedded(_) => Vec::new(),
            Self::Cluster(node) => node.findings.clone(),
        }
    }

    /// Waits until the ledger holds everything that was decided before this call.
    ///
    /// # Errors
    /// It makes no progress.
    pub async fn catch_up(&self) -> Result<(), Failure> {
        match self {
            Self::Embedded(node) => node.catch_up().await,
            Self::Cluster(node) => node.catch_up().await,
        }
    }

    /// Completes when the node cannot go on and must be started anew.
    pub async fn until_broken(&self) {
        match self {
            Self::Embedded(node) => node.journal.until_poisoned().await,
            // Whatever breaks elsewhere is waited for.
            Self::Cluster(_) => std::future::pending().await,
        }
    }

    /// Ends what runs and closes everything. A restart finds the rest.
    pub async fn close(self) {
        match self {
            Self::Embedded(node) => node.close().await,
            Self::Cluster(node) => node.close().await,
        }
    }
}
