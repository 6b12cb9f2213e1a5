//! Keys that change while a crowd waits: nobody loses a place, no pass is refused.

use crate::harness::{ADMIN_KEY, Server, read, until};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_domain::ids::ZoneId;
use bunho_domain::ticket::{Ticket, TicketKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const CROWD: usize = 60;

async fn admin(server: &Server, method: Method, path: &str) -> (StatusCode, Value) {
    read(server.request(method, &format!("/admin/api/{path}")).bearer_auth(ADMIN_KEY).send().await.unwrap()).await
}

async fn join(server: &Server, key: Option<&str>) -> Value {
    let body = json!({"zoneId": "Z", "clientIp": "127.0.0.1", "clientAgent": "WEB", "key": key});
    let (status, answer) = read(server.request(Method::POST, "/traffic/wait").json(&body).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    answer
}

fn token(answer: &Value) -> String {
    answer["token"].as_str().unwrap().to_owned()
}

/// Which of the folder's secrets signed a ticket, by the names of their files.
fn signed_by(folder: &Path, token: &str) -> Vec<String> {
    let zone = ZoneId::parse("Z").unwrap();
    let files = std::fs::read_dir(folder.join("keys")).unwrap().map(|entry| entry.unwrap().path());
    let tickets = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("ticket"));
    tickets
        .filter(|path| {
            let secret = std::fs::read(path).unwrap()[..32].try_into().unwrap();
            Ticket::decode(token, &TicketKey::new(&secret), &zone).is_ok()
        })
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect()
}

async fn a_crowd_waits(server: &Server) -> HashMap<String, u64> {
    let settings = json!({"entry_limit_per_minute": 1, "poll_interval_ms": 500, "poll_interval_max_ms": 500});
    let put = server.request(Method::PUT, "/admin/api/zones/Z").bearer_auth(ADMIN_KEY).json(&settings).send().await.unwrap();
    assert_eq!(put.status(), StatusCode::CREATED);
    // One enters at once, the others wait.
    let mut waiting = HashMap::new();
    for number in 0..=CROWD {
        let key = format!("client-{number}");
        let answer = join(server, (number % 2 == 0).then_some(&*key)).await;
        if answer["canEnter"] == false {
            waiting.insert(token(&answer), answer["waiting"]["rank"].as_u64().unwrap());
        }
    }
    assert_eq!(waiting.len(), CROWD);
    waiting
}

/// Everyone has a place still, and none that is worse.
async fn everyone_waits_on(server: &Server, waiting: &mut HashMap<String, u64>) {
    for (token, rank) in waiting {
        let mut answered = None;
        until("a poll is answered", SOON, async || {
            let (status, answer) = server.poll("Z", token).await;
            let comes_again = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
            assert!(status == StatusCode::OK || comes_again, "{status} {answer}");
            if comes_again {
                tokio::time::sleep(Duration::from_millis(400)).await;
            }
            answered = (status == StatusCode::OK).then_some(answer);
            answered.is_some()
        })
        .await;
        let answer = answered.unwrap();
        if answer["canEnter"] == false {
            let now = answer["waiting"]["rank"].as_u64().unwrap();
            assert!(now <= *rank || answer["waiting"]["state"] == "recovering", "{now} after {rank}");
            *rank = now.min(*rank);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_loses_a_place_when_the_keys_of_tickets_change() {
    let mut server = Server::start().await;
    let mut waiting = a_crowd_waits(&server).await;
    let named = token(&join(&server, Some("client-2")).await);
    assert!(waiting.contains_key(&named));

    let (status, made) = admin(&server, Method::POST, "ticket-keys").await;
    assert_eq!((status, &made["signing"]), (StatusCode::CREATED, &json!(false)), "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let second = format!("ticket-{id}.key");
    everyone_waits_on(&server, &mut waiting).await;
    // Newcomers get tickets of the new key before long, and all of them are good.
    until("the new key signs", SOON, async || {
        let fresh = token(&join(&server, None).await);
        let by = signed_by(server.data(), &fresh);
        waiting.insert(fresh, u64::MAX);
        tokio::time::sleep(Duration::from_millis(300)).await;
        by == [second.clone()]
    })
    .await;
    everyone_waits_on(&server, &mut waiting).await;
    let listed = admin(&server, Method::GET, "ticket-keys").await.1;
    let signing: Vec<_> = listed["keys"].as_array().unwrap().iter().map(|key| (key["id"].as_str().unwrap(), &key["signing"])).collect();
    assert_eq!(signing, [("first", &json!(false)), (&*id, &json!(true))]);
    // A name leads to the place that it had, with the ticket that it had.
    assert_eq!(token(&join(&server, Some("client-2")).await), named);

    // Another by the command line, beside the server; and a crash in the middle.
    let rotate = |what: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_bunho")).args(["key", "rotate", what, "--data"]).arg(server.data()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let third = format!("ticket-{}.key", rotate("--tickets")["tickets"].as_str().unwrap());
    until("the server knows three", SOON, async || {
        admin(&server, Method::GET, "ticket-keys").await.1["keys"].as_array().unwrap().len() == 3
    })
    .await;
    server.kill();
    server.restart().await;
    everyone_waits_on(&server, &mut waiting).await;
    assert_eq!(token(&join(&server, Some("client-2")).await), named);
    until("the third key signs", SOON, async || signed_by(server.data(), &token(&join(&server, None).await)) == [third.clone()]).await;

    // Who drops a key ends its tickets, and no others; the one that signs stays.
    let third = third.trim_start_matches("ticket-").trim_end_matches(".key").to_owned();
    assert_eq!(admin(&server, Method::DELETE, &format!("ticket-keys/{third}")).await.1["code"], "in_use");
    assert_eq!(admin(&server, Method::DELETE, "ticket-keys/none").await.0, StatusCode::NOT_FOUND);
    assert_eq!(admin(&server, Method::DELETE, "ticket-keys/first").await.0, StatusCode::NO_CONTENT);
    assert_eq!(server.poll("Z", &named).await.1["code"], "ticket_invalid");
    let kept: Vec<_> = waiting.keys().filter(|token| signed_by(server.data(), token) == [second.clone()]).collect();
    assert!(!kept.is_empty());
    for token in kept {
        assert_ne!(server.poll("Z", token).await.0, StatusCode::UNAUTHORIZED);
    }
    // Who comes back by name finds the old place, under another ticket.
    let again = token(&join(&server, Some("client-2")).await);
    assert_ne!(again, named);
    server.kill();
    server.restart().await;
    assert_ne!(server.poll("Z", &again).await.0, StatusCode::UNAUTHORIZED);
}

fn kid(pass: &str) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.decode(pass.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_of_passes_is_published_before_it_signs() {
    let server = Server::start_with(&[("BUNHO_PASS__KEY_PUBLISH_SECONDS", "15")], &[]).await;
    let put = server.request(Method::PUT, "/admin/api/zones/Z").bearer_auth(ADMIN_KEY);
    assert_eq!(put.json(&json!({"entry_limit_per_minute": null})).send().await.unwrap().status(), StatusCode::CREATED);
    let enter = async || {
        let answer = join(&server, None).await;
        (answer["pass"].as_str().unwrap().to_owned(), token(&answer))
    };
    let verified =
        async |pass: &str| server.request(Method::GET, "/verify?zone=Z").header("bunho-pass", pass).send().await.unwrap().status();
    let (old, old_ticket) = enter().await;
    let (status, made) = admin(&server, Method::POST, "pass-keys").await;
    assert_eq!((status, &made["signing"]), (StatusCode::CREATED, &json!(false)), "{made}");
    let new = made["kid"].as_str().unwrap().to_owned();
    let answer = server.request(Method::GET, "/.well-known/jwks.json").send().await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "public, max-age=15");
    assert!(answer.text().await.unwrap().contains(&new));
    assert_eq!(kid(&enter().await.0), kid(&old), "it is known and does not sign yet");
    until("the new key signs", SOON, async || kid(&enter().await.0) == new).await;
    // Who was admitted before has the pass of before, and it is good.
    assert_eq!(server.poll("Z", &old_ticket).await.1["pass"], json!(old));
    assert_eq!(verified(&old).await, StatusCode::NO_CONTENT);
    assert_eq!(verified(&enter().await.0).await, StatusCode::NO_CONTENT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_has_expired_is_no_key() {
    let server = Server::start().await;
    let put = server.request(Method::PUT, "/admin/api/offers/o").bearer_auth(ADMIN_KEY);
    assert_eq!(put.json(&json!({"kind": "goods", "quantity": 9})).send().await.unwrap().status(), StatusCode::CREATED);
    let make = async |expires_at: String| {
        let body = json!({"role": "service", "name": "shop", "expires_at": expires_at});
        read(server.request(Method::POST, "/admin/api/keys").bearer_auth(ADMIN_KEY).json(&body).send().await.unwrap()).await
    };
    let past = make("2020-01-01T00:00:00Z".into()).await.1;
    assert_eq!(past["errors"][0]["field"], "expires_at", "{past}");
    let soon = jiff::Timestamp::now() + Duration::from_secs(15);
    let (status, made) = make(soon.to_string()).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let listed = async || {
        let request = server.request(Method::GET, "/v1/claims").bearer_auth(made["key"].as_str().unwrap()).header("x-bunho-user", "u");
        request.send().await.unwrap().status()
    };
    assert_eq!(listed().await, StatusCode::OK);
    until("it has expired", SOON, async || listed().await == StatusCode::UNAUTHORIZED).await;
    assert!(jiff::Timestamp::now() >= soon, "not before its time");
    let keys = admin(&server, Method::GET, "keys").await.1;
    assert!(keys["keys"].as_array().unwrap().iter().any(|key| key["id"] == made["id"] && key["expires_at"].is_string()), "{keys}");
}
