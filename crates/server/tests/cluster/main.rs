//! The cluster shape over HTTP, and the embedded shape on other ledgers than SQLite, on real components: one integration binary.
//!
//! * `moving`: from one node to a cluster.
//! * The experiments that the product comes from, and histories of concurrent clients, on every shape and every ledger that crates/server/tests/it does not have.
//! * People who are forgotten, and copies of a database that is brought back: `persons.rs`.
//! * Two nodes of one installation: `nodes.rs`. What a start refuses: `refusals.rs`. What Redis has lost: `recovery.rs`.
//! * Keys that are changed while people wait: `rotation.rs`.
//! * `metrics`: what a node says of Redis and Kafka, and says without them.
//! * `faults`: what fails under a crowd, one after another.
//! * `watch`: real Prometheus and Alertmanager, with the rules, cards and dashboards that are delivered.
//!
//! Each test has a database, a topic and keys in Redis of its own; the components are shared and started once: see `components.rs`. On a
//! cluster two nodes answer by turns.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]
#![expect(clippy::duplicate_mod, reason = "the experiments are there once for each place that they run on")]

mod components;
mod faults;
#[path = "../it/harness.rs"]
#[expect(dead_code, reason = "the tests of the embedded shape use more of it")]
mod harness;
mod metrics;
mod moving;
mod nodes;
mod persons;
#[path = "../it/webhooks/receiver.rs"]
#[expect(dead_code, reason = "the tests of the embedded shape use more of it")]
mod receiver;
mod recovery;
mod refusals;
mod rotation;
#[path = "../it/scrape.rs"]
mod scrape;
mod watch;
mod webhooks;

/// The experiments, where `server` starts what they run on.
macro_rules! seeds_on {
    ($name:ident, $start:expr) => {
        #[path = "../it"]
        mod $name {
            mod linear;
            mod seed_000;
            mod seed_001;
            mod seed_002;
            mod seed_003;

            /// A call takes some ten milliseconds.
            const IMPATIENT_US: u64 = 40_000;

            async fn server() -> crate::harness::Server {
                $start.await
            }
        }
    };
}

seeds_on!(embedded_postgres, crate::components::embedded("postgres"));
seeds_on!(embedded_mariadb, crate::components::embedded("mariadb"));
seeds_on!(cluster_postgres, crate::components::cluster("postgres"));
seeds_on!(cluster_mariadb, crate::components::cluster("mariadb"));
