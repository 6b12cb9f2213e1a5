//! `/metrics` of a cluster's node: true while all is well, and there while Redis and Kafka hang, without what only they could tell.

use crate::components::{self, Component, environment_on};
use crate::harness::{Server, stand_still, until};
use crate::scrape::{SOON, checked_by_prometheus, page, page_of, until_it_says, value};
use reqwest::{Method, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

/// Processes that stand still; they go on however the test ends.
struct Hung(Vec<Pid>);

impl Hung {
    fn new(components: &[&Component]) -> Self {
        let mut processes = Vec::new();
        for component in components {
            for file in std::fs::read_dir(&component.folder).unwrap() {
                let path = file.unwrap().path();
                if path.extension().is_some_and(|extension| extension == "pid") {
                    let text = std::fs::read_to_string(path).unwrap();
                    processes.push(Pid::from_raw(text.split_whitespace().next().unwrap().parse().unwrap()).unwrap());
                }
            }
        }
        assert!(processes.len() > components.len(), "{processes:?}");
        processes.iter().copied().for_each(stand_still);
        Self(processes)
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        for process in &self.0 {
            let _ = kill_process(*process, Signal::CONT);
        }
    }
}

/// Names that the documentation has, without those of the embedded shape, and of samples that there are none of without an event.
fn names_of_this_shape() -> BTreeSet<String> {
    let page = include_str!("../../../../docs/metrics.md");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `bunho_") && !line.contains("Only of the embedded shape") && !line.contains("Only with "));
    rows.map(|row| row.split('`').nth(1).unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_tells_of_redis_and_kafka_and_goes_on_telling_without_them() {
    let (redis, kafka) = tokio::task::spawn_blocking(|| (Component::redis(), Component::kafka(1))).await.unwrap();
    let environment = tokio::task::block_in_place(|| environment_on(&redis, &kafka, components::database("postgres")));
    let prefix = environment.iter().find(|(name, _)| *name == "BUNHO_REDIS__PREFIX").unwrap().1.clone();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let server = Server::start_nodes(2, &environment, &[]).await;
    // Nobody is taken for gone who does not poll while this goes on.
    let zone =
        json!({"entry_limit_per_minute": 2, "poll_interval_ms": 60_000, "poll_interval_max_ms": 60_000, "abandon_after_seconds": 600});
    server.put_zone("SALE", zone).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 3})).await;
    for _ in 0..5 {
        assert_eq!(server.join("SALE").await.0, StatusCode::OK);
    }
    for user in 0..8 {
        server.claim("drop", &format!("u{user}"), None, json!({"quantity": 1})).await;
    }
    until_it_says(&server, "bunho_projector_lag_records", 0.0).await;
    until_it_says(&server, "bunho_outbox_depth", 0.0).await;

    // Each node looks for itself, and the page of one that is at work may be a round trip ahead of itself.
    let mut pages = [String::new(), String::new()];
    until("both nodes tell the same", SOON, async || {
        pages = [page_of(&server, 0).await, page_of(&server, 1).await];
        pages.iter().all(|page| is_told(page))
    })
    .await;
    pages.iter().for_each(|page| checked_by_prometheus(page));
    // What is each node's own adds up.
    let sum = |sample: &str| pages.iter().filter_map(|page| value(page, sample)).sum::<f64>();
    assert_eq!(sum("bunho_offer_refused_total{offer=\"drop\",code=\"sold_out\"}"), 5.0);
    assert_eq!(sum("bunho_claims_total{outcome=\"taken\"}"), 3.0);
    assert!(sum("bunho_kafka_produce_seconds_count") >= 5.0, "two admissions, three claims");
    // Of three primaries each node tells the same, and of all that both did.
    for number in 0..3 {
        let calls = format!("bunho_redis_script_calls_total{{node=\"127.0.0.1:{}\"}}", redis.port + number);
        until("both tell of scripts", SOON, async || {
            let told = [page_of(&server, 0).await, page_of(&server, 1).await].map(|page| value(&page, &calls));
            told.iter().flatten().count() == 2 || !is_primary(&redis, number)
        })
        .await;
    }
    let first = page(&server).await;
    let written: BTreeSet<String> = first
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE bunho_")?.split(' ').next())
        .map(|name| format!("bunho_{name}"))
        .collect();
    assert_eq!(written, names_of_this_shape());

    // A rehearsal is told what Redis has spent until this moment, and what the node itself has answered: of two that were asked by turns, not everything.
    let spent = async || server.admin(Method::GET, "rehearsal", json!({})).await.1;
    let before = spent().await;
    for user in 0..8 {
        server.claim("drop", &format!("late-{user}"), None, json!({"quantity": 1})).await;
    }
    let after = spent().await;
    assert!(after["redis_seconds"].as_f64().unwrap() > before["redis_seconds"].as_f64().unwrap(), "{before} {after}");
    let joins = [&before, &after].map(|spent| spent["answered"]["joins"].as_u64().unwrap());
    assert!(joins.iter().all(|joins| (1..5).contains(joins)), "{before} {after}");

    // An offer in doubt is restored, by one of the two.
    let mut client = Command::new("redis-cli");
    client.args(["-c", "-p", &redis.port.to_string(), "HSET", &format!("{prefix}:{{1}}:1"), "i", "another life"]);
    assert!(client.output().unwrap().status.success());
    until("one of them restored it", SOON, async || {
        let mut restored = 0.0;
        for node in 0..2 {
            restored += value(&page_of(&server, node).await, "bunho_recoveries_total").unwrap();
        }
        restored == 1.0
    })
    .await;

    let hung = Hung::new(&[&redis, &kafka]);
    let began = Instant::now();
    until("it says so", SOON, async || {
        let page = page(&server).await;
        value(&page, "bunho_redis_up") == Some(0.0)
            && value(&page, "bunho_kafka_up") == Some(0.0)
            && value(&page, "bunho_zones_left_out") == Some(1.0)
    })
    .await;
    let mut waited = Vec::new();
    let text = loop {
        // Longer than a page is shown again.
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        let looked = Instant::now();
        let text = page(&server).await;
        waited.push(looked.elapsed());
        if looked.elapsed() < Duration::from_secs(2) {
            break text;
        }
        assert!(waited.len() < 5, "scrapes waited {waited:?}, {:?} after all hung", began.elapsed());
    };
    checked_by_prometheus(&text);
    assert_eq!(value(&text, "bunho_offers_left_out"), Some(1.0), "{text}");
    assert!(!text.contains("bunho_zone_waiting{") && !text.contains("bunho_offer_remaining{"), "{text}");
    let answer = spent().await;
    assert!(answer["redis_seconds"].is_null() && answer["answered"]["joins"].as_u64() > Some(0), "{answer}");
    // What was counted here is no less true.
    assert!(text.contains("bunho_claims_total{outcome=\"taken\"}"));
    drop(hung);
    until_it_says(&server, "bunho_redis_up", 1.0).await;
    until("the offer is told of again", Duration::from_secs(90), async || {
        value(&page(&server).await, "bunho_offer_remaining{offer=\"drop\"}") == Some(0.0)
    })
    .await;
}

