//! The services of a run: started by the project's own scripts on ports and in a folder of the lab's own, each when it is first needed, and ended by their
//! process ids. Or the ones that somebody names, which are used and never killed.

use crate::cli::{DatabaseName, RunArgs};
use crate::strategy::Victim;
use bunho_load::exit::Failure;
use rustix::process::{Pid, Signal, kill_process};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What installs what is missing.
const MEND: &str = "scripts/setup.sh cluster installs what is missing";
/// Longest wait for a service of the lab's own.
const START: Duration = Duration::from_secs(60);

/// All services of a run.
pub struct Services {
    folder: TempDir,
    scripts: PathBuf,
    next_port: u16,
    postgres: Option<Service>,
    mariadb: Option<Service>,
    redis: Option<Service>,
    kafka: Option<Service>,
    redis_cluster: Option<Service>,
}

/// One service.
struct Service {
    address: String,
    port: u16,
    /// The script that started it and its folder. None: somebody else's, or a Redis that is a child.
    script: Option<(&'static str, PathBuf)>,
    child: Option<Child>,
}

impl Services {
    /// None of them runs yet.
    ///
    /// # Errors
    /// No temporary folder; no scripts.
    pub fn new(args: &RunArgs) -> Result<Self, Failure> {
        let folder = TempDir::with_prefix("bunho-lab-").map_err(|error| Failure::internal(format_args!("no temporary folder: {error}")))?;
        let given = |address: &Option<String>| address.clone().map(|address| Service { address, port: 0, script: None, child: None });
        // Two labs that start together do not look at the same ports first.
        let apart = u16::try_from(std::process::id() % 16).unwrap_or(0) * 40;
        Ok(Self {
            folder,
            scripts: args.scripts.clone(),
            next_port: args.ports_from + apart,
            postgres: given(&args.postgres),
            mariadb: given(&args.mysql),
            redis: given(&args.redis),
            kafka: given(&args.kafka),
            redis_cluster: None,
        })
    }

    /// The folder that goes with the run.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// So many free ports in a row.
    ///
    /// # Errors
    /// There are none.
    pub fn ports(&mut self, count: u16) -> Result<u16, Failure> {
        let free = |first: &u16| (0..count).all(|next| TcpListener::bind(("127.0.0.1", first + next)).is_ok());
        let first = (self.next_port..60_000 - count)
            .step_by(2)
            .find(free)
            .ok_or_else(|| Failure::internal("no free ports from --ports-from on"))?;
        self.next_port = first + count + count % 2;
        Ok(first)
    }

    /// A database's address.
    ///
    /// # Errors
    /// It does not start.
    pub fn database(&mut self, name: DatabaseName) -> Result<String, Failure> {
        let (kind, known) = match name {
            DatabaseName::Postgres => ("postgres", &self.postgres),
            DatabaseName::Mariadb => ("mariadb", &self.mariadb),
        };
        if let Some(service) = known {
            return Ok(service.address.clone());
        }
        let (port, folder) = (self.ports(1)?, self.folder.path().join(kind));
        self.script("sql.sh", &["start", kind, &folder.display().to_string(), &port.to_string()])?;
        let scheme = if name == DatabaseName::Postgres { "postgres" } else { "mysql" };
        let address = format!("{scheme}://bunho@127.0.0.1:{port}/bunho");
        let service = Some(Service { address: address.clone(), port, script: Some(("sql.sh", folder)), child: None });
        match name {
            DatabaseName::Postgres => self.postgres = service,
            DatabaseName::Mariadb => self.mariadb = service,
        }
        Ok(address)
    }

    /// Redis's address.
    ///
    /// # Errors
    /// It does not start.
    pub fn redis(&mut self) -> Result<String, Failure> {
        if self.redis.is_none() {
            let port = self.ports(1)?;
            let child = Some(self.spawn_redis(port)?);
            self.redis = Some(Service { address: format!("redis://127.0.0.1:{port}"), port, script: None, child });
        }
        Ok(self.redis.as_ref().map(|service| service.address.clone()).unwrap_or_default())
    }

