//! Told to stop, with `server.drain_delay_seconds`: balancers must be able to notice before anybody is turned away.

use crate::harness::{Server, until};
use reqwest::{Client, Method, StatusCode};
use serde_json::json;
use std::time::{Duration, Instant};

/// No test waits for it: it is ended by a second signal.
const DELAY_SECONDS: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_stop_serves_on_and_is_not_ready() {
    let delay = DELAY_SECONDS.to_string();
    let mut server = Server::start_with(&[("BUNHO_SERVER__DRAIN_DELAY_SECONDS", &delay)], &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 3})).await;
    server.ask_to_stop();
    let readyz = || async { server.request(Method::GET, "/readyz").send().await.unwrap() };
    until("it says that it is not ready", Duration::from_secs(30), async || readyz().await.status() == StatusCode::SERVICE_UNAVAILABLE)
        .await;
    let body: serde_json::Value = readyz().await.json().await.unwrap();
    assert_eq!(body["stopping"], true);
    // Whoever comes by a new connection is served as before.
    let newcomer = Client::new().post(format!("{}/v1/offers/drop/claims", server.url)).header("x-bunho-user", "late");
    assert_eq!(newcomer.json(&json!({"quantity": 1})).send().await.unwrap().status(), StatusCode::CREATED);
    assert_eq!(server.request(Method::GET, "/healthz").send().await.unwrap().status(), StatusCode::OK);
    let asked = Instant::now();
    assert_eq!(server.stop(), 0, "a second signal ends it well");
    assert!(asked.elapsed() < Duration::from_secs(DELAY_SECONDS), "and does not wait for the delay");
    server.restart().await;
    assert_eq!(server.claim("drop", "late", None, json!({"quantity": 1})).await.0, StatusCode::CONFLICT, "what it answered last was kept");
}
