//! A Redis Cluster of three primaries with ports and a folder of its own.
//!
//! Each server runs under a shell that waits for the end of its input and then stops it by its process id and removes its folder.
//! The input ends when this process does, however it ends.

use crate::ports;
use bunho_domain::ids::{AppId, OfferId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_engine::cluster::redis::{DecideError, Decider, DeciderOptions, Home, MemoryJournal, Patience, Shipper};
use bunho_journal::Audit;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const GUARD: &str = r#"trap : TERM INT HUP; cd "$1" && "$(command -v redis-server)" --port "$2" --cluster-port "$3" --bind 127.0.0.1 --dir "$1" --cluster-enabled yes \
 --cluster-node-timeout 2000 --save "" --appendonly yes --appendfsync no --daemonize no --loglevel warning --enable-debug-command local \
 >redis.log 2>&1 & pid=$!; exec 2>/dev/null; read -r _; kill -9 $pid; wait $pid; rm -rf "$1""#;

pub struct Node {
    pub port: u16,
    _guard: Child,
}

impl Node {
    /// Stops it as it stands; what is sent to it waits in its sockets. For less than its time limit, after which the others do not wait for it.
    pub fn freeze(&self) -> Frozen {
        let info = ask(self.port, "INFO server");
        let pid = info.lines().find_map(|line| line.strip_prefix("process_id:")).unwrap().to_owned();
        signal("STOP", &pid);
        // Each of its threads stops when it gets to it.
        until("it stands still", || std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().all(|thread| stands(&thread.unwrap())));
        Frozen(pid)
    }
}

/// A server that does nothing until this is dropped.
pub struct Frozen(String);

impl Drop for Frozen {
    fn drop(&mut self) {
        signal("CONT", &self.0);
    }
}

fn stands(thread: &std::fs::DirEntry) -> bool {
    std::fs::read_to_string(thread.path().join("stat")).unwrap().contains(") T ")
}

fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), pid]).status().unwrap().success());
}

/// The cluster of this process.
pub fn nodes() -> &'static [Node] {
    static NODES: OnceLock<Vec<Node>> = OnceLock::new();
    NODES.get_or_init(start)
}

pub fn seeds() -> Vec<String> {
    seeds_of(nodes())
}

pub fn seeds_of(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect()
}

/// One more cluster, for a test that would disturb the others; it stops when it is dropped.
pub fn start() -> Vec<Node> {
    let ports: Vec<(u16, u16)> = (0..3).map(|_| (ports::free(), ports::free())).collect();
    let nodes: Vec<Node> = ports.iter().map(|&(port, bus)| start_one(port, bus)).collect();
    for (i, &(port, _)) in ports.iter().enumerate() {
        let (first, last) = (i * 16_384 / 3, (i + 1) * 16_384 / 3 - 1);
        assert_eq!(ask(port, &format!("CLUSTER ADDSLOTSRANGE {first} {last}")), "+OK\r\n");
        assert_eq!(ask(port, &format!("CLUSTER SET-CONFIG-EPOCH {}", i + 1)), "+OK\r\n");
    }
    for &(port, bus) in &ports[1..] {
        assert_eq!(ask(ports[0].0, &format!("CLUSTER MEET 127.0.0.1 {port} {bus}")), "+OK\r\n");
    }
    let ready = |port: u16| {
        let info = ask(port, "CLUSTER INFO");
        info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
    };
    until("the cluster is whole", || ports.iter().all(|&(port, _)| ready(port)));
    nodes
}

/// A node that knows of no other, and of no slots.
pub fn start_alone() -> Node {
    start_one(ports::free(), ports::free())
}

fn start_one(port: u16, bus: u16) -> Node {
    let dir = tempfile::tempdir().unwrap().keep();
    let guard = Command::new("sh")
        .args(["-c", GUARD, "sh", dir.to_str().unwrap(), &port.to_string(), &bus.to_string()])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    until("a server answers", || TcpStream::connect(("127.0.0.1", port)).is_ok());
    Node { port, _guard: guard }
}

/// Sends one inline command; returns what came first.
pub fn ask(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut buffer = vec![0; 65_536];
    let len = stream.read(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..len]).into_owned()
}

/// Sends one inline command that nothing answers.
pub fn tell(port: u16, command: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    // Its end shows that the command was read.
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(String::from_utf8_lossy(&answer), "");
}

/// Waits for a state of another process, which tells nobody of it. Most looks are a connection of their own, of which a system has only so many: hence the
/// pause between two.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "in 30 s it never came to be that {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A tag that no other test of this process uses, with room for ten offers.
pub fn fresh_tag() -> u32 {
    static TAG: AtomicU32 = AtomicU32::new(1);
    TAG.fetch_add(10, Ordering::Relaxed)
}

/// A node that gives nothing up because a machine is slow.
pub fn patient(seeds: Vec<String>) -> DeciderOptions {
    let long = Duration::from_secs(30);
    let patience = Patience { connect: long, respond: long, cluster: long };
    DeciderOptions { patience, durable_within: Duration::from_secs(60), ..DeciderOptions::new(seeds) }
}

/// One of several nodes of which none dies: each ships all of its own, however late, and the others wait for that.
pub fn trusting(seeds: Vec<String>) -> DeciderOptions {
    let mut options = patient(seeds);
    options.gathering.relay_after = Duration::from_secs(3_600);
    options
}

/// A node that is told after a short while that the result is unknown: one that is long enough for whatever else it is asked.
pub fn hasty(seeds: Vec<String>) -> DeciderOptions {
    DeciderOptions { durable_within: Duration::from_secs(3), ..patient(seeds) }
}

/// A node whose journal takes nothing, as one that dies between deciding and shipping. What it is asked for may be decided after it has said that it
/// does not know: the outbox tells when.
pub async fn open_dying(seeds: Vec<String>) -> Decider {
    let (shipments, receiver) = mpsc::channel(1);
    drop(receiver);
    let options = DeciderOptions { durable_within: Duration::from_millis(300), ..patient(seeds) };
    Decider::open(options, Shipper::Channel(shipments)).await.unwrap()
}

pub async fn open(options: DeciderOptions) -> (Decider, Arc<MemoryJournal>) {
    let journal = Arc::new(MemoryJournal::default());
    (Decider::open(options, Shipper::Memory(journal.clone())).await.unwrap(), journal)
}

/// Lets an offer go on with whatever state it has.
pub async fn resume(cluster: &Decider, home: Home) -> Result<(), DecideError> {
    let standing = cluster.versions(home.tag, &[home.offer]).await?[0].ok_or(DecideError::UnknownOffer)?;
    cluster.resume(home, standing.version).await
}

pub fn audit() -> Audit {
    Audit { actor: "test".into(), action: "test".into(), target: "김".into(), detail: Some("{}".into()), request_id: None }
}

pub fn offer_settings(id: &str, kind: Kind, quantity: u32) -> OfferSettings {
    OfferSettings::new(OfferId::parse(id).unwrap(), AppId::parse("default").unwrap(), kind, quantity)
}
