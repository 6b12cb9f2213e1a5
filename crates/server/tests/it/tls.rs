//! Encrypted connections of the real binary: certificates that change and that are wrong, clients that show theirs, handshakes that never end.

use crate::certificates::{Authority, Good, Pair};
use crate::harness::{ADMIN_KEY, read, until};
use crate::logged::{Logged, SOON, command};
use reqwest::{Method, StatusCode};
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

fn settings(folder: &Path, more: &str) -> String {
    let (cert, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    format!("[tls]\ncert_file = {cert:?}\nkey_file = {key:?}\n{more}\n")
}

async fn serving(authority: &Authority, more: &str, environment: &[(&str, &str)]) -> Logged {
    let dir = TempDir::new().unwrap();
    authority.sign("127.0.0.1").put(dir.path());
    std::fs::write(dir.path().join("clients.pem"), authority.pem()).unwrap();
    let settings = settings(dir.path(), &more.replace("FOLDER", dir.path().to_str().unwrap()));
    Logged::start_in(dir, Some((authority, None)), &settings, environment).await
}

fn address(server: &Logged) -> SocketAddr {
    server.started.url.strip_prefix("https://").expect("it is encrypted").parse().unwrap()
}

async fn connect(server: &Logged, client: rustls::ClientConfig) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address(server)).await?;
    TlsConnector::from(Arc::new(client)).connect(ServerName::try_from("127.0.0.1").unwrap(), stream).await
}

