//! What is done to whom, by process id, and how it is undone.

use super::On;
use super::load::Load;
use super::points::Reach;
use crate::components::{Component, environment_on};
use crate::harness::{Random, Server, read, stand_still};
use reqwest::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use std::process::Command;
use std::time::{Duration, Instant};

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strike {
    /// `kill -9`, and a start.
    Kill(Target),
    /// SIGSTOP, and SIGCONT.
    Stop(Target),
    /// Every Redis node forgets everything.
    FlushRedis,
    /// Every Redis node is killed, its folder removed, and a new cluster made in its place.
    LoseRedis,
    /// A replica hears nothing for a while, then its primary is killed and it takes over.
    PromoteStale,
    /// Another node joins and leaves, and joins and is killed.
    ComeAndGo,
    /// An upgrade: one node after the other is told to stop and started anew, one while clients still come to it, one after a balancer has sent them elsewhere.
    Roll,
    /// Other nodes join, and each is killed at one of the named points that this leads to.
    AtPoints(&'static [Reach]),
}

/// To whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Node,
    /// The Redis primary that has most of what is decided.
    Primary,
    Broker,
    AllBrokers,
    Database,
}

impl Strike {
    /// A replica that is stale can be promoted only where nobody waits for replicas.
    pub const fn replicas(self) -> u32 {
        if matches!(self, Self::PromoteStale) { 0 } else { 1 }
    }
}

/// The components; each is started when it is first needed.
#[derive(Default)]
pub struct Grounds {
    redis: Option<Component>,
    kafka: Option<Component>,
    three_brokers: Option<Component>,
    postgres: Option<Component>,
    mariadb: Option<Component>,
}

/// Nodes, and what they stand on.
pub struct Stage<'a> {
    pub server: Server,
    prefix: String,
    redis: &'a Component,
    kafka: &'a Component,
    database: &'a Component,
}

impl Grounds {
    /// Two new nodes.
    pub async fn stage(&mut self, on: On, replicas: u32) -> Stage<'_> {
        let (redis, kafka, database) = tokio::task::block_in_place(|| {
            let redis = &*self.redis.get_or_insert_with(Component::redis);
            let kafka = &*match on {
                On::ThreeBrokers => self.three_brokers.get_or_insert_with(|| Component::kafka(3)),
                On::Postgres | On::Mariadb => self.kafka.get_or_insert_with(|| Component::kafka(1)),
            };
            let database = &*match on {
                On::Mariadb => self.mariadb.get_or_insert_with(|| Component::database("mariadb")),
                On::Postgres | On::ThreeBrokers => self.postgres.get_or_insert_with(|| Component::database("postgres")),
            };
            // Whole again after the fault before.
            for component in [redis, kafka, database] {
                component.script("start");
            }
            (redis, kafka, database)
        });
        let mut environment = tokio::task::block_in_place(|| environment_on(redis, kafka, database));
        environment.push(("BUNHO_REDIS__REPLICAS", replicas.to_string()));
        environment.push(("BUNHO_LOG__LEVEL", std::env::var("BUNHO_TEST_LOG").unwrap_or_else(|_| "off".into())));
        let prefix = environment.iter().find(|(name, _)| *name == "BUNHO_REDIS__PREFIX").unwrap().1.clone();
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let server = Server::start_nodes(2, &environment, &[]).await;
        Stage { server, prefix, redis, kafka, database }
    }
}

