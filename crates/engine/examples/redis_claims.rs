//! Claims a second with gathering beside one EVALSHA for each request, on the same cluster, in turn.
//!
//! ```text
//! cargo run --release -p bunho-engine --example redis_claims -- redis://127.0.0.1:7000 [callers] [seconds]
//! ```
//!
//! One offer, so one slot and one Redis process: what one popular drop can have. Each caller claims for a new user and waits for the answer, which
//! comes when the entry has left the outbox. The journal is one that acknowledges at once, so that Redis is what is measured. The
//! one-for-each way is a fair one: all callers share one pipelined connection, and entries are shipped and removed many at a time. It pays for
//! the start of a script that knows every rule, though; so beside both stands a bare script of a few lines, one call a claim, that only counts, notes the user
//! and appends to a stream which nobody reads: less than any real one can do.

use bunho_domain::ids::{AppId, OfferId, UserId};
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{ClaimRequest, Pass};
use bunho_engine::cluster::redis::{Decider, DeciderOptions, Errand, Gathering, Home, Shipper};
use bunho_journal::Audit;
use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

type Failure = Box<dyn Error + Send + Sync>;

/// Pairs of rounds; the middle one of each way is reported.
const ROUNDS: usize = 5;

struct Round {
    claims_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    runs_per_claim: f64,
    redis_us_per_claim: f64,
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let seed = arguments.next().ok_or("the address of a node of the cluster is wanted, as redis://127.0.0.1:7000")?;
    let callers: usize = arguments.next().map_or(Ok(256), |text| text.parse())?;
    let length = Duration::from_secs(arguments.next().map_or(Ok(3), |text| text.parse())?);
    let usual = DeciderOptions::new(vec![seed.clone()]);
    let gathered = usual.gathering.clone();
    let each = Gathering { commands_max: 1, runs_max: callers.max(64), ..gathered.clone() };
    let mut rounds = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (way, gathering) in [&each, &gathered].into_iter().enumerate() {
            let options = DeciderOptions { gathering: gathering.clone(), ..usual.clone() };
            let tag = std::process::id().wrapping_mul(64).wrapping_add((2 * round + way) as u32);
            rounds[way].push(measure(options, tag, callers, length).await?);
        }
    }
    println!("{callers} callers, {ROUNDS} rounds of {length:?} each way in turn; the middle round of each:");
    let mut bare_rounds = Vec::new();
    for round in 0..ROUNDS {
        bare_rounds.push(bare(&usual, std::process::id().wrapping_mul(64).wrapping_add(32 + round as u32), callers, length).await?);
    }
    bare_rounds.sort_by(f64::total_cmp);
    let bare = bare_rounds[ROUNDS / 2];
    let [each, gathered] = rounds.map(middle);
    println!("   bare script a request: {bare:>8.0} claims/s");
    print("one EVALSHA a request", &each);
    print("gathered", &gathered);
    let ratio = |other: f64| gathered.claims_per_second / other;
    println!("gathered / one a request: {:.2}; gathered / bare script a request: {:.2}", ratio(each.claims_per_second), ratio(bare));
    Ok(())
}

fn middle(mut rounds: Vec<Round>) -> Round {
    rounds.sort_by(|one, other| one.claims_per_second.total_cmp(&other.claims_per_second));
    rounds.swap_remove(ROUNDS / 2)
}

fn print(way: &str, round: &Round) {
    let Round { claims_per_second, p50_ms, p99_ms, runs_per_claim, redis_us_per_claim } = round;
    println!(
        "{way:>22}: {claims_per_second:>8.0} claims/s, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, {runs_per_claim:.3} scripts and {redis_us_per_claim:.1} us of script time a claim"
    );
}

async fn measure(options: DeciderOptions, tag: u32, callers: usize, length: Duration) -> Result<Round, Failure> {
    let seed = options.seeds[0].clone();
    let (errands, mut received) = mpsc::channel(16);
    let journal = tokio::spawn(async move {
        while let Some(errand) = received.recv().await {
            // The tag's task may have ended.
            let _ = match errand {
                Errand::Ship(shipment) => shipment.done.send(true),
                Errand::Ask(question) => question.is_current.send(true),
            };
        }
    });
    let cluster = Arc::new(Decider::open(options, Shipper::Channel(errands)).await?);
    let home = Home { tag, offer: tag, epoch: 1 };
    let settings = OfferSettings::new(OfferId::parse("drop")?, AppId::parse("default")?, Kind::Coupon, 1_000_000_000);
    let audit = Audit { actor: "bench".into(), action: "create".into(), target: "drop".into(), detail: None, request_id: None };
    cluster.create(home, &settings, &audit).await?;
    let before = scripts(&seed).await?;
    let (users, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..callers).map(|_| tokio::spawn(call(cluster.clone(), home, users.clone(), began + length))).collect();
    let mut taken_ms = Vec::new();
    for task in tasks {
        taken_ms.append(&mut task.await??);
    }
    let took = began.elapsed().as_secs_f64();
    let after = scripts(&seed).await?;
    cluster.suspend(home, 2).await?;
    cluster.forget(Home { epoch: 2, ..home }).await?;
    drop(cluster);
    journal.await?;
    taken_ms.sort_by(f64::total_cmp);
    let claims = taken_ms.len() as f64;
    let at = |share: f64| taken_ms[(claims * share) as usize];
    Ok(Round {
        claims_per_second: claims / took,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        runs_per_claim: (after.0 - before.0) as f64 / claims,
        redis_us_per_claim: (after.1 - before.1) as f64 / claims,
    })
}