    /// Kafka's brokers.
    ///
    /// # Errors
    /// It does not start.
    pub fn kafka(&mut self) -> Result<String, Failure> {
        if self.kafka.is_none() {
            let (port, folder) = (self.ports(2)?, self.folder.path().join("kafka"));
            self.script("kafka.sh", &["start", &folder.display().to_string(), &port.to_string()])?;
            self.kafka = Some(Service { address: format!("127.0.0.1:{port}"), port, script: Some(("kafka.sh", folder)), child: None });
        }
        Ok(self.kafka.as_ref().map(|service| service.address.clone()).unwrap_or_default())
    }

    /// The nodes of a Redis Cluster, always the lab's own.
    ///
    /// # Errors
    /// It does not start.
    pub fn redis_cluster(&mut self) -> Result<Vec<String>, Failure> {
        if self.redis_cluster.is_none() {
            let (port, folder) = (self.ports(16)?, self.folder.path().join("redis-cluster"));
            self.script("redis.sh", &["start", &folder.display().to_string(), &port.to_string()])?;
            self.redis_cluster = Some(Service { address: String::new(), port, script: Some(("redis.sh", folder)), child: None });
        }
        let first = self.redis_cluster.as_ref().map_or(0, |service| service.port);
        Ok((first..first + 6).map(|port| format!("redis://127.0.0.1:{port}")).collect())
    }

    /// Whether a database is the lab's own, so that all that it counts is of this run.
    #[must_use]
    pub fn is_own(&self, name: DatabaseName) -> bool {
        let service = if name == DatabaseName::Postgres { &self.postgres } else { &self.mariadb };
        service.as_ref().is_some_and(|service| service.script.is_some())
    }

    /// Processor seconds that a database's processes have used. None: it is somebody else's.
    #[must_use]
    pub fn database_cpu(&self, name: DatabaseName) -> Option<f64> {
        let service = if name == DatabaseName::Postgres { &self.postgres } else { &self.mariadb };
        let (_, folder) = service.as_ref()?.script.as_ref()?;
        let pid: u32 = std::fs::read_to_string(folder.join("pid")).ok()?.trim().parse().ok()?;
        Some(family_cpu(pid))
    }

    /// SIGKILL to Redis, or to nodes of the Redis Cluster, or to the broker; an outage; and started again.
    ///
    /// # Errors
    /// It does not come back.
    pub fn strike(&mut self, victim: Victim, cluster: bool, outage: Duration) -> Result<(), Failure> {
        let (broker, empty) = (victim == Victim::Broker, victim == Victim::RedisData);
        if !broker && !cluster {
            let Some(service) = self.redis.as_mut() else { return Ok(()) };
            let port = service.port;
            if let Some(mut child) = service.child.take() {
                let _ = child.kill();
                let _ = child.wait();
            }
            if empty {
                forget(&self.folder.path().join("redis"))?;
            }
            std::thread::sleep(outage);
            let child = self.spawn_redis(port)?;
            if let Some(service) = self.redis.as_mut() {
                service.child = Some(child);
            }
            return Ok(());
        }
        let service = if broker { &self.kafka } else { &self.redis_cluster };
        let Some((script, folder)) = service.as_ref().and_then(|service| service.script.clone()) else { return Ok(()) };
        let path = folder.display().to_string();
        // One node of the cluster dies and its replica takes over; that its data are gone takes all of them.
        let numbers: &[&str] = match victim {
            Victim::RedisData => &["0", "1", "2", "3", "4", "5"],
            Victim::Broker => &["1"],
            _ => &["0"],
        };
        for number in numbers {
            self.script(script, &["kill-one", number, &path])?;
            if empty {
                forget(&folder.join(format!("node-{number}")))?;
            }
        }
        std::thread::sleep(outage);
        self.script(script, &["start", &path])
    }

