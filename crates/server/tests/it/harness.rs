//! A server of one's own: the real binary on a free port, with a data folder that outlives restarts.

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub const ADMIN_KEY: &str = "bk_test-admin-key-of-the-suite";

/// Starting includes building the state; a loaded machine is slow.
const START_TIMEOUT: Duration = Duration::from_secs(60);

pub struct Server {
    dir: TempDir,
    process: Option<Child>,
    pub url: String,
    pub client: Client,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// More nodes of the same cluster; requests go to all of them by turns.
    others: Vec<Started>,
    others_count: usize,
    turns: AtomicUsize,
}

/// What a server says on standard output until it serves.
pub struct Started {
    pub process: Child,
    pub url: String,
    pub lines: Vec<String>,
}

impl Server {
    pub async fn start() -> Self {
        Self::start_with(&[], &[]).await
    }

    pub async fn start_with(environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        Self::start_nodes(1, environment, arguments).await
    }

    /// Nodes of one cluster, whose environment says where it is.
    pub async fn start_nodes(count: usize, environment: &[(&str, &str)], arguments: &[&str]) -> Self {
        let others_count = count - 1;
        let own = |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect();
        let mut server = Self {
            dir: TempDir::new().unwrap(),
            process: None,
            url: String::new(),
            client: Client::builder().pool_max_idle_per_host(1_024).timeout(Duration::from_secs(30)).build().unwrap(),
            environment: own(environment),
            arguments: arguments.iter().map(|a| (*a).to_string()).collect(),
            others: Vec::new(),
            others_count,
            turns: AtomicUsize::new(0),
        };
        server.launch();
        server.until_ready().await;
        server
    }

    /// A server on a folder that is there already; it does not run yet.
    pub fn on(dir: TempDir) -> Self {
        Self {
            dir,
            process: None,
            url: String::new(),
            client: Client::builder().pool_max_idle_per_host(1_024).timeout(Duration::from_secs(30)).build().unwrap(),
            environment: Vec::new(),
            arguments: Vec::new(),
            others: Vec::new(),
            others_count: 0,
            turns: AtomicUsize::new(0),
        }
    }

    fn launch(&mut self) {
        self.try_launch().unwrap_or_else(|(status, lines)| panic!("the server did not start: {status}; it said {lines:#?}"));
        for node in 1..=self.others_count {
            // One after the other: the first makes the secrets that all share.
            self.others.push(launch(self.serve(&format!("node-{node}"))));
        }
    }

    fn serve(&self, folder: &str) -> Command {
        let mut command = self.command("serve", folder);
        command.args(["--listen", "127.0.0.1:0"]).args(&self.arguments);
        command
    }

    /// Another command on the data and with the environment of the first node, which does not run.
    pub fn run(&self, verb: &str) -> Output {
        self.command(verb, "").output().unwrap()
    }

    fn command(&self, verb: &str, folder: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
        command.arg(verb).arg("--data").arg(self.dir.path().join(folder)).stdin(Stdio::null());
        // Keys are changed and dropped within seconds here.
        command.env("BUNHO_PASS__KEY_PUBLISH_SECONDS", "0");
        command.env("BUNHO_ADMIN_KEY", ADMIN_KEY).env("BUNHO_LOG__LEVEL", "error").envs(self.environment.iter().map(|(a, b)| (a, b)));
        command
    }

    /// Starts it; where it ends before it serves: how, and what it said.
    pub fn try_launch(&mut self) -> Result<(), (ExitStatus, Vec<String>)> {
        let started = try_launch(self.serve(""))?;
        self.process = Some(started.process);
        self.url = started.url;
        Ok(())
    }

    /// How it ended, if it has.
    pub fn has_ended(&mut self) -> Option<ExitStatus> {
        let status = self.process.as_mut().expect("the server runs").try_wait().unwrap();
        if status.is_some() {
            self.process = None;
        }
        status
    }

