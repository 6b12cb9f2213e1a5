//! Keys of tickets and passes that are changed on one node while people wait on both, by the steps of docs/operations.md: nobody loses a place, and
//! passes of the old and the new key are good everywhere until the old one is dropped.

use crate::components;
use crate::harness::{ADMIN_KEY, Server, read, until};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bunho_domain::ids::ZoneId;
use bunho_domain::ticket::{Ticket, TicketKey};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(60);
const CROWD: usize = 30;

/// Asks one of the nodes.
async fn on(server: &Server, node: usize, method: Method, path: &str, body: Value) -> (StatusCode, Value) {
    let request = server.client.request(method, format!("{}{path}", server.urls()[node])).bearer_auth(ADMIN_KEY);
    read(request.json(&body).send().await.unwrap()).await
}

async fn join(server: &Server, node: usize) -> Value {
    let body = json!({"zoneId": "Z", "clientIp": "127.0.0.1", "clientAgent": "WEB"});
    let mut joined = None;
    until("a join is answered", SOON, async || {
        let (status, answer) = on(server, node, Method::POST, "/traffic/wait", body.clone()).await;
        assert!(status == StatusCode::OK || status == StatusCode::SERVICE_UNAVAILABLE, "{status} {answer}");
        joined = (status == StatusCode::OK).then_some(answer);
        joined.is_some()
    })
    .await;
    joined.unwrap()
}

/// The answer to a poll, once it is not too early for one.
async fn poll(server: &Server, node: usize, token: &str) -> Value {
    let mut polled = None;
    until("a poll is answered", SOON, async || {
        let (status, answer) = on(server, node, Method::POST, "/traffic/entry", json!({"zoneId": "Z", "token": token})).await;
        let comes_again = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        assert!(status == StatusCode::OK || comes_again, "{status} {answer}");
        polled = (status == StatusCode::OK).then_some(answer);
        polled.is_some()
    })
    .await;
    polled.unwrap()
}

fn text(answer: &Value, field: &str) -> String {
    answer[field].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The file of the folder that all nodes share whose secret signed a ticket.
fn signed_by(server: &Server, token: &str) -> Option<String> {
    let folder = std::path::Path::new(&server.setting("BUNHO_CLUSTER__SECRETS_DIR")).join("keys");
    let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let signer = files.find(|path| {
        let is_ticket = path.file_name().unwrap().to_str().unwrap().starts_with("ticket");
        is_ticket && {
            let secret = std::fs::read(path).unwrap()[..32].try_into().unwrap();
            Ticket::decode(token, &TicketKey::new(&secret), &ZoneId::parse("Z").unwrap()).is_ok()
        }
    })?;
    Some(signer.file_name().unwrap().to_str().unwrap().to_owned())
}

fn kid(pass: &str) -> String {
    let header = BASE64_URL_SAFE_NO_PAD.decode(pass.split('.').next().unwrap()).unwrap();
    text(&serde_json::from_slice::<Value>(&header).unwrap(), "kid")
}

/// What each node says of a pass.
async fn verified(server: &Server, pass: &str) -> [StatusCode; 2] {
    let ask = async |node: usize| {
        let request = server.client.get(format!("{}/verify?zone=Z", server.urls()[node])).header("bunho-pass", pass);
        request.send().await.unwrap().status()
    };
    [ask(0).await, ask(1).await]
}

const GOOD: [StatusCode; 2] = [StatusCode::NO_CONTENT; 2];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_loses_a_place_and_passes_of_both_keys_are_good_on_both_nodes() {
    let environment = tokio::task::spawn_blocking(|| components::environment("postgres")).await.unwrap();
    let mut environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    environment.push(("BUNHO_PASS__KEY_PUBLISH_SECONDS", "3"));
    let server = Server::start_nodes(2, &environment, &[]).await;
    let zone = |limit: Option<u32>| json!({"entry_limit_per_minute": limit, "poll_interval_ms": 500, "poll_interval_max_ms": 500});
    server.put_zone("Z", zone(Some(1))).await;
    // One enters at once, with a pass of the first key; the others wait, on either node.
    let mut waiting = HashMap::new();
    let mut old_pass = None;
    until("a crowd waits", SOON, async || {
        let answer = join(&server, waiting.len() % 2).await;
        if answer["canEnter"] == true {
            old_pass = Some(text(&answer, "pass"));
        } else {
            waiting.insert(text(&answer, "token"), answer["waiting"]["rank"].as_u64().unwrap());
        }
        waiting.len() == CROWD
    })
    .await;
    let old_pass = old_pass.expect("the limit lets one in");
    let old_kid = kid(&old_pass);

    // Made on one node, known on both before long.
    let (status, made) = on(&server, 0, Method::POST, "/admin/api/ticket-keys", json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let new_ticket_key = format!("ticket-{}.key", text(&made, "id"));
    let (status, made) = on(&server, 1, Method::POST, "/admin/api/pass-keys", json!({})).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let new_kid = text(&made, "kid");
    for node in [0, 1] {
        until("a node shows the new key of passes", SOON, async || {
            on(&server, node, Method::GET, "/.well-known/jwks.json", json!({})).await.1.to_string().contains(&new_kid)
        })
        .await;
        until("newcomers get tickets of the new key", SOON, async || {
            let token = text(&join(&server, node).await, "token");
            let signer = signed_by(&server, &token);
            waiting.insert(token, u64::MAX);
            signer.as_ref() == Some(&new_ticket_key)
        })
        .await;
    }
    let of_the_old = waiting.keys().filter(|token| signed_by(&server, token).as_deref() == Some("ticket.key")).count();
    assert!(of_the_old >= CROWD, "{of_the_old} tickets of the first key");

    // Each polls on the node that did not make the ticket as well as on the one that did, and has a place that is no worse.
    for node in [0, 1] {
        for (token, rank) in &mut waiting {
            let answer = poll(&server, node, token).await;
            if answer["canEnter"] == false {
                let now = answer["waiting"]["rank"].as_u64().unwrap();
                assert!(now <= *rank || answer["waiting"]["state"] == "recovering", "{now} after {rank}");
                *rank = now.min(*rank);
            }
        }
    }

    // The gate opens: everyone enters, and each pass is good on both nodes, whichever key signed it.
    server.put_zone("Z", zone(None)).await;
    let mut kids = vec![old_kid.clone()];
    for (number, token) in waiting.keys().enumerate() {
        let mut pass = None;
        until("everyone enters", SOON, async || {
            let answer = poll(&server, number % 2, token).await;
            pass = answer["pass"].as_str().map(ToOwned::to_owned);
            pass.is_some()
        })
        .await;
        let pass = pass.unwrap();
        assert_eq!(verified(&server, &pass).await, GOOD);
        kids.push(kid(&pass));
    }
    assert!(kids.contains(&new_kid) && kids.iter().all(|kid| *kid == new_kid || *kid == old_kid), "{kids:?}");
    assert_eq!(verified(&server, &old_pass).await, GOOD, "a pass of the first key");

    // Dropped on one node, it ends on both.
    let (status, answer) = on(&server, 0, Method::DELETE, &format!("/admin/api/pass-keys/{old_kid}"), json!({})).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{answer}");
    until("the old pass is good nowhere", SOON, async || !verified(&server, &old_pass).await.contains(&StatusCode::NO_CONTENT)).await;
    let fresh = text(&join(&server, 1).await, "pass");
    assert_eq!((kid(&fresh), verified(&server, &fresh).await), (new_kid, GOOD));
}
