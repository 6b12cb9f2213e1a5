//! Hostile sockets: what normal users notice while somebody idles, drips, hangs up, does not read, pipelines or floods.
//!
//! Normal users are an open model, each call timed from the moment it was meant to begin: half polls, half claims, in a zone and
//! an offer of their own, every tenth on a new connection. They are measured alone and under each attack. What must hold is
//! counted: every one of their calls is answered well, whoever is shed gets 503 `overloaded` with `Retry-After`, answers come
//! in the order of their questions, memory stays bounded, and no file descriptor stays behind. How long it took is printed and
//! asserted only against nonsense; `BUNHO_TEST_HOSTILE=full` does it in full size and prints the table of docs/reliability.md:
//!
//! ```text
//! BUNHO_TEST_HOSTILE=full cargo test --release -p bunho-server --features failpoints --test it hostile -- --nocapture
//! ```

mod attacks;
pub(crate) mod client;

use crate::harness::{Server, until};
use attacks::Kind;
use client::{Client, Reply};
use hdrhistogram::Histogram;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// How much of everything.
#[derive(Clone, Copy)]
pub struct Size {
    /// Each attack's connections, in hundredths of its full size.
    pub percent: usize,
    /// Calls of normal users a second.
    rate: u64,
    /// How long they are watched in each part.
    watched: Duration,
}

const SMALL: Size = Size { percent: 2, rate: 200, watched: Duration::from_millis(800) };
const FULL: Size = Size { percent: 100, rate: 500, watched: Duration::from_secs(10) };

/// Connections of normal users, so that a slow answer does not keep the next call from beginning.
const WORKERS: u64 = 64;
/// How often a call is made again when its connection was closed.
const TRIES_MAX: u32 = 3;
/// A ticket may be polled every second: a third of its poll interval.
const TICKETS_PER_RATE: u64 = 2;
/// What the server may grow by under attack in full size: 10,000 connections of 64 KiB would be ten times this.
const GROWTH_BYTES_MAX: u64 = 512 << 20;

/// What an attack is told.
#[derive(Clone)]
pub struct Attack {
    pub address: SocketAddr,
    pub size: Size,
    pub over: Arc<AtomicBool>,
    /// What it did: connections made, answers had, whatever it counts.
    pub done: Arc<AtomicU64>,
    /// Answers 503, each of which was looked at.
    pub shed: Arc<AtomicU64>,
}

impl Attack {
    pub fn goes_on(&self) -> bool {
        !self.over.load(Ordering::Relaxed)
    }

    pub fn of(&self, full: usize) -> usize {
        (full * self.size.percent / 100).max(1)
    }

