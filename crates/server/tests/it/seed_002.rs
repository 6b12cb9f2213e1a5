//! The waiting room, with a window of a few seconds where real minutes would only be waited for.

use crate::harness::{Server, seeded, unix_ms, until};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// N per window in these tests.
const LIMIT: usize = 100;
const WINDOW_SECONDS: usize = 5;
/// Long enough for N people to come within it on a slow machine.
const QUIET_SECONDS: usize = 20;

async fn zone(server: &Server, id: &str, more: Value) {
    let mut body = json!({
        "entry_limit_per_minute": LIMIT, "window_seconds": WINDOW_SECONDS, "slot_seconds": 1,
        "poll_interval_ms": 300, "poll_interval_max_ms": 1_000, "abandon_after_seconds": 3, "resume_grace_seconds": 60,
    });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.put_zone(id, body).await;
}

/// Admission times as the ledger has them, ascending, and the sequence numbers in the same order.
fn admissions(server: &Server, zone: &str) -> Vec<(i64, u32)> {
    let rows = server.sql(&format!(
        "select admitted_at, seq from tickets \
         where admitted_at is not null and zone_number = (select number from zones where id = '{zone}') order by admitted_at, seq"
    ));
    rows.lines().filter_map(|row| row.split_once('|')).map(|(at, seq)| (unix_ms(at), seq.parse().unwrap())).collect()
}

fn assert_never_above_the_limit(admissions: &[(i64, u32)], window_seconds: usize) {
    let window_ms = window_seconds as i64 * 1_000;
    for (i, (first, _)) in admissions.iter().enumerate() {
        let inside = admissions[i..].iter().take_while(|(at, _)| at - first < window_ms).count();
        assert!(inside <= LIMIT, "{inside} admissions within {window_ms} ms");
    }
}