/// A busy machine may take its time.
async fn connect(address: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(10)))
        .set_response_timeout(Some(Duration::from_secs(10)));
    redis::Client::open(address)?.get_multiplexed_async_connection_with_config(&patient).await
}

/// The least that a script for one claim can do.
const BARE: &str = r"#!lua
local user = redis.call('HGET', KEYS[1], ARGV[1])
local state = redis.call('HMGET', KEYS[1], 'left', 'version')
local now = redis.call('TIME')
if user or tonumber(state[1]) <= 0 then return 0 end
redis.call('HSET', KEYS[1], 'left', state[1] - 1, 'version', state[2] + 1, ARGV[1], '1', 'c' .. state[2], ARGV[1] .. now[1])
return redis.call('XADD', KEYS[2], '*', 'user', ARGV[1], 'at', now[1])";

/// Claims a second of the bare script, each its own EVALSHA, over one pipelined connection to the node that has the slot.
async fn bare(options: &DeciderOptions, tag: u32, callers: usize, length: Duration) -> Result<f64, Failure> {
    let keys = [format!("bare:{{{tag}}}:offer"), format!("bare:{{{tag}}}:outbox")];
    let mut connection = connect(&options.seeds[0]).await?;
    let first: redis::RedisResult<()> =
        redis::cmd("HSET").arg(&keys[0]).arg("left").arg(1_000_000_000).arg("version").arg(1).query_async(&mut connection).await;
    if let Err(error) = first {
        let (address, _) = error.redirect_node().ok_or("the cluster does not answer")?;
        connection = connect(&format!("redis://{address}")).await?;
        redis::cmd("HSET").arg(&keys[0]).arg("left").arg(1_000_000_000).arg("version").arg(1).exec_async(&mut connection).await?;
    }
    let sha: String = redis::cmd("SCRIPT").arg("LOAD").arg(BARE).query_async(&mut connection).await?;
    let (users, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let calls = (0..callers).map(|_| {
        let (mut connection, users, sha, keys) = (connection.clone(), users.clone(), sha.clone(), keys.clone());
        tokio::spawn(async move {
            while began.elapsed() < length {
                let user = format!("user-{}", users.fetch_add(1, Ordering::Relaxed));
                redis::cmd("EVALSHA").arg(&sha).arg(2).arg(&keys).arg(user).exec_async(&mut connection).await?;
            }
            Ok::<(), redis::RedisError>(())
        })
    });
    for call in calls.collect::<Vec<_>>() {
        call.await??;
    }
    let rate = users.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    redis::cmd("UNLINK").arg(&keys).exec_async(&mut connection).await?;
    Ok(rate)
}

type Times = Result<Vec<f64>, Failure>;

/// One caller: milliseconds that each of its claims took.
async fn call(cluster: Arc<Decider>, home: Home, users: Arc<AtomicU64>, until: Instant) -> Times {
    let mut taken_ms = Vec::new();
    while Instant::now() < until {
        let number = users.fetch_add(1, Ordering::Relaxed);
        let user = UserId::parse(&format!("user-{number}"))?;
        let request = ClaimRequest { user: &user, quantity: 1, key: None, attributes: None, pass: Pass::Missing, nonce: number };
        let began = Instant::now();
        cluster.claim(home, request).await?.map_err(|refusal| format!("{refusal:?}"))?;
        taken_ms.push(began.elapsed().as_secs_f64() * 1_000.0);
    }
    Ok(taken_ms)
}

/// Scripts that all nodes have run, and the microseconds that they took.
async fn scripts(seed: &str) -> Result<(u64, u64), Failure> {
    let mut connection = connect(seed).await?;
    let nodes: String = redis::cmd("CLUSTER").arg("NODES").query_async(&mut connection).await?;
    let mut sum = (0, 0);
    for address in nodes.lines().filter_map(|line| line.split([' ', '@']).nth(1)) {
        let mut connection = connect(&format!("redis://{address}")).await?;
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await?;
        for line in stats.lines().filter(|line| line.starts_with("cmdstat_eval")) {
            let figure = |name: &str| line.split([':', ',']).find_map(|part| part.strip_prefix(name)?.parse::<u64>().ok()).unwrap_or(0);
            sum.0 += figure("calls=");
            sum.1 += figure("usec=");
        }
    }
    Ok(sum)
}
