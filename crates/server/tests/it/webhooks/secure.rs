//! TLS: a receiver whose certificate is signed by somebody who is known, and by nobody. And what the documentation tells receivers to do, done.

use super::receiver::{Manner, Receiver};
use super::{OPEN, SOON, claim, deliveries, hook, seen, server_with};
use crate::harness::{Server, until};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use reqwest::Method;
use serde_json::json;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// The receiver behind TLS for `name`; its port and its certificate in PEM.
async fn behind_tls(receiver: &Receiver, name: &str) -> (u16, String) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = receiver.router();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let service = TowerToHyperService::new(router);
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    (port, made.cert.pem())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_whom_a_known_certificate_names_is_told() {
    let receiver = Receiver::start(Manner::Takes).await;
    let (good, pem) = behind_tls(&receiver, "localhost").await;
    let (misnamed, other) = behind_tls(&receiver, "example.com").await;
    let (unknown, _) = behind_tls(&receiver, "localhost").await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("receivers.pem");
    std::fs::write(&ca_file, format!("{pem}{other}")).unwrap();
    let ca = ca_file.to_str().unwrap();
    let environment = [OPEN[2], ("BUNHO_WEBHOOKS__ALLOW_PRIVATE", "[\"127.0.0.0/8\", \"::1\"]"), ("BUNHO_WEBHOOKS__CA_FILE", ca)];
    let server = Server::start_with(&environment, &[]).await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 10})).await;
    let mut hooks = Vec::new();
    for port in [good, misnamed, unknown] {
        hooks.push(hook(&server, &format!("https://localhost:{port}/"), json!({})).await);
    }
    let claimed = claim(&server, "drop", "kim").await;
    until("who is known is told", SOON, async || receiver.subjects("io.bunho.claim.confirmed").contains(&claimed)).await;
    for (id, _) in &hooks[1..] {
        until("it is given up", SOON, async || deliveries(&server, id, "dead").await.len() == 1).await;
        let found = seen(&server, id).await;
        assert!(found["last_error"].as_str().unwrap().contains("certificate"), "{found}");
    }
    assert!(receiver.got().iter().all(|got| got.is_signed_with(&hooks[0].1)), "nobody else was told anything");
    drop(server);

    // A file that is none is refused before anything is served.
    std::fs::write(&ca_file, "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n").unwrap();
    for path in [ca, folder.path().join("missing.pem").to_str().unwrap()] {
        let output = Command::new(env!("CARGO_BIN_EXE_bunho"))
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .env("BUNHO_WEBHOOKS__CA_FILE", path)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("webhooks.ca_file"), "{output:?}");
    }
}

/// The block of code in the documentation that begins with this line.
fn example(first_line: &str) -> String {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/webhooks.md")).unwrap();
    let from = text.find(first_line).unwrap_or_else(|| panic!("docs/webhooks.md has no {first_line:?}"));
    text[from..].split("\n```").next().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_documentation_s_examples_verify() {
    let receiver = Receiver::start(Manner::Takes).await;
    let server = server_with(&[]).await;
    let (id, secret) = hook(&server, &receiver.url(), json!({})).await;
    let (_, tested) = server.admin(Method::POST, &format!("webhooks/{id}/test"), json!({})).await;
    assert_eq!(tested["delivered"], true, "{tested}");
    let got = receiver.got().pop().unwrap();
    let headers = json!({
        "webhook-id": got.header("webhook-id"),
        "webhook-timestamp": got.header("webhook-timestamp"),
        "webhook-signature": got.header("webhook-signature"),
    });
    let body = String::from_utf8(got.body.to_vec()).unwrap();
    let node = format!(
        "{}\nconst given = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));\n\
         console.log(verify(given.secret, given.headers, given.body) ? 'verified' : 'refused');",
        example("const crypto = require('node:crypto');")
    );
    let python = format!(
        "{}\nimport json, sys\ngiven = json.load(sys.stdin)\n\
         print('verified' if verify(given['secret'], given['headers'], given['body'].encode()) else 'refused')",
        example("import base64, hashlib, hmac, time")
    );
    let late = (jiff::Timestamp::now().as_second() - 3_600).to_string();
    for (program, argument, text) in [("node", "-e", node), ("python3", "-c", python)] {
        let run = |secret: &str, headers: &serde_json::Value, body: &str| {
            let mut child = Command::new(program)
                .args([argument, &text])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("scripts/setup.sh installs it");
            let given = json!({"secret": secret, "headers": headers, "body": body}).to_string();
            child.stdin.take().unwrap().write_all(given.as_bytes()).unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap().trim().to_owned()
        };
        assert_eq!(run(&secret, &headers, &body), "verified", "{program}");
        assert_eq!(run(&secret, &headers, &body.replace("test", "text")), "refused", "{program}: another body");
        assert_eq!(run("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", &headers, &body), "refused", "{program}: another secret");
        let mut others = headers.clone();
        others["webhook-timestamp"] = json!(late);
        assert_eq!(run(&secret, &others, &body), "refused", "{program}: another time");
        let mut two = headers.clone();
        two["webhook-signature"] = json!(format!("v1,AAAA v2,x {}", headers["webhook-signature"].as_str().unwrap()));
        assert_eq!(run(&secret, &two, &body), "verified", "{program}: one of several");
    }
}
