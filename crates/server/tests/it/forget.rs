//! People who are forgotten: no file says who they were, and everything that is counted stays what it was.

use crate::harness::{ADMIN_KEY, Server, bunho, said};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Stands in everything that is kept of the person: as the user, in keys and in attributes.
pub const MARK: &str = "marked-person";

/// Asks the server to forget the marked person; the exit code and the report.
fn forget(server: &Server) -> (i32, Value) {
    tokio::task::block_in_place(|| {
        let output = bunho(&["forget", MARK, "--json", "--url", &server.url, "--key", ADMIN_KEY]);
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output))))
    })
}

/// Files below the folder in which the mark stands.
pub fn marked(data: &Path) -> Vec<String> {
    let output = Command::new("grep").args(["-rla", MARK]).arg(data).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(ToOwned::to_owned).collect()
}

pub async fn claim(server: &Server, offer: &str, user: &str, number: u32) -> Value {
    let (key, attributes) = (format!("{user}-key-{number}"), json!({"address": format!("street of {user} {number}")}));
    let (status, claim) = server.claim(offer, user, Some(&key), json!({"quantity": 1, "attributes": attributes})).await;
    assert_eq!(status, StatusCode::CREATED, "{claim}");
    claim
}

pub async fn post(server: &Server, path: &str, body: Value) -> Value {
    let (status, answer) = server.service_post(path, body).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

pub async fn close(server: &Server, offer: &str) {
    post(server, &format!("/admin/api/offers/{offer}/close"), json!({})).await;
}

/// Among a crowd, the marked person has a claim in every state, a place on standby, an entry in the audit log, and a claim in an offer
/// that was deleted. All offers are closed but `open`.
pub async fn lived(server: &Server) {
    server.put_offer("stay", json!({"kind": "booking", "quantity": 400, "hold_seconds": 600, "standby": true})).await;
    server.put_offer("open", json!({"kind": "goods", "quantity": 400, "hold_seconds": 600})).await;
    server.put_offer("gone", json!({"kind": "goods", "quantity": 5, "hold_seconds": 600})).await;
    // Users in no order, so that pages of the ledger's index are split again and again.
    for number in 0..150_u32 {
        claim(server, "stay", &format!("u{}", number.wrapping_mul(2_654_435_761)), number).await;
    }
    for number in 0..6 {
        let claim = claim(server, "stay", MARK, number).await;
        let path = |verb: &str| format!("/v1/claims/{}/{verb}", claim["id"].as_str().unwrap());
        match number {
            0 => drop(post(server, &path("release"), json!({})).await),
            1 => {
                post(server, &path("confirm"), json!({})).await;
                let path = format!("/admin/api/claims/{}/return", claim["id"].as_str().unwrap());
                post(server, &path, json!({"restock": true})).await;
            }
            _ => drop(post(server, &path("confirm"), json!({})).await),
        }
    }
    claim(server, "open", MARK, 0).await;
    let deleted = claim(server, "gone", MARK, 0).await;
    post(server, &format!("/v1/claims/{}/release", deleted["id"].as_str().unwrap()), json!({})).await;
    let (status, _) = server.admin(Method::DELETE, "offers/gone", json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    // Sold out, so that the place waits.
    let remaining = server.offer("stay").await["remaining"].as_u64().unwrap();
    for number in 0..remaining / 90 + 1 {
        let quantity = (remaining - number * 90).min(90);
        if quantity > 0 {
            let (status, claim) = server.claim("stay", &format!("bulk{number}"), None, json!({"quantity": quantity})).await;
            assert_eq!(status, StatusCode::CREATED, "{claim}");
        }
    }
    let place = server.user_post(MARK, "/v1/offers/stay/standby", json!({"quantity": 1})).await;
    assert_eq!((place.0, place.1["status"].as_str()), (StatusCode::CREATED, Some("waiting")), "{}", place.1);
    close(server, "stay").await;
}

/// What must not change: how many claims stand how with how many units, and how many people there are.
pub fn sums(server: &Server) -> String {
    let sums =
        server.sql("select offer_id, status, count(*), sum(quantity), count(distinct user_id) from claims group by 1, 2 order by 1, 2");
    let history = server.sql("select status, count(*) from (select distinct claim_id, status from claim_events) group by 1 order by 1");
    let standby = server.sql("select count(*) from standby");
    format!("{sums}\n{history}\n{standby}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_says_who_it_was_and_everything_is_counted_as_before() {
    let mut server = Server::start().await;
    lived(&server).await;
    server.until_projected().await;
    assert!(marked(server.data()).len() >= 2, "the journal and the ledger: {:?}", marked(server.data()));
    let before = (sums(&server), server.offer("stay").await);

    // What is open stays, and is said; the rest goes.
    let (code, report) = forget(&server);
    assert_eq!((code, report["complete"].as_bool()), (1, Some(false)), "{report}");
    assert_eq!(
        (report["claims"].as_u64(), report["standby"].as_u64(), report["audit_entries"].as_u64()),
        (Some(7), Some(1), Some(1)),
        "{report}"
    );
    let remains = report["remains"].as_array().unwrap();
    assert_eq!(remains.len(), 1, "{report}");
    assert_eq!(
        (remains[0]["store"].as_str(), remains[0]["offer"].as_str(), remains[0]["count"].as_u64()),
        (Some("offer"), Some("open"), Some(1))
    );
    let again = server
        .claim(
            "open",
            MARK,
            Some(&format!("{MARK}-key-0")),
            json!({"quantity": 1, "attributes": {"address": format!("street of {MARK} 0")}}),
        )
        .await;
    assert_eq!(again.0, StatusCode::CREATED, "keys of what lives answer alike: {}", again.1);
    assert_eq!(server.sql(&format!("select count(*) from claims where user_id = '{MARK}'")), "1");
    assert_eq!(sums(&server), before.0, "all is counted as it was");

    // A held claim holds it up, also when the offer is closed.
    close(&server, "open").await;
    let (code, report) = forget(&server);
    assert_eq!((code, report["remains"][0]["why"].as_str()), (1, Some("a claim in it is held")), "{report}");
    assert!(report["remains"][0]["until"].is_string(), "{report}");
    let seen = server.request(Method::GET, "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!seen.contains("code=\"in_use\""), "no client was refused that: {seen}");
    let held = again.1["id"].as_str().unwrap();
    post(&server, &format!("/v1/claims/{held}/confirm"), json!({})).await;
    let (code, report) = forget(&server);
    assert_eq!((code, report["complete"].as_bool(), report["claims"].as_u64()), (0, Some(true), Some(1)), "{report}");
    assert_eq!(marked(server.data()), Vec::<String>::new(), "the server runs");
    let (code, report) = forget(&server);
    assert_eq!((code, report["claims"].as_u64()), (0, Some(0)), "again is harmless: {report}");

    // Nobody is found by the name.
    let (_, listed) = server.user_get(MARK, "/v1/claims").await;
    assert_eq!(listed["claims"], json!([]));
    let stay = server.offer("stay").await;
    for field in ["quantity", "held", "confirmed", "remaining"] {
        assert_eq!(stay[field], before.1[field], "{field}");
    }
    server.assert_reconciled();
    server.kill();
    server.restart().await;
    server.assert_reconciled();
    assert_eq!(server.offer("stay").await["confirmed"], before.1["confirmed"]);
    assert_eq!(marked(server.data()), Vec::<String>::new(), "after a kill and a start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_are_forgotten_while_a_crowd_claims() {
    let server = Server::start().await;
    lived(&server).await;
    close(&server, "open").await;
    let stop = Arc::new(AtomicBool::new(false));
    server.put_offer("crowd", json!({"kind": "goods", "quantity": 1_000_000})).await;
    let crowd: Vec<_> = (0..4)
        .map(|lane| {
            let (stop, client, url) = (stop.clone(), server.client.clone(), server.url.clone());
            tokio::spawn(async move {
                let mut claims = 0;
                while !stop.load(Ordering::Relaxed) {
                    let request = client.post(format!("{url}/v1/offers/crowd/claims")).header("x-bunho-user", format!("c{lane}-{claims}"));
                    assert_eq!(request.json(&json!({"quantity": 1})).send().await.unwrap().status(), StatusCode::CREATED);
                    claims += 1;
                }
                claims
            })
        })
        .collect();
    server.until_projected().await;
    let held = server.sql(&format!("select id from claims where user_id = '{MARK}' and offer_id = 'open'"));
    post(&server, &format!("/v1/claims/{held}/release"), json!({})).await;
    let (code, report) = forget(&server);
    stop.store(true, Ordering::Relaxed);
    let mut claims = 0;
    for lane in crowd {
        claims += lane.await.unwrap();
    }
    assert_eq!((code, report["claims"].as_u64()), (0, Some(8)), "{report}");
    assert_eq!(marked(server.data()), Vec::<String>::new());
    assert_eq!(server.offer("crowd").await["held"].as_u64(), Some(claims));
    server.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_folder_forgets_too_and_names_may_come_from_standard_input() {
    let mut server = Server::start().await;
    lived(&server).await;
    let data = server.data().to_str().unwrap().to_owned();
    let refused = bunho(&["forget", MARK, "--data", &data]);
    assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
    assert!(said(&refused).contains("--url"), "{}", said(&refused));
    server.kill();
    let fed = |input: &str| {
        let command = format!("printf '%s\\n' '{input}' | \"$0\" forget - --data \"$1\"");
        Command::new("bash")
            .arg("-c")
            .arg(command)
            .arg(env!("CARGO_BIN_EXE_bunho"))
            .arg(&data)
            .env("BUNHO_ADMIN_KEY", ADMIN_KEY)
            .output()
            .unwrap()
    };
    let output = fed(MARK);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("REMAINS in offer open (1)") && said(&output).contains("backups"), "{}", said(&output));
    assert!(!said(&output).contains(MARK), "what is said is kept by terminals and logs: {}", said(&output));
    for (users, code) in [("", 64), ("a\tb", 64)] {
        assert_eq!(fed(users).status.code(), Some(code), "{users:?}");
    }
    server.restart().await;
    server.assert_reconciled();
    assert_eq!(server.sql(&format!("select count(*) from claims where user_id = '{MARK}'")), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_webhook_that_is_off_can_be_discarded_and_then_nothing_is_left() {
    let inside = [("BUNHO_WEBHOOKS__ALLOW_HTTP", "true"), ("BUNHO_WEBHOOKS__ALLOW_PRIVATE", "[\"127.0.0.0/8\"]")];
    let server = Server::start_with(&inside, &[]).await;
    server.put_offer("seat", json!({"kind": "goods", "quantity": 10, "hold_seconds": 0})).await;
    // A port where nobody listens: what is told waits.
    let (status, hook) = server.admin(Method::POST, "webhooks", json!({"name": "h", "url": "http://127.0.0.1:1/"})).await;
    assert_eq!(status, StatusCode::CREATED, "{hook}");
    let path = format!("webhooks/{}", hook["id"].as_str().unwrap());
    claim(&server, "seat", MARK, 0).await;
    // Somebody whose name is a word that stands in every message.
    claim(&server, "seat", "user", 1).await;
    close(&server, "seat").await;
    server.until_projected().await;
    let (code, report) = forget(&server);
    assert_eq!((code, report["claims"].as_u64()), (1, Some(1)), "{report}");
    assert_eq!((&report["remains"][0]["store"], &report["remains"][0]["count"]), (&json!("webhook_messages"), &json!(1)), "{report}");
    let discard = async || server.admin(Method::POST, &format!("{path}/discard"), json!({"state": "pending"})).await;
    let (status, answer) = discard().await;
    assert_eq!(
        (status, answer["errors"][0]["field"].as_str()),
        (StatusCode::BAD_REQUEST, Some("state")),
        "it is sent as long as it is on: {answer}"
    );
    let (status, _) = server.admin(Method::PUT, &path, json!({"enabled": false})).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(forget(&server).0, 1, "and waits when it is off");
    let (status, answer) = discard().await;
    assert_eq!((status, answer["count"].as_u64()), (StatusCode::OK, Some(3)), "two claims, and that one was forgotten: {answer}");
    let (code, report) = forget(&server);
    assert_eq!((code, report["complete"].as_bool()), (0, Some(true)), "{report}");
    assert_eq!(marked(server.data()), Vec::<String>::new());
    assert_eq!(server.sql("select count(*) from claims where user_id = 'user'"), "1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_forget_and_bad_bodies_are_refused() {
    let server = Server::start().await;
    let (status, operator) = server.admin(Method::POST, "keys", json!({"role": "operator", "name": "o"})).await;
    assert_eq!(status, StatusCode::CREATED);
    let ask = async |key: Option<&str>, body: Value| {
        let request = server.request(Method::POST, "/admin/api/forget").json(&body);
        let request = if let Some(key) = key { request.bearer_auth(key) } else { request };
        request.send().await.unwrap().status().as_u16()
    };
    let many: Vec<String> = (0..1_001).map(|number| format!("u{number}")).collect();
    for (key, body, status) in [
        (None, json!({"users": ["u"]}), 401),
        (Some(operator["key"].as_str().unwrap()), json!({"users": ["u"]}), 403),
        (Some(ADMIN_KEY), json!({"users": []}), 400),
        (Some(ADMIN_KEY), json!({"users": many}), 400),
        (Some(ADMIN_KEY), json!({"users": ["a\u{7}"]}), 400),
        (Some(ADMIN_KEY), json!({"user": "u"}), 400),
        (Some(ADMIN_KEY), json!({"users": ["nobody"]}), 200),
    ] {
        assert_eq!(ask(key, body.clone()).await, status, "{body}");
    }
    let (_, audit) = server.admin(Method::GET, "audit?limit=1", json!({})).await;
    assert!(audit.to_string().contains("user.forget") && !audit.to_string().contains("nobody"), "{audit}");
}

/// Whatever line it dies at, it is done again, and then nothing is left.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_in_the_middle_is_mended_by_asking_again() {
    const POINTS: [&str; 7] = [
        "forget::begun",
        "forget::part_decided",
        "forget::decided",
        "forget::noted",
        "forget::audited",
        "forget::trimmed",
        "forget::wiped",
    ];
    let mut sources = crate::harness::points_of_the_sources();
    sources.retain(|name| name.starts_with("forget::"));
    assert_eq!(sources, POINTS.iter().map(|point| (*point).to_owned()).collect(), "every point of the sources is struck");
    for point in POINTS {
        let mut server = Server::start_with(&[("FAILPOINTS", &format!("{point}=return"))], &[]).await;
        lived(&server).await;
        close(&server, "open").await;
        server.until_projected().await;
        let held = server.sql(&format!("select id from claims where user_id = '{MARK}' and offer_id = 'open'"));
        post(&server, &format!("/v1/claims/{held}/release"), json!({})).await;
        let before = server.offer("stay").await;
        let died = tokio::task::block_in_place(|| bunho(&["forget", MARK, "--url", &server.url, "--key", ADMIN_KEY]));
        assert_eq!(died.status.code(), Some(69), "{point}: {}", said(&died));
        server.ended().await;
        server.set_environment(&[]);
        server.restart().await;
        server.assert_reconciled();
        let (code, report) = forget(&server);
        assert_eq!(code, 0, "{point}: {report}");
        assert_eq!(marked(server.data()), Vec::<String>::new(), "{point}");
        let after = server.offer("stay").await;
        assert_eq!((&after["confirmed"], &after["remaining"]), (&before["confirmed"], &before["remaining"]), "{point}");
        assert_eq!(
            server.sql("select count(distinct user_id) from claims where offer_id = 'stay' and user_id like 'forgotten-%'"),
            "1",
            "{point}"
        );
        server.assert_reconciled();
    }
}