/// Whether a page says what there is while all is well; what it says instead is printed.
fn is_told(page: &str) -> bool {
    let there = [
        ("bunho_zone_waiting{zone=\"SALE\"}", 3.0),
        ("bunho_zone_present{zone=\"SALE\"}", 3.0),
        ("bunho_zone_entered_total{zone=\"SALE\"}", 2.0),
        ("bunho_zone_holding{zone=\"SALE\"}", 0.0),
        ("bunho_zone_state{zone=\"SALE\",state=\"waiting\"}", 1.0),
        ("bunho_offer_confirmed{offer=\"drop\"}", 3.0),
        ("bunho_offer_remaining{offer=\"drop\"}", 0.0),
        ("bunho_offer_suspended{offer=\"drop\"}", 0.0),
        ("bunho_redis_up", 1.0),
        ("bunho_kafka_up", 1.0),
        ("bunho_recovering", 0.0),
        ("bunho_projector_lag_seconds", 0.0),
    ];
    let other: Vec<_> = there.iter().filter(|(sample, expected)| value(page, sample) != Some(*expected)).collect();
    let [runs, trips, batches] =
        ["round_trip_seconds_count", "round_trips_total", "batch_commands_count"].map(|name| value(page, &format!("bunho_redis_{name}")));
    let adds_up = runs > Some(0.0) && trips >= runs && batches == runs;
    if !other.is_empty() || !adds_up {
        println!("not yet {other:?}; {runs:?} runs, {trips:?} round trips, {batches:?} batches");
    }
    other.is_empty() && adds_up
}

fn is_primary(redis: &Component, number: u16) -> bool {
    let port = (redis.port + number).to_string();
    let said = Command::new("redis-cli").args(["-p", &port, "role"]).output().unwrap().stdout;
    said.starts_with(b"master")
}
