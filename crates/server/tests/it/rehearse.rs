//! `bunho rehearse` against a real server: what it says, that it tidies up, and what it refuses.

use crate::harness::{ADMIN_KEY, Server, said};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::process::{Command, Output};

async fn rehearse(server: &Server, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(["rehearse", "--url", &server.url, "--measure", "2", "--connections", "4", "--at", "2099-01-01T10:00:00Z"]);
    command.args(arguments).env("BUNHO_ADMIN_KEY", ADMIN_KEY);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rehearsal_measures_forecasts_and_leaves_nothing_behind() {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 20_000, "opens_at": "2099-01-01T10:00:00Z"})).await;
    server.put_zone("SALE", json!({"entry_limit_per_minute": 600, "offer": "drop", "opens_at": "2099-01-01T10:00:00Z"})).await;
    let output = rehearse(&server, &["--zone", "SALE", "--people", "50", "--json"]).await;
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["ready"], &report["last_enters_after_seconds"]), (&json!(true), &json!(5.0)), "{report}");
    for call in ["page", "join", "poll", "claim"] {
        let measured = &report["measured"][call];
        assert!(measured["answered"].as_u64().unwrap() > 10 && measured["refused"] == 0, "{call}: {measured}");
        assert_eq!(measured["answered_by_node"], measured["answered"], "{call}: there is one node");
        assert!(
            measured["processor_us"].as_f64().unwrap() > 0.0 && measured["p99_ms"].as_f64() >= measured["p50_ms"].as_f64(),
            "{measured}"
        );
    }
    let parts = report["parts"].as_array().unwrap();
    assert!(parts.iter().all(|part| part["enough"] == true && part["asked"].as_str().is_some_and(|asked| !asked.is_empty())), "{parts:?}");
    // The offer can be claimed without the line, and that is said.
    let checks = report["checks"].as_array().unwrap();
    let offer = checks.iter().find(|check| check["name"] == "offer drop").unwrap();
    assert_eq!(offer["verdict"], "warn", "{offer}");
    // Nothing is left but claims that were released.
    let ids = async |what: &str| {
        let (_, all) = server.admin(Method::GET, what, json!({})).await;
        all[what].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((ids("zones").await, ids("offers").await), (vec!["SALE".to_owned()], vec!["drop".to_owned()]));
    server.until_projected().await;
    assert_eq!(server.sql("SELECT DISTINCT status FROM claims"), "released");
    assert_eq!(server.sql("SELECT app FROM offers WHERE id LIKE 'rehearsal-%'"), "bunho-rehearsal", "no webhook is told of it");
    server.assert_reconciled();

    // A thousand million people are too many for any machine, and the page says what gives way first.
    let output = rehearse(&server, &["--zone", "SALE", "--people", "1000000000", "--arrive-within", "1", "--without-claims"]).await;
    let page = said(&output);
    assert_eq!(output.status.code(), Some(1), "{page}");
    for words in
        ["zone SALE · 2099-01-01", "What breaks first", "→ more processors", "First to give way", "claims                not measured"]
    {
        assert!(page.contains(words), "{words:?} is not in\n{page}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_rehearsed_is_refused_before_anything_is_measured() {
    let server = Server::start().await;
    server.put_zone("SALE", json!({"entry_limit_per_minute": 0})).await;
    for (arguments, code, says) in [
        (vec!["--zone", "NONE", "--people", "10"], 64, "unknown_zone"),
        (vec!["--zone", "SALE", "--people", "0"], 64, "--people"),
        (vec!["--zone", "SALE", "--people", "10", "--arrive-within", "NaN"], 64, "--arrive-within"),
        (vec!["--zone", "SALE", "--people", "10", "--public", "http://127.0.0.1:1"], 65, "could join"),
        (vec!["--zone", "SALE", "--people", "10", "--key", "bk_wrong"], 64, "401"),
    ] {
        let output = rehearse(&server, &arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(says), "{arguments:?}: {}", said(&output));
    }
    assert_eq!(server.join("SALE").await.0, StatusCode::OK);
    let output = rehearse(&server, &["--zone", "SALE", "--people", "10"]).await;
    assert_eq!(output.status.code(), Some(65), "{}", said(&output));
    assert!(said(&output).contains("waiting in SALE"), "{}", said(&output));
    // A limit of 0 lets nobody in: not ready, however few come.
    let output = rehearse(&server, &["--zone", "SALE", "--people", "10", "--disturb", "--without-claims"]).await;
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("0: nobody enters"), "{}", said(&output));
}
