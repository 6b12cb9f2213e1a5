//! `kill -9` at every named point and at random moments under load, restart, count. And a disk that fails to sync.
//!
//! The mill ([`mill`]) keeps one data folder through all its kills: `points` names every point and the way there, `clients`, `line` and
//! `operator` are the traffic, `books` what they were told, `checks` what must be true after each restart. `BUNHO_TEST_KILLS`
//! sets the number of kills; the suite strikes each point once, and a few times more: a point again, or a random moment.

mod books;
mod checks;
mod clients;
mod line;
mod mill;
mod operator;
mod points;
mod rare;

use crate::harness::{Random, Server, seeded, until};
use mill::{MOMENT, Mill, at, schedule};
use points::POINTS;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CLIENTS: u64 = 16;
const QUANTITY: u64 = 100_000;
/// Kills of a crowd that only claims.
const MOMENTS: usize = 5;

/// What clients know: for each user and key, the answer they were given.
#[derive(Default)]
struct Books {
    answered: Mutex<HashMap<String, Value>>,
    next_user: AtomicU64,
}

/// Kills in the suite: each point, and some more, one in four of them at a random moment.
const KILLS: u64 = POINTS.len() as u64 + 6;
/// How often a point that was not reached is tried again: the crowd does not do the same twice.
const TRIES: usize = 8;

fn kills() -> u64 {
    std::env::var("BUNHO_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_every_named_point_nothing_that_was_told_is_untrue() {
    if cfg!(not(feature = "failpoints")) {
        panic!("the points are only in builds with --features failpoints, as `make test` has them");
    }
    let mut random = seeded("kill mill");
    let began = Instant::now();
    let mut mill = Mill::new(random.fork()).await;
    for strike in schedule(kills(), &mut random) {
        mill.strike(strike).await;
        if mill.kills().is_multiple_of(100) {
            println!("{} kills in {:.0?}", mill.kills(), began.elapsed());
        }
    }
    for point in POINTS {
        for _ in 0..TRIES {
            if mill.struck.contains_key(point.name) {
                break;
            }
            mill.strike(at(point, &mut random)).await;
        }
    }
    let summary = mill.finish().await;
    for point in POINTS {
        println!("{:>6}  {}", mill.struck.get(point.name).unwrap_or(&0), point.name);
    }
    println!("{:>6}  {MOMENT}\n{summary} in {:.0?}", mill.struck.get(MOMENT).unwrap_or(&0), began.elapsed());
    let missed: Vec<_> = POINTS.iter().map(|point| point.name).filter(|name| !mill.struck.contains_key(name)).collect();
    assert!(missed.is_empty(), "never struck: {missed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_at_random_moments_nothing_answered_is_lost_or_given_twice() {
    let mut random = seeded("kill");
    let mut server = Server::start().await;
    server
        .put_offer("drop", json!({"kind": "goods", "quantity": QUANTITY, "per_user_limit": 1, "hold_seconds": 600, "grants": null}))
        .await;
    server.put_offer("small", json!({"kind": "coupon", "quantity": 200})).await;
    // Nobody enters while there is no seat; so the whole crowd waits through every kill. The line listens for eight seconds.
    let zone = json!({"entry_limit_per_minute": 600, "active_limit": 0, "poll_interval_ms": 4_000});
    server.put_zone("LINE", zone).await;
    let crowd = join_crowd(&server, 200).await;
    let books = Arc::new(Books::default());
    for _ in 0..MOMENTS {
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(claim_until(stop.clone(), server.url.clone(), books.clone()))).collect();
        tokio::time::sleep(Duration::from_millis(100 + random.below(400))).await;
        server.kill();
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        server.restart().await;
        come_back(&server, &crowd).await;
        check(&server, &books, &mut random).await;
        assert_order(&server, &crowd).await;
    }
    let answered = books.answered.lock().unwrap().len();
    println!("{MOMENTS} kills, {answered} answered claims, none lost, none twice");
    assert!(answered > 0);
    server.until_projected().await;
    server.assert_reconciled();
    assert_eq!(server.stop(), 0, "SIGTERM drains and ends well");
}

/// Claims as fast as one client can, each user once with a key of their own, and a fifth of them a coupon of the small offer.
async fn claim_until(stop: Arc<AtomicBool>, url: String, books: Arc<Books>) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let user = books.next_user.fetch_add(1, Ordering::Relaxed);
        let offer = if user.is_multiple_of(5) { "small" } else { "drop" };
        let request = client
            .post(format!("{url}/v1/offers/{offer}/claims"))
            .header("x-bunho-user", format!("u{user}"))
            .header("idempotency-key", format!("k{user}"))
            .json(&json!({"quantity": 1, "attributes": {"n": user}}));
        let Ok(response) = request.send().await else { continue };
        if response.status() == StatusCode::CREATED
            && let Ok(claim) = response.json::<Value>().await
        {
            books.answered.lock().unwrap().insert(format!("u{user}"), claim);
        }
    }
}

