//! What a waiter costs in Redis: memory, and microseconds of a poll and a join, from ten thousand waiting people to a million.
//!
//! `cargo run -p bunho-engine --example redis_line [people]...` starts a redis-server of its own and prints one line for each size. Everyone
//! joins within twenty seconds and polls once in the next twenty, in an order like that of joining, at a clock that the example sets; so the wheel
//! turns as it would. Microseconds are of the script by the wall clock (`INFO commandstats`) and of Redis's thread by its processor time (`INFO cpu`,
//! with reading and answering); those of a run are shared by the commands in it.
#![expect(clippy::print_stdout, clippy::expect_used, reason = "a measurement prints what it found or ends")]

#[path = "../tests/line_conformance/redis_server.rs"]
mod redis_server;

use bunho_domain::event::{Event, ZoneChange, ZoneEvent};
use bunho_domain::ids::{AppId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Issued, Join, JoinOutcome, OfferLeft, Poll};
use bunho_domain::time::Millis;
use bunho_engine::cluster::redis::line::caller::{LineCaller, Reply};
use bunho_engine::cluster::redis::line::{self, Command, ZoneHome};
use redis::aio::MultiplexedConnection;
use redis_server::RedisServer;

const START: i64 = 1_767_225_600_000;
/// Everyone joins in this time, and polls once in it.
const ROUND_MS: i64 = 20_000;
/// Commands in a run, as the gatherer of a busy node would have them.
const BATCH: usize = 64;
/// Polls that are made one a run.
const SINGLE: usize = 2_000;

struct Bench {
    connection: MultiplexedConnection,
    caller: LineCaller,
    cpu_since: f64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).filter_map(|size| size.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![10_000, 100_000, 1_000_000] } else { sizes };
    println!(
        "{:>10} {:>14} {:>15} {:>15} {:>15} {:>11} {:>10}",
        "people", "bytes/waiter", "join µs", "poll µs", "alone µs", "entered", "rank"
    );
    for people in sizes {
        for keyed in [false, true] {
            let server = RedisServer::start();
            measure(&server, people, keyed).await;
        }
    }
}

