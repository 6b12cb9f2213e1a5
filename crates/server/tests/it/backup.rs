//! `bunho backup` and `bunho restore` of the embedded shape: what was told before the backup began is in it, what was damaged is refused,
//! and a half backup never looks whole.

use crate::harness::{ADMIN_KEY, Server, bunho, said};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tempfile::TempDir;

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Backs a running server up.
fn back_up(server: &Server, to: &Path) -> Output {
    bunho(&["backup", "--url", &server.url, "--data", path(server.data()), "--to", path(to)])
}

fn restore(from: &Path, data: &Path) -> Output {
    bunho(&["restore", "--from", path(from), "--data", path(data)])
}

/// A server on what was restored.
async fn restored(from: &Path) -> Server {
    let dir = TempDir::new().unwrap();
    let output = restore(from, dir.path());
    assert!(output.status.success(), "{}", said(&output));
    let mut server = Server::on(dir);
    server.restart().await;
    server
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_told_before_a_backup_is_there_after_it() {
    let mut server = Server::start().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 1_000_000, "hold_seconds": 600})).await;
    server.put_zone("Z", json!({"entry_limit_per_minute": 1})).await;
    let entered = server.join("Z").await.1;
    let waiting = server.join("Z").await.1;
    assert_eq!((entered["canEnter"].as_bool(), waiting["canEnter"].as_bool()), (Some(true), Some(false)));
    let backups = TempDir::new().unwrap();
    let backup = backups.path().join("first");

    // People claim all the while; what is answered before the backup begins is noted.
    let stop = Arc::new(AtomicBool::new(false));
    let crowd: Vec<_> = (0..4)
        .map(|lane| {
            let (stop, client, url) = (stop.clone(), server.client.clone(), server.url.clone());
            tokio::spawn(async move {
                let mut told = BTreeMap::new();
                for number in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let user = format!("u{lane}-{number}");
                    let request = client.post(format!("{url}/v1/offers/drop/claims")).header("x-bunho-user", &user);
                    let answer = request.header("idempotency-key", "k").json(&json!({"quantity": 1})).send().await.unwrap();
                    assert_eq!(answer.status(), StatusCode::CREATED);
                    let claim: Value = answer.json().await.unwrap();
                    told.insert(user, (claim["id"].as_str().unwrap().to_owned(), std::time::Instant::now()));
                }
                told
            })
        })
        .collect();
    // Each of the four has noted all but one of the claims that it has.
    crate::harness::until("people claim", std::time::Duration::from_secs(60), async || {
        server.offer("drop").await["held"].as_u64().unwrap() > 304
    })
    .await;
    let began = std::time::Instant::now();
    let output = tokio::task::block_in_place(|| back_up(&server, &backup));
    assert!(output.status.success(), "{}", said(&output));
    stop.store(true, Ordering::Relaxed);
    let mut told = BTreeMap::new();
    for lane in crowd {
        told.extend(lane.await.unwrap());
    }
    let before: Vec<_> = told.iter().filter(|(_, (_, at))| *at < began).collect();
    assert!(before.len() > 300 && before.len() < told.len(), "{} of {}", before.len(), told.len());
    // Somebody joins after the backup: the number of this ticket must not be given again.
    let late = server.join("Z").await.1;

    // It holds secrets, and nobody else may read them.
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o700);
    for file in fs::read_dir(&backup).unwrap().chain(fs::read_dir(backup.join("keys")).unwrap()) {
        let file = file.unwrap();
        let mode = file.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if file.path().is_dir() { 0o700 } else { 0o600 }, "{:?}", file.path());
    }
    server.kill();

    let again = restored(&backup).await;
    for (user, (id, _)) in &before {
        let (status, claim) = again.claim("drop", user, Some("k"), json!({"quantity": 1})).await;
        assert_eq!((status, claim["id"].as_str()), (StatusCode::CREATED, Some(id.as_str())), "keys answer alike");
    }
    let (status, claim) = again.user_get(before[0].0, &format!("/v1/claims/{}", before[0].1.0)).await;
    assert_eq!((status, claim["status"].as_str()), (StatusCode::OK, Some("held")));
    // Tickets and passes of the old server count; whoever waits keeps the place, also one who joined after the backup.
    let pass = again.request(Method::GET, "/verify?zone=Z").header("bunho-pass", entered["pass"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(pass.status(), StatusCode::NO_CONTENT);
    for ticket in [&waiting, &late] {
        assert_eq!(again.poll("Z", ticket["token"].as_str().unwrap()).await.0, StatusCode::OK);
    }
    let new = again.join("Z").await.1;
    let (first, second) = (again.poll("Z", late["token"].as_str().unwrap()).await.1, new["waiting"]["rank"].as_u64());
    assert!(first["waiting"]["rank"].as_u64() < second, "{first} {new}");
    again.assert_reconciled();
    again.until_projected().await;
    again.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_folder_is_backed_up_and_a_used_one_needs_its_server() {
    let mut server = Server::start().await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 100})).await;
    for user in 0..10 {
        assert_eq!(server.claim("drop", &format!("u{user}"), None, json!({"quantity": 1})).await.0, StatusCode::CREATED);
    }
    let backups = TempDir::new().unwrap();
    let (used, stopped) = (backups.path().join("used"), backups.path().join("stopped"));
    let refused = bunho(&["backup", "--data", path(server.data()), "--to", path(&used)]);
    assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
    assert!(said(&refused).contains("--url") && !used.exists(), "{}", said(&refused));
    // Another server's folder is not taken for this one's.
    let other = Server::start().await;
    let refused = bunho(&["backup", "--url", &other.url, "--data", path(server.data()), "--to", path(&used)]);
    assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
    assert_eq!(fs::read_dir(backups.path()).unwrap().count(), 0, "nothing is left of what was refused");
    server.kill();
    let output = bunho(&["backup", "--data", path(server.data()), "--to", path(&stopped)]);
    assert!(output.status.success(), "{}", said(&output));
    let output = bunho(&["backup", "--data", path(server.data()), "--to", path(&stopped)]);
    assert_eq!(output.status.code(), Some(64), "nothing is written over: {}", said(&output));
    let again = restored(&stopped).await;
    assert_eq!(again.offer("drop").await["confirmed"], 10);
    again.assert_reconciled();
}

