//! `kill -9` at every named point of delivering, and at moments: every claim that was confirmed reaches its receiver.

use super::receiver::{Manner, Receiver};
use super::{OPEN, SOON, hook};
use crate::harness::{Server, points_of_the_sources, seeded, until};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Every point at which an attempt may be cut off.
const POINTS: [&str; 5] = ["webhooks::sending", "webhooks::answered", "webhooks::settled", "webhooks::written", "projector::webhooks"];
/// Kills at moments that nobody chose.
const MOMENTS: usize = 4;
/// A point is struck at one of its first so many passings.
const PASSINGS: u64 = 12;
const CLIENTS: usize = 8;

#[test]
fn every_point_of_delivering_is_in_the_table() {
    let mut sources = points_of_the_sources();
    sources.retain(|name| name.starts_with("webhooks::"));
    let table: BTreeSet<String> = POINTS.iter().filter(|name| name.starts_with("webhooks::")).map(ToString::to_string).collect();
    assert_eq!(table, sources);
}

#[derive(Default)]
struct Told {
    confirmed: Mutex<BTreeSet<String>>,
    next_user: AtomicU64,
}

async fn claim_until(stop: Arc<AtomicBool>, url: String, told: Arc<Told>) {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
    while !stop.load(Ordering::Relaxed) {
        let user = told.next_user.fetch_add(1, Ordering::Relaxed);
        let request = client.post(format!("{url}/v1/offers/drop/claims")).header("x-bunho-user", format!("u{user}"));
        let Ok(answer) = request.json(&json!({"quantity": 1})).send().await else { continue };
        if answer.status().is_success()
            && let Ok(claim) = answer.json::<Value>().await
        {
            told.confirmed.lock().unwrap().insert(claim["id"].as_str().unwrap().to_owned());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_every_confirmed_claim_arrives() {
    if cfg!(not(feature = "failpoints")) {
        panic!("the points are only in builds with --features failpoints, as `make test` has them");
    }
    let mut random = seeded("webhook kills");
    let receiver = Receiver::start(Manner::Takes).await;
    let mut server = Server::start_with(&OPEN, &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 1_000_000})).await;
    let (_, secret) = hook(&server, &receiver.url(), json!({"events": ["claim.confirmed"]})).await;
    let told = Arc::new(Told::default());
    let strikes = POINTS.into_iter().map(Some).chain(std::iter::repeat_n(None, MOMENTS));
    for strike in strikes {
        server.kill();
        let armed = strike.map(|point| format!("{point}={}*off->return", random.below(PASSINGS)));
        let armed = armed.as_deref().map(|armed| ("FAILPOINTS", armed));
        server.set_environment(&OPEN.into_iter().chain(armed).collect::<Vec<_>>());
        // A point may be passed before it serves.
        let started = server.try_launch().is_ok();
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..CLIENTS).map(|_| tokio::spawn(claim_until(stop.clone(), server.url.clone(), told.clone()))).collect();
        match strike {
            Some(point) if started => until(&format!("it died at {point}"), SOON, async || server.has_ended().is_some()).await,
            Some(_) => {}
            None => {
                tokio::time::sleep(Duration::from_millis(300 + random.below(900))).await;
                server.kill();
            }
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            client.await.unwrap();
        }
        server.set_environment(&OPEN);
        server.restart().await;
    }
    let confirmed = told.confirmed.lock().unwrap().clone();
    assert!(!confirmed.is_empty());
    until("every claim has arrived", SOON * 2, async || receiver.subjects("io.bunho.claim.confirmed").is_superset(&confirmed)).await;
    server.until_projected().await;
    until("nothing waits", SOON, async || server.sql("SELECT count(*) FROM webhook_deliveries") == "0").await;
    let arrived = receiver.got();
    assert!(arrived.iter().all(|got| got.is_signed_with(&secret)));
    let known: BTreeSet<String> = server.sql("SELECT id FROM claims WHERE status = 'confirmed'").lines().map(ToOwned::to_owned).collect();
    let subjects = receiver.subjects("io.bunho.claim.confirmed");
    assert_eq!(subjects, known, "exactly what the ledger has was told");
    println!(
        "{} kills, {} claims confirmed to clients, {} in the ledger, {} messages",
        POINTS.len() + MOMENTS,
        confirmed.len(),
        known.len(),
        arrived.len()
    );
    assert_eq!(server.stop(), 0);
}
