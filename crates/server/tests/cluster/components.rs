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
    pub folder: PathBuf,
    pub port: u16,
    /// Brokers, where it is Kafka.
    pub brokers: u16,
    /// Closes when this process ends.
    _alive: PipeWriter,
}

impl Component {
    /// A cluster of three primaries and three replicas.
    pub fn redis() -> Self {
        Self::start("redis", 16, 0)
    }

    pub fn kafka(brokers: u16) -> Self {
        Self::start("kafka", 2 * brokers, brokers)
    }

    /// `postgres` or `mariadb`.
    pub fn database(name: &'static str) -> Self {
        Self::start(name, 1, 0)
    }

    /// `ports` in a row are its own.
    fn start(name: &'static str, ports: u16, brokers: u16) -> Self {
        let folder = tempfile::tempdir().unwrap().keep();
        let alive = stop_when_this_process_ends(name, &folder);
        let component = Self { name, port: free_ports(ports), folder, brokers, _alive: alive };
        component.script("start");
        component
    }

    /// Starts whatever of it does not run, and waits until all of it answers.
    pub fn script(&self, verb: &str) {
        self.run(&[vec![verb.to_string()], self.place()].concat());
    }

    /// Starts or kills one of its processes.
    pub fn script_one(&self, verb: &str, number: u16) {
        self.run(&[vec![verb.to_string(), number.to_string()], self.place()].concat());
    }

    fn place(&self) -> Vec<String> {
        let kind = matches!(self.name, "postgres" | "mariadb").then(|| self.name.to_string());
        kind.into_iter().chain([self.folder.display().to_string(), self.port.to_string()]).collect()
    }

    fn run(&self, arguments: &[String]) {
        let mut script = Command::new(script(self.name));
        script.args(arguments).env("START_SECONDS", "120").env("BROKERS", self.brokers.max(1).to_string()).stdin(Stdio::null());
        let output = script.output().unwrap();
        assert!(output.status.success(), "{} {arguments:?}: {}", self.name, String::from_utf8_lossy(&output.stderr));
    }

    /// The URL of a new database.
    fn new_database(&self, number: u32) -> String {
        let port = self.port;
        let (database, statement) = (format!("t{number}"), format!("CREATE DATABASE t{number}"));
        let (mut shell, url) = match self.name {
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
}

pub fn redis() -> &'static Component {
    static REDIS: OnceLock<Component> = OnceLock::new();
    REDIS.get_or_init(Component::redis)
}

pub fn kafka() -> &'static Component {
    static KAFKA: OnceLock<Component> = OnceLock::new();
    KAFKA.get_or_init(|| Component::kafka(1))
}

pub fn database(name: &str) -> &'static Component {
    static POSTGRES: OnceLock<Component> = OnceLock::new();
    static MARIADB: OnceLock<Component> = OnceLock::new();
    match name {
        "postgres" => POSTGRES.get_or_init(|| Component::database("postgres")),
        _ => MARIADB.get_or_init(|| Component::database("mariadb")),
    }
}

fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(1);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// The URL of a database that nothing is in.
pub fn new_database(name: &str) -> String {
    database(name).new_database(number())
}

/// One node whose ledger is a database of its own.
pub async fn embedded(name: &'static str) -> Server {
    let url = tokio::task::spawn_blocking(move || new_database(name)).await.unwrap();
    Server::start_with(&[("BUNHO_LEDGER__URL", &url)], &[]).await
}

/// Two nodes on a database, a topic and keys of their own.
pub async fn cluster(name: &'static str) -> Server {
    let environment = tokio::task::spawn_blocking(move || environment(name)).await.unwrap();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Server::start_nodes(2, &environment, &[]).await
}

/// The settings of nodes on the components that all tests share.
pub fn environment(name: &str) -> Vec<(&'static str, String)> {
    environment_on(redis(), kafka(), database(name))
}

/// The settings of a cluster's nodes.
pub fn environment_on(redis: &Component, kafka: &Component, database: &Component) -> Vec<(&'static str, String)> {
    let number = number();
    let nodes: Vec<String> = (0..6).map(|node| format!("\"redis://127.0.0.1:{}\"", redis.port + node)).collect();
    let brokers: Vec<String> = (0..kafka.brokers).map(|broker| format!("127.0.0.1:{}", kafka.port + 2 * broker)).collect();
    // Kept, and removed with the components.
    let secrets = redis.folder.join(format!("secrets-{number}"));
    vec![
        ("BUNHO_ENGINE__SHAPE", "cluster".into()),
        ("BUNHO_REDIS__NODES", format!("[{}]", nodes.join(", "))),
        ("BUNHO_REDIS__PREFIX", format!("t{number}")),
        ("BUNHO_KAFKA__BROKERS", brokers.join(",")),
        ("BUNHO_KAFKA__TOPIC", format!("t{number}")),
        ("BUNHO_KAFKA__PARTITIONS", "6".into()),
        ("BUNHO_KAFKA__REPLICATION", kafka.brokers.to_string()),
        ("BUNHO_CLUSTER__SECRETS_DIR", secrets.display().to_string()),
        ("BUNHO_LEDGER__URL", database.new_database(number)),
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
pub fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = 25_000 + u16::try_from(std::process::id() % 250).unwrap() * 20;
    let is_free = |port: &u16| (0..count).all(|next| TcpListener::bind(("127.0.0.1", port + next)).is_ok());
    let offset = u16::try_from(NEXT.fetch_add(40, Ordering::Relaxed)).unwrap();
    (first + offset..32_000).step_by(2).find(is_free).expect("free ports")
}