/// A copy tells nobody: its messages would be as validly signed as production's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_restored_sends_no_webhooks() {
    let inside = [("BUNHO_WEBHOOKS__ALLOW_HTTP", "true"), ("BUNHO_WEBHOOKS__ALLOW_PRIVATE", "[\"127.0.0.0/8\"]")];
    let mut server = Server::start_with(&inside, &[]).await;
    let (status, hook) = server.admin(Method::POST, "webhooks", json!({"name": "shop", "url": "http://127.0.0.1:9/"})).await;
    assert_eq!(status, StatusCode::CREATED, "{hook}");
    let url = format!("webhooks/{}", hook["id"].as_str().unwrap());
    assert_eq!(server.admin(Method::GET, &url, json!({})).await.1["enabled"], true);
    server.put_offer("drop", json!({"kind": "goods", "quantity": 5, "hold_seconds": 600})).await;
    let backups = TempDir::new().unwrap();
    let backup = backups.path().join("b");
    let output = back_up(&server, &backup);
    assert!(output.status.success(), "{}", said(&output));
    server.kill();
    let dir = TempDir::new().unwrap();
    let output = restore(&backup, dir.path());
    assert!(output.status.success() && said(&output).contains("OFF: 1 webhooks"), "{}", said(&output));
    let mut again = Server::on(dir);
    again.restart().await;
    let (_, hook) = again.admin(Method::GET, &url, json!({})).await;
    assert_eq!((&hook["enabled"], &hook["disabled_reason"]), (&json!(false), &json!("restored")), "{hook}");
    assert_eq!(again.claim("drop", "kim", None, json!({"quantity": 1})).await.0, StatusCode::CREATED);
    again.until_projected().await;
    assert_eq!(again.sql("SELECT count(*) FROM webhook_deliveries"), "0");
}

