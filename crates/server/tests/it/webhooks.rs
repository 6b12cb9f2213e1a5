//! Webhooks: what happens reaches receivers that verify, fail, hang, redirect, flood and go away, at least once, whatever is killed meanwhile.

mod kills;
mod receiver;
mod refused;
mod secure;

use crate::harness::{ADMIN_KEY, Server, read, until};
use futures_util::StreamExt;
use receiver::{Manner, Receiver};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

/// Generous: eight builds may share the machine.
const SOON: Duration = Duration::from_secs(60);
/// Receivers here are on loopback; attempts follow each other fast.
const OPEN: [(&str, &str); 3] = [
    ("BUNHO_WEBHOOKS__ALLOW_HTTP", "true"),
    ("BUNHO_WEBHOOKS__ALLOW_PRIVATE", "[\"127.0.0.0/8\"]"),
    ("BUNHO_WEBHOOKS__RETRY_SECONDS", "[1, 1]"),
];

async fn server_with(more: &[(&str, &str)]) -> Server {
    Server::start_with(&[&OPEN, more].concat(), &[]).await
}

/// Makes a webhook; its id and its secret.
async fn hook(server: &Server, url: &str, more: Value) -> (String, String) {
    let mut body = json!({"name": "shop", "url": url});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let (status, made) = server.admin(Method::POST, "webhooks", body).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

async fn seen(server: &Server, id: &str) -> Value {
    let (status, found) = server.admin(Method::GET, &format!("webhooks/{id}"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    found
}

async fn deliveries(server: &Server, id: &str, state: &str) -> Vec<Value> {
    let (status, found) = server.admin(Method::GET, &format!("webhooks/{id}/deliveries?state={state}"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{found}");
    found["deliveries"].as_array().unwrap().clone()
}

/// Takes a claim; its id.
async fn claim(server: &Server, offer: &str, user: &str) -> String {
    let (status, claim) = server.claim(offer, user, None, json!({"quantity": 1, "attributes": {"note": "둘째 줄 \u{1f39f}"}})).await;
    assert_eq!(status, StatusCode::CREATED, "{claim}");
    claim["id"].as_str().unwrap().to_owned()
}

async fn confirm(server: &Server, claim: &str) {
    let (status, answer) = server.service_post(&format!("/v1/claims/{claim}/confirm"), json!({})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_happens_arrives_signed_and_as_it_is_shown() {
    let (all, some) = (Receiver::start(Manner::Takes).await, Receiver::start(Manner::Takes).await);
    let server = server_with(&[]).await;
    server.put_offer("seat", json!({"kind": "goods", "quantity": 2, "per_user_limit": 1, "hold_seconds": 600, "standby": true})).await;
    server.put_offer("other", json!({"kind": "coupon", "quantity": 10})).await;
    // What was decided before a webhook is there is not told.
    claim(&server, "other", "early").await;
    server.until_projected().await;
    let (id, secret) = hook(&server, &all.url(), json!({})).await;
    let (only, only_secret) = hook(&server, &some.url(), json!({"events": ["claim.confirmed"], "offer": "other"})).await;
    let (status, listed) = server.admin(Method::GET, "webhooks", json!({})).await;
    assert_eq!((status, listed["webhooks"].as_array().unwrap().len()), (StatusCode::OK, 2));
    assert!(!listed.to_string().contains("whsec_"), "a secret is shown once");

    let (kept, left) = (claim(&server, "seat", "kim").await, claim(&server, "seat", "lee").await);
    let (status, standby) = server.user_post("park", "/v1/offers/seat/standby", json!({"quantity": 1})).await;
    assert_eq!(status, StatusCode::CREATED, "{standby}");
    confirm(&server, &kept).await;
    let (status, _) = server.user_post("lee", &format!("/v1/claims/{left}/release"), json!({})).await;
    assert_eq!(status, StatusCode::OK);
    let coupon = claim(&server, "other", "kim").await;
    let (status, answer) = server.admin(Method::POST, &format!("claims/{kept}/return"), json!({"restock": false})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");

    let standby = standby["id"].as_str().unwrap().to_owned();
    until("everything has arrived", SOON, async || {
        let found = all.by_type();
        let has = |name: &str, subject: &str| found.get(&format!("io.bunho.{name}")).is_some_and(|subjects| subjects.contains(subject));
        has("claim.held", &kept)
            && has("claim.held", &left)
            && has("claim.confirmed", &kept)
            && has("claim.released", &left)
            && has("claim.returned", &kept)
            && has("claim.confirmed", &coupon)
            && has("standby.served", &standby)
            && has("offer.sold_out", "seat")
            && some.subjects("io.bunho.claim.confirmed").contains(&coupon)
    })
    .await;
    for got in all.got() {
        assert!(got.is_signed_with(&secret) && !got.is_signed_with(&only_secret), "{got:?}");
        assert_eq!(got.header("content-type"), "application/cloudevents+json; charset=utf-8");
        assert_eq!(got.path, "/hooks?of=bunho");
        let event = got.event();
        assert_eq!((event["specversion"].as_str(), event["datacontenttype"].as_str()), (Some("1.0"), Some("application/json")));
        assert_eq!(got.header("webhook-id"), event["id"].as_str().unwrap().replace('.', "_"), "one name however often it is sent");
        assert!(event["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok(), "{event}");
        assert_ne!(event["data"]["user"], "early");
    }
    assert!(some.got().iter().all(|got| got.event()["data"]["offer"] == "other" && got.event()["type"] == "io.bunho.claim.confirmed"));
    // What is told of a claim is what its owner sees.
    let (_, shown) = server.user_get("kim", &format!("/v1/claims/{kept}")).await;
    let returned = all.got().into_iter().find(|got| got.event()["type"] == "io.bunho.claim.returned").unwrap().event();
    for (field, value) in shown.as_object().unwrap() {
        assert_eq!(returned["data"][field], *value, "{field}");
    }
    assert_eq!(returned["id"], format!("{kept}.{}", shown["version"]));

    rotates(&server, &id, &secret, &all).await;
    until("nothing waits", SOON, async || deliveries(&server, &id, "pending").await.is_empty()).await;
    until("it is counted", SOON, async || {
        let (_, text) = server.get("/metrics").await;
        let text = text.as_str().unwrap_or_default().to_owned();
        text.contains("bunho_webhook_pending 0") && !text.contains("bunho_webhook_deliveries_total{outcome=\"delivered\"} 0")
    })
    .await;
    // One that is gone is told nothing more, and leaves nothing behind.
    let (status, _) = server.admin(Method::DELETE, &format!("webhooks/{only}"), json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    until("it is forgotten", SOON, async || server.sql("SELECT count(*) FROM webhooks") == "1").await;
    assert_eq!(server.sql("SELECT count(*) FROM webhook_states"), "1");
}

/// A new secret, and the one before for a while.
async fn rotates(server: &Server, id: &str, old: &str, receiver: &Receiver) {
    let (status, made) = server.admin(Method::POST, &format!("webhooks/{id}/secret"), json!({"previous_seconds": 600})).await;
    assert_eq!(status, StatusCode::OK, "{made}");
    let new = made["secret"].as_str().unwrap();
    let test = async |status: u16| {
        receiver.forget();
        let (answered, result) = server.admin(Method::POST, &format!("webhooks/{id}/test"), json!({})).await;
        assert_eq!((answered, result["delivered"].as_bool(), result["status"].as_u64()), (StatusCode::OK, Some(true), Some(status.into())));
        receiver.got().pop().unwrap()
    };
    let got = test(204).await;
    assert!(got.is_signed_with(old) && got.is_signed_with(new));
    assert_eq!(got.event()["type"], "io.bunho.test");
    let (_, made) = server.admin(Method::POST, &format!("webhooks/{id}/secret"), json!({"previous_seconds": 0})).await;
    let got = test(204).await;
    assert!(!got.is_signed_with(old) && !got.is_signed_with(new) && got.is_signed_with(made["secret"].as_str().unwrap()));
    let audit = server.sql("SELECT coalesce(detail, '') FROM audit_log WHERE action LIKE 'webhook.%'");
    assert!(audit.contains("shop") && !audit.contains("whsec_"), "{audit}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_taken_is_tried_again_and_in_the_end_kept_for_people() {
    let receiver = Receiver::start(Manner::Answers(500)).await;
    let elsewhere = Receiver::start(Manner::Takes).await;
    let server = server_with(&[("BUNHO_WEBHOOKS__TIMEOUT_MS", "3000")]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 100})).await;
    let (id, secret) = hook(&server, &receiver.url(), json!({"events": ["claim.confirmed"]})).await;
    let manners = [
        (Manner::Answers(500), Some(500), "answered 500"),
        (Manner::Answers(404), Some(404), "answered 404"),
        (Manner::With(302, "location", elsewhere.url()), Some(302), "redirects are not followed"),
        (Manner::With(307, "location", elsewhere.url()), Some(307), "redirects are not followed"),
        (Manner::Hangs, None, "no answer within 3000 ms"),
    ];
    let mut given_up = Vec::new();
    for (index, (manner, status, reason)) in manners.into_iter().enumerate() {
        receiver.be(manner);
        let claimed = claim(&server, "drop", &format!("u{index}")).await;
        until("it is given up", SOON, async || deliveries(&server, &id, "dead").await.len() == index + 1).await;
        let dead = deliveries(&server, &id, "dead").await.remove(0);
        assert_eq!((dead["attempts"].as_u64(), dead["last_status"].as_u64()), (Some(3), status), "{dead}");
        assert!(dead["last_error"].as_str().unwrap().contains(reason), "{dead}");
        let tries = receiver.got().into_iter().filter(|got| got.event()["subject"] == claimed).collect::<Vec<_>>();
        assert_eq!(tries.len(), 3);
        assert!(tries.iter().all(|got| got.is_signed_with(&secret) && got.body == tries[0].body), "the same bytes each time");
        given_up.push((dead["delivery"].clone(), claimed));
        // One that is taken ends the failures in a row, or the webhook would soon be asked once a minute.
        receiver.be(Manner::Takes);
        let taken = claim(&server, "drop", &format!("v{index}")).await;
        until("it is told", SOON, async || receiver.subjects("io.bunho.claim.confirmed").contains(&taken)).await;
        until("it is noted", SOON, async || seen(&server, &id).await["failures"] == 0).await;
    }
    assert_eq!(elsewhere.count(), 0, "nobody is sent on");

    // One again, one dropped, the rest again; each is then told.
    receiver.be(Manner::Floods);
    receiver.forget();
    let post = async |what: &str, body: Value| server.admin(Method::POST, &format!("webhooks/{id}/{what}"), body).await;
    assert_eq!(post("redeliver", json!({"delivery": given_up[0].0})).await, (StatusCode::OK, json!({"count": 1})));
    until("one is told", SOON, async || receiver.subjects("io.bunho.claim.confirmed").contains(&given_up[0].1)).await;
    until("an answer that does not end is one", SOON, async || deliveries(&server, &id, "pending").await.is_empty()).await;
    assert_eq!(post("discard", json!({"delivery": given_up[1].0})).await, (StatusCode::OK, json!({"count": 1})));
    assert_eq!(post("discard", json!({"delivery": given_up[1].0})).await.0, StatusCode::NOT_FOUND);
    receiver.be(Manner::TakesAfter(Duration::from_millis(50)));
    assert_eq!(post("redeliver", json!({})).await, (StatusCode::OK, json!({"count": 3})));
    assert_eq!(post("redeliver", json!({})).await, (StatusCode::OK, json!({"count": 0})));
    let rest: BTreeSet<String> = given_up[2..].iter().map(|(_, claim)| claim.clone()).collect();
    until("the rest is told", SOON, async || receiver.subjects("io.bunho.claim.confirmed").is_superset(&rest)).await;
    assert!(!receiver.subjects("io.bunho.claim.confirmed").contains(&given_up[1].1), "what was dropped is not");
    until("nothing is left", SOON, async || seen(&server, &id).await["dead"] == 0).await;

    // Whoever is gone is asked nothing more, and what waits is told when somebody turns it on again.
    receiver.be(Manner::Answers(410));
    let last = claim(&server, "drop", "last").await;
    until("it is turned off", SOON, async || seen(&server, &id).await["disabled_reason"] == "gone").await;
    assert_eq!(seen(&server, &id).await["enabled"], false);
    receiver.be(Manner::Takes);
    receiver.forget();
    let (status, answer) = server.admin(Method::PUT, &format!("webhooks/{id}"), json!({"enabled": true})).await;
    assert_eq!((status, answer["disabled_reason"].is_null()), (StatusCode::OK, true), "{answer}");
    until("what waited is told", SOON, async || receiver.subjects("io.bunho.claim.confirmed").contains(&last)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hangs_keeps_nobody_waiting() {
    const CLAIMS: usize = 400;
    let (hangs, takes) = (Receiver::start(Manner::Hangs).await, Receiver::start(Manner::Takes).await);
    // An attempt may hang for longer than the test takes.
    let server = server_with(&[("BUNHO_WEBHOOKS__TIMEOUT_MS", "60000"), ("BUNHO_WEBHOOKS__CONCURRENCY", "4")]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": CLAIMS})).await;
    let (stuck, _) = hook(&server, &hangs.url(), json!({})).await;
    hook(&server, &takes.url(), json!({})).await;
    let users = futures_util::stream::iter((0..CLAIMS).map(|user| format!("u{user}")));
    let claimed = users.map(|user| {
        let server = &server;
        async move { claim(server, "drop", &user).await }
    });
    let claims: BTreeSet<String> = claimed.buffer_unordered(16).collect().await;
    until("the other has everything", SOON, async || takes.subjects("io.bunho.claim.confirmed") == claims).await;
    until("the one that hangs has as much as it may", SOON, async || hangs.count() == 4).await;
    assert_eq!((hangs.under_way_most(), hangs.count()), (4, 4), "no more than that is under way");
    // Both wait for the same ledger: claims, edits and deliveries go on.
    let kept = server.sql(&format!("SELECT count(*) FROM webhook_deliveries WHERE webhook = '{stuck}'"));
    assert_eq!(kept, (CLAIMS + 1).to_string(), "all of it is kept");
    until("it is counted", SOON, async || seen(&server, &stuck).await["pending"] == CLAIMS + 1).await;
    // Another server's `drain` is not kept waiting either.
    let mut server = server;
    let stopping = std::time::Instant::now();
    assert_eq!(server.stop(), 0);
    assert!(stopping.elapsed() < Duration::from_secs(40), "{:?}", stopping.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_that_is_asked_for_is_given_and_too_much_turns_a_webhook_off() {
    let receiver = Receiver::start(Manner::With(429, "retry-after", "86400".into())).await;
    let server = server_with(&[("BUNHO_WEBHOOKS__PENDING_MAX", "1000"), ("BUNHO_WEBHOOKS__WEBHOOKS_MAX", "1")]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 2_000})).await;
    let (id, _) = hook(&server, &receiver.url(), json!({})).await;
    let (status, answer) = server.admin(Method::POST, "webhooks", json!({"name": "second", "url": receiver.url()})).await;
    assert_eq!((status, answer["code"].as_str()), (StatusCode::CONFLICT, Some("too_many")), "{answer}");
    claim(&server, "drop", "first").await;
    until("it was asked", SOON, async || receiver.count() > 0).await;
    until("it waits", SOON, async || deliveries(&server, &id, "pending").await[0]["next_attempt_at"].is_string()).await;
    let waits = deliveries(&server, &id, "pending").await.remove(0);
    let next: jiff::Timestamp = waits["next_attempt_at"].as_str().unwrap().parse().unwrap();
    assert!(next.as_second() - jiff::Timestamp::now().as_second() > 86_000, "{waits}");
    let calls = (0..1_100).map(|user| {
        let request = server.request(Method::POST, "/v1/offers/drop/claims").header("x-bunho-user", format!("u{user}"));
        tokio::spawn(request.json(&json!({"quantity": 1})).send())
    });
    for call in calls.collect::<Vec<_>>() {
        assert_eq!(call.await.unwrap().unwrap().status(), StatusCode::CREATED);
    }
    until("it is turned off", SOON, async || seen(&server, &id).await["disabled_reason"] == "backlog_full").await;
    assert!(receiver.count() < 100, "{} attempts although a pause was asked for", receiver.count());

    // Turned on again it sends what waited, though that is still more than may wait.
    receiver.be(Manner::Takes);
    receiver.forget();
    let (status, answer) = server.admin(Method::PUT, &format!("webhooks/{id}"), json!({"enabled": true})).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    until("it is sent", SOON, async || receiver.count() >= 1_100).await;
    assert_eq!(seen(&server, &id).await["enabled"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_line_does_what_the_console_does() {
    let receiver = Receiver::start(Manner::Takes).await;
    let server = server_with(&[]).await;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
        command.arg("webhook").args(["--url", &server.url, "--key", ADMIN_KEY]).args(arguments);
        let output = command.output().unwrap();
        (output.status.success(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_default())
    };
    let body = json!({"name": "shell", "url": receiver.url()}).to_string();
    let (done, made) = run(&["new", &body]);
    assert!(done && made["secret"].as_str().unwrap().starts_with("whsec_"), "{made}");
    let id = made["id"].as_str().unwrap();
    assert_eq!(run(&["test", id]).1["delivered"], true);
    assert_eq!(run(&["list"]).1["webhooks"][0]["id"], id);
    assert_eq!(run(&["put", id, "{\"enabled\": false}"]).1["enabled"], false);
    assert_eq!(run(&["get", id]).1["revision"], 2);
    let rotated = run(&["secret", id]).1;
    assert!(rotated["secret"] != made["secret"] && rotated["previous_secret_until"].is_string(), "{rotated}");
    assert_eq!(run(&["deliveries", id]).1["deliveries"], json!([]));
    assert_eq!(run(&["deliveries", id, "--pending"]).1["deliveries"], json!([]));
    assert_eq!(run(&["redeliver", id]).1["count"], 0);
    assert_eq!(run(&["discard", id]).1["count"], 0);
    assert!(!run(&["discard", id, "--delivery", "7"]).0);
    assert!(run(&["delete", id]).0);
    assert!(!run(&["get", id]).0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_may_do_what() {
    let receiver = Receiver::start(Manner::Takes).await;
    let server = server_with(&[]).await;
    let (id, _) = hook(&server, &receiver.url(), json!({})).await;
    let mut keys = Vec::new();
    for role in ["viewer", "operator", "service"] {
        let (_, made) = server.admin(Method::POST, "keys", json!({"role": role, "name": role})).await;
        keys.push((role, made["key"].as_str().unwrap().to_owned()));
    }
    for (role, key) in &keys {
        let calls = [
            (Method::GET, "webhooks".to_owned(), "viewer operator"),
            (Method::GET, format!("webhooks/{id}/deliveries"), "viewer operator"),
            (Method::POST, format!("webhooks/{id}/test"), "operator"),
            (Method::POST, format!("webhooks/{id}/redeliver"), "operator"),
            (Method::POST, format!("webhooks/{id}/discard"), "operator"),
            (Method::POST, format!("webhooks/{id}/secret"), ""),
            (Method::PUT, format!("webhooks/{id}"), ""),
            (Method::DELETE, format!("webhooks/{id}"), ""),
            (Method::POST, "webhooks".to_owned(), ""),
        ];
        for (method, path, may) in calls {
            let request = server.request(method.clone(), &format!("/admin/api/{path}")).bearer_auth(key).json(&json!({}));
            let (status, answer) = read(request.send().await.unwrap()).await;
            let allowed = may.split(' ').any(|one| one == *role);
            assert_eq!(status != StatusCode::FORBIDDEN, allowed, "{role} {method} {path}: {status} {answer}");
        }
    }
}

/// The head of an answer is the answer, however long its body takes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_whose_body_stands_still_is_one() {
    let receiver = Receiver::start(Manner::Stalls).await;
    let server = server_with(&[("BUNHO_WEBHOOKS__TIMEOUT_MS", "4000")]).await;
    server.put_offer("seat", json!({"kind": "coupon", "quantity": 2})).await;
    let (id, _) = hook(&server, &receiver.url(), json!({"events": ["claim.confirmed"]})).await;
    claim(&server, "seat", "kim").await;
    until("it is tried", SOON, async || seen(&server, &id).await["last_attempt_at"].is_string()).await;
    let found = seen(&server, &id).await;
    assert_eq!((&found["last_status"], &found["last_error"], &found["delivered"]), (&json!(200), &Value::Null, &json!(1)), "{found}");
    assert_eq!(receiver.count(), 1);
}
