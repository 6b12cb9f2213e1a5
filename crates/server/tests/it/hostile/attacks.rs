//! What somebody may do to us with sockets. Each attack runs in a thread of its own until it is told that it is over; it may be
//! refused in any way, but what it is told must be right.

use super::Attack;
use super::client::{Client, get, post};
use socket2::SockRef;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// After being closed or refused.
const COME_AGAIN: Duration = Duration::from_millis(200);

/// One way to attack.
pub struct Kind {
    pub name: &'static str,
    /// Places among the server's connections.
    pub room: usize,
    pub run: fn(Attack),
}

const fn kind(name: &'static str, room: usize, run: fn(Attack)) -> Kind {
    Kind { name, room, run }
}

/// Every way, those with the same room together.
pub const ALL: &[Kind] = &[
    kind("none, but both cores are busy", 16_384, busy_cores),
    kind("10,000 idle connections, room for all", 16_384, idle),
    kind("1,000 slow bodies", 16_384, slow_bodies),
    kind("1,000 slow heads", 16_384, slow_heads),
    kind("1,000 that reset or do not read", 16_384, half_open),
    kind("pipelines of 1,000 on 16 connections", 16_384, pipelines),
    kind("joins of another zone, 64 connections", 16_384, joins),
    kind("joins of another zone, 1,024 connections", 16_384, many_joins),
    kind("large bodies and heads, 512 connections", 16_384, too_large),
    kind("/metrics, 64 connections", 16_384, metrics),
    kind("10,000 idle connections, room for 8,000", 8_000, idle),
    kind("10,000 slow bodies, room for 8,000", 8_000, very_many_slow_bodies),
];

