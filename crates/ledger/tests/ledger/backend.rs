//! Which database a test runs on, and servers for those that need one.
//!
//! `BUNHO_TEST_POSTGRES` and `BUNHO_TEST_MARIADB` name running servers by URLs whose user may make databases. Without them the
//! project's own script starts one for all tests of this process; a guard stops it when the process ends, however it does.

use bunho_ledger::Place;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, MySqlConnection, PgConnection, SqliteConnection};
use std::cell::Cell;
use std::io::{ErrorKind, Read};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// A process that was killed is gone long before this.
const ENDED_WITHIN: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
    MariaDb,
}

std::thread_local! {
    static BACKEND: Cell<Backend> = const { Cell::new(Backend::Sqlite) };
}

impl Backend {
    /// What the worlds of this thread, which is this test's, are made on.
    pub fn choose(self) {
        BACKEND.set(self);
    }

    pub fn chosen() -> Self {
        BACKEND.get()
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
            Self::MariaDb => "mariadb",
        }
    }

    /// A database of its own, empty.
    pub async fn place(self, dir: &Path) -> Place {
        match self {
            Self::Sqlite => Place::from(&dir.join("ledger.db")),
            Self::Postgres | Self::MariaDb => new_database(self.shared_server()).await,
        }
    }

    fn shared_server(self) -> &'static str {
        static POSTGRES: OnceLock<String> = OnceLock::new();
        static MARIADB: OnceLock<String> = OnceLock::new();
        let (server, variable) = match self {
            Self::MariaDb => (&MARIADB, "BUNHO_TEST_MARIADB"),
            Self::Sqlite | Self::Postgres => (&POSTGRES, "BUNHO_TEST_POSTGRES"),
        };
        // The guard lives as long as the process.
        server.get_or_init(|| std::env::var(variable).unwrap_or_else(|_| Box::leak(Box::new(Server::start(self))).url.clone()))
    }
}

/// Runs each of these tests on every database.
macro_rules! on_each {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test]
            async fn sqlite() {
                $crate::backend::Backend::Sqlite.choose();
                super::$name().await;
            }

            #[tokio::test]
            async fn postgres() {
                $crate::backend::Backend::Postgres.choose();
                super::$name().await;
            }

            #[tokio::test]
            async fn mariadb() {
                $crate::backend::Backend::MariaDb.choose();
                super::$name().await;
            }
        }
    )*};
}
pub(crate) use on_each;

/// Runs each of these tests on every database that nodes can share.
macro_rules! on_servers {
    ($($name:ident),* $(,)?) => {$(
        mod $name {
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn postgres() {
                super::$name($crate::backend::Backend::Postgres).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn mariadb() {
                super::$name($crate::backend::Backend::MariaDb).await;
            }
        }
    )*};
}
pub(crate) use on_servers;

/// A server of one's own.
pub struct Server {
    pub url: String,
    backend: Backend,
    dir: PathBuf,
    port: u16,
    /// When it closes, the guard stops the server and removes its data.
    _alive: ChildStdin,
    _guard: Child,
}

impl Server {
    pub fn start(backend: Backend) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = root.join(format!("target/cluster/test-{}-{}-{number}", backend.name(), std::process::id()));
        let port = free_port();
        let url = script(&["start", backend.name(), path(&dir), &port.to_string()]).expect("the server starts").trim().to_owned();
        let ending = "cat >/dev/null; \"$0\" stop \"$1\"; rm -rf \"$(readlink -f \"$1/data\")\" \"$1\"";
        let mut guard = Command::new("sh");
        guard.args(["-c", ending, path(&script_path()), path(&dir)]).stdin(Stdio::piped());
        let mut guard = detached(&mut guard).spawn().expect("a guard");
        let alive = guard.stdin.take().expect("its input");
        Self { url, backend, dir, port, _alive: alive, _guard: guard }
    }

    /// Starts it again after it was killed.
    pub fn restart(&self) {
        script(&["start", self.backend.name(), path(&self.dir), &self.port.to_string()]).expect("it starts again");
    }

    /// Kills the server's process, and no other. PostgreSQL's other processes end by themselves when they notice; a restart waits for that.
    pub fn kill(&self) {
        let process = self.process();
        pidfd_send_signal(&process, Signal::KILL).expect("it is killed");
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&ENDED_WITHIN));
        assert_eq!(ended, Ok(1), "it ended");
    }

    /// Has the server's process stand still for so long that a new connection hears nothing for this time.
    pub fn pause(&self, silence: Duration) {
        let process = self.process();
        pidfd_send_signal(&process, Signal::STOP).expect("it is stopped");
        // Each of its threads stops when it gets to it.
        while !self.stands() {
            std::thread::yield_now();
        }
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).expect("the system takes it");
        connection.set_read_timeout(Some(silence)).expect("a bound");
        let heard = connection.read(&mut [0]);
        pidfd_send_signal(&process, Signal::CONT).expect("it goes on");
        assert!(heard.as_ref().is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{heard:?}");
    }

    fn stands(&self) -> bool {
        let mut threads = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        threads.all(|thread| std::fs::read_to_string(thread.expect("a thread").path().join("stat")).is_ok_and(|stat| stat.contains(") T ")))
    }

    fn pid(&self) -> i32 {
        let pid = std::fs::read_to_string(self.dir.join("pid")).expect("its id");
        pid.trim().parse().expect("a process id")
    }

    fn process(&self) -> OwnedFd {
        pidfd_open(Pid::from_raw(self.pid()).expect("a process id"), PidfdFlags::empty()).expect("it runs")
    }
}

