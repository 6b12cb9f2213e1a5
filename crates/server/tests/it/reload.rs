//! A configuration that is read again while the real binary serves, and files of keys that change under it.

use crate::harness::read;
use crate::harness::until;
use crate::logged::{Logged, SOON};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::EncodePublicKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Method, StatusCode};
use rustix::process::Signal;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const READ: &str = "the configuration was read again";
const REFUSED: &str = "is refused, and the one in force stays";

#[tokio::test(flavor = "multi_thread")]
async fn what_can_change_does_and_the_rest_is_named() {
    let server = Logged::start("[server]\nbody_bytes_max = 1024\n", &[]).await;
    let (status, made) = server.admin(Method::PUT, "zones/Z", Some(json!({"entry_limit_per_minute": 1}))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let join = async || {
        let body = json!({"zoneId": "Z", "clientAgent": "x".repeat(1_500)});
        server.request(Method::POST, "/traffic/wait").json(&body).send().await.unwrap().status()
    };
    assert_eq!(join().await, StatusCode::PAYLOAD_TOO_LARGE);
    server.configure("[server]\nbody_bytes_max = 4096\n");
    server.reread(READ).await;
    assert_ne!(join().await, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(server.log().contains("server.body_bytes_max"), "{}", server.log());

    // Who may administer, and back; what needs a restart is named and not done.
    server.configure("[console]\nallow_from = [\"10.0.0.0/8\"]\n[engine]\nack = \"engine\"\n[server]\nbody_bytes_max = 4096\n");
    server.reread(READ).await;
    assert_eq!(server.admin(Method::GET, "zones", None).await.1["code"], "address_refused");
    assert!(server.log().contains("waits_for_a_restart=\"engine.ack\""), "{}", server.log());
    server.configure("[server]\nbody_bytes_max = 4096\n");
    server.reread(READ).await;
    assert_eq!(server.admin(Method::GET, "zones", None).await.0, StatusCode::OK);

    // What would be refused at a start changes nothing, whichever way it is wrong.
    for wrong in [
        "[server]\nbody_bytes_max = 1\n",
        "[server]\nnonsense = 1\n",
        "this is no TOML",
        "[log]\nlevel = \"bunho=loud\"\n[console]\nallow_from = [\"10.0.0.0/8\"]\n",
        "[auth]\ntrusted_proxies = [\"everyone\"]\n",
    ] {
        server.configure(wrong);
        server.reread(REFUSED).await;
        assert_ne!(join().await, StatusCode::PAYLOAD_TOO_LARGE, "{wrong}");
        assert_eq!(server.admin(Method::GET, "zones", None).await.0, StatusCode::OK, "{wrong}");
    }
    std::fs::remove_file(server.path().join("bunho.toml")).unwrap();
    server.reread(REFUSED).await;
    assert_eq!(server.metric("bunho_config_reloads_total{outcome=\"refused\"}").await, Some(6.0));
    assert_eq!(server.metric("bunho_config_reloads_total{outcome=\"taken\"}").await, Some(3.0));

    // The level of the log, and as many signals as one likes.
    server.configure("[log]\nlevel = \"error\"\n");
    server.signal(Signal::HUP);
    until("informing ends", SOON, async || {
        let before = server.log().len();
        server.signal(Signal::HUP);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        server.log().len() == before
    })
    .await;
    for _ in 0..50 {
        server.signal(Signal::HUP);
    }
    assert_ne!(join().await, StatusCode::PAYLOAD_TOO_LARGE);
    let mut server = server;
    assert_eq!(server.stop().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_connections_and_requests_follow() {
    let server = Logged::start("", &[]).await;
    server.configure("[server]\nstreams_max = 1\n");
    server.reread(READ).await;
    let (status, made) = server.admin(Method::PUT, "offers/o", Some(json!({"kind": "goods", "quantity": 1}))).await;
    assert_eq!(status, StatusCode::CREATED, "{made}");
    let stream = async || server.request(Method::GET, "/v1/offers/o/stock").send().await.unwrap();
    let first = stream().await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(stream().await.status(), StatusCode::SERVICE_UNAVAILABLE);
    server.configure("[server]\nstreams_max = 2\n");
    server.reread(READ).await;
    assert_eq!(stream().await.status(), StatusCode::OK);
    drop(first);
}

/// Joins as somebody at this address, with a token of the site where there is one.
async fn join(server: &Logged, zone: &str, from: &str, token: Option<String>) -> StatusCode {
    let body = json!({"zoneId": zone, "enqueueToken": token});
    server.request(Method::POST, "/traffic/wait").header("x-forwarded-for", from).json(&body).send().await.unwrap().status()
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_on_joins_and_the_key_of_the_site_follow() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("site.secret");
    let secrets = ["a".repeat(32), "b".repeat(32)];
    std::fs::write(&path, &secrets[0]).unwrap();
    let settings = |burst: u32| {
        format!(
            "[auth]\ntrusted_proxies = [\"127.0.0.1\"]\n[join]\nper_address_per_minute = 1\nper_address_burst = {burst}\n\
             [join.token]\nsecret_file = {path:?}\n"
        )
    };
    let server = Logged::start(&settings(1), &[]).await;
    for (zone, enqueue) in [("Z", "open"), ("CLUB", "token")] {
        let zone =
            server.admin(Method::PUT, &format!("zones/{zone}"), Some(json!({"entry_limit_per_minute": 0, "enqueue": enqueue}))).await;
        assert_eq!(zone.0, StatusCode::CREATED, "{}", zone.1);
    }
    let flood = "203.0.113.9";
    assert_eq!(join(&server, "Z", flood, None).await, StatusCode::OK);
    assert_eq!(join(&server, "Z", flood, None).await, StatusCode::TOO_MANY_REQUESTS);
    // What does not change is not forgotten.
    server.reread(READ).await;
    assert_eq!(join(&server, "Z", flood, None).await, StatusCode::TOO_MANY_REQUESTS);
    server.configure(&settings(2));
    server.reread(READ).await;
    assert!(server.log().contains("changed=\"join.per_address_burst\""), "{}", server.log());
    for status in [StatusCode::OK, StatusCode::OK, StatusCode::TOO_MANY_REQUESTS] {
        assert_eq!(join(&server, "Z", flood, None).await, status);
    }

    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let token = |secret: &String| {
        let claims = json!({"sub": "kim", "aud": "CLUB", "exp": exp});
        Some(encode(&Header::default(), &claims, &EncodingKey::from_secret(secret.as_bytes())).unwrap())
    };
    assert_eq!(join(&server, "CLUB", "198.51.100.1", token(&secrets[0])).await, StatusCode::OK);
    assert_eq!(join(&server, "CLUB", "198.51.100.2", token(&secrets[1])).await, StatusCode::FORBIDDEN);
    std::fs::write(&path, "short").unwrap();
    server.reread(REFUSED).await;
    assert_eq!(join(&server, "CLUB", "198.51.100.3", token(&secrets[0])).await, StatusCode::OK, "the old one counts");
    std::fs::write(&path, &secrets[1]).unwrap();
    server.reread(READ).await;
    assert_eq!(join(&server, "CLUB", "198.51.100.4", token(&secrets[0])).await, StatusCode::FORBIDDEN);
    assert_eq!(join(&server, "CLUB", "198.51.100.5", token(&secrets[1])).await, StatusCode::OK);
    // Nobody has to say so.
    std::fs::write(&path, &secrets[0]).unwrap();
    let mut last = 5;
    until("the new secret counts", SOON, async || {
        last += 1;
        join(&server, "CLUB", &format!("198.51.100.{last}"), token(&secrets[0])).await == StatusCode::OK
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_users_tokens_change_with_their_file() {
    let dir = TempDir::new().unwrap();
    let keys = [[1; 32], [2; 32]].map(|secret| SigningKey::from_bytes(&secret));
    let path = dir.path().join("issuer.pem");
    let put = |key: &SigningKey| std::fs::write(&path, key.verifying_key().to_public_key_pem(LineEnding::LF).unwrap()).unwrap();
    put(&keys[0]);
    let settings = format!("[auth]\nuser = \"jwt\"\n[auth.jwt]\nissuer = \"id\"\nkey_file = {path:?}\n");
    let server = Logged::start(&settings, &[]).await;
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 600;
    let token = |key: &SigningKey| {
        let claims = json!({"iss": "id", "sub": "kim", "exp": exp});
        encode(&Header::new(Algorithm::EdDSA), &claims, &EncodingKey::from_ed_der(key.to_pkcs8_der().unwrap().as_bytes())).unwrap()
    };
    let as_user =
        async |key: &SigningKey| read(server.request(Method::GET, "/v1/claims").bearer_auth(token(key)).send().await.unwrap()).await.0;
    assert_eq!((as_user(&keys[0]).await, as_user(&keys[1]).await), (StatusCode::OK, StatusCode::UNAUTHORIZED));
    put(&keys[1]);
    until("the new key counts", SOON, async || as_user(&keys[1]).await == StatusCode::OK).await;
    assert_eq!(as_user(&keys[0]).await, StatusCode::UNAUTHORIZED);
    std::fs::write(&path, "no key").unwrap();
    until("it is told", SOON, async || server.log().contains("the keys of users' tokens cannot be used")).await;
    assert_eq!(as_user(&keys[1]).await, StatusCode::OK, "the old ones are used");
}
