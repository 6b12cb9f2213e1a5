//! The broker that the tests share, and more of them for a test of its own.

use bunho_journal::kafka::Connection;
use std::fs::{self, DirEntry};
use std::io::PipeWriter;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(crate) struct Broker {
    folder: PathBuf,
    port: u16,
    brokers: u16,
    /// Closes when this process ends, however it does.
    _alive: Option<PipeWriter>,
}

/// The broker, answering, for a test that leaves it so. Others may use it at the same time.
pub(crate) async fn shared() -> (&'static Broker, RwLockReadGuard<'static, ()>) {
    let guard = USE.read().await;
    (the_broker().await, guard)
}

/// The broker for a test that stops it. Nobody else uses it.
pub(crate) async fn alone() -> (&'static Broker, RwLockWriteGuard<'static, ()>) {
    let guard = USE.write().await;
    (the_broker().await, guard)
}

static USE: RwLock<()> = RwLock::const_new(());

async fn the_broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    tokio::task::spawn_blocking(|| BROKER.get_or_init(Broker::start)).await.unwrap()
}

impl Broker {
    fn start() -> Self {
        if let Some(folder) = std::env::var_os("BUNHO_TEST_KAFKA") {
            let folder = PathBuf::from(folder);
            let port = std::fs::read_to_string(folder.join("base-port")).expect("a folder of scripts/cluster/kafka.sh");
            return Self { folder, port: port.trim().parse().unwrap(), brokers: 1, _alive: None };
        }
        Self::of(1)
    }

    /// Brokers of the caller's own, which end with it.
    pub(crate) fn of(brokers: u16) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let alive = Some(stop_when_this_process_ends(&folder));
        let broker = Self { folder, port: free_ports(2 * brokers), brokers, _alive: alive };
        broker.script("start", None);
        broker
    }

    fn script(&self, verb: &str, broker: Option<&str>) {
        let mut command = Command::new(script_path());
        command.arg(verb).args(broker).arg(&self.folder).arg(self.port.to_string());
        let output = command.env("START_SECONDS", "120").env("BROKERS", self.brokers.to_string()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{verb}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Kills one, counted from 1.
    pub(crate) fn kill(&self, broker: u16) {
        self.script("kill-one", Some(&broker.to_string()));
    }

    pub(crate) const fn is_one_of_several(&self) -> bool {
        self.brokers > 1
    }

    pub(crate) fn start_again(&self, broker: u16) {
        self.script("start-one", Some(&broker.to_string()));
    }

    /// Has its process stand still. Each of its threads stops when it gets to it.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
        let stands = |thread: DirEntry| fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| stat.contains(") T "));
        while !fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().all(|thread| stands(thread.unwrap())) {
            std::thread::yield_now();
        }
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        assert!(Command::new("kill").args([signal, &self.pid()]).status().unwrap().success());
    }

    fn pid(&self) -> String {
        let pid = fs::read_to_string(self.folder.join("broker-1.pid")).unwrap();
        pid.split_whitespace().next().unwrap().to_owned()
    }

    /// A topic of the caller's own; not made yet.
    pub(crate) fn topic(&self, name: &str) -> Connection {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Connection {
            brokers: (0..self.brokers).map(|n| format!("127.0.0.1:{}", self.port + 2 * n)).collect::<Vec<_>>().join(","),
            topic: format!("{name}-{}-{number}", std::process::id()),
            timeout: Duration::from_secs(30),
            properties: Vec::new(),
        }
    }
}

/// Somebody who waits for the pipe to close, then stops the broker and removes its folder.
fn stop_when_this_process_ends(folder: &Path) -> PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    let script = "read -r _; \"$0\" stop \"$1\"; rm -rf \"$1\"";
    let mut watcher = Command::new("setsid");
    watcher.args(["--fork", "bash", "-c", script]).arg(script_path()).arg(folder);
    assert!(watcher.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    writer
}

fn script_path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cluster/kafka.sh")
}

/// So many ports in a row, below those that the system gives to outgoing connections, which could take them in the meantime.
fn free_ports(count: u16) -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap() * 2;
    let is_free = |port: &u16| (0..count).all(|next| TcpListener::bind(("127.0.0.1", port + next)).is_ok());
    (first..32_000).step_by(2).find(is_free).expect("free ports")
}