/// A port below those that the system gives to outgoing connections, which could take it before the server does. Asked twice, two ports.
fn free_port() -> u16 {
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(16);
    let mut ports = std::iter::repeat_with(|| 20_000 + (first.wrapping_add(ASKED.fetch_add(1, Ordering::Relaxed)) % 12_000) as u16);
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("a free port")
}

/// Not part of this process's group, so that an interrupt from the keyboard leaves it to do its work.
fn detached(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    command.process_group(0)
}

fn script_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/cluster/sql.sh")
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a readable path")
}

/// Runs the script; its servers may not hold this process's pipes open, so the answer goes through a file.
fn script(arguments: &[&str]) -> Result<String, String> {
    let mut answer = tempfile::tempfile().expect("a file");
    let output = answer.try_clone().expect("a handle");
    let errors = output.try_clone().expect("a handle");
    let status = Command::new(script_path()).args(arguments).stdin(Stdio::null()).stdout(output).stderr(errors).status().expect("it runs");
    let mut text = String::new();
    std::io::Seek::rewind(&mut answer).expect("rewound");
    std::io::Read::read_to_string(&mut answer, &mut text).expect("an answer");
    if status.success() { Ok(text) } else { Err(text) }
}

/// Makes a database on a server.
pub async fn new_database(server: &str) -> Place {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut shell = Shell::to(&Place::parse(server).expect("a server")).await;
    shell.run(&format!("CREATE DATABASE {name}")).await;
    let (front, _) = server.rsplit_once('/').expect("a database in the URL");
    Place::parse(&format!("{front}/{name}")).expect("a place")
}

/// A connection as a person would have it.
pub enum Shell {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
    MariaDb(MySqlConnection),
}

impl Shell {
    pub async fn to(place: &Place) -> Self {
        match place {
            Place::Sqlite(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
                Self::Sqlite(SqliteConnection::connect_with(&options).await.expect("a connection"))
            }
            Place::Postgres(url) => {
                Self::Postgres(sqlx::postgres::PgConnectOptions::from_url(url).expect("options").connect().await.expect("a connection"))
            }
            Place::MySql(url) => {
                let mut shell =
                    Self::MariaDb(sqlx::mysql::MySqlConnectOptions::from_url(url).expect("options").connect().await.expect("a connection"));
                shell.run("SET SESSION sql_mode = CONCAT(@@sql_mode, ',ANSI_QUOTES')").await;
                shell
            }
        }
    }

    /// Runs a statement.
    pub async fn run(&mut self, statement: &str) {
        self.lines(statement).await;
    }

    /// The answer, a row a line, columns with `|` between them.
    pub async fn lines(&mut self, statement: &str) -> Vec<String> {
        // In the text protocols every value has a text.
        let statement = sqlx::raw_sql(AssertSqlSafe(statement.to_owned()));
        match self {
            Self::Sqlite(shell) => statement.fetch_all(shell).await.expect("an answer").iter().map(line).collect(),
            Self::Postgres(shell) => statement.fetch_all(shell).await.expect("an answer").iter().map(line).collect(),
            Self::MariaDb(shell) => statement.fetch_all(shell).await.expect("an answer").iter().map(line).collect(),
        }
    }
}

fn line<R: sqlx::Row>(row: &R) -> String
where
    usize: sqlx::ColumnIndex<R>,
    Option<String>: for<'r> sqlx::Decode<'r, R::Database>,
{
    let cell = |index: usize| -> String {
        row.try_get_unchecked::<Option<String>, usize>(index).expect("text").unwrap_or_else(|| "null".to_owned())
    };
    (0..row.columns().len()).map(cell).collect::<Vec<_>>().join("|")
}
