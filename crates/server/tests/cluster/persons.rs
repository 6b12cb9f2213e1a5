//! People who are forgotten on a cluster, because somebody asks for it or because what they had is old: in Redis, in the tables, on every node; and
//! also when a copy of the database is brought back that still knows them.

use crate::components;
use crate::harness::{Server, bunho, said, until};
use reqwest::StatusCode;
use serde_json::{Value, json};
use std::process::{Command, Stdio};
use std::time::Duration;

const MARK: &str = "marked-person";

fn forget(server: &Server) -> (i32, Value) {
    tokio::task::block_in_place(|| {
        let output = bunho(&["forget", MARK, "--json", "--url", &server.url]);
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output))))
    })
}

/// Everything that all primaries have under the installation's prefix, as `redis-cli` shows it.
fn in_redis(server: &Server) -> String {
    let prefix = server.setting("BUNHO_REDIS__PREFIX");
    let redis = components::redis();
    let script = format!(
        "for port in $(seq {first} $(({first} + 5))); do redis-cli -p $port --scan --pattern '{prefix}:*' | while read -r key; do \
         case $(redis-cli -p $port TYPE $key) in hash) redis-cli -c -p $port HGETALL $key;; stream) redis-cli -c -p $port XRANGE $key - +;; esac; done; done",
        first = redis.port
    );
    let output = Command::new("bash").args(["-c", &script]).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Every row of every table, as a dump has it.
fn dump(url: &str) -> Vec<u8> {
    let mut command = if url.starts_with("postgres") {
        let mut command = Command::new("pg_dump");
        command.args(["--clean", url]);
        command
    } else {
        let (port, database) = of_mariadb(url);
        let mut command = Command::new("mariadb-dump");
        command.args([
            "--no-defaults",
            "--single-transaction",
            "--triggers",
            "--routines",
            "-h",
            "127.0.0.1",
            "-P",
            port,
            "-u",
            "bunho",
            database,
        ]);
        command
    };
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn bring_back(url: &str, file: &std::path::Path) {
    let mut command = if url.starts_with("postgres") {
        let mut command = Command::new("psql");
        command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-d", url]);
        command
    } else {
        let (port, database) = of_mariadb(url);
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "-h", "127.0.0.1", "-P", port, "-u", "bunho", database]);
        command
    };
    let output = command.stdin(std::fs::File::open(file).unwrap()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn of_mariadb(url: &str) -> (&str, &str) {
    let (front, database) = url.rsplit_once('/').unwrap();
    (front.rsplit_once(':').unwrap().1, database)
}

fn is_marked(bytes: &[u8]) -> bool {
    bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

async fn claim(server: &Server, user: &str, number: u32) -> String {
    let (key, attributes) = (format!("{user}-key-{number}"), json!({"address": format!("street of {user}")}));
    let (status, claim) = server.claim("stay", user, Some(&key), json!({"quantity": 1, "attributes": attributes})).await;
    assert_eq!(status, StatusCode::CREATED, "{claim}");
    claim["id"].as_str().unwrap().to_owned()
}

async fn post(server: &Server, path: &str) {
    let (status, answer) = server.service_post(path, json!({"restock": true})).await;
    assert!(status.is_success(), "{path}: {status} {answer}");
}

async fn is_forgotten_and_stays_so(database: &'static str) {
    let environment = tokio::task::spawn_blocking(move || components::environment(database)).await.unwrap();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::start_nodes(2, &environment, &[]).await;
    server
        .put_offer("stay", json!({"kind": "booking", "quantity": 30, "hold_seconds": 600, "standby": true, "confirm_by": "service"}))
        .await;
    for number in 0..26 {
        claim(&server, &format!("u{number}"), number).await;
    }
    let mut claims = Vec::new();
    for number in 0..4 {
        claims.push(claim(&server, MARK, number).await);
    }
    let (status, place) = server.user_post(MARK, "/v1/offers/stay/standby", json!({"quantity": 2})).await;
    assert_eq!((status, place["status"].as_str()), (StatusCode::CREATED, Some("waiting")), "{place}");
    for claim in &claims[..3] {
        post(&server, &format!("/v1/claims/{claim}/confirm")).await;
    }
    let (_, report) = forget(&server);
    assert_eq!((report["claims"].as_u64(), report["remains"][0]["offer"].as_str()), (Some(0), Some("stay")), "it is open: {report}");
    let (status, _) = server.admin(reqwest::Method::POST, "offers/stay/close", json!({})).await;
    assert!(status.is_success());
    post(&server, &format!("/v1/claims/{}/release", claims[3])).await;
    post(&server, &format!("/admin/api/claims/{}/return", claims[2])).await;
    server.until_projected().await;
    let url = server.setting("BUNHO_LEDGER__URL");
    let copy = dump(&url);
    assert!(is_marked(&copy) && is_marked(in_redis(&server).as_bytes()));
    let before = server.offer("stay").await;

    let (code, report) = forget(&server);
    assert_eq!(
        (report["claims"].as_u64(), report["standby"].as_u64(), report["audit_entries"].as_u64()),
        (Some(4), Some(1), Some(1)),
        "{report}"
    );
    // The topic's older messages are all that is left.
    let remains: Vec<&str> = report["remains"].as_array().unwrap().iter().map(|left| left["store"].as_str().unwrap()).collect();
    assert_eq!((code, remains), (1, vec!["topic"]), "{report}");
    let after = server.offer("stay").await;
    for field in ["quantity", "held", "confirmed", "remaining"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    assert!(!is_marked(in_redis(&server).as_bytes()), "{}", in_redis(&server));
    assert!(!is_marked(&dump(&url)), "a row still says who it was");
    server.until_projected().await;
    server.assert_reconciled();
    let (code, report) = forget(&server);
    assert_eq!((code, report["claims"].as_u64()), (1, Some(0)), "{report}");
    assert_eq!(report["remains"][0]["store"], "topic", "asked again, the topic still has them: {report}");

    // A copy from before knows the person; the topic says that they were forgotten.
    server.kill();
    let file = server.data().join("copy.sql");
    std::fs::write(&file, copy).unwrap();
    bring_back(&url, &file);
    assert!(is_marked(&dump(&url)));
    let output = server.run("rebuild");
    assert!(output.status.success(), "{output:?}");
    server.restart().await;
    until("the offer is there again", Duration::from_secs(60), async || server.get("/v1/offers/stay").await.0 == StatusCode::OK).await;
    server.until_projected().await;
    assert_eq!(server.sql(&format!("select count(*) from claims where user_id = '{MARK}'")), "0", "forgotten again by the topic");
    assert_eq!(server.sql("select count(*) from claims"), "30");
    assert!(!is_marked(in_redis(&server).as_bytes()), "{}", in_redis(&server));
    // What no message carries is forgotten by asking again.
    forget(&server);
    assert!(!is_marked(&dump(&url)));
    server.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_and_postgres_forget() {
    is_forgotten_and_stays_so("postgres").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_and_mariadb_forget() {
    is_forgotten_and_stays_so("mariadb").await;
}

/// A run that is cut off between what it decides and what it notes has been there: asked again, the topic still has the person.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_forgotten_by_a_run_that_was_cut_off_is_in_the_topic_still() {
    let environment = tokio::task::spawn_blocking(|| components::environment("postgres")).await.unwrap();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::start_nodes(1, &[environment.as_slice(), &[("FAILPOINTS", "forget::decided=return")]].concat(), &[]).await;
    server.put_offer("stay", json!({"kind": "coupon", "quantity": 3})).await;
    claim(&server, MARK, 0).await;
    let (status, _) = server.admin(reqwest::Method::POST, "offers/stay/close", json!({})).await;
    assert!(status.is_success());
    server.until_projected().await;
    let died = bunho(&["forget", MARK, "--json", "--url", &server.url]);
    assert_eq!(died.status.code(), Some(69), "{}", said(&died));
    server.ended().await;
    server.set_environment(&environment);
    server.restart().await;
    // What found nobody does not hide it, however often.
    for _ in 0..2 {
        let (code, report) = forget(&server);
        assert_eq!((code, &report["claims"], &report["remains"][0]["store"]), (1, &json!(0), &json!("topic")), "{report}");
    }
    assert!(!is_marked(&dump(&server.setting("BUNHO_LEDGER__URL"))));
}

/// Nodes that forget what ended thirty days ago; the first may die on the way.
async fn what_is_old_is_forgotten(database: &'static str, dies_at: &str) {
    let environment = tokio::task::spawn_blocking(move || components::environment(database)).await.unwrap();
    let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut server = Server::start_nodes(2, &environment, &[]).await;
    let settings = |closes_at: Option<String>| json!({"kind": "booking", "quantity": 30, "hold_seconds": 600, "standby": true, "confirm_by": "service", "closes_at": closes_at});
    server.put_offer("stay", settings(None)).await;
    server.put_offer("open", json!({"kind": "goods", "quantity": 5, "hold_seconds": 600})).await;
    for number in 0..26 {
        let claim = claim(&server, &format!("u{number}"), number).await;
        post(&server, &format!("/v1/claims/{claim}/confirm")).await;
    }
    let mut returned = String::new();
    for number in 0..4 {
        returned = claim(&server, MARK, number).await;
        post(&server, &format!("/v1/claims/{returned}/confirm")).await;
    }
    post(&server, &format!("/admin/api/claims/{returned}/return")).await;
    let (status, _) = server.claim("stay", "last", None, json!({"quantity": 1})).await;
    assert_eq!(status, StatusCode::CREATED);
    let (status, place) = server.user_post(MARK, "/v1/offers/stay/standby", json!({"quantity": 2})).await;
    assert_eq!((status, place["status"].as_str()), (StatusCode::CREATED, Some("waiting")), "{place}");
    let (status, _) = server.claim("open", "somebody", None, json!({"quantity": 1})).await;
    assert_eq!(status, StatusCode::CREATED);
    // It ended as long ago as the operator says. What `last` holds keeps them back.
    server.put_offer("stay", settings(Some((jiff::Timestamp::now() - Duration::from_secs(40 * 86_400)).to_string()))).await;
    server.until_projected().await;
    let before = server.offer("stay").await;
    let url = server.setting("BUNHO_LEDGER__URL");
    assert!(is_marked(&dump(&url)) && is_marked(in_redis(&server).as_bytes()));
    server.kill();

    let days = ("BUNHO_RETENTION__FORGET_AFTER_DAYS", "30");
    let dying = format!("{dies_at}=return");
    server.set_environment(&[&environment[..], &[days, ("FAILPOINTS", &dying)]].concat());
    if server.try_launch().is_ok() {
        server.ended().await;
    }
    server.set_environment(&[&environment[..], &[days]].concat());
    server.restart().await;
    let forgotten = "select count(*) from claims where offer_id = 'stay' and user_id like 'forgotten-%'";
    let sweeps = "select count(*) from audit_log where action = 'retention.forget'";
    until("what is old is forgotten", Duration::from_secs(90), async || server.sql(forgotten) == "30" && server.sql(sweeps) == "1").await;
    assert!(!is_marked(in_redis(&server).as_bytes()), "{}", in_redis(&server));
    assert!(!is_marked(&dump(&url)), "a row still says who it was");
    assert_eq!(server.sql("select user_id from claims where user_id not like 'forgotten-%' order by user_id"), "last\nsomebody");
    let after = server.offer("stay").await;
    for field in ["quantity", "held", "confirmed", "remaining"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    server.until_projected().await;
    server.assert_reconciled();
    assert_eq!(server.sql(sweeps), "1", "one of the two nodes did it, once");
    // Who was kept back goes when nothing is held any more.
    let held = server.sql("select id from claims where user_id = 'last'");
    post(&server, &format!("/v1/claims/{held}/confirm")).await;
    server.until_projected().await;
    server.kill();
    server.restart().await;
    until("the next sweep", Duration::from_secs(90), async || server.sql(sweeps) == "2").await;
    assert_eq!(server.sql(forgotten), "31");
    server.assert_reconciled();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_on_redis_and_postgres() {
    what_is_old_is_forgotten("postgres", "retention::noted").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_old_is_forgotten_on_redis_and_mariadb() {
    what_is_old_is_forgotten("mariadb", "forget::part_decided").await;
}
