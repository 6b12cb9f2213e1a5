//! `/metrics` of the real binary: every name of the table that the embedded shape has, in the form that Prometheus' own tool accepts, and true;
//! whatever hangs.

use crate::harness::{ADMIN_KEY, Server, until};
use crate::scrape::{SOON, checked_by_prometheus, page, until_it_says, value};
use reqwest::{Method, StatusCode};
use serde_json::json;
use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// Names that the documentation has, without those of other shapes.
fn names_of_this_shape() -> BTreeSet<String> {
    let page = include_str!("../../../../docs/metrics.md");
    let rows =
        page.lines().filter(|line| line.starts_with("| `bunho_") && !line.contains("Only of a cluster") && !line.contains("Only with "));
    let names = rows.map(|row| row.split('`').nth(1).unwrap().to_owned());
    names
        .filter(|name| !["bunho_redis_", "bunho_kafka_", "bunho_outbox_", "bunho_recover"].iter().any(|other| name.starts_with(other)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_number_is_there_and_true() {
    let server = Server::start().await;
    server.put_zone("SALE", json!({"entry_limit_per_minute": 3})).await;
    server.put_zone("GONE", json!({"entry_limit_per_minute": 1})).await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 2, "hold_seconds": 600, "max_per_claim": 5})).await;
    let mut tickets = Vec::new();
    for _ in 0..8 {
        tickets.push(server.join("SALE").await.1["token"].as_str().unwrap().to_owned());
    }
    let body = json!({"zoneId": "SALE", "token": tickets[7]});
    assert!(server.request(Method::POST, "/traffic/leave").json(&body).send().await.unwrap().status().is_success());
    for user in ["a", "b", "c", "d"] {
        server.claim("drop", user, None, json!({"quantity": 1})).await;
    }
    server.claim("drop", "e", None, json!({"quantity": 99})).await;
    server.until_projected().await;
    until_it_says(&server, "bunho_projector_lag_records", 0.0).await;
    until_it_says(&server, "bunho_offer_held{offer=\"drop\"}", 2.0).await;
    let text = page(&server).await;
    checked_by_prometheus(&text);
    for (sample, expected) in [
        ("bunho_zone_waiting{zone=\"SALE\"}", 4.0),
        ("bunho_zone_active{zone=\"SALE\"}", 3.0),
        ("bunho_zone_entered_last_minute{zone=\"SALE\"}", 3.0),
        ("bunho_zone_entered_total{zone=\"SALE\"}", 3.0),
        ("bunho_zone_left_total{zone=\"SALE\"}", 1.0),
        ("bunho_zone_dropped_total{zone=\"SALE\"}", 0.0),
        ("bunho_zone_limit_per_minute{zone=\"SALE\"}", 3.0),
        ("bunho_zone_unused_entries_total{zone=\"SALE\"}", 0.0),
        ("bunho_zone_holding{zone=\"SALE\"}", 0.0),
        ("bunho_zone_state{zone=\"SALE\",state=\"waiting\"}", 1.0),
        ("bunho_zone_waiting{zone=\"GONE\"}", 0.0),
        ("bunho_zones_left_out", 0.0),
        ("bunho_offer_quantity{offer=\"drop\"}", 2.0),
        ("bunho_offer_remaining{offer=\"drop\"}", 0.0),
        ("bunho_offer_refused_total{offer=\"drop\",code=\"sold_out\"}", 2.0),
        ("bunho_offer_refused_total{offer=\"drop\",code=\"quantity_invalid\"}", 1.0),
        ("bunho_offers_left_out", 0.0),
        ("bunho_claims_total{outcome=\"taken\"}", 2.0),
        ("bunho_claims_total{outcome=\"sold_out\"}", 2.0),
        ("bunho_requests_shed_total", 0.0),
        ("bunho_journal_up", 1.0),
        ("bunho_projector_lag_seconds", 0.0),
    ] {
        assert_eq!(value(&text, sample), Some(expected), "{sample} in\n{text}");
    }
    // Every record was in some batch, and every batch was synced.
    let durable = value(&text, "bunho_journal_durable_offset").unwrap();
    assert_eq!(value(&text, "bunho_journal_batch_records_sum"), Some(durable));
    assert_eq!(value(&text, "bunho_journal_batch_records_count"), value(&text, "bunho_journal_sync_seconds_count"));
    assert!(value(&text, "bunho_journal_sync_seconds_sum").unwrap() > 0.0);
    assert!(value(&text, "bunho_zone_estimate_seconds{zone=\"SALE\"}").unwrap() > 0.0);
    let written: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE bunho_")?.split(' ').next()).map(|name| format!("bunho_{name}")).collect();
    assert_eq!(written, names_of_this_shape());

    assert_eq!(server.admin(Method::DELETE, "zones/GONE", json!({})).await.0, StatusCode::NO_CONTENT);
    until("nothing is left of what was deleted", SOON, async || !page(&server).await.contains("GONE")).await;
    checked_by_prometheus(&page(&server).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn series_are_bounded_and_the_crowds_are_among_them() {
    let server = Server::start_with(&[("BUNHO_METRICS__SERIES_MAX", "2")], &[]).await;
    for zone in 0..5 {
        server.put_zone(&format!("Z{zone}"), json!({"entry_limit_per_minute": 1})).await;
        server.put_offer(&format!("o{zone}"), json!({"kind": "coupon", "quantity": 500})).await;
    }
    for zone in ["Z3", "Z3", "Z3", "Z4", "Z4"] {
        server.join(zone).await;
    }
    until_it_says(&server, "bunho_zone_waiting{zone=\"Z4\"}", 1.0).await;
    let text = page(&server).await;
    assert_eq!(value(&text, "bunho_zone_waiting{zone=\"Z3\"}"), Some(2.0));
    assert_eq!(text.lines().filter(|line| line.starts_with("bunho_zone_waiting{")).count(), 2);
    assert_eq!(text.lines().filter(|line| line.starts_with("bunho_offer_remaining{")).count(), 2);
    assert_eq!((value(&text, "bunho_zones_left_out"), value(&text, "bunho_offers_left_out")), (Some(3.0), Some(3.0)));
    checked_by_prometheus(&text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scraper_that_reads_nothing_costs_nobody_anything() {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 1_000})).await;
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    // Each asks for far more than the buffers of a connection take, and reads none of it.
    let asked = "GET /metrics HTTP/1.1\r\nhost: bunho\r\n\r\n".repeat(500);
    let mut hanging: Vec<TcpStream> = (0..50).map(|_| TcpStream::connect(&address).unwrap()).collect();
    for scraper in &mut hanging {
        scraper.set_nonblocking(true).unwrap();
        // What the kernel does not take of the requests is not sent.
        let _ = scraper.write(asked.as_bytes());
    }
    until("they are being answered", SOON, async || value(&page(&server).await, "bunho_connections_open").is_some_and(|open| open >= 50.0))
        .await;
    let began = Instant::now();
    for user in 0..100 {
        assert_eq!(server.claim("drop", &format!("u{user}"), None, json!({"quantity": 1})).await.0, StatusCode::CREATED);
        assert!(page(&server).await.contains("bunho_journal_up 1"));
    }
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    // A page is written at most once a second, however many ask.
    let memory = value(&page(&server).await, "process_resident_memory_bytes").unwrap();
    assert!(memory < 512.0 * 1_048_576.0, "{memory}");
    drop(hanging);
}

#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_hangs_leaves_out_what_it_would_have_to_say() {
    // The fifth write of the journal takes a minute: settings are written, a claim or two, then claims hang.
    let server = Server::start_with(&[("FAILPOINTS", "journal::before_write=4*off->sleep(60000)")], &[]).await;
    server.put_zone("SALE", json!({"entry_limit_per_minute": 3})).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 1_000})).await;
    // Claims that come at once share a write, so there is no saying how many it takes. A write that is merely under way leaves nothing out.
    let mut claims = Vec::new();
    until("the disk hangs", SOON, async || {
        let request = server.request(Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", format!("u{}", claims.len()));
        let request = request.bearer_auth(ADMIN_KEY).json(&json!({"quantity": 1})).timeout(Duration::from_secs(120));
        claims.push(tokio::spawn(request.send()));
        let page = page(&server).await;
        value(&page, "bunho_offers_left_out") == Some(1.0) && value(&page, "bunho_journal_backlog_bytes").is_some_and(|bytes| bytes > 0.0)
    })
    .await;
    let began = Instant::now();
    let text = page(&server).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert!(!text.contains("bunho_offer_remaining{"), "what is not durable is shown:\n{text}");
    assert_eq!(value(&text, "bunho_zone_waiting{zone=\"SALE\"}"), Some(0.0), "zones do not wait for the disk");
    claims.into_iter().for_each(|claim| claim.abort());
}