/// Runs so many clients until it is over. One that is refused comes again.
fn run<F: Future<Output = std::io::Result<()>> + 'static>(attack: Attack, clients: usize, client: impl Fn(Attack) -> F + 'static) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Arc::new(client);
    tokio::task::LocalSet::new().block_on(&runtime, async move {
        let tasks = (0..attack.of(clients)).map(|_| {
            let (attack, client) = (attack.clone(), client.clone());
            tokio::task::spawn_local(async move {
                while attack.goes_on() {
                    if timeout(Duration::from_secs(60), client(attack.clone())).await.is_err() || !attack.goes_on() {
                        continue;
                    }
                    sleep(COME_AGAIN).await;
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("nothing was seen that must not be");
        }
    });
}

/// No attack at all: what the same users see while two threads do nothing but calculate.
fn busy_cores(attack: Attack) {
    let spin = |attack: Attack| {
        let mut sum = 0_u64;
        while attack.goes_on() {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(1));
        }
    };
    attack.count();
    let other = std::thread::spawn({
        let attack = attack.clone();
        move || spin(attack)
    });
    spin(attack);
    other.join().unwrap();
}

/// Stays until it is over, or until it is closed.
async fn stay(attack: &Attack, client: &mut Client) {
    while attack.goes_on() {
        if !matches!(timeout(Duration::from_millis(500), client.reply()).await, Err(_) | Ok(Ok(_))) {
            return;
        }
    }
}

/// Half of them say nothing, half ask once and then nothing more.
fn idle(attack: Attack) {
    run(attack, 10_000, async |attack| {
        let mut client = Client::connect(attack.address).await?;
        if client.stream.local_addr()?.port().is_multiple_of(2) {
            client.call(&get("/healthz", "")).await?;
        }
        attack.count();
        stay(&attack, &mut client).await;
        Ok(())
    });
}

/// The head of a request with a body of so many bytes, and the first of them.
pub fn half_a_body(bytes: usize) -> Vec<u8> {
    let head = "POST /traffic/wait HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length";
    format!("{head}: {bytes}\r\n\r\n{{").into_bytes()
}

/// What is missing of it.
pub fn rest_of_a_body(bytes: usize) -> Vec<u8> {
    vec![b' '; bytes - 1]
}

fn slow_bodies(attack: Attack) {
    run(attack, 1_000, async |attack| drip(attack, half_a_body(60)).await);
}

fn very_many_slow_bodies(attack: Attack) {
    run(attack, 10_000, async |attack| drip(attack, half_a_body(60)).await);
}

fn slow_heads(attack: Attack) {
    run(attack, 1_000, async |attack| drip(attack, b"POST /traffic/wait HTTP/1.1\r\nhost: x\r\nx-slow: ".to_vec()).await);
}

/// A byte now and then.
async fn drip(attack: Attack, begin: Vec<u8>) -> std::io::Result<()> {
    let mut client = Client::connect(attack.address).await?;
    client.send(&begin).await?;
    attack.count();
    while attack.goes_on() {
        if let Ok(reply) = timeout(Duration::from_millis(500), client.reply()).await {
            match reply? {
                reply if reply.status == 503 => attack.shed(&reply),
                reply => assert_eq!(reply.status, 408, "a body that does not come is told so: {}", reply.body),
            }
            return Ok(());
        }
        client.send(b" ").await?;
    }
    Ok(())
}

/// Half of them ask and hang up with a reset, half ask for much and do not read.
fn half_open(attack: Attack) {
    run(attack, 1_000, async |attack| {
        let mut client = Client::connect(attack.address).await?;
        if client.stream.local_addr()?.port().is_multiple_of(2) {
            client.send(&join("OTHER")).await?;
            SockRef::from(&client.stream).set_linger(Some(Duration::ZERO))?;
            attack.count();
            return Ok(());
        }
        SockRef::from(&client.stream).set_recv_buffer_size(2_048)?;
        let much = get("/openapi.json", "").repeat(200);
        attack.count();
        while attack.goes_on() {
            // It ends when the server's buffers are full, and goes on when it closes.
            let sent = timeout(Duration::from_millis(500), client.send(&much)).await;
            if let Ok(Err(_)) = sent {
                return Ok(());
            }
        }
        Ok(())
    });
}

/// A thousand questions in one breath; each answer carries its question's number.
fn pipelines(attack: Attack) {
    run(attack, 16, async |attack| {
        const DEPTH: usize = 1_000;
        let client = Client::connect(attack.address).await?;
        let questions: Vec<u8> = (0..DEPTH).flat_map(|at| get("/zones/OTHER/status", &format!("x-request-id: {at}\r\n"))).collect();
        let mut client = client;
        while attack.goes_on() {
            let (mut reader, mut writer) = client.stream.into_split();
            let sent = questions.clone();
            // Sent and read at the same time, or both sides would wait for room.
            let writing = tokio::task::spawn_local(async move {
                let written = tokio::io::AsyncWriteExt::write_all(&mut writer, &sent).await;
                (writer, written)
            });
            let mut heads = Heads::default();
            for at in 0..DEPTH {
                let head = heads.next(&mut reader).await?;
                assert!(head.contains(&format!("x-request-id: {at}\r\n")), "answer {at} is {head}");
                attack.count();
            }
            let (writer, written) = writing.await.unwrap();
            written?;
            client = Client::over(reader.reunite(writer).unwrap());
        }
        Ok(())
    });
}

/// Reads answers one after the other, bodies left out.
#[derive(Default)]
struct Heads(Vec<u8>);

impl Heads {
    async fn next(&mut self, reader: &mut tokio::net::tcp::OwnedReadHalf) -> std::io::Result<String> {
        loop {
            if let Some(end) = self.0.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.0[..end + 2]).into_owned();
                let length: usize = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
                if self.0.len() >= end + 4 + length {
                    self.0.drain(..end + 4 + length);
                    return Ok(head);
                }
            }
            if tokio::io::AsyncReadExt::read_buf(reader, &mut self.0).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

pub fn join(zone: &str) -> Vec<u8> {
    post("/traffic/wait", "", &format!(r#"{{"zoneId":"{zone}","clientIp":"127.0.0.1","clientAgent":"WEB"}}"#))
}

fn joins(attack: Attack) {
    run(attack, 64, join_for_ever);
}

fn many_joins(attack: Attack) {
    run(attack, 1_024, join_for_ever);
}

/// As fast as one thread can push: sixteen at a time on each connection.
async fn join_for_ever(attack: Attack) -> std::io::Result<()> {
    const AT_ONCE: usize = 16;
    let mut client = Client::connect(attack.address).await?;
    let joins = join("OTHER").repeat(AT_ONCE);
    while attack.goes_on() {
        client.send(&joins).await?;
        for _ in 0..AT_ONCE {
            let reply = client.reply().await?;
            match reply.status {
                200 => attack.count(),
                503 => attack.shed(&reply),
                other => panic!("{other}: {}", reply.body),
            }
        }
    }
    Ok(())
}

/// Bodies that are announced as too large, bodies as large as may be that do not end, and thousands of headers.
fn too_large(attack: Attack) {
    run(attack, 512, async |attack| {
        let mut client = Client::connect(attack.address).await?;
        let sent = match client.stream.local_addr()?.port() % 6 {
            0 | 1 => client.send(&half_a_body(100_000_000)).await,
            2 | 3 => {
                let mut body = half_a_body(65_536);
                body.resize(body.len() + 65_000, b' ');
                client.send(&body).await
            }
            _ => client.send(&get("/v1/offers", &"x-a: b\r\n".repeat(3_000))).await,
        };
        sent?;
        attack.count();
        let reply = client.reply().await?;
        match reply.status {
            408 | 413 | 431 => {}
            503 => attack.shed(&reply),
            other => panic!("{other}: {}", reply.body),
        }
        Ok(())
    });
}

fn metrics(attack: Attack) {
    run(attack, 64, async |attack| {
        let mut client = Client::connect(attack.address).await?;
        while attack.goes_on() {
            let reply = client.call(&get("/metrics", "")).await?;
            assert_eq!(reply.status, 200);
            attack.count();
        }
        Ok(())
    });
}
