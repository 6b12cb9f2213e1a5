//! The command line: what it teaches, what it refuses, and with which exit code.

use crate::harness::{ADMIN_KEY, Server, launch, said};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use tempfile::TempDir;

fn bunho(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
    command.args(arguments).env_remove("BUNHO_ADMIN_KEY");
    command
}

#[test]
fn refusals_name_the_setting_and_the_mend() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    for (arguments, environment, code, says) in [
        (vec!["serve", "--data", data, "--listen", "0.0.0.0:0"], None, 64, "auth.user"),
        (vec!["serve", "--data", data, "--listen", "here"], None, 64, "server.listen"),
        (vec!["serve", "--data", data], Some(("BUNHO_ENGINE__ACK", "maybe")), 64, "engine.ack"),
        (vec!["serve", "--data", data], Some(("BUNHO_SERVER__TYPO", "1")), 64, "TYPO"),
        (vec!["serve", "--data", data], Some(("BUNHO_ADMIN_KEY", "short")), 64, "BUNHO_ADMIN_KEY"),
        (vec!["serve", "--config", "/nonexistent.toml"], None, 64, "/nonexistent.toml"),
        (vec!["serve", "--data", "/proc/bunho"], None, 65, "/proc/bunho"),
        (vec!["offer", "list", "--url", "http://127.0.0.1:1", "--key", "bk_x"], None, 69, "bunho serve"),
        (vec!["key", "new", "--role", "king", "--data", data], None, 64, "service"),
        (vec!["nonsense"], None, 64, "--help"),
    ] {
        let mut command = bunho(&arguments);
        command.envs(environment);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).to_lowercase().contains(&says.to_lowercase()), "{arguments:?}: {}", said(&output));
    }
}

#[test]
fn a_folder_that_is_gone_is_named_and_nothing_panics() {
    let dir = TempDir::new().unwrap();
    let gone = Command::new("sh")
        .args(["-c", "rmdir \"$PWD\" && exec \"$0\" doctor --data /tmp", env!("CARGO_BIN_EXE_bunho")])
        .current_dir(dir.path())
        .output();
    let gone = gone.unwrap();
    assert!(gone.status.code() == Some(64) && said(&gone).contains("is gone"), "{}", said(&gone));
}

