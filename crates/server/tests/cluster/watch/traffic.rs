//! A small crowd that does everything that a panel shows: waits, leaves, falls silent, claims, is refused, goes on standby, confirms.

use crate::harness::Server;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub const ZONE: &str = "DROP";
pub const OFFER: &str = "drop";

/// People who come in each round, and a round's length. More than are let in, so that there is a line for as long as this goes on.
const ROUND_PEOPLE: u64 = 6;
const ROUND: Duration = Duration::from_millis(500);

/// Goes on until it is dropped.
pub struct Traffic {
    stop: Arc<AtomicBool>,
    _going: tokio::task::JoinHandle<()>,
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Traffic {
    pub async fn start(server: Arc<Server>) -> Self {
        server.put_offer(OFFER, json!({"kind": "goods", "quantity": 60, "per_user_limit": 1, "hold_seconds": 20, "standby": true})).await;
        let zone = json!({
            "entry_limit_per_minute": 10, "window_seconds": 5, "slot_seconds": 1, "poll_interval_ms": 300, "poll_interval_max_ms": 1_000,
            "abandon_after_seconds": 3, "resume_grace_seconds": 60, "active_limit": 1_000,
        });
        server.put_zone(ZONE, zone).await;
        let stop = Arc::new(AtomicBool::new(false));
        let going = tokio::spawn(rounds(server, stop.clone()));
        Self { stop, _going: going }
    }
}

async fn rounds(server: Arc<Server>, stop: Arc<AtomicBool>) {
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..ROUND_PEOPLE {
            number += 1;
            tokio::spawn(person(server.clone(), number, stop.clone()));
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn person(server: Arc<Server>, number: u64, stop: Arc<AtomicBool>) {
    let user = format!("user-{number}");
    let (_, claim) = server.claim(OFFER, &user, None, json!({"quantity": 1})).await;
    match claim["id"].as_str() {
        Some(id) if number.is_multiple_of(2) => drop(server.service_post(&format!("/v1/claims/{id}/confirm"), json!({})).await),
        Some(_) => drop(server.claim(OFFER, &user, None, json!({"quantity": 1})).await),
        None if number.is_multiple_of(10) => {
            drop(server.user_post(&user, &format!("/v1/offers/{OFFER}/standby"), json!({"quantity": 1})).await)
        }
        None => {}
    }
    let (_, mut answer) = server.join(ZONE).await;
    let mut polls = 0;
    while answer["canEnter"] == false && !stop.load(Ordering::Relaxed) {
        let token = answer["token"].as_str().unwrap().to_owned();
        polls += 1;
        match number % 4 {
            0 if polls == 3 => {
                let _ = server.user_post("", "/traffic/leave", json!({"zoneId": ZONE, "token": token})).await;
                return;
            }
            1 if polls == 3 => return,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(answer["waiting"]["pollingPeriod"].as_u64().unwrap_or(300))).await;
        let next: Value = server.poll(ZONE, &token).await.1;
        if next["token"].is_null() {
            return;
        }
        answer = next;
    }
}