async fn check(server: &Server, books: &Books, random: &mut Random) {
    let answered = books.answered.lock().unwrap().clone();
    server.until_projected().await;
    let ids = server.sql("select id || ' ' || user_id from claims");
    let in_sql: HashMap<&str, &str> = ids.lines().filter_map(|row| row.split_once(' ')).collect();
    for (user, claim) in &answered {
        let id = claim["id"].as_str().unwrap();
        assert_eq!(in_sql.get(id), Some(&user.as_str()), "an answered claim is in SQL");
    }
    assert_eq!(
        server.sql("select count(*) from (select 1 from claims group by offer_id, user_id having count(*) > 1)"),
        "0",
        "nobody twice"
    );
    for offer in ["drop", "small"] {
        let shown = server.offer(offer).await;
        let taken = shown["held"].as_u64().unwrap() + shown["confirmed"].as_u64().unwrap();
        let counted =
            format!("select coalesce(sum(quantity), 0) from claims where offer_id = '{offer}' and status in ('held', 'confirmed')");
        assert_eq!(server.sql(&counted), taken.to_string(), "engine and SQL count the same");
        assert!(taken <= shown["quantity"].as_u64().unwrap());
    }
    // A sample asks again with its key, and reads its claim.
    let mut answered: Vec<_> = answered.into_iter().collect();
    answered.sort_by(|a, b| a.0.cmp(&b.0));
    for _ in 0..answered.len().min(100) {
        let (user, claim) = &answered[random.below(answered.len() as u64) as usize];
        let (offer, number) = (claim["offer"].as_str().unwrap(), user.trim_start_matches('u').parse::<u64>().unwrap());
        let body = json!({"quantity": 1, "attributes": {"n": number}});
        let (status, again) = server.claim(offer, user, Some(&format!("k{number}")), body).await;
        assert_eq!((status, &again), (StatusCode::CREATED, claim), "the same key gives the same answer");
        let (status, read) = server.user_get(user, &format!("/v1/claims/{}", claim["id"].as_str().unwrap())).await;
        assert_eq!((status, &read["id"]), (StatusCode::OK, &claim["id"]));
    }
}

async fn join_crowd(server: &Server, people: usize) -> Vec<String> {
    let mut tokens = Vec::new();
    for _ in 0..people {
        let (_, joined) = server.join("LINE").await;
        tokens.push(joined["token"].as_str().unwrap().to_string());
    }
    tokens
}

/// The crowd comes back in a scrambled order while the line listens.
async fn come_back(server: &Server, crowd: &[String]) {
    for half in [1, 0] {
        for token in crowd.iter().skip(half).step_by(2).rev() {
            let (status, answer) = server.poll("LINE", token).await;
            assert_eq!((status, answer["waiting"]["state"].as_str()), (StatusCode::OK, Some("recovering")), "{answer}");
        }
    }
}

/// When the line has listened, the crowd's ranks are the order of joining.
async fn assert_order(server: &Server, crowd: &[String]) {
    let listened = async || server.get("/zones/LINE/status").await.1["state"] == "waiting";
    until("the line has listened", Duration::from_secs(60), listened).await;
    for (place, token) in crowd.iter().enumerate() {
        let (_, answer) = server.poll("LINE", token).await;
        assert_eq!(answer["waiting"]["rank"].as_u64(), Some(place as u64 + 1), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_admission_is_not_given_twice_across_a_kill_and_the_limit_holds() {
    let mut server = Server::start().await;
    let zone =
        json!({"entry_limit_per_minute": 5, "window_seconds": 8, "slot_seconds": 1, "poll_interval_ms": 200, "poll_interval_max_ms": 400});
    server.put_zone("GATE", zone).await;
    let mut inside = Vec::new();
    for _ in 0..5 {
        let (_, joined) = server.join("GATE").await;
        assert_eq!(joined["canEnter"], true);
        inside.push(joined);
    }
    let waiting = server.join("GATE").await.1;
    server.kill();
    server.restart().await;
    for joined in &inside {
        let again = server.poll("GATE", joined["token"].as_str().unwrap()).await.1;
        assert_eq!((again["canEnter"].as_bool(), &again["pass"]), (Some(true), &joined["pass"]));
    }
    let entered = async || server.poll("GATE", waiting["token"].as_str().unwrap()).await.1["canEnter"] == true;
    until("the sixth enters", Duration::from_secs(60), entered).await;
    server.until_projected().await;
    let spread = "select (julianday(max(admitted_at)) - julianday(min(admitted_at))) * 86400 >= 8 - 0.001, count(*) from tickets where admitted_at is not null";
    assert_eq!(server.sql(spread), "1|6", "the sixth entered a whole window after the first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_sync_failed_is_never_seen() {
    // Some thirty syncs go well, then one fails for good.
    let mut server = Server::start_with(&[("FAILPOINTS", "journal::sync=30*off->return")], &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 1_000})).await;
    let mut answered = Vec::new();
    let mut doubtful = Vec::new();
    for user in 0..100 {
        let user = format!("u{user}");
        let request = server.request(Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", &user).header("idempotency-key", "k");
        match request.json(&json!({"quantity": 1})).send().await {
            Ok(response) if response.status() == StatusCode::CREATED => answered.push(user),
            Ok(response) => {
                assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert!(response.headers().contains_key("retry-after"));
                doubtful.push(user);
            }
            // The process ends by itself.
            Err(_) => break,
        }
    }
    assert_eq!(server.ended().await, 70, "a poisoned journal ends the process");
    assert!(!answered.is_empty() && !doubtful.is_empty(), "{} answered, {} in doubt", answered.len(), doubtful.len());
    server.set_environment(&[]);
    server.restart().await;
    let offer = server.offer("drop").await;
    assert_eq!(offer["confirmed"], answered.len(), "what was in doubt is not there, not even in a count");
    for user in doubtful {
        let (status, _) = server.claim("drop", &user, Some("k"), json!({"quantity": 1})).await;
        assert_eq!(status, StatusCode::CREATED, "and can be tried again");
    }
    server.until_projected().await;
    server.assert_reconciled();
}