#[test]
fn the_first_start_prints_and_keeps_an_admin_key() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("deep/er");
    let serve = || launch(bunho_in(&path));
    let mut started = serve();
    let printed =
        started.lines.iter().find_map(|line| line.strip_prefix("admin key ")).expect("a key is printed").split(' ').next().unwrap();
    let kept = std::fs::read_to_string(path.join("admin.key")).unwrap();
    assert_eq!(kept.trim(), printed);
    assert_eq!(std::fs::metadata(path.join("admin.key")).unwrap().permissions().mode() & 0o777, 0o600);
    for file in std::fs::read_dir(path.join("keys")).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
    // A second server on the same folder is refused, and says so.
    let second = bunho(&["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&path).output().unwrap();
    assert_eq!(second.status.code(), Some(65), "{}", said(&second));
    // The shell commands find the key by themselves.
    let data = path.to_str().unwrap();
    let put =
        bunho(&["offer", "put", "drop", r#"{"kind":"coupon","quantity":3}"#, "--url", &started.url, "--data", data]).output().unwrap();
    assert!(put.status.success(), "{}", said(&put));
    let restock = bunho(&["offer", "restock", "drop", "-1", "--url", &started.url, "--data", data]).output().unwrap();
    assert!(restock.status.success(), "{}", said(&restock));
    let shown = bunho(&["offer", "get", "drop", "--url", &started.url, "--data", data]).output().unwrap();
    let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
    assert_eq!(shown["quantity"], 2);
    let refused = bunho(&["offer", "restock", "drop", "-9", "--url", &started.url, "--data", data]).output().unwrap();
    assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    started.process.kill().unwrap();
    started.process.wait().unwrap();
    let again = serve();
    assert!(!again.lines.iter().any(|line| line.starts_with("admin key")), "the key is printed once");
    let mut process = again.process;
    process.kill().unwrap();
    process.wait().unwrap();
}

/// Members of a system's group may read its journal; the key is not for all of them.
#[test]
fn the_system_s_journal_is_told_where_the_admin_key_is_and_not_what_it_is() {
    let dir = TempDir::new().unwrap();
    let mut command = bunho_in(dir.path());
    command.env("JOURNAL_STREAM", "9:12345");
    let mut started = launch(command);
    started.process.kill().unwrap();
    started.process.wait().unwrap();
    let kept = std::fs::read_to_string(dir.path().join("admin.key")).unwrap();
    assert!(started.lines.iter().any(|line| line.contains("admin.key")), "{:#?}", started.lines);
    assert!(!started.lines.iter().any(|line| line.contains(kept.trim())), "{:#?}", started.lines);
}

#[test]
fn the_configurations_that_are_shipped_are_good() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (file, says) in [
        ("deploy/package/bunho.toml", "/var/lib/bunho"),
        ("deploy/kubernetes/embedded/bunho.toml", "drain_delay_seconds = 5"),
        ("deploy/kubernetes/cluster/bunho.toml", "drain_delay_seconds = 10"),
    ] {
        let mut command = bunho(&["config", "--print", "--config"]);
        let printed = command.arg(root.join(file)).env("BUNHO_LEDGER__URL", "postgres://db/bunho").output().unwrap();
        assert!(printed.status.success() && said(&printed).contains(says), "{file}: {}", said(&printed));
    }
}

#[test]
fn the_manual_has_a_page_for_each_command_and_completions_for_shells() {
    let dir = TempDir::new().unwrap();
    let written = bunho(&["manual"]).arg(dir.path().join("new")).output().unwrap();
    assert!(written.status.success(), "{}", said(&written));
    for (file, says) in [
        ("bunho.1", "bunho\\-serve(1)"),
        ("bunho-serve.1", "\\-\\-listen"),
        ("bunho-key-new.1", "\\-\\-role"),
        ("bunho.bash", "reconcile"),
        ("_bunho", "#compdef bunho"),
        ("bunho.fish", "complete -c bunho"),
    ] {
        let page = std::fs::read_to_string(dir.path().join("new").join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(page.contains(says), "{file} does not say {says}:\n{page}");
    }
    let refused = bunho(&["manual", "/proc/bunho"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
}

fn bunho_in(path: &std::path::Path) -> Command {
    let mut command = bunho(&["serve", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(path);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_reconcile_and_rebuild_on_a_stopped_folder() {
    let mut server = Server::start().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 50})).await;
    for user in 0..20 {
        assert_eq!(server.claim("drop", &format!("u{user}"), Some("k"), json!({"quantity": 2})).await.0, StatusCode::CREATED);
    }
    let data = server.data().to_str().unwrap().to_string();
    let running = bunho(&["reconcile", "--data", &data]).output().unwrap();
    assert_eq!(running.status.code(), Some(65), "a folder in use is refused: {}", said(&running));
    let elsewhere = server.data().join("elsewhere");
    let nothing = bunho(&["reconcile", "--data", elsewhere.to_str().unwrap()]).output().unwrap();
    assert!(nothing.status.code() == Some(65) && said(&nothing).contains("--url") && !elsewhere.exists(), "{}", said(&nothing));
    let doctor = bunho(&["doctor", "--data", &data]).output().unwrap();
    assert!(doctor.status.success() && said(&doctor).contains("ok    ledger"), "{}", said(&doctor));
    server.kill();
    let reconciled = bunho(&["reconcile", "--json", "--data", &data]).output().unwrap();
    let report: Value = serde_json::from_slice(&reconciled.stdout).unwrap();
    assert_eq!((report["equal"].as_bool(), report["compared"].as_u64()), (Some(true), Some(20)), "{report}");
    let rebuilt = bunho(&["rebuild", "--data", &data]).output().unwrap();
    assert!(rebuilt.status.success(), "{}", said(&rebuilt));
    server.restart().await;
    let offer = server.offer("drop").await;
    assert_eq!((offer["held"].as_u64(), offer["remaining"].as_u64()), (Some(40), Some(10)));
    let (_, again) = server.claim("drop", "u0", Some("k"), json!({"quantity": 2})).await;
    assert_eq!(again["user"], "u0");
    server.assert_reconciled();
    // A ledger edited by hand is found out.
    server.until_projected().await;
    server.kill();
    let edit = Command::new("sqlite3")
        .arg(server.data().join("ledger.db"))
        .arg("update claims set quantity = 9 where user_id = 'u3'")
        .output()
        .unwrap();
    assert!(edit.status.success());
    let differs = bunho(&["reconcile", "--data", &data]).output().unwrap();
    assert_eq!(differs.status.code(), Some(1), "{}", said(&differs));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_that_lost_rows_is_mended_by_a_running_server() {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 50})).await;
    for user in 0..10 {
        server.claim("drop", &format!("u{user}"), None, json!({"quantity": 1})).await;
    }
    server.until_projected().await;
    let edit = "delete from claims where user_id = 'u3'; update claims set status = 'released' where user_id = 'u4'";
    let mut sqlite = Command::new("sqlite3");
    sqlite.args(["-cmd", ".timeout 30000"]).arg(server.data().join("ledger.db")).arg(edit);
    assert!(sqlite.status().unwrap().success());
    let reconcile = |more: &[&str]| {
        let output = bunho(&["reconcile", "--json", "--url", &server.url, "--key", ADMIN_KEY]).args(more).output().unwrap();
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    let (code, report) = reconcile(&["--repair"]);
    assert_eq!((code, report["missing_in_ledger"].as_u64(), report["different"].as_u64()), (Some(1), Some(1), Some(1)), "{report}");
    assert_eq!(report["repaired"], 2, "{report}");
    let (code, report) = reconcile(&[]);
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(server.sql("select count(*) from claims where status = 'held'"), "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_made_on_the_command_line_works_while_the_server_runs() {
    let server = Server::start().await;
    let made = bunho(&["key", "new", "--role", "viewer", "--name", "desk", "--data"]).arg(server.data()).output().unwrap();
    let made: Value = serde_json::from_slice(&made.stdout).unwrap();
    let key = made["key"].as_str().unwrap();
    let seen = async || server.request(Method::GET, "/admin/api/zones").bearer_auth(key).send().await.unwrap().status() == StatusCode::OK;
    crate::harness::until("the key is known", std::time::Duration::from_secs(60), seen).await;
    let put = server.request(Method::PUT, "/admin/api/zones/Z").bearer_auth(key).json(&json!({"entry_limit_per_minute": 1}));
    assert_eq!(put.send().await.unwrap().status(), StatusCode::FORBIDDEN);
    let listed = bunho(&["key", "list", "--data"]).arg(server.data()).output().unwrap();
    assert!(said(&listed).contains("desk") && !said(&listed).contains(key));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_named_stays_when_a_setting_is_changed() {
    let server = Server::start().await;
    let run = |arguments: &[&str]| {
        let output = bunho(arguments).args(["--url", &server.url, "--key", ADMIN_KEY]).output().unwrap();
        (output.status.code(), said(&output))
    };
    let without = |text: &str, names: &[&str]| {
        let mut value: Value = serde_json::from_str(text).unwrap();
        names.iter().for_each(|name| assert!(value.as_object_mut().unwrap().remove(*name).is_some(), "{name}"));
        value
    };
    let zone = r#"{"entry_limit_per_minute": 600, "app": "shop", "message": "Soon", "challenge_bits": 8, "pass_bound": true, "closes_at": "2100-01-01T00:00:00Z"}"#;
    let offer = r#"{"kind": "goods", "quantity": 5, "hold_seconds": 60, "name": "Shoe", "closes_at": "2100-01-01T00:00:00Z"}"#;
    for (kind, body, changes) in [
        ("zone", zone, &[("entry_limit_per_minute", json!(30)), ("message", json!("In a minute")), ("closes_at", json!(null))][..]),
        ("offer", offer, &[("name", json!("Boot")), ("hold_seconds", json!(90))]),
    ] {
        let (code, before) = run(&[kind, "put", "it", body]);
        assert_eq!(code, Some(0), "{before}");
        let pairs: Vec<String> = changes
            .iter()
            .map(|(name, value)| format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)))
            .collect();
        let (code, after) = run(&[&[kind, "set", "it"], &pairs.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
        assert_eq!(code, Some(0), "{after}");
        // The stock has the offer's version.
        let mut changed = if kind == "offer" { vec!["revision", "stock"] } else { vec!["revision"] };
        changed.extend(changes.iter().map(|(name, _)| *name));
        assert_eq!(without(&before, &changed), without(&after, &changed), "{kind}");
        let shown: Value = serde_json::from_str(&after).unwrap();
        changes.iter().for_each(|(name, value)| assert_eq!(&shown[*name], value, "{after}"));
        // A name that there is not, one that is shown and cannot be set, a value that cannot be, no value at all.
        for (wrong, says) in [("nonsense=1", "nonsense"), ("revision=9", "revision"), ("app=a b", "app"), ("name", "NAME=VALUE")] {
            let (code, said) = run(&[kind, "set", "it", wrong]);
            assert!(code == Some(64) && said.contains(says), "{kind} {wrong}: {said}");
        }
        assert_eq!(run(&[kind, "get", "it"]).1, after, "what is refused changes nothing");
        assert_eq!(run(&[kind, "set", "there-is-none", "name=x"]).0, Some(64));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_made_on_the_command_line_signs_in_and_stays_signed_in_over_a_restart() {
    let mut server = Server::start().await;
    let data = server.data().to_str().unwrap().to_owned();
    let new = |name: &str, role: &str| bunho(&["account", "new", name, "--role", role, "--data", &data]).output().unwrap();
    let output = new("kim", "operator");
    assert!(output.status.success(), "{}", said(&output));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&made["name"], &made["role"]), (&json!("kim"), &json!("operator")));
    for (name, role, code) in
        [("kim", "viewer", 65), ("lee", "service", 64), ("김", "viewer", 64), ("a b", "viewer", 64), ("", "viewer", 64)]
    {
        let output = new(name, role);
        assert_eq!(output.status.code(), Some(code), "{name} {role}: {}", said(&output));
        assert!(said(&output).contains("mend"), "{}", said(&output));
    }
    let listed = bunho(&["account", "list", "--data", &data]).output().unwrap();
    assert_eq!(said(&listed).trim(), "operator  kim");

    let body = json!({"name": "kim", "password": made["password"]});
    let answer = server.request(Method::POST, "/admin/api/session").json(&body).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    let cookie = answer.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let asks =
        async |server: &Server| server.request(Method::GET, "/admin/api/session").header("cookie", &cookie).send().await.unwrap().status();
    assert_eq!(asks(&server).await, StatusCode::OK);
    server.kill();
    server.restart().await;
    assert_eq!(asks(&server).await, StatusCode::OK, "a console that was left open goes on");
    let out = server.request(Method::DELETE, "/admin/api/session").header("cookie", &cookie).send().await.unwrap();
    assert_eq!(out.status(), StatusCode::NO_CONTENT);
    server.kill();
    server.restart().await;
    assert_eq!(asks(&server).await, StatusCode::UNAUTHORIZED, "ended is ended");
}

#[test]
fn the_configuration_printed_is_one_that_can_be_given_back() {
    let dir = TempDir::new().unwrap();
    let printed = bunho(&["config", "--print"]).env("BUNHO_SERVER__CONNECTIONS_MAX", "77").output().unwrap();
    assert!(printed.status.success() && said(&printed).contains("connections_max = 77"));
    let file = dir.path().join("bunho.toml");
    std::fs::write(&file, &printed.stdout).unwrap();
    let again = bunho(&["config", "--print", "--config"]).arg(&file).output().unwrap();
    assert_eq!(again.stdout, printed.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_has_one_of_each() {
    let server = Server::start_with(&[], &["--demo"]).await;
    for offer in ["sneaker-drop", "farm-stay", "farm-thanks", "welcome-coupon"] {
        assert_eq!(server.offer(offer).await["state"], "open");
    }
    assert_eq!(server.join("TEST_ZONE").await.1["canEnter"], true);
    let (status, claim) = server.claim("welcome-coupon", "me", Some("first"), json!({"quantity": 1})).await;
    assert_eq!((status, claim["status"].as_str()), (StatusCode::CREATED, Some("confirmed")));
}