impl Stage<'_> {
    /// Does it and undoes it.
    pub async fn strike(&mut self, strike: Strike, lasts: Duration, load: &Load, random: &mut Random) {
        match strike {
            Strike::Kill(target) => self.kill(target, lasts, load).await,
            Strike::Stop(target) => {
                let processes = self.processes(target);
                processes.iter().copied().for_each(stand_still);
                tokio::time::sleep(lasts).await;
                signal(&processes, Signal::CONT);
            }
            Strike::FlushRedis => {
                for node in 0..REDIS_NODES {
                    // A replica refuses, and follows.
                    self.ask_redis(node, &["flushall"]);
                }
            }
            Strike::AtPoints(reaches) => self.kill_at_points(reaches, load, random).await,
            Strike::Roll => self.roll(lasts, load).await,
            Strike::LoseRedis => self.lose_redis(lasts).await,
            Strike::PromoteStale => self.promote_stale(lasts).await,
            Strike::ComeAndGo => {
                for leaves_by in [Signal::TERM, Signal::KILL] {
                    self.server.add_node().await;
                    load.now_at(self.server.urls());
                    tokio::time::sleep(lasts).await;
                    self.server.end_last(leaves_by);
                    // As behind a balancer: for a moment clients still go there.
                    tokio::time::sleep(lasts).await;
                    load.now_at(self.server.urls());
                }
            }
        }
    }

    /// The new release of a node has the old one's folder and, here, another port.
    async fn roll(&mut self, lasts: Duration, load: &Load) {
        let first = self.server.url.clone();
        assert_eq!(self.server.stop(), 0, "it ends in order");
        self.server.try_launch().expect("the new release starts");
        load.now_at(self.server.urls());
        self.until_all_say_so(lasts).await;
        load.now_at(vec![self.server.url.clone()]);
        assert_ne!(first, self.server.url);
        // Requests that are on their way to it are answered.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.server.end_last(Signal::TERM);
        self.server.add_node().await;
        load.now_at(self.server.urls());
    }

    /// Every node says that it is ready.
    pub async fn until_all_say_so(&self, limit: Duration) {
        let began = Instant::now();
        for url in self.server.urls() {
            loop {
                let said = match self.server.client.get(format!("{url}/readyz")).send().await {
                    Ok(answer) => read(answer).await,
                    Err(error) => panic!("{url}: {error}"),
                };
                if said.0 == StatusCode::OK {
                    break;
                }
                assert!(began.elapsed() < limit, "{url} serves and is not ready: {said:?}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    async fn kill(&mut self, target: Target, lasts: Duration, load: &Load) {
        match target {
            Target::Node => {
                self.server.end_last(Signal::KILL);
                tokio::time::sleep(lasts).await;
                self.server.add_node().await;
                load.now_at(self.server.urls());
            }
            Target::Primary => {
                let node = self.primary();
                self.redis.script_one("kill-one", node);
                tokio::time::sleep(lasts).await;
                self.redis.script_one("start-one", node);
            }
            Target::Broker => {
                self.kafka.script_one("kill-one", 1);
                tokio::time::sleep(lasts).await;
                self.kafka.script_one("start-one", 1);
            }
            Target::AllBrokers => {
                for broker in 1..=self.kafka.brokers {
                    self.kafka.script_one("kill-one", broker);
                }
                tokio::time::sleep(lasts).await;
                self.kafka.script("start");
            }
            Target::Database => {
                signal(&self.processes(target), Signal::KILL);
                tokio::time::sleep(lasts).await;
                self.database.script("start");
            }
        }
    }

    /// What Redis has may be behind; `is_lost`: offers are gone altogether.
    pub fn put_all_in_doubt(&self, is_lost: bool) {
        let keys = format!("{}:*", self.prefix);
        for node in (0..REDIS_NODES).filter(|node| self.is_primary(*node)) {
            let found = self.ask_redis(node, &["keys", &keys]);
            for (key, name) in found.lines().filter_map(|key| Some((key, key.split_once("}:")?.1))) {
                let is_offer = !key.contains("{z") && name.bytes().all(|byte| byte.is_ascii_digit());
                if is_offer && is_lost {
                    self.ask_redis(node, &["unlink", key]);
                } else if is_offer || name == "zone" {
                    self.ask_redis(node, &["hset", key, "i", "another life"]);
                }
            }
        }
    }

    async fn lose_redis(&self, lasts: Duration) {
        for node in 0..REDIS_NODES {
            self.redis.script_one("kill-one", node);
        }
        for node in 0..REDIS_NODES {
            std::fs::remove_dir_all(self.redis.folder.join(format!("node-{node}"))).unwrap();
        }
        std::fs::remove_file(self.redis.folder.join("created")).unwrap();
        tokio::time::sleep(lasts).await;
        self.redis.script("start");
    }

    async fn promote_stale(&self, lasts: Duration) {
        let primary = self.primary();
        let replica = self.replica_of(primary);
        let process = self.redis_process(replica);
        stand_still(process);
        // Else what it has not read yet waits for it in its socket.
        self.ask_redis(primary, &["client", "kill", "type", "replica"]);
        tokio::time::sleep(STALE).await;
        let had = self.offset(primary);
        self.redis.script_one("kill-one", primary);
        signal(&[process], Signal::CONT);
        let has = self.offset(replica);
        assert!(has < had, "the replica is not stale: it has {has} of {had} bytes");
        tokio::time::sleep(lasts).await;
        self.redis.script_one("start-one", primary);
    }

    /// Parents before their children.
    fn processes(&self, target: Target) -> Vec<Pid> {
        match target {
            Target::Node => vec![Pid::from_raw(self.server.last_pid().cast_signed()).unwrap()],
            Target::Primary => vec![self.redis_process(self.primary())],
            Target::Broker => vec![self.broker_process(1)],
            Target::AllBrokers => (1..=self.kafka.brokers).map(|broker| self.broker_process(broker)).collect(),
            Target::Database => with_children(read_pid(&self.database.folder.join("pid"))),
        }
    }

    fn redis_process(&self, node: u16) -> Pid {
        read_pid(&self.redis.folder.join(format!("node-{node}.pid")))
    }

    fn broker_process(&self, broker: u16) -> Pid {
        read_pid(&self.kafka.folder.join(format!("broker-{broker}.pid")))
    }

    fn ask_redis(&self, node: u16, command: &[&str]) -> String {
        let port = (self.redis.port + node).to_string();
        let output = Command::new("redis-cli").args(["-h", "127.0.0.1", "-p", &port]).args(command).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    fn is_primary(&self, node: u16) -> bool {
        self.ask_redis(node, &["role"]).starts_with("master")
    }

    /// How many bytes of its primary's history a node has.
    fn offset(&self, node: u16) -> u64 {
        let said = self.ask_redis(node, &["info", "replication"]);
        said.lines().find_map(|line| line.strip_prefix("master_repl_offset:")?.trim().parse().ok()).expect("an offset")
    }

    fn primary(&self) -> u16 {
        let keys = format!("{}:*", self.prefix);
        let keys_of = |node: &u16| self.ask_redis(*node, &["keys", &keys]).lines().count();
        (0..REDIS_NODES).filter(|node| self.is_primary(*node)).max_by_key(keys_of).expect("a primary")
    }

    fn replica_of(&self, primary: u16) -> u16 {
        let port = (self.redis.port + primary).to_string();
        let follows = |node: &u16| self.ask_redis(*node, &["role"]).lines().nth(2) == Some(&port);
        (0..REDIS_NODES).filter(|node| !self.is_primary(*node)).find(follows).expect("a replica")
    }
}

const REDIS_NODES: u16 = 6;
/// How long a replica hears nothing: shorter than it may, to be promoted at all, and than 5 s, so that nobody counts it as failed.
const STALE: Duration = Duration::from_secs(4);

fn signal(processes: &[Pid], signal: Signal) {
    for process in processes {
        // Children of a database come and go.
        let _ = kill_process(*process, signal);
    }
}

fn read_pid(file: &std::path::Path) -> Pid {
    let text = std::fs::read_to_string(file).unwrap();
    Pid::from_raw(text.split_whitespace().next().unwrap().parse().unwrap()).unwrap()
}

/// A process and those that it started.
fn with_children(parent: Pid) -> Vec<Pid> {
    let id = parent.as_raw_nonzero().get();
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap().map(|task| task.unwrap().path().join("children"));
    let children = tasks.filter_map(|file| std::fs::read_to_string(file).ok());
    let children: Vec<Pid> = children
        .flat_map(|line| line.split_whitespace().map(|id| Pid::from_raw(id.parse().unwrap()).unwrap()).collect::<Vec<_>>())
        .collect();
    std::iter::once(parent).chain(children).collect()
}
