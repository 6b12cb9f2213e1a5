//! Durable claims and polls over HTTP, beside the null endpoint in the same run.
//!
//! The null endpoint is the server's own `/healthz`: what HTTP itself costs on this machine with this client. Each
//! piece of work is measured in turns with it, so that a noisy neighbour hits both; the figure that counts is the
//! ratio. `make bench` runs this and writes the table; `-- --quick` is a short look.

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

const ADMIN_KEY: &str = "bk_bench-admin-key";
/// Turns of null endpoint and work.
const TURNS: u32 = 4;

struct Options {
    turn: Duration,
    waiting: &'static [usize],
    write: Option<String>,
}

/// What one kind of request is made of: method, path, extra headers, body.
type Made = (Method, String, Vec<(&'static str, String)>, String);

struct Row {
    work: String,
    connections: usize,
    per_second: f64,
    null_per_second: f64,
    p50_us: u64,
    p99_us: u64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let quick = arguments.iter().any(|a| a == "--quick");
    let write = arguments.iter().position(|a| a == "--write").and_then(|i| arguments.get(i + 1).cloned());
    let options = Options {
        turn: Duration::from_secs(if quick { 1 } else { 4 }),
        waiting: if quick { &[10_000] } else { &[10_000, 100_000, 1_000_000] },
        write,
    };
    // The generator shares the machine with the server, as everything here does.
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(options));
}

async fn run(options: Options) {
    let server = Server::start();
    let mut rows = Vec::new();
    for connections in [64, 1_000] {
        rows.push(claims(&server, &options, connections).await);
    }
    for &waiting in options.waiting {
        rows.push(polls(&server, &options, waiting).await);
    }
    let table = table(&rows, &options);
    println!("\n{table}");
    if let Some(path) = &options.write {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
        std::fs::write(format!("{root}{path}"), page(&table)).unwrap();
    }
}

async fn claims(server: &Server, options: &Options, connections: usize) -> Row {
    let offer = format!("bench-{connections}");
    server.call(Method::PUT, &format!("/admin/api/offers/{offer}"), json!({"kind": "coupon", "quantity": 1_000_000_000})).await;
    let users = Arc::new(AtomicU64::new(0));
    let path = format!("/v1/offers/{offer}/claims");
    let make = move || {
        let user = users.fetch_add(1, Ordering::Relaxed);
        let headers = vec![("x-bunho-user", format!("user-{user}")), ("idempotency-key", format!("key-{user}"))];
        (Method::POST, path.clone(), headers, "{\"quantity\":1}".to_string())
    };
    in_turns(
        server,
        options,
        &format!("durable claims (`ack = journal`), {connections} connections"),
        connections,
        StatusCode::CREATED,
        make,
    )
    .await
}

async fn polls(server: &Server, options: &Options, waiting: usize) -> Row {
    let zone = format!("bench-{waiting}");
    let settings = json!({
        "entry_limit_per_minute": 60, "poll_interval_ms": 100, "poll_interval_max_ms": 100, "abandon_after_seconds": 3600,
    });
    server.call(Method::PUT, &format!("/admin/api/zones/{zone}"), settings).await;
    let tokens = Arc::new(server.join(&zone, waiting).await);
    let next = Arc::new(AtomicU64::new(0));
    let make = move || {
        let token = &tokens[next.fetch_add(1, Ordering::Relaxed) as usize % tokens.len()];
        (Method::POST, "/traffic/entry".to_string(), Vec::new(), format!("{{\"zoneId\":\"{zone}\",\"token\":\"{token}\"}}"))
    };
    in_turns(server, options, &format!("polls, {waiting} waiting"), 64, StatusCode::OK, make).await
}

/// Measures the work and the null endpoint turn by turn.
async fn in_turns(
    server: &Server,
    options: &Options,
    work: &str,
    connections: usize,
    status: StatusCode,
    make: impl Fn() -> Made + Send + Sync + 'static,
) -> Row {
    let make = Arc::new(make);
    let null = Arc::new(|| (Method::GET, "/healthz".to_string(), Vec::new(), String::new()));
    let (mut done, mut null_done) = (0, 0);
    let mut latencies = histogram();
    for turn in 0..TURNS {
        null_done += drive(server, connections, options.turn, StatusCode::OK, null.clone()).await.0;
        let (count, histogram) = drive(server, connections, options.turn, status, make.clone()).await;
        done += count;
        latencies.add(histogram).unwrap();
        println!("{work}: turn {} of {TURNS}: {done} done, null endpoint {null_done}", turn + 1);
    }
    let seconds = options.turn.as_secs_f64() * f64::from(TURNS);
    Row {
        work: work.to_string(),
        connections,
        per_second: done as f64 / seconds,
        null_per_second: null_done as f64 / seconds,
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
    }
}

/// Microseconds up to a minute, to three digits.
fn histogram() -> hdrhistogram::Histogram<u64> {
    hdrhistogram::Histogram::new_with_max(60_000_000, 3).unwrap()
}

/// A closed loop on each connection for so long. Counts answers with the expected status; any other stops the run.
async fn drive(
    server: &Server,
    connections: usize,
    time: Duration,
    status: StatusCode,
    make: Arc<impl Fn() -> Made + Send + Sync + 'static + ?Sized>,
) -> (u64, hdrhistogram::Histogram<u64>) {
    let mut opened = Vec::new();
    for _ in 0..connections {
        opened.push(server.connect().await);
    }
    let end = Instant::now() + time;
    let tasks: Vec<_> = opened
        .into_iter()
        .map(|mut connection| {
            let (make, host) = (make.clone(), server.address.clone());
            tokio::spawn(async move {
                let mut latencies = histogram();
                while Instant::now() < end {
                    let started = Instant::now();
                    let (got, _) = send(&mut connection, &host, make()).await;
                    assert_eq!(got, status);
                    latencies.saturating_record(started.elapsed().as_micros() as u64);
                }
                latencies
            })
        })
        .collect();
    let mut all = histogram();
    for task in tasks {
        all.add(task.await.unwrap()).unwrap();
    }
    (all.len(), all)
}

async fn send(connection: &mut SendRequest<Full<Bytes>>, host: &str, (method, path, headers, body): Made) -> (StatusCode, Bytes) {
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = connection.send_request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, body)
}