    /// SIGTERM, and no waiting.
    pub fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(self.process.as_ref().expect("the server runs"));
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    }

    pub async fn until_ready(&self) {
        for url in self.urls() {
            let ready = async || self.client.get(format!("{url}/readyz")).send().await.is_ok_and(|r| r.status() == StatusCode::OK);
            until("the server is ready", START_TIMEOUT, ready).await;
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("the server runs").id()
    }

    pub fn data(&self) -> &Path {
        self.dir.path()
    }

    /// Where all nodes are.
    pub fn urls(&self) -> Vec<String> {
        std::iter::once(self.url.clone()).chain(self.others.iter().map(|node| node.url.clone())).collect()
    }

    /// Starts another node of the same cluster. One that takes the place of the last has its folder.
    pub async fn add_node(&mut self) {
        self.others.push(launch(self.serve(&format!("node-{}", self.others.len() + 1))));
        self.until_ready().await;
    }

    /// The process id of the node that came last.
    /// One more node, with variables of its own. False: it ended before it served.
    pub fn add_node_with(&mut self, environment: &[(&str, &str)]) -> bool {
        let mut command = self.serve(&format!("node-{}", self.others.len() + 1));
        command.envs(environment.iter().copied());
        let started = try_launch(command);
        let has_started = started.is_ok();
        self.others.extend(started.ok());
        has_started
    }

    /// Whether the last node has ended by itself; then it is one no more.
    pub fn last_has_ended(&mut self) -> bool {
        let has_ended = self.others.last_mut().unwrap().process.try_wait().unwrap().is_some();
        if has_ended {
            self.others.pop();
        }
        has_ended
    }

    pub fn last_pid(&self) -> u32 {
        self.others.last().expect("there is another node").process.id()
    }

    /// Ends the node that came last.
    pub fn end_last(&mut self, signal: rustix::process::Signal) {
        let mut node = self.others.pop().expect("there is another node");
        rustix::process::kill_process(rustix::process::Pid::from_child(&node.process), signal).unwrap();
        node.process.wait().unwrap();
    }

    /// SIGKILL, all nodes: no drain, no flush.
    pub fn kill(&mut self) {
        for mut node in self.others.drain(..) {
            node.process.kill().unwrap();
            node.process.wait().unwrap();
        }
        let mut process = self.process.take().expect("the server runs");
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGTERM; the exit code.
    pub fn stop(&mut self) -> i32 {
        let mut process = self.process.take().expect("the server runs");
        let pid = rustix::process::Pid::from_child(&process);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        process.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits until it ends by itself; the exit code.
    pub async fn ended(&mut self) -> i32 {
        let mut process = self.process.take().expect("the server runs");
        let code = tokio::task::spawn_blocking(move || process.wait().unwrap().code().unwrap_or(-1));
        tokio::time::timeout(START_TIMEOUT, code).await.expect("the server ends").unwrap()
    }

    pub async fn restart(&mut self) {
        self.launch();
        self.until_ready().await;
    }

    pub fn set_environment(&mut self, environment: &[(&str, &str)]) {
        self.environment = environment.iter().map(|(a, b)| ((*a).to_string(), (*b).to_string())).collect();
    }

    /// What a variable of its environment was set to.
    pub fn setting(&self, name: &str) -> String {
        self.environment.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone()).unwrap()
    }

    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let turn = self.turns.fetch_add(1, Ordering::Relaxed) % (1 + self.others.len());
        let url = if turn == 0 { &self.url } else { &self.others[turn - 1].url };
        self.client.request(method, format!("{url}{path}"))
    }

    pub async fn admin(&self, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
        let request = self.request(method, &format!("/admin/api/{path}")).bearer_auth(ADMIN_KEY).json(&body);
        read(request.send().await.unwrap()).await
    }

    pub async fn put_offer(&self, id: &str, body: Value) {
        let (status, answer) = self.admin(Method::PUT, &format!("offers/{id}"), body).await;
        assert!(status.is_success(), "{status} {answer}");
    }

    pub async fn put_zone(&self, id: &str, body: Value) {
        let (status, answer) = self.admin(Method::PUT, &format!("zones/{id}"), body).await;
        assert!(status.is_success(), "{status} {answer}");
    }

    pub async fn claim(&self, offer: &str, user: &str, key: Option<&str>, body: Value) -> (StatusCode, Value) {
        let mut request = self.request(Method::POST, &format!("/v1/offers/{offer}/claims")).header("x-bunho-user", user).json(&body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        read(request.send().await.unwrap()).await
    }

    pub async fn user_post(&self, user: &str, path: &str, body: Value) -> (StatusCode, Value) {
        read(self.request(Method::POST, path).header("x-bunho-user", user).json(&body).send().await.unwrap()).await
    }

    /// As the payment service would: with a key.
    pub async fn service_post(&self, path: &str, body: Value) -> (StatusCode, Value) {
        read(self.request(Method::POST, path).bearer_auth(ADMIN_KEY).json(&body).send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    pub async fn user_get(&self, user: &str, path: &str) -> (StatusCode, Value) {
        read(self.request(Method::GET, path).header("x-bunho-user", user).send().await.unwrap()).await
    }

    pub async fn offer(&self, id: &str) -> Value {
        let (status, offer) = self.get(&format!("/v1/offers/{id}")).await;
        assert_eq!(status, StatusCode::OK, "{offer}");
        let sum = ["remaining", "held", "confirmed"].map(|field| offer[field].as_u64().unwrap()).iter().sum::<u64>();
        assert_eq!(sum, offer["quantity"].as_u64().unwrap(), "{offer}");
        offer
    }

    pub async fn join(&self, zone: &str) -> (StatusCode, Value) {
        let body = json!({"zoneId": zone, "clientIp": "127.0.0.1", "clientAgent": "WEB"});
        read(self.request(Method::POST, "/traffic/wait").json(&body).send().await.unwrap()).await
    }

    pub async fn poll(&self, zone: &str, token: &str) -> (StatusCode, Value) {
        let body = json!({"zoneId": zone, "token": token});
        read(self.request(Method::POST, "/traffic/entry").json(&body).send().await.unwrap()).await
    }

    /// Asks the ledger with the database's own shell, while the server runs. Columns are separated by `|`.
    pub fn sql(&self, query: &str) -> String {
        let url = self.environment.iter().find(|(name, _)| name == "BUNHO_LEDGER__URL").map(|(_, url)| url.as_str());
        let mut shell = match url {
            None => {
                let mut shell = Command::new("sqlite3");
                shell.args(["-readonly", "-cmd", ".timeout 5000"]).arg(self.dir.path().join("ledger.db"));
                shell
            }
            Some(url) if url.starts_with("postgres") => {
                let mut shell = Command::new("psql");
                shell.args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-d", url]);
                shell
            }
            Some(url) => {
                let (front, database) = url.rsplit_once('/').unwrap();
                let (_, port) = front.rsplit_once(':').unwrap();
                let mut shell = Command::new("mariadb");
                shell.args(["--no-defaults", "-N", "-B", "-h", "127.0.0.1", "-P", port, "-u", "bunho", database]);
                shell
            }
        };
        let mut shell = shell
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the shells are installed: scripts/setup.sh does so");
        // As input, because a query that names thousands of ids is too long to be an argument. SQLite has no concat before 3.44.
        let query = match url {
            None => query.replace("concat(user_id, offer_id)", "user_id || offer_id"),
            Some(_) => query.to_owned(),
        };
        writeln!(shell.stdin.take().unwrap(), "{query};").unwrap();
        let output = shell.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().replace('\t', "|")
    }

    /// Waits until the ledger has everything that was answered so far.
    pub async fn until_projected(&self) {
        // Listing claims waits for the ledger; so it says when it is there.
        let (status, answer) = self.user_get("nobody", "/v1/claims").await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// `reconcile` of the running server says that engine and ledger are equal.
    pub fn assert_reconciled(&self) {
        let output = bunho(&["reconcile", "--url", &self.url]);
        assert!(output.status.success(), "{}", said(&output));
    }
}

/// Has a process stand still. Each of its threads stops when it gets to it, which on a busy machine is later than the signal.
pub fn stand_still(process: Pid) {
    // Children of a database come and go.
    let _ = kill_process(process, Signal::STOP);
    let stands = |stat: &str| stat.contains(") T ") || stat.contains(") Z ");
    let threads = format!("/proc/{process}/task");
    while std::fs::read_dir(&threads).is_ok_and(|mut threads| {
        threads
            .any(|thread| thread.is_ok_and(|thread| std::fs::read_to_string(thread.path().join("stat")).is_ok_and(|stat| !stands(&stat))))
    }) {
        std::thread::yield_now();
    }
}

/// Runs the program to its end, for an administrator.
pub fn bunho(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(arguments).env("BUNHO_ADMIN_KEY", ADMIN_KEY).env("BUNHO_LOG__LEVEL", "error");
    command.output().unwrap()
}

/// All that it wrote.
pub fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

impl Drop for Server {
    fn drop(&mut self) {
        for mut node in self.others.drain(..) {
            let _ = node.process.kill();
            let _ = node.process.wait();
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Runs a server until it tells its address, and goes on reading what it says.
pub fn launch(command: Command) -> Started {
    try_launch(command).unwrap_or_else(|(status, lines)| panic!("the server did not start: {status}; it said {lines:#?}"))
}

/// As [`launch`]; where the server ends before it serves: how, and what it said.
pub fn try_launch(mut command: Command) -> Result<Started, (ExitStatus, Vec<String>)> {
    // Whoever starts a server may have thousands of connections to it.
    let _ = rlimit::increase_nofile_limit(65_536);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(process.stdout.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let mut lines = Vec::new();
    loop {
        let line = match receiver.recv_timeout(START_TIMEOUT) {
            Ok(line) => line,
            Err(mpsc::RecvTimeoutError::Disconnected) => return Err((process.wait().unwrap(), lines)),
            Err(mpsc::RecvTimeoutError::Timeout) => panic!("the server did not start; it said {lines:#?}"),
        };
        let url = line.strip_prefix("serving ").map(|rest| rest.split_whitespace().next().unwrap_or_default().to_string());
        lines.push(line);
        if let Some(url) = url {
            return Ok(Started { process, url, lines });
        }
    }
}

pub async fn read(response: Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) })
}

/// An address at which nobody listens, and nobody else can while the socket is held.
pub fn nobody() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

/// Waits for a state, boundedly.
pub async fn until(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !condition().await {
        assert!(started.elapsed() < limit, "waited {limit:?} in vain until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Reads a time as the ledger writes it.
pub fn unix_ms(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap_or_else(|error| panic!("{text:?}: {error}")).as_millisecond()
}

/// A generator whose seed is printed, so that a failure can be had again with `BUNHO_TEST_SEED`.
pub fn seeded(name: &str) -> Random {
    let seed = std::env::var("BUNHO_TEST_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("{name}: BUNHO_TEST_SEED={seed}");
    Random(seed | 1)
}

/// xorshift64*: enough to choose moments and who leaves.
pub struct Random(u64);

impl Random {
    /// Another one, for a task of its own.
    pub fn fork(&mut self) -> Self {
        Self((self.below(1 << 31) << 32 | self.below(1 << 31)) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

/// Names of all points at which a test can end the process: those in `crash_point!("…")` and `fail_point!("…")`.
pub fn points_of_the_sources() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for folder in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap() {
        collect_points(&folder.unwrap().path().join("src"), &mut names);
    }
    names
}

fn collect_points(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect_points(&path, names);
            continue;
        }
        let source = std::fs::read_to_string(&path).unwrap();
        let found = source.split("_point!(\"").skip(1).filter_map(|rest| rest.split_once('"'));
        for (name, _) in found.filter(|(name, _)| name.contains("::")) {
            assert!(names.insert(name.to_string()), "{name} stands in two places");
        }
    }
}