    fn spawn_redis(&self, port: u16) -> Result<Child, Failure> {
        let folder = self.folder.path().join("redis");
        std::fs::create_dir_all(&folder).map_err(|error| Failure::internal(format_args!("{}: {error}", folder.display())))?;
        let log = std::fs::File::options().create(true).append(true).open(folder.join("log"));
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""])
            .args(["--maxmemory-policy", "noeviction", "--daemonize", "no", "--dir"])
            .arg(&folder)
            .stdin(Stdio::null())
            .stdout(log.map_or_else(|_| Stdio::null(), Stdio::from))
            // Ctrl-C in a terminal is the lab's to answer.
            .process_group(0)
            .spawn()
            .map_err(|error| Failure::unreachable(format_args!("redis-server cannot be started ({error}); {MEND}")))?;
        let began = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if began.elapsed() > START {
                return Err(Failure::unreachable(format_args!(
                    "redis-server does not answer on port {port}; its log is in {}",
                    folder.display()
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(child)
    }

    fn script(&self, name: &str, arguments: &[&str]) -> Result<(), Failure> {
        let path = self.scripts.join(name);
        let mut command = Command::new(&path);
        command.args(arguments).env("BROKERS", "1").stdin(Stdio::null()).process_group(0);
        if arguments.starts_with(&["start", "postgres"]) && has_statement_counts() {
            command.env("BUNHO_SQL_OPTIONS", "-c shared_preload_libraries=pg_stat_statements");
        }
        let script = command.output();
        let output = script.map_err(|error| {
            Failure::usage(format_args!("{} cannot be run ({error}); --scripts names the repository's scripts/cluster", path.display()))
        })?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().last().unwrap_or("it says nothing").trim();
        Err(Failure::unreachable(format_args!("a service does not start: {last}; {MEND}")))
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        for service in
            [&mut self.redis, &mut self.redis_cluster, &mut self.kafka, &mut self.postgres, &mut self.mariadb].into_iter().flatten()
        {
            if let Some(mut child) = service.child.take() {
                if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                    let _ = kill_process(pid, Signal::TERM);
                }
                let _ = child.wait();
            }
            let Some((script, folder)) = service.script.take() else { continue };
            let ended = Command::new(self.scripts.join(script)).arg("stop").arg(&folder).stdin(Stdio::null()).output();
            if !ended.is_ok_and(|output| output.status.success()) {
                eprintln!("bunho-lab: a service in {} does not stop; its process ids are in files there", folder.display());
            }
            // A database's data may lie elsewhere, where its user may read them.
            if let Ok(data) = folder.join("data").canonicalize() {
                let _ = std::fs::remove_dir_all(data);
            }
        }
    }
}

/// Whether PostgreSQL can count statements: its module comes with Debian's server package, and elsewhere with one of its own.
fn has_statement_counts() -> bool {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("lib/pg_stat_statements.so")).any(|module| module.exists())
}

/// Removes what a Redis has written of its keys.
fn forget(folder: &Path) -> Result<(), Failure> {
    let files = folder.join("appendonlydir");
    std::fs::remove_dir_all(&files).map_err(|error| Failure::internal(format_args!("{}: {error}", files.display())))
}

/// Processor seconds of a process, of those that it began, and of those among them that have ended.
fn family_cpu(root: u32) -> f64 {
    let stats: Vec<(u32, u32, u64)> = std::fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            // Behind the program's name, which may contain anything: state, parent, …, and from the 12th on its own and its children's ticks.
            let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
            let ticks = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum();
            Some((pid, fields.get(1)?.parse().ok()?, ticks))
        })
        .collect();
    let mut family = vec![root];
    let mut seen = 0;
    while let Some(parent) = family.get(seen).copied() {
        family.extend(stats.iter().filter(|(_, of, _)| *of == parent).map(|(pid, ..)| *pid));
        seen += 1;
    }
    let ticks: u64 = stats.iter().filter(|(pid, ..)| family.contains(pid)).map(|(.., ticks)| ticks).sum();
    ticks as f64 / rustix::param::clock_ticks_per_second() as f64
}
