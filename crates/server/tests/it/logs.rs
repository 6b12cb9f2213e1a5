//! What the real binary says of itself: nothing about people, one line at a time, to nobody's cost.

use crate::harness::{ADMIN_KEY, read, until};
use crate::logged::{Logged, SOON, command};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// Somebody's whole visit, with what goes wrong on the way. What of it is somebody's own.
async fn visit(server: &Logged) -> Vec<String> {
    let mut own: Vec<String> =
        ["user-kim-4711", "idem-key-0815", "client-key-1234", "203.0.113.77", "Seoul-street-9", ADMIN_KEY].map(String::from).to_vec();
    let put = async |path: &str, body: Value| assert_eq!(server.admin(Method::PUT, path, Some(body)).await.0, StatusCode::CREATED);
    put("zones/Z", json!({"entry_limit_per_minute": null})).await;
    put("offers/o", json!({"kind": "goods", "quantity": 5, "zone": "Z"})).await;
    let join = json!({"zoneId": "Z", "clientIp": "203.0.113.77", "clientAgent": "WEB", "key": "client-key-1234"});
    let (_, entered) = read(server.request(Method::POST, "/traffic/wait").json(&join).send().await.unwrap()).await;
    let (pass, ticket) = (entered["pass"].as_str().unwrap().to_owned(), entered["token"].as_str().unwrap().to_owned());
    let claim = server.request(Method::POST, "/v1/offers/o/claims").header("x-bunho-user", "user-kim-4711");
    let claim = claim.header("idempotency-key", "idem-key-0815").header("bunho-pass", &pass);
    let body = json!({"quantity": 1, "attributes": {"address": "Seoul-street-9"}});
    let (status, claimed) = read(claim.json(&body).send().await.unwrap()).await;
    assert_eq!(status, StatusCode::CREATED, "{claimed}");
    // What is wrong, and whose it is.
    let (_, made) = server.admin(Method::POST, "keys", Some(json!({"role": "service", "name": "shop"}))).await;
    let key = made["key"].as_str().unwrap().to_owned();
    for path in ["/v1/claims", "/verify?zone=Z&pass=abc.def.ghi", "/v1/claims?user=user-kim-4711", "/zones/none/status"] {
        let request = server.request(Method::GET, path).bearer_auth(&key).header("x-bunho-user", "user-kim-4711");
        request.header("x-forwarded-for", "203.0.113.77").send().await.unwrap();
    }
    let wrong = "bk_wrong-key-of-somebody";
    for path in ["/v1/claims", "/admin/api/zones"] {
        assert_eq!(server.request(Method::GET, path).bearer_auth(wrong).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    }
    let poll = json!({"zoneId": "Z", "token": format!("{ticket}x")});
    assert_eq!(server.request(Method::POST, "/traffic/entry").json(&poll).send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let account = json!({"name": "account-lee", "role": "viewer", "password": "a password of lee 42"});
    assert!(server.admin(Method::POST, "accounts", Some(account)).await.0.is_success());
    for password in ["a wrong one of lee", "a password of lee 42"] {
        let body = json!({"name": "account-lee", "password": password});
        server.request(Method::POST, "/admin/api/session").json(&body).send().await.unwrap();
    }
    own.extend([pass, ticket, key, wrong.to_owned(), "account-lee".into(), "of lee".into()]);
    own
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_about_people_is_in_the_log() {
    for format in ["json", "text"] {
        let server = Logged::start("", &[("BUNHO_LOG__FORMAT", format), ("BUNHO_LOG__LEVEL", "info")]).await;
        let own = visit(&server).await;
        let mut server = server;
        assert_eq!(server.stop().await, 0);
        let log = server.log();
        assert!(log.contains("state restored"), "it does say something: {log}");
        for text in &own {
            assert!(!log.contains(text.as_str()), "{text} is in the log:\n{log}");
        }
        if format == "json" {
            for line in log.lines() {
                serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_forges_a_line() {
    let server = Logged::start("", &[("BUNHO_LOG__LEVEL", "trace")]).await;
    let evil = "a%0d%0a2030-01-01T00:00:00Z ERROR forged%1b[31m";
    for path in [format!("/zones/{evil}/status"), format!("/v1/offers/{evil}"), format!("/wait/{evil}"), format!("/docs/{evil}")] {
        let request = server.request(Method::GET, &path).header("x-bunho-user", "kim").header("x-request-id", "a b<c>");
        request.send().await.unwrap();
    }
    let body = json!({"zoneId": "Z\r\nERROR forged", "clientIp": "\u{1b}[2J", "clientAgent": "\u{9b}31m", "key": "x\ny"});
    server.request(Method::POST, "/traffic/wait").json(&body).send().await.unwrap();
    let name = json!({"role": "viewer", "name": "a\nb"});
    assert_eq!(server.admin(Method::POST, "keys", Some(name)).await.0, StatusCode::BAD_REQUEST);
    let mut server = server;
    assert_eq!(server.stop().await, 0);
    let log = server.log();
    assert!(log.lines().count() > 10, "{log}");
    for line in log.lines() {
        let is_dated = line.get(..20).is_some_and(|date| date.starts_with("20") && date.as_bytes()[10] == b'T');
        assert!(is_dated && !line.starts_with("2030") && !line.chars().any(|c| c.is_control() && c != '\t'), "{line:?}");
    }
}

/// A log that nobody reads, and standard output too.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_nobody_takes_keeps_nobody_waiting() {
    let dir = TempDir::new().unwrap();
    // Every answer is a line, so that the pipe and the queue are soon full.
    let mut command = command(dir.path(), "", &[("BUNHO_LOG__LEVEL", "debug")]);
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap());
    let url = loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "it ended");
        if let Some(url) = line.strip_prefix("serving ") {
            break url.trim().to_owned();
        }
    };
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let dropped = async || {
        let page = client.get(format!("{url}/metrics")).send().await.unwrap().text().await.unwrap();
        let count = page.lines().find_map(|line| line.strip_prefix("bunho_log_lines_dropped_total ")?.parse::<f64>().ok());
        count.expect("it is counted")
    };
    let began = Instant::now();
    let mut asked = 0;
    until("lines are dropped", Duration::from_secs(120), async || {
        let ask = async || {
            for _ in 0..50 {
                let body = json!({"zoneId": "none", "token": "x"});
                let answer = client.post(format!("{url}/traffic/entry")).json(&body).send().await.expect("it is answered");
                assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            }
        };
        futures_util::future::join_all((0..32).map(|_| ask())).await;
        asked += 32 * 50;
        dropped().await > 0.0
    })
    .await;
    println!("{asked} answers in {:?}, then the first lines were dropped", began.elapsed());
    let began = Instant::now();
    for _ in 0..500 {
        assert_eq!(client.get(format!("{url}/healthz")).send().await.unwrap().status(), StatusCode::OK);
    }
    println!("500 more in {:?}", began.elapsed());
    // It also ends as ever, though nobody hears its last words.
    let pid = rustix::process::Pid::from_child(&process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut code = None;
    until("it ends", SOON, async || {
        code = process.try_wait().unwrap();
        code.is_some()
    })
    .await;
    assert_eq!(code.unwrap().code(), Some(0));
}

/// A journal that fails makes answers that the log explains, with the ids that their clients know.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_found_by_what_its_client_knows() {
    let environment = [("FAILPOINTS", "journal::sync=30*off->return"), ("BUNHO_LOG__FORMAT", "json")];
    let server = Logged::start("", &environment).await;
    assert_eq!(server.admin(Method::PUT, "offers/o", Some(json!({"kind": "goods", "quantity": 1000}))).await.0, StatusCode::CREATED);
    let parent = format!("00-{TRACE}-b7ad6b7169203331-00");
    let mut failed = None;
    for number in 0..100 {
        let request = server.request(Method::POST, "/v1/offers/o/claims").header("x-bunho-user", format!("u{number}"));
        let request = request.header("x-request-id", format!("call-{number}")).header("traceparent", &parent);
        let Ok(answer) = request.json(&json!({"quantity": 1})).send().await else { break };
        let (status, problem) = read(answer).await;
        if status == StatusCode::SERVICE_UNAVAILABLE {
            failed = Some(problem);
            break;
        }
    }
    let problem = failed.expect("the journal fails");
    assert_eq!((&problem["code"], &problem["trace_id"]), (&json!("indeterminate"), &json!(TRACE)));
    let id = problem["request_id"].as_str().unwrap().to_owned();
    let said = || {
        // A server whose journal fails ends, and says why in plain words below its log.
        let lines = server.log().lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>();
        lines.into_iter().find(|line| line["fields"]["request_id"] == json!(id))
    };
    until("the log has it", SOON, async || said().is_some()).await;
    let line = said().unwrap();
    assert_eq!(
        (&line["fields"]["trace_id"], &line["fields"]["code"], &line["level"]),
        (&json!(TRACE), &json!("indeterminate"), &json!("ERROR"))
    );
    assert!(line["fields"]["error"].as_str().unwrap().len() > 10, "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_is_known_by_its_problem_and_a_bad_one_is_ignored() {
    let server = Logged::start("", &[]).await;
    let traced = async |parent: &str| {
        let request = server.request(Method::GET, "/v1/offers/none").header("traceparent", parent);
        read(request.send().await.unwrap()).await.1["trace_id"].clone()
    };
    assert_eq!(traced(&format!("00-{TRACE}-b7ad6b7169203331-01")).await, json!(TRACE));
    for bad in ["", "00", "00-x-y-01", &format!("00-{}-b7ad6b7169203331-01", "0".repeat(32)), &format!("ff-{TRACE}-b7ad6b7169203331-01")] {
        assert_eq!(traced(bad).await, Value::Null, "{bad:?}");
    }
}