    pub fn shed(&self, reply: &Reply) {
        reply.assert_shed();
        self.shed.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// What normal users saw.
struct Seen {
    latency: Histogram<u64>,
    failures: Vec<String>,
    /// Calls that found their connection closed and were made again.
    again: u32,
}

impl Default for Seen {
    /// Microseconds up to a minute.
    fn default() -> Self {
        Self { latency: Histogram::new_with_bounds(1, 60_000_000, 3).unwrap(), failures: Vec::new(), again: 0 }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn normal_users_are_served_under_every_attack() {
    let full = std::env::var("BUNHO_TEST_HOSTILE").is_ok_and(|size| size == "full");
    let size = if full { FULL } else { SMALL };
    let only = std::env::var("BUNHO_TEST_HOSTILE_ONLY").ok();
    println!("| attack | did | shed | p50 ms | p99 ms | × alone | tried again | RSS MiB before, most, after |");
    println!("|---|---|---|---|---|---|---|---|");
    let mut last: Option<(String, Server, Arc<Tickets>)> = None;
    for Kind { name, room, run } in attacks::ALL.iter().filter(|kind| only.as_ref().is_none_or(|only| kind.name.contains(&**only))) {
        let room = (room * size.percent / 100).max(WORKERS as usize * 2).to_string();
        // In full size each attack finds a server that nothing happened to.
        let (_, server, tickets) = match last.take().filter(|(same, ..)| !full && *same == room) {
            Some(server) => last.insert(server),
            None => {
                let server = Server::start_with(&[("BUNHO_SERVER__CONNECTIONS_MAX", &room)], &[]).await;
                let tickets = prepared(&server, size).await;
                last.insert((room, server, tickets))
            }
        };
        let server = &*server;
        let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
        let watch = |part: &str| {
            let (tickets, part) = (tickets.clone(), format!("{part}, {name}").replace([' ', ','], "-"));
            in_a_thread(async move { normal_users(address, size, part, tickets).await })
        };
        let alone = watch("alone").await;
        let before = Process::of(server);
        let attack_info = Attack { address, size, over: Arc::default(), done: Arc::default(), shed: Arc::default() };
        let attacker = {
            let (run, attack) = (*run, attack_info.clone());
            std::thread::spawn(move || run(attack))
        };
        let (most, sampled) = (Arc::new(AtomicU64::new(before.resident)), attack_info.clone());
        let sampler = tokio::spawn(sample(server.pid(), most.clone(), sampled));
        until("the attack has begun", Duration::from_secs(30), async || attack_info.done.load(Ordering::Relaxed) > 0).await;
        let attacked = watch("attacked").await;
        attack_info.over.store(true, Ordering::Relaxed);
        attacker.join().expect("the attacker saw nothing that must not be");
        sampler.await.unwrap();
        let files = async || Process::of(server).files <= before.files + WORKERS as usize;
        until("no file descriptor stays behind", Duration::from_secs(30), files).await;
        let after = Process::of(server);
        let most = most.load(Ordering::Relaxed);
        print_row(name, &attack_info, &alone, &attacked, [before.resident, most, after.resident]);
        assert_eq!(alone.failures, Vec::<String>::new());
        assert_eq!(attacked.failures, Vec::<String>::new(), "{name}");
        assert!(attacked.latency.max() < 20_000_000, "{name}: somebody waited {} µs", attacked.latency.max());
        assert!(most < before.resident + GROWTH_BYTES_MAX, "{name}: {most} bytes");
        server.assert_reconciled();
    }
}

fn print_row(name: &str, attack: &Attack, alone: &Seen, attacked: &Seen, resident: [u64; 3]) {
    let ms = |seen: &Seen, quantile| seen.latency.value_at_quantile(quantile) as f64 / 1_000.0;
    let [before, most, after] = resident.map(|bytes| bytes >> 20);
    println!(
        "| {name} | {} | {} | {:.2} → {:.2} | {:.2} → {:.2} | {:.1} | {} → {} | {before}, {most}, {after} |",
        attack.done.load(Ordering::Relaxed),
        attack.shed.load(Ordering::Relaxed),
        ms(alone, 0.5),
        ms(attacked, 0.5),
        ms(alone, 0.99),
        ms(attacked, 0.99),
        ms(attacked, 0.99) / ms(alone, 0.99),
        alone.again,
        attacked.again,
    );
}

/// Overload is said so, and what is shed has not happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_shed_is_told_when_to_come_again() {
    let server = Server::start_with(&[("BUNHO_SERVER__IN_FLIGHT_MAX", "4")], &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 1_000_000})).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let (mut taken, mut shed) = (0, 0);
    let mut callers = JoinSet::new();
    for caller in 0..64_u32 {
        callers.spawn(async move {
            let mut client = Client::connect(address).await.unwrap();
            let mut replies = Vec::new();
            for call in 0..50 {
                replies.push(client.call(&claim("drop", &format!("u{caller}-{call}"))).await.unwrap());
            }
            replies
        });
    }
    for reply in callers.join_all().await.into_iter().flatten() {
        match reply.status {
            201 => taken += 1,
            503 => {
                reply.assert_shed();
                shed += 1;
            }
            other => panic!("{other}"),
        }
    }
    println!("taken {taken}, shed {shed}");
    assert!(taken > 0 && shed > 0, "some of 64 at once are taken and some are not: {taken}, {shed}");
    assert_eq!(server.offer("drop").await["confirmed"], taken, "what was shed has not happened");
}

/// Bodies that do not come hold no slot: with four slots and forty such bodies, everybody else is served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_does_not_come_is_in_nobodys_way() {
    let environment = [("BUNHO_SERVER__IN_FLIGHT_MAX", "4"), ("BUNHO_SERVER__BODY_TIMEOUT_MS", "60000")];
    let server = Server::start_with(&environment, &["--demo"]).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().unwrap();
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut client = Client::connect(address).await.unwrap();
        client.send(&attacks::half_a_body(60)).await.unwrap();
        slow.push(client);
    }
    // Those that have no slot when their head comes are shed; a slot that is lent takes all of them, one after the other.
    for _ in 0..20 {
        let mut client = Client::connect(address).await.unwrap();
        let reply = client.call(&attacks::join("TEST_ZONE")).await.unwrap();
        assert_eq!(reply.status, 200, "{}", reply.body);
    }
    // Their rest comes, and they are served as if nothing had been.
    for mut client in slow.drain(..3) {
        client.send(&attacks::rest_of_a_body(60)).await.unwrap();
        let reply = client.reply().await.unwrap();
        assert_eq!(reply.status, 400, "it was read to its end: {}", reply.body);
    }
}

/// Tickets of people who wait, each polled in its turn: none too soon, whatever part of the test comes next.
struct Tickets {
    all: Vec<String>,
    next: AtomicU64,
}