struct Server {
    process: Child,
    address: String,
    _data: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let data = tempfile::TempDir::new().unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_bunho"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data.path())
            .env("BUNHO_ADMIN_KEY", ADMIN_KEY)
            .env("BUNHO_LOG__LEVEL", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the server starts").unwrap();
            if let Some(url) = line.strip_prefix("serving http://") {
                break url.trim().to_string();
            }
        };
        // Keeps the pipe open and empty.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, address, _data: data }
    }

    async fn connect(&self) -> SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let mut connection = self.connect().await;
        let headers = vec![("authorization", format!("Bearer {ADMIN_KEY}"))];
        let (status, answer) = send(&mut connection, &self.address, (method, path.to_string(), headers, body.to_string())).await;
        assert!(status.is_success(), "{status} {}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap_or(Value::Null)
    }

    /// Fills a line; the tickets of those who wait.
    async fn join(&self, zone: &str, people: usize) -> Vec<String> {
        const CONNECTIONS: usize = 64;
        let body = json!({"zoneId": zone, "clientIp": "127.0.0.1", "clientAgent": "WEB"}).to_string();
        let mut tasks = Vec::new();
        for first in 0..CONNECTIONS {
            let (mut connection, host, body) = (self.connect().await, self.address.clone(), body.clone());
            tasks.push(tokio::spawn(async move {
                let mut tokens = Vec::new();
                for _ in (first..people).step_by(CONNECTIONS) {
                    let (status, answer) =
                        send(&mut connection, &host, (Method::POST, "/traffic/wait".into(), Vec::new(), body.clone())).await;
                    assert_eq!(status, StatusCode::OK);
                    let answer: Value = serde_json::from_slice(&answer).unwrap();
                    if answer["canEnter"] == false {
                        tokens.push(answer["token"].as_str().unwrap().to_string());
                    }
                }
                tokens
            }));
        }
        let mut tokens = Vec::new();
        for task in tasks {
            tokens.extend(task.await.unwrap());
        }
        println!("{} wait in {zone}", tokens.len());
        tokens
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn table(rows: &[Row], options: &Options) -> String {
    let mut text = String::from("| work | per second | null endpoint | ratio | p50 | p99 |\n|---|---:|---:|---:|---:|---:|\n");
    for row in rows {
        let ratio = row.per_second / row.null_per_second;
        let _ = writeln!(
            text,
            "| {} | {:.0} | {:.0} | **{ratio:.2}** | {:.2} ms | {:.2} ms |",
            row.work,
            row.per_second,
            row.null_per_second,
            row.p50_us as f64 / 1_000.0,
            row.p99_us as f64 / 1_000.0
        );
        debug_assert!(row.connections > 0);
    }
    let _ = writeln!(text, "\n{TURNS} turns of {} s each, the null endpoint and the work by turns; closed loop.", options.turn.as_secs());
    text
}

fn page(table: &str) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")).map_or("unknown", |rest| rest.trim_start_matches([':', '\t', ' ']));
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!(
        "# Benchmarks\n\nWritten by `make bench`; run it to have the figures of your machine. The generator runs on the same cores as the server, so the\n\
         absolute figures are those of a crowded machine; what counts is the **ratio** to the null endpoint (`GET /healthz`) of the same run: what HTTP itself\n\
         costs here.\n\nMachine: {cores} cores ({model}), Linux.\n\n{table}\n\
         Goals (the table says which are met): claims ≥ 0.7 of the null endpoint, polls ≥ 0.8 and flat from 10,000 to 1,000,000 waiting\n\
         within 10 %.\n"
    )
}
