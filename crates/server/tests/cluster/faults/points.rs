//! Every named point of the cluster's sources, and what leads there. A test holds this table to the sources.

use super::load::Load;
use super::strike::Stage;
use crate::harness::{ADMIN_KEY, Random, points_of_the_sources};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// What leads to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Claims, standby and the line, all at once.
    Crowd,
    /// The same, and an operator who makes and deletes offers and zones.
    Operator,
    /// The same, while everything in Redis is in doubt again and again.
    Doubt,
    /// The same, while everything in Redis is in doubt and older than the ledger again and again.
    Loss,
}

use Reach::{Crowd, Doubt, Loss, Operator};

/// In the order of a record's life. The ways there, and at which passing at most a node is killed.
const POINTS: &[(&str, Reach, u64)] = &[
    ("cluster::decided", Crowd, 200),
    ("cluster::to_ship", Crowd, 100),
    ("cluster::partly_shipped", Crowd, 100),
    ("cluster::shipped", Crowd, 100),
    ("cluster::removed", Crowd, 100),
    ("cluster::relayed", Crowd, 20),
    ("cluster::listed", Operator, 2),
    ("cluster::made", Operator, 2),
    ("cluster::deleted", Operator, 2),
    ("cluster::delisted", Operator, 2),
    ("cluster::partly_taken_over", Doubt, 1),
    ("cluster::taken_over", Doubt, 1),
    ("cluster::suspended", Doubt, 1),
    ("cluster::drained", Doubt, 1),
    ("cluster::fenced", Doubt, 1),
    ("cluster::forgotten", Loss, 1),
    ("cluster::partly_loaded", Loss, 1),
    ("cluster::loaded", Doubt, 1),
    ("cluster::partly_resumed", Doubt, 1),
    ("cluster::line_found", Doubt, 1),
    ("cluster::line_restored", Doubt, 1),
    ("cluster::partly_live", Doubt, 1),
];

/// A node gets to its point by then.
const STRUCK_WITHIN: Duration = Duration::from_secs(90);
/// Between two provocations: whatever is in doubt should come back in between.
const BETWEEN: Duration = Duration::from_millis(700);

impl Stage<'_> {
    /// One node after another joins, and is killed at a point.
    pub async fn kill_at_points(&mut self, reaches: &[Reach], load: &Load, random: &mut Random) {
        for (name, reach, most) in POINTS.iter().filter(|(_, reach, _)| reaches.contains(reach)) {
            let passings = random.below(*most);
            let action = if passings == 0 { "return".to_string() } else { format!("{passings}*off->return") };
            let (began, mut deed) = (Instant::now(), 0);
            let failpoints = format!("{name}={action}");
            if !tokio::task::block_in_place(|| self.server.add_node_with(&[("FAILPOINTS", &failpoints)])) {
                println!("  killed at {name} before it served");
                continue;
            }
            load.now_at(self.server.urls());
            while !self.server.last_has_ended() {
                assert!(began.elapsed() < STRUCK_WITHIN, "no node came to {name}, of which {passings} passings were free");
                match reach {
                    Crowd => tokio::time::sleep(Duration::from_millis(20)).await,
                    Operator => {
                        self.edit(&format!("made-{}-{deed}", name.replace(':', "-"))).await;
                        deed += 1;
                    }
                    Doubt | Loss => {
                        tokio::task::block_in_place(|| self.put_all_in_doubt(*reach == Loss));
                        tokio::time::sleep(BETWEEN).await;
                    }
                }
            }
            load.now_at(self.server.urls());
            println!("  killed at {name} after {:.1?}", began.elapsed());
        }
    }

    /// What an operator asks of the last node, which may die of it.
    async fn edit(&self, id: &str) {
        let url = self.server.urls().pop().unwrap();
        let offer = json!({"kind": "coupon", "quantity": 1});
        let zone = json!({"entry_limit_per_minute": 1});
        for (path, body) in [("offers", offer), ("zones", zone)] {
            let url = format!("{url}/admin/api/{path}/{id}");
            for request in [self.server.client.put(&url).json(&body), self.server.client.delete(&url)] {
                let _ = request.bearer_auth(ADMIN_KEY).timeout(Duration::from_secs(10)).send().await;
            }
        }
    }
}

#[test]
fn every_point_of_the_cluster_is_in_the_table() {
    let mut sources = points_of_the_sources();
    sources.retain(|name| name.starts_with("cluster::"));
    let table: BTreeSet<String> = POINTS.iter().map(|(name, ..)| (*name).to_string()).collect();
    assert_eq!(table.len(), POINTS.len(), "no point is there twice");
    assert_eq!(table, sources, "the table and the sources name the same points");
}