/// Waits as a well-behaved client does until it is in; its shown ranks must never rise. None: it left after `leaves_after` polls.
async fn wait(server: &Server, zone: &str, mut answer: Value, leaves_after: Option<u64>) -> Option<Duration> {
    let started = Instant::now();
    let mut rank = u64::MAX;
    let mut polls = 0;
    while answer["canEnter"] == false {
        let waiting = &answer["waiting"];
        let shown = waiting["rank"].as_u64().unwrap();
        assert!(shown <= rank, "a shown rank rose from {rank} to {shown}");
        rank = shown;
        if leaves_after.is_some_and(|most| polls >= most) {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(waiting["pollingPeriod"].as_u64().unwrap())).await;
        let token = answer["token"].as_str().unwrap().to_string();
        let (status, next) = server.poll(zone, &token).await;
        assert_eq!(status, StatusCode::OK, "{next}");
        assert_eq!(next["token"], token.as_str(), "the ticket does not change");
        answer = next;
        polls += 1;
    }
    assert!(answer["pass"].as_str().unwrap().split('.').count() == 3);
    Some(started.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_of_six_windows_of_which_a_third_leaves() {
    let mut random = seeded("seed_002");
    let server = Arc::new(super::server().await);
    zone(&server, "MAIN", json!({})).await;
    let crowd: Vec<_> = (0..LIMIT * 4)
        .map(|_| {
            let leaves_after = (random.below(10) < 3).then(|| random.below(6));
            let server = server.clone();
            tokio::spawn(async move {
                let (status, joined) = server.join("MAIN").await;
                assert_eq!(status, StatusCode::OK, "{joined}");
                wait(&server, "MAIN", joined, leaves_after).await.is_some()
            })
        })
        .collect();
    let entered = futures_util::future::join_all(crowd).await.into_iter().filter(|entered| *entered.as_ref().unwrap()).count();
    server.until_projected().await;
    let admissions = admissions(&server, "MAIN");
    assert_eq!(admissions.len(), entered, "an admission for everyone who was let in");
    assert_never_above_the_limit(&admissions, WINDOW_SECONDS);
    assert!(entered >= LIMIT * 2, "only {entered} of {} entered", LIMIT * 4);
    server.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_in_a_quiet_hour_makes_no_line_and_the_next_one_waits() {
    let server = super::server().await;
    zone(&server, "QUIET", json!({"window_seconds": QUIET_SECONDS})).await;
    let began = Instant::now();
    for (_, joined) in futures_util::future::join_all((0..LIMIT).map(|_| server.join("QUIET"))).await {
        assert_eq!(joined["canEnter"], true, "{joined}");
    }
    let (_, joined) = server.join("QUIET").await;
    assert_eq!((joined["canEnter"].as_bool(), joined["waiting"]["rank"].as_u64()), (Some(false), Some(1)));
    assert_eq!(joined["waiting"]["state"], "waiting");
    wait(&server, "QUIET", joined, None).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(QUIET_SECONDS as u64), "the window was not kept: {:?}", began.elapsed());
    server.until_projected().await;
    assert_never_above_the_limit(&admissions(&server, "QUIET"), QUIET_SECONDS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_is_the_same_ticket_and_the_same_pass_is_answered_again() {
    let server = super::server().await;
    zone(&server, "ONE", json!({"entry_limit_per_minute": 1, "window_seconds": 60})).await;
    let join = async |key: &str| {
        let body = json!({"zoneId": "ONE", "clientIp": "127.0.0.1", "clientAgent": "WEB", "key": key});
        crate::harness::read(server.request(Method::POST, "/traffic/wait").json(&body).send().await.unwrap()).await.1
    };
    let first = join("a").await;
    assert_eq!(first["canEnter"], true);
    // A lost answer costs nobody a place, and is no second admission.
    let again = server.poll("ONE", first["token"].as_str().unwrap()).await.1;
    assert_eq!((first["pass"].as_str(), first["token"].as_str()), (again["pass"].as_str(), again["token"].as_str()));
    let waiting = join("b").await;
    assert_eq!(join("b").await["token"], waiting["token"]);
    assert_ne!(join("c").await["token"], waiting["token"]);
    // Leaving frees the place at once, and twice is no error.
    let body = json!({"zoneId": "ONE", "token": waiting["token"]});
    for _ in 0..2 {
        let left = server.request(Method::POST, "/traffic/leave").json(&body).send().await.unwrap();
        assert_eq!(left.status(), StatusCode::NO_CONTENT);
    }
    let (status, gone) = server.poll("ONE", waiting["token"].as_str().unwrap()).await;
    assert_eq!((status, gone["code"].as_str()), (StatusCode::GONE, Some("ticket_gone")));
    assert_eq!(join("c").await["waiting"]["rank"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_away_for_a_moment_has_the_same_place_again() {
    let server = super::server().await;
    let settings = json!({"entry_limit_per_minute": 1, "window_seconds": 10, "abandon_after_seconds": 5, "poll_interval_max_ms": 900});
    zone(&server, "LATE", settings).await;
    assert_eq!(server.join("LATE").await.1["canEnter"], true);
    let late = server.join("LATE").await.1;
    let next = server.join("LATE").await.1;
    assert_eq!((late["waiting"]["rank"].as_u64(), next["waiting"]["rank"].as_u64()), (Some(1), Some(2)));
    // The first falls silent, past its turn; the second is counted first, then admitted: nobody waits for who is away.
    let token = next["token"].as_str().unwrap();
    wait(&server, "LATE", server.poll("LATE", token).await.1, None).await.unwrap();
    let third = server.join("LATE").await.1;
    assert_eq!(third["waiting"]["rank"], 1, "a dormant ticket is counted in nobody's rank");
    let back = server.poll("LATE", late["token"].as_str().unwrap()).await.1;
    assert_eq!((back["canEnter"].as_bool(), back["waiting"]["rank"].as_u64()), (Some(false), Some(1)));
    wait(&server, "LATE", back, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_pauses_resumes_and_resets() {
    let server = super::server().await;
    zone(&server, "OPS", json!({})).await;
    assert_eq!(server.admin(Method::POST, "zones/OPS/pause", json!({})).await.0, StatusCode::OK);
    let waiting = server.join("OPS").await.1;
    assert_eq!((waiting["canEnter"].as_bool(), waiting["waiting"]["state"].as_str()), (Some(false), Some("paused")));
    assert_eq!(server.admin(Method::POST, "zones/OPS/resume", json!({})).await.0, StatusCode::OK);
    wait(&server, "OPS", waiting, None).await.unwrap();
    assert_eq!(server.admin(Method::POST, "zones/OPS/pause", json!({})).await.0, StatusCode::OK);
    let ended = server.join("OPS").await.1;
    assert_eq!(server.admin(Method::POST, "zones/OPS/reset", json!({})).await.0, StatusCode::OK);
    let (status, gone) = server.poll("OPS", ended["token"].as_str().unwrap()).await;
    assert_eq!((status, gone["code"].as_str()), (StatusCode::GONE, Some("ticket_gone")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_ends_when_its_offer_is_sold_out_and_the_pass_opens_the_offer() {
    let server = super::server().await;
    server.put_offer("few", json!({"kind": "goods", "quantity": 1, "hold_seconds": 0})).await;
    zone(&server, "SALE", json!({"offer": "few"})).await;
    server.put_offer("few", json!({"kind": "goods", "quantity": 1, "hold_seconds": 0, "zone": "SALE"})).await;
    let inside = server.join("SALE").await.1;
    let pass = inside["pass"].as_str().unwrap();
    let claim = async |pass: Option<&str>| {
        let mut request = server.request(Method::POST, "/v1/offers/few/claims").header("x-bunho-user", "u").json(&json!({"quantity": 1}));
        if let Some(pass) = pass {
            request = request.header("bunho-pass", pass);
        }
        let (status, answer) = crate::harness::read(request.send().await.unwrap()).await;
        (status.as_u16(), answer["code"].as_str().map(str::to_string))
    };
    assert_eq!(claim(None).await, (403, Some("pass_required".into())));
    assert_eq!(claim(Some("x.y.z")).await, (403, Some("pass_invalid".into())));
    assert_eq!(claim(Some(pass)).await, (201, None));
    let sold_out = async || server.join("SALE").await.1["waiting"]["state"] == "sold_out";
    until("the line has ended", Duration::from_secs(60), sold_out).await;
    // On a cluster the nodes answer by turns, and each has seen it.
    let nothing_is_left = async || server.join("SALE").await.1["waiting"]["remaining"] == 0;
    until("it says that nothing is left", Duration::from_secs(60), nothing_is_left).await;
}
