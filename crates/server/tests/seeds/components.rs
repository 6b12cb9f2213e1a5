//! Redis Cluster, Kafka, PostgreSQL and MariaDB, started by the project's own scripts when the first test needs them, and stopped when this
//! process ends, however it does.

use crate::harness::Server;
use std::io::PipeWriter;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// One component: its folder and its first port.
pub struct Component {
    name: &'static str,
    folder: PathBuf,
    pub port: u16,
    /// Closes when this process ends.
    _alive: PipeWriter,
}

impl Component {
    /// `count` ports in a row are its own.
    fn start(name: &'static str, count: u16) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let alive = stop_when_this_process_ends(name, &folder);
        let component = Self { name, port: free_ports(count), folder, _alive: alive };
        component.script(&component.arguments("start"));
        component
    }

    /// Runs its script.
    pub fn script(&self, arguments: &[String]) {
        let output = Command::new(script(self.name)).args(arguments).env("START_SECONDS", "120").stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn arguments(&self, verb: &str) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let port = self.port.to_string();
        match self.name {
            "postgres" | "mariadb" => vec![verb.into(), self.name.into(), folder, port],
            _ => vec![verb.into(), folder, port],
        }
    }
}

pub fn redis() -> &'static Component {
    static REDIS: OnceLock<Component> = OnceLock::new();
    REDIS.get_or_init(|| Component::start("redis", 16))
}

pub fn kafka() -> &'static Component {
    static KAFKA: OnceLock<Component> = OnceLock::new();
    KAFKA.get_or_init(|| Component::start("kafka", 2))
}

pub fn database(name: &str) -> &'static Component {
    static POSTGRES: OnceLock<Component> = OnceLock::new();
    static MARIADB: OnceLock<Component> = OnceLock::new();
    match name {
        "postgres" => POSTGRES.get_or_init(|| Component::start("postgres", 1)),
        _ => MARIADB.get_or_init(|| Component::start("mariadb", 1)),
    }
}

/// The URL of a new database.
fn new_database(name: &str, number: u32) -> String {
    let port = database(name).port;
    let (database, statement) = (format!("t{number}"), format!("CREATE DATABASE t{number}"));
    let (mut shell, url) = match name {
        "postgres" => {
            let mut shell = Command::new("psql");
            shell.args(["-XqAt", "-d", &format!("postgres://bunho@127.0.0.1:{port}/bunho"), "-c", &statement]);
            (shell, format!("postgres://bunho@127.0.0.1:{port}/{database}"))
        }
        _ => {
            let mut shell = Command::new("mariadb");
            shell.args(["--no-defaults", "-h", "127.0.0.1", "-P", &port.to_string(), "-u", "bunho", "-e", &statement]);
            (shell, format!("mysql://bunho@127.0.0.1:{port}/{database}"))
        }
    };
    let output = shell.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    url
}

fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// One node whose ledger is a database of its own.
pub async fn embedded(database: &'static str) -> Server {
    let url = tokio::task::spawn_blocking(move || new_database(database, number())).await.unwrap();
    Server::start_with(&[("BUNHO_LEDGER__URL", &url)], &[]).await
}

/// Two nodes on a database, a topic and keys of their own.
pub async fn cluster(database: &'static str) -> Server {
    let environment = tokio::task::spawn_blocking(move || environment(database)).await.unwrap();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start_nodes(2, &environment, &[]).await
}

/// The settings of a cluster's nodes.
pub fn environment(database: &'static str) -> Vec<(&'static str, String)> {
    let number = number();
    let nodes: Vec<String> = (0..6).map(|node| format!("\"redis://127.0.0.1:{}\"", redis().port + node)).collect();
    // Kept, and removed with the components.
    let secrets = redis().folder.join(format!("secrets-{number}"));
    vec![
        ("BUNHO_ENGINE__SHAPE", "cluster".into()),
        ("BUNHO_REDIS__NODES", format!("[{}]", nodes.join(", "))),
        ("BUNHO_REDIS__PREFIX", format!("t{number}")),
        ("BUNHO_KAFKA__BROKERS", format!("127.0.0.1:{}", kafka().port)),
        ("BUNHO_KAFKA__TOPIC", format!("t{number}")),
        ("BUNHO_KAFKA__PARTITIONS", "6".into()),
        ("BUNHO_KAFKA__REPLICATION", "1".into()),
        ("BUNHO_CLUSTER__SECRETS_DIR", secrets.display().to_string()),
        ("BUNHO_LEDGER__URL", new_database(database, number)),
    ]
}

/// Somebody who waits for the pipe to close, then stops the component and removes its folder.
fn stop_when_this_process_ends(name: &str, folder: &Path) -> PipeWriter {
    let (reader, writer) = std::io::pipe().unwrap();
    let script_text = "read -r _; \"$0\" stop \"$1\"; rm -rf \"$(readlink -f \"$1/data\")\" \"$1\"";
    let mut watcher = Command::new("setsid");
    watcher.args(["--fork", "bash", "-c", script_text]).arg(script(name)).arg(folder);
    assert!(watcher.stdin(reader).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success());
    writer
}

fn script(component: &str) -> PathBuf {
    let file = match component {
        "postgres" | "mariadb" => "sql.sh",
        "redis" => "redis.sh",
        _ => "kafka.sh",
    };
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cluster").join(file)
}

/// So many ports in a row, below those that the system gives to outgoing connections, which could take them in the meantime.
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 25_000 + u16::try_from(std::process::id() % 300).unwrap() * 20;
    let is_free = |port: &u16| (0..count).all(|next| TcpListener::bind(("127.0.0.1", port + next)).is_ok());
    let offset = u16::try_from(NEXT.fetch_add(40, Ordering::Relaxed)).unwrap();
    (first + offset..32_000).step_by(2).find(is_free).expect("free ports")
}