async fn measure(server: &RedisServer, people: usize, keyed: bool) {
    let home = ZoneHome { number: 1, epoch: 1 };
    let caller = LineCaller::open(server.connect().await, "bench", home).await.expect("the script loads");
    let mut bench = Bench { connection: server.connect().await, caller, cpu_since: 0.0 };
    let settings = ZoneSettings::new(
        ZoneId::parse("z").expect("an id"),
        AppId::parse("a").expect("an id"),
        Some(u32::try_from(people / 100).expect("small")),
    );
    let start = Millis(START);
    // The first who comes gets no ticket yet, and has numbers reserved.
    let first = Command::Join { join: Join { nonce: 1, keyed: false }, left: OfferLeft::Untied };
    bench.run(start, &[Command::Create { settings: &settings, test_clock: true, suspended: false }, first]).await;
    let before = bench.used_memory().await;
    bench.reset().await;

    let left = OfferLeft::Untied;
    let mut waiting: Vec<Issued> = Vec::with_capacity(people);
    let time = |done: usize, from: i64| Millis(START + from + ROUND_MS * done as i64 / people as i64);
    for first in (0..people).step_by(BATCH) {
        let nonce = |i: usize| (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let joins: Vec<Command<'_>> =
            (first..people.min(first + BATCH)).map(|i| Command::Join { join: Join { nonce: nonce(i), keyed }, left }).collect();
        for (_, answer) in bench.run(time(first, 0), &joins).await.answers {
            if let Ok(Ok(line::Issue { outcome: JoinOutcome::Issued(issued), .. })) = line::issue(&answer) {
                waiting.push(issued);
            }
        }
    }
    assert_eq!(waiting.len(), people, "everyone has a ticket");
    let join = bench.micros(people).await;
    let bytes = (bench.used_memory().await - before) as f64 / people as f64;

    bench.reset().await;
    let polls: Vec<Poll> = waiting.iter().map(|i| Poll { number: i.number, nonce: i.nonce, issued_at: i.issued_at }).collect();
    for (i, polls) in polls.chunks(BATCH).enumerate() {
        let commands: Vec<Command<'_>> = polls.iter().map(|poll| Command::Poll { poll: *poll, left }).collect();
        bench.run(time(i * BATCH, ROUND_MS), &commands).await;
    }
    let poll = bench.micros(people).await;

    // Some from all over the line, one a run, as an idle node sends them.
    bench.reset().await;
    let mut rank = 0;
    for (i, poll) in polls.iter().step_by((people / SINGLE).max(1)).take(SINGLE).enumerate() {
        let now = Millis(START + 2 * ROUND_MS + i as i64);
        let reply = bench.run(now, &[Command::Poll { poll: *poll, left }]).await;
        if let Some(Ok(Ok(bunho_domain::line::Answer::Waiting(place)))) = reply.answers.first().map(|(_, answer)| line::poll_answer(answer))
        {
            rank = place.rank;
        }
    }
    let alone = bench.micros(SINGLE.min(people)).await;
    let status = bench.run(Millis(START + 2 * ROUND_MS + SINGLE as i64), &[Command::Status { left }]).await;
    let entered = line::report(&status.answers[0].1).map(|r| r.map(|r| r.status.entered_last_minute)).expect("a report").unwrap_or(0);
    let name = if keyed { format!("{people} k") } else { people.to_string() };
    println!("{name:>10} {bytes:>14.1} {join:>15} {poll:>15} {alone:>15} {entered:>11} {rank:>10}");
}

impl Bench {
    /// Runs commands, and lets go of what they wrote as a node does that has shipped it.
    async fn run(&mut self, now: Millis, commands: &[Command<'_>]) -> Reply {
        let reply = self.caller.run(Some(now), commands).await.expect("the script runs");
        let mut shipped = Vec::new();
        let mut reserved = None;
        for (id, packed) in &reply.entries {
            let written = line::written(packed).expect("an entry");
            shipped.push((id.clone(), written.version));
            for event in written.record.events {
                if let Event::Zone(ZoneEvent { change: ZoneChange::Reserved { epoch, upto }, .. }) = event {
                    reserved = reserved.max(Some((epoch, upto)));
                }
            }
        }
        if !shipped.is_empty() {
            let command = Command::Shipped { entries: &shipped, reserved, draining: false };
            self.caller.run(Some(now), &[command]).await.expect("the script runs");
        }
        reply
    }

    async fn info(&mut self, section: &str) -> String {
        redis::cmd("INFO").arg(section).query_async(&mut self.connection).await.expect("its state")
    }

    async fn used_memory(&mut self) -> u64 {
        let info = self.info("memory").await;
        info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok()).expect("used_memory")
    }

    async fn reset(&mut self) {
        redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(&mut self.connection).await.expect("reset");
        self.cpu_since = self.cpu().await;
    }

    /// Seconds of processor time of Redis's one thread that runs commands.
    async fn cpu(&mut self) -> f64 {
        let info = self.info("cpu").await;
        let seconds = |name| info.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok()).expect("processor time");
        seconds("used_cpu_user_main_thread:") + seconds("used_cpu_sys_main_thread:")
    }

    /// Microseconds since the reset for each of so many commands: of the script by the wall clock, and of the whole thread by its processor time.
    async fn micros(&mut self, commands: usize) -> String {
        let cpu = self.cpu().await - self.cpu_since;
        let info = self.info("commandstats").await;
        let line = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:")).expect("runs");
        let usec: f64 = line.split(',').find_map(|part| part.strip_prefix("usec=")?.parse().ok()).expect("their time");
        format!("{:.1} / {:.1}", usec / commands as f64, cpu * 1e6 / commands as f64)
    }
}