impl Tickets {
    fn next(&self) -> &str {
        &self.all[self.next.fetch_add(1, Ordering::Relaxed) as usize % self.all.len()]
    }
}

/// A zone nobody gets into, with people who wait there, and an offer that does not run out.
async fn prepared(server: &Server, size: Size) -> Arc<Tickets> {
    server.put_offer("normal", json!({"kind": "coupon", "quantity": 1_000_000_000})).await;
    server.put_offer("other", json!({"kind": "coupon", "quantity": 1_000_000_000})).await;
    for zone in ["NORMAL", "OTHER"] {
        let settings = json!({"entry_limit_per_minute": 0, "poll_interval_ms": 500, "poll_interval_max_ms": 3_000});
        server.put_zone(zone, settings).await;
    }
    let mut all = Vec::new();
    for _ in 0..size.rate * TICKETS_PER_RATE {
        let (_, answer) = server.join("NORMAL").await;
        all.push(answer["token"].as_str().unwrap().to_string());
    }
    Arc::new(Tickets { all, next: AtomicU64::new(0) })
}

/// Calls at a constant rate, whatever becomes of them.
async fn normal_users(address: SocketAddr, size: Size, part: String, tickets: Arc<Tickets>) -> Seen {
    let (began, next) = (tokio::time::Instant::now(), Arc::new(AtomicU64::new(0)));
    let total = size.rate * size.watched.as_millis() as u64 / 1_000;
    let workers = (0..WORKERS).map(|_| {
        let (next, tickets, part) = (next.clone(), tickets.clone(), part.clone());
        tokio::spawn(async move {
            let mut seen = Seen::default();
            let mut client = None;
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= total {
                    return seen;
                }
                let intended = began + Duration::from_micros(at * 1_000_000 / size.rate);
                tokio::time::sleep_until(intended).await;
                if at.is_multiple_of(10) {
                    client = None;
                }
                let (request, wanted) = if at.is_multiple_of(2) {
                    (poll("NORMAL", tickets.next()), 200)
                } else {
                    (claim("normal", &format!("{part}-{at}")), 201)
                };
                match patiently(address, &mut client, &request, &mut seen.again).await {
                    Ok(reply) if reply.status == wanted => {}
                    Ok(reply) => seen.failures.push(format!("{part} {at}: {} {}", reply.status, reply.body)),
                    Err(error) => seen.failures.push(format!("{part} {at}: {error}")),
                }
                seen.latency.saturating_record(intended.elapsed().as_micros() as u64);
            }
        })
    });
    let mut all = Seen::default();
    for worker in workers.collect::<Vec<_>>() {
        let seen = worker.await.unwrap();
        all.latency.add(seen.latency).unwrap();
        all.failures.extend(seen.failures);
        all.again += seen.again;
    }
    all
}

/// A connection may be closed whenever no answer is owed on it, just when it is used again too; so every client tries again.
async fn patiently(address: SocketAddr, client: &mut Option<Client>, request: &[u8], again: &mut u32) -> std::io::Result<Reply> {
    let mut tries = 0;
    loop {
        let called = match client {
            Some(kept) => kept.call(request).await,
            None => match Client::connect(address).await {
                Ok(new) => client.insert(new).call(request).await,
                Err(error) => Err(error),
            },
        };
        match called {
            Err(_) if tries < TRIES_MAX => (tries, *again, *client) = (tries + 1, *again + 1, None),
            called => return called,
        }
    }
}

fn poll(zone: &str, ticket: &str) -> Vec<u8> {
    client::post("/traffic/entry", "", &json!({"zoneId": zone, "token": ticket}).to_string())
}

/// With a key, so that a call tried again is not a second claim.
fn claim(offer: &str, user: &str) -> Vec<u8> {
    let headers = format!("x-bunho-user: {user}\r\nidempotency-key: {user}\r\n");
    client::post(&format!("/v1/offers/{offer}/claims"), &headers, r#"{"quantity":1}"#)
}

/// In a runtime of its own, so that what is measured does not queue behind the attacker's own work.
async fn in_a_thread<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::spawn_blocking(move || runtime().block_on(work)).await.unwrap()
}

/// What the system says of the server.
struct Process {
    resident: u64,
    files: usize,
}

impl Process {
    fn of(server: &Server) -> Self {
        let pid = server.pid();
        Self { resident: resident(pid), files: std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() }
    }
}

pub(crate) fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

async fn sample(pid: u32, most: Arc<AtomicU64>, attack: Attack) {
    let began = Instant::now();
    while attack.goes_on() && began.elapsed() < Duration::from_secs(120) {
        most.fetch_max(resident(pid), Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
