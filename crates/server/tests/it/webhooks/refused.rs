//! Addresses that a server must not call, however they are written and whenever they turn out to be so.

use super::receiver::{Manner, Receiver};
use super::{OPEN, SOON, claim, deliveries, hook, seen};
use crate::harness::{Server, until};
use reqwest::{Method, StatusCode};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_addresses_are_refused_with_their_field() {
    let server = Server::start().await;
    for (url, reason) in [
        ("http://example.com/", "https"),
        ("https://127.0.0.1/", "loopback"),
        ("https://2130706433/", "loopback"),
        ("https://[::ffff:127.0.0.1]/", "loopback"),
        ("https://[::1]:9200/", "this machine"),
        ("https://localhost/", "this machine"),
        ("https://localhost:6379/", ""),
        ("https://169.254.169.254/latest/meta-data/iam/", "link-local"),
        ("https://10.1.2.3/", "private"),
        ("https://user:secret@example.com/", "password"),
        ("https://nobody.invalid/", "resolve"),
        ("ftp://example.com/", "https"),
        ("", "absolute"),
    ] {
        let (status, answer) = server.admin(Method::POST, "webhooks", json!({"name": "x", "url": url})).await;
        assert_eq!((status, answer["code"].as_str()), (StatusCode::BAD_REQUEST, Some("invalid_request")), "{url}: {answer}");
        assert_eq!(answer["errors"][0]["field"], "url", "{url}: {answer}");
        let said = answer["errors"][0]["reason"].as_str().unwrap();
        assert!(said.contains(reason) || (url.contains("localhost") && said.contains("loopback")), "{url}: {said}");
    }
    let (_, list) = server.admin(Method::GET, "webhooks", json!({})).await;
    assert_eq!(list["webhooks"], json!([]));
    for (body, field) in [
        (json!({"url": "https://1.1.1.1/"}), "name"),
        (json!({"name": "x"}), "url"),
        (json!({"name": "x", "url": "https://1.1.1.1/", "events": []}), "events"),
        (json!({"name": "x", "url": "https://1.1.1.1/", "events": ["claim.gone"]}), "events"),
        (json!({"name": "x", "url": "https://1.1.1.1/", "offer": "no such id"}), "offer"),
        (json!({"name": "x", "url": "https://1.1.1.1/", "app": ""}), "app"),
        (json!({"name": "x\u{7}", "url": "https://1.1.1.1/"}), "name"),
        (json!({"name": "x", "url": "https://1.1.1.1/", "secret": "mine"}), "secret"),
    ] {
        let (status, answer) = server.admin(Method::POST, "webhooks", body).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{answer}");
        assert_eq!(answer["errors"][0]["field"], field, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_is_judged_when_it_is_called() {
    let receiver = Receiver::start(Manner::Takes).await;
    let mut server = Server::start_with(&OPEN, &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 10})).await;
    let (by_address, _) = hook(&server, &receiver.url(), json!({})).await;
    // A name that was let in and now leads elsewhere than it may: to the same machine, which is allowed no more.
    let (by_name, _) = hook(&server, &format!("http://localhost:{}/", receiver.port), json!({})).await;
    assert_eq!(server.stop(), 0);
    server.set_environment(&[OPEN[0], OPEN[2]]);
    server.restart().await;
    claim(&server, "drop", "kim").await;
    for id in [&by_address, &by_name] {
        until("it is given up", SOON, async || deliveries(&server, id, "dead").await.len() == 1).await;
        let found = seen(&server, id).await;
        assert!(found["last_error"].as_str().unwrap().contains("allow_private"), "{found}");
        let (_, tested) = server.admin(Method::POST, &format!("webhooks/{id}/test"), json!({})).await;
        assert_eq!((tested["delivered"].as_bool(), tested["status"].is_null()), (Some(false), true), "{tested}");
    }
    assert_eq!(receiver.count(), 0, "no connection was used");
}