/// What the server shows to who connects now.
async fn shown(server: &Logged, authority: &Authority) -> CertificateDer<'static> {
    let stream = connect(server, authority.client(None)).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn what_cannot_be_used_is_refused_at_the_start() {
    let authority = Authority::new();
    let dir = TempDir::new().unwrap();
    let (one, other) = (authority.sign("127.0.0.1"), authority.sign("127.0.0.1"));
    let pair = |certificate: &str, key: &str| Pair { certificate: certificate.to_owned(), key: key.to_owned() };
    let check = |pair: Pair, more: &str, setting: &str, words: &str| {
        pair.put(dir.path());
        let output = command(dir.path(), &settings(dir.path(), more), &[]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(64), "{words}: {said}");
        assert!(
            said.contains(&format!("setting `{setting}` refused")) && said.contains(words) && said.contains("mend:"),
            "{words}: {said}"
        );
    };
    check(pair(&one.certificate, &other.key), "", "tls.key_file", "does not go with");
    check(pair("nothing", &one.key), "", "tls.cert_file", "has no certificate");
    check(pair(&one.certificate, "nothing"), "", "tls.key_file", "has no private key");
    check(pair(&one.key, &one.certificate), "", "tls.cert_file", "has no certificate");
    check(authority.sign_for("127.0.0.1", Good::Ended), "", "tls.cert_file", "expired at 2021-01-01T00:00:00Z");
    check(authority.sign_for("127.0.0.1", Good::NotYet), "", "tls.cert_file", "is not good before 2089-01-01");
    let broken = one.certificate.replace("MII", "!!!");
    check(pair(&broken, &one.key), "", "tls.cert_file", "is not PEM");
    let authorities = "client_auth = \"required\"\nclient_ca_file = \"/nowhere/clients.pem\"";
    check(one.clone(), authorities, "tls.client_ca_file", "/nowhere/clients.pem cannot be read");
    one.put(dir.path());
    std::fs::remove_file(dir.path().join("key.pem")).unwrap();
    let output = command(dir.path(), &settings(dir.path(), ""), &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert!(String::from_utf8_lossy(&output.stderr).contains("key.pem cannot be read"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_encrypted_is_http_1_1_and_says_so_to_browsers() {
    let authority = Authority::new();
    let server = serving(&authority, "", &[]).await;
    let answer = server.request(Method::GET, "/healthz").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["strict-transport-security"], "max-age=31536000");
    let signed_in = server.request(Method::POST, "/admin/api/session").json(&json!({"key": ADMIN_KEY})).send().await.unwrap();
    assert_eq!(signed_in.status(), StatusCode::CREATED);
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.contains("; Secure") && cookie.contains("; HttpOnly"), "{cookie}");

    // HTTP/2 is not served, so nobody is told that it is.
    let offering = |protocols: &[&str]| {
        let mut client = authority.client(None);
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        client
    };
    let both = connect(&server, offering(&["h2", "http/1.1"])).await.unwrap();
    assert_eq!(both.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert!(connect(&server, offering(&["h2"])).await.is_err());
    assert!(connect(&server, offering(&[])).await.is_ok());
    // A stranger's authority is none: the client hangs up.
    assert!(connect(&server, Authority::new().client(None)).await.is_err());

    // Somebody who speaks no TLS hears nothing of use and harms nobody.
    let mut plain = TcpStream::connect(address(&server)).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(SOON, plain.read_to_end(&mut bytes)).await.expect("it is closed");
    assert!(!String::from_utf8_lossy(&bytes).contains("HTTP/1.1"), "{bytes:?}");
    until("failed handshakes are counted", SOON, async || {
        server.metric("bunho_tls_handshakes_failed_total").await.is_some_and(|count| count >= 3.0)
    })
    .await;
    // An answer larger than one record, pipelined with others, comes whole.
    let mut stream = connect(&server, offering(&["http/1.1"])).await.unwrap();
    let asked = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(3) + "GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it is answered");
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!((text.matches("\"openapi\":").count(), text.matches("HTTP/1.1 200 OK").count()), (3, 4));
    assert!(text.ends_with("ok\n"));
}

#[test]
fn old_versions_are_not_spoken() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let authority = Authority::new();
    let server = runtime.block_on(serving(&authority, "", &[]));
    let spoken = |version: &str| {
        let address = address(&server).to_string();
        // The lowest security level, or this client would refuse by itself.
        let arguments = ["s_client", "-connect", &address, version, "-cipher", "DEFAULT:@SECLEVEL=0", "-brief"];
        let output = std::process::Command::new("openssl").args(arguments).stdin(std::process::Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&output.stderr).contains("CONNECTION ESTABLISHED")
    };
    assert!(spoken("-tls1_2") && spoken("-tls1_3"));
    assert!(!spoken("-tls1_1") && !spoken("-tls1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let authority = Authority::new();
    let server = serving(&authority, "", &[]).await;
    let first = shown(&server, &authority).await;
    assert_eq!(server.metric("bunho_tls_certificate_expires_timestamp_seconds").await, Some(3_786_912_000.0));
    // Somebody asks all the while, anew each time: no handshake may fail.
    let url = format!("{}/healthz", server.url);
    let asking = tokio::spawn(async move {
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
        for _ in 0..200 {
            assert_eq!(client.get(&url).send().await.unwrap().status(), StatusCode::OK);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let second = authority.sign("127.0.0.1");
    second.put(server.path());
    until("the new certificate is shown", SOON, async || shown(&server, &authority).await != first).await;
    assert_eq!(shown(&server, &authority).await, second.der());

    let refused = async || server.metric("bunho_tls_reloads_total{outcome=\"refused\"}").await.unwrap_or_default();
    let third = authority.sign("127.0.0.1");
    for (count, bad, words) in [
        (1.0, Pair { key: second.key.clone(), ..third.clone() }, "does not go with"),
        (2.0, Pair { certificate: "nothing".into(), ..third.clone() }, "has no certificate"),
        (3.0, authority.sign_for("127.0.0.1", Good::Ended), "expired at"),
    ] {
        bad.put(server.path());
        until("the bad one is refused", SOON, async || refused().await >= count).await;
        until(words, SOON, async || server.log().contains(words)).await;
        assert_eq!(shown(&server, &authority).await, second.der(), "{words}");
    }
    std::fs::remove_file(server.path().join("key.pem")).unwrap();
    until("a missing key is told", SOON, async || server.log().contains("key.pem cannot be read")).await;
    // By hand it is the same, and at once.
    server.reread("is refused, and the one in force stays").await;
    assert_eq!(shown(&server, &authority).await, second.der());
    third.put(server.path());
    server.reread("the configuration was read again").await;
    assert_eq!(shown(&server, &authority).await, third.der());
    asking.await.unwrap();
    assert_eq!(server.request(Method::GET, "/healthz").send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_believes_whom_it_is_told_to() {
    let server = serving(&Authority::new(), "", &[]).await;
    let (own, others, none) = (server.path().join("clients.pem"), server.path().join("others.pem"), server.path().join("key.pem"));
    std::fs::write(&others, Authority::new().pem()).unwrap();
    let ask = |command: &[&str], ca: Option<&Path>| {
        let mut asked = Command::new(env!("CARGO_BIN_EXE_bunho"));
        asked.args(command).args(["--url", &server.started.url, "--key", ADMIN_KEY]).args(ca.iter().flat_map(|ca| [Path::new("--ca"), ca]));
        let output = asked.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for command in [&["zone", "list"][..], &["reconcile"]] {
        for ca in [None, Some(others.as_path())] {
            let (code, said) = ask(command, ca);
            assert!(code == Some(69) && said.contains("--ca"), "{command:?} {ca:?}: {said}");
        }
        assert_eq!(ask(command, Some(&own)), (Some(0), String::new()), "{command:?}");
    }
    for (ca, why) in [(Path::new("/nowhere.pem"), "No such file"), (&none, "has no certificate")] {
        let (code, said) = ask(&["zone", "list"], Some(ca));
        assert!(code == Some(64) && said.contains(why) && said.contains("mend:"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_bound_to_a_certificate_is_nothing_without_it() {
    let authority = Authority::new();
    let optional = "client_auth = \"optional\"\nclient_ca_file = \"FOLDER/clients.pem\"";
    let server = serving(&authority, optional, &[]).await;
    let made = server.admin(Method::PUT, "offers/drop", Some(json!({"kind": "coupon", "quantity": 100}))).await;
    assert_eq!(made.0, StatusCode::CREATED, "{made:?}");
    let (shop, other) = (authority.sign("shop.internal"), authority.sign("other.internal"));
    let key = async |body| {
        let (status, key) = server.admin(Method::POST, "keys", Some(body)).await;
        assert_eq!(status, StatusCode::CREATED, "{key}");
        key["key"].as_str().unwrap().to_owned()
    };
    let by_name = key(json!({"role": "service", "name": "shop", "certificate": "dns:Shop.Internal"})).await;
    let digits = openssl_fingerprint(server.path(), &shop);
    let by_digits = key(json!({"role": "service", "name": "shop", "certificate": format!("sha256:{digits}")})).await;
    let unbound = key(json!({"role": "service", "name": "shop"})).await;
    for (role, certificate, field) in [("admin", "dns:a", "certificate"), ("service", "cn:a", "certificate")] {
        let body = json!({"role": role, "name": "x", "certificate": certificate});
        let (status, problem) = server.admin(Method::POST, "keys", Some(body)).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{problem}");
    }
    let mut user = 0;
    let client = reqwest::Client::new();
    let mut claim = async |url: &str, key: &str| {
        user += 1;
        let request = client
            .post(format!("{url}/v1/offers/drop/claims"))
            .bearer_auth(key)
            .header("x-bunho-user", format!("u{user}"))
            .json(&json!({"quantity": 1}));
        let (status, answer) = read(request.send().await.unwrap()).await;
        (status.as_u16(), answer["code"].as_str().unwrap_or_default().to_owned())
    };
    let with_shop = authority.through(Some(&shop), address(&server)).await;
    let with_other = authority.through(Some(&other), address(&server)).await;
    let without = server.url.clone();
    let refused = (403, "certificate_required".to_owned());
    for bound in [&by_name, &by_digits] {
        assert_eq!(claim(&with_shop, bound).await.0, 201);
        assert_eq!(claim(&with_other, bound).await, refused);
        assert_eq!(claim(&without, bound).await, refused);
    }
    assert_eq!(claim(&without, &unbound).await.0, 201);
    assert_eq!(claim(&with_shop, "bk_unknown").await.0, 401, "a certificate alone is nothing either");
    // One that a stranger has signed in the same name does not get as far.
    let strange = Authority::new().sign("shop.internal");
    let url = authority.through(Some(&strange), address(&server)).await;
    assert!(reqwest::get(format!("{url}/healthz")).await.is_err());
    let listed = server.admin(Method::GET, "keys", None).await.1;
    assert!(listed["keys"].as_array().unwrap().iter().any(|key| key["certificate"] == "dns:shop.internal"), "{listed}");
}

/// As an operator would get it.
fn openssl_fingerprint(folder: &Path, pair: &Pair) -> String {
    let path = folder.join("shown.pem");
    std::fs::write(&path, &pair.certificate).unwrap();
    let output =
        std::process::Command::new("openssl").args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&path).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().split_once('=').unwrap().1.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn where_certificates_are_required_nobody_comes_without() {
    let authority = Authority::new();
    let dir = TempDir::new().unwrap();
    authority.sign("127.0.0.1").put(dir.path());
    std::fs::write(dir.path().join("clients.pem"), authority.pem()).unwrap();
    let more = format!("client_auth = \"required\"\nclient_ca_file = {:?}", dir.path().join("clients.pem"));
    let settings = settings(dir.path(), &more);
    let client = authority.sign("client.internal");
    let server = Logged::start_in(dir, Some((&authority, Some(&client))), &settings, &[]).await;
    let asks = async |shows: Option<&Pair>| {
        let url = authority.through(shows, address(&server)).await;
        reqwest::get(format!("{url}/healthz")).await.is_ok()
    };
    assert!(asks(Some(&client)).await);
    assert!(!asks(None).await);
    assert!(!asks(Some(&authority.sign_for("client.internal", Good::Ended))).await, "an expired one is none");
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_do_not_end_are_ended() {
    let authority = Authority::new();
    let environment = [("BUNHO_SERVER__HEADER_TIMEOUT_MS", "1500"), ("BUNHO_SERVER__CONNECTIONS_MAX", "8")];
    let server = serving(&authority, "", &environment).await;
    // Nothing, half a hello, and a hello followed by drops.
    let began = Instant::now();
    let mut silent = TcpStream::connect(address(&server)).await.unwrap();
    let mut half = TcpStream::connect(address(&server)).await.unwrap();
    half.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let mut bytes = Vec::new();
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    }
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    // When all places are taken by such, the next one still gets in.
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address(&server)).await.unwrap();
        let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).await;
        crowd.push(stream);
        if crowd.len() % 10 == 0 {
            let answer = reqwest::get(format!("{}/healthz", server.url)).await;
            assert_eq!(answer.expect("it is answered").status(), StatusCode::OK);
        }
    }
}