/// What is done to a backup.
type Attack = fn(&Path);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_is_not_whole_and_a_target_that_is_not_empty_are_refused() {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 100})).await;
    server.claim("drop", "u", None, json!({"quantity": 1})).await;
    let backups = TempDir::new().unwrap();
    let whole = backups.path().join("whole");
    assert!(back_up(&server, &whole).status.success());
    let attacks: [(&str, Attack); 5] = [
        ("ledger.db", |backup| {
            let file = fs::OpenOptions::new().write(true).open(backup.join("ledger.db")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        }),
        ("ledger.db", |backup| {
            let mut bytes = fs::read(backup.join("ledger.db")).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(backup.join("ledger.db"), bytes).unwrap();
        }),
        ("keys/ticket.key", |backup| fs::remove_file(backup.join("keys/ticket.key")).unwrap()),
        ("manifest.json", |backup| fs::remove_file(backup.join("manifest.json")).unwrap()),
        ("manifest.json", |backup| {
            let file = fs::OpenOptions::new().write(true).open(backup.join("manifest.json")).unwrap();
            file.set_len(100).unwrap();
        }),
    ];
    for (number, (names, attack)) in attacks.into_iter().enumerate() {
        let attacked = backups.path().join(format!("attacked-{number}"));
        assert!(Command::new("cp").arg("-a").arg(&whole).arg(&attacked).status().unwrap().success());
        attack(&attacked);
        let target = backups.path().join(format!("target-{number}"));
        let refused = restore(&attacked, &target);
        assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
        assert!(said(&refused).contains(names) && said(&refused).contains("mend") && !target.exists(), "{}", said(&refused));
    }
    let used = backups.path().join("used");
    fs::create_dir(&used).unwrap();
    fs::write(used.join("file"), "").unwrap();
    for (target, why) in [(&used, "not empty"), (&whole, "not empty")] {
        let refused = restore(&whole, target);
        assert_eq!(refused.status.code(), Some(64), "{}", said(&refused));
        assert!(said(&refused).contains(why), "{}", said(&refused));
    }
}

/// Without its journal, what a restore was killed in the middle of is served by nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_restored_folder_is_not_served_from() {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 100})).await;
    let backups = TempDir::new().unwrap();
    let (backup, half) = (backups.path().join("backup"), backups.path().join("half"));
    assert!(back_up(&server, &backup).status.success());
    assert!(restore(&backup, &half).status.success());
    fs::remove_dir_all(half.join("journal")).unwrap();
    let refused = bunho(&["serve", "--listen", "127.0.0.1:0", "--data", path(&half)]);
    assert_eq!(refused.status.code(), Some(65), "{}", said(&refused));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_leaves_no_half_backup() {
    let server = Server::start().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 100_000})).await;
    let long = "x".repeat(3_000);
    for user in 0..200 {
        let claim = server.claim("drop", &format!("u{user}"), None, json!({"quantity": 1, "attributes": {"of": long}})).await;
        assert_eq!(claim.0, StatusCode::CREATED);
    }
    // A limit on the size of a file, which needs nobody's permission: writing beyond it fails as on a full disk.
    let backups = TempDir::new().unwrap();
    for blocks in [200, 400, 600] {
        let mut command = Command::new("bash");
        command.arg("-c").arg(format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_bunho"));
        command.args(["backup", "--url", &server.url, "--data", path(server.data()), "--to"]).arg(backups.path().join("full"));
        let output = command.env("BUNHO_ADMIN_KEY", ADMIN_KEY).output().unwrap();
        assert_eq!(output.status.code(), Some(65), "{}", said(&output));
        assert!(said(&output).contains("mend"), "{}", said(&output));
        assert_eq!(fs::read_dir(backups.path()).unwrap().count(), 0, "{}", said(&output));
    }
    assert!(back_up(&server, &backups.path().join("full")).status.success(), "there is room again");
    server.assert_reconciled();
}
