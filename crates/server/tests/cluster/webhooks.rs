//! Webhooks of several nodes: one delivers to each, and when it dies another one does.

use crate::components::environment;
use crate::harness::{Server, until};
use crate::receiver::{Manner, Receiver};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// A node that died is noticed after ten seconds.
const SOON: Duration = Duration::from_secs(90);

async fn confirmed_claims(server: &Server, from: usize, count: usize) -> BTreeSet<String> {
    let mut claims = BTreeSet::new();
    for user in from..from + count {
        let (status, claim) = server.claim("drop", &format!("u{user}"), None, json!({"quantity": 1})).await;
        assert_eq!(status, StatusCode::CREATED, "{claim}");
        claims.insert(claim["id"].as_str().unwrap().to_owned());
    }
    claims
}

async fn a_node_dies(database: &'static str) {
    const HOOKS: usize = 4;
    let receiver = Receiver::start(Manner::Takes).await;
    let mut environment = environment(database);
    environment.push(("BUNHO_WEBHOOKS__ALLOW_HTTP", "true".into()));
    environment.push(("BUNHO_WEBHOOKS__ALLOW_PRIVATE", "[\"127.0.0.0/8\"]".into()));
    let pairs: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::start_nodes(2, &pairs, &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 10_000})).await;
    let mut secrets = Vec::new();
    for hook in 0..HOOKS {
        let url = format!("http://127.0.0.1:{}/{hook}", receiver.port);
        let (status, made) = server.admin(Method::POST, "webhooks", json!({"name": "x", "url": url, "events": ["claim.confirmed"]})).await;
        assert_eq!(status, StatusCode::CREATED, "{made}");
        secrets.push(made["secret"].as_str().unwrap().to_owned());
    }
    let holders = || server.sql("SELECT DISTINCT holder FROM webhook_states WHERE holder <> ''").lines().count();
    until("both nodes deliver", SOON, async || holders() == 2).await;
    let has_all = |claims: &BTreeSet<String>| {
        let got = receiver.got();
        (0..HOOKS).all(|hook| {
            let of_hook = got.iter().filter(|got| got.path == format!("/{hook}"));
            let told: BTreeSet<String> = of_hook.map(|got| got.event()["subject"].as_str().unwrap().to_owned()).collect();
            told.is_superset(claims)
        })
    };
    let mut claims = confirmed_claims(&server, 0, 50).await;
    until("all webhooks are told", SOON, async || has_all(&claims)).await;
    let told_once = receiver.count();
    assert_eq!(told_once, HOOKS * claims.len(), "two nodes that live do not double what is told");

    // While it has messages under way.
    receiver.be(Manner::TakesAfter(Duration::from_millis(300)));
    claims.extend(confirmed_claims(&server, 50, 50).await);
    server.end_last(rustix::process::Signal::KILL);
    receiver.be(Manner::Takes);
    claims.extend(confirmed_claims(&server, 100, 20).await);
    until("the other node tells the rest", SOON, async || has_all(&claims)).await;
    until("nothing waits", SOON, async || server.sql("SELECT count(*) FROM webhook_deliveries") == "0").await;
    for got in receiver.got() {
        let hook: usize = got.path[1..].parse().unwrap();
        assert!(got.is_signed_with(&secrets[hook]), "{got:?}");
    }
    println!("{database}: {} claims to {HOOKS} webhooks, {} messages", claims.len(), receiver.count());
    assert_eq!(server.stop(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies_and_another_tells_the_rest_postgres() {
    a_node_dies("postgres").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_dies_and_another_tells_the_rest_mariadb() {
    a_node_dies("mariadb").await;
}
