//! What Redis has, has not, or may not have any more, and how that comes back from the ledger.

use crate::components::{self, Component};
use crate::harness::{Server, until};
use reqwest::StatusCode;
use serde_json::json;
use std::fmt::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

/// A suspended offer answers again by then; a node that is given up is taken over after 15 s.
const BACK_WITHIN: Duration = Duration::from_secs(60);

/// The offer's state in Redis.
struct Hash {
    key: String,
}

impl Hash {
    /// Of the first offer of an installation.
    fn of(server: &Server) -> Self {
        let prefix = server.setting("BUNHO_REDIS__PREFIX");
        let hash = Self { key: format!("{prefix}:{{1}}:1") };
        assert!(hash.ask(&["EXISTS"]).starts_with(b"1"));
        hash
    }

    fn ask(&self, words: &[&str]) -> Vec<u8> {
        redis_cli(components::redis(), &[words[0], &self.key], &words[1..])
    }

    /// As after a restart or a failover of its Redis node: what is there may be behind.
    fn is_in_doubt(&self) {
        self.ask(&["HSET", "i", "another life"]);
    }

    /// Something that no load writes.
    fn mark(&self) {
        self.ask(&["HSET", "mark", "1"]);
    }

    fn is_marked(&self) -> bool {
        self.ask(&["HEXISTS", "mark"]).starts_with(b"1")
    }
}

fn redis_cli(redis: &Component, first: &[&str], rest: &[&str]) -> Vec<u8> {
    let mut client = Command::new("redis-cli");
    client.args(["-c", "-p", &redis.port.to_string()]).args(first).args(rest).stdin(Stdio::null());
    let output = client.output().unwrap();
    assert!(output.status.success() && !output.stdout.starts_with(b"ERR"), "{first:?} {rest:?}: {output:?}");
    output.stdout
}

async fn is_back(server: &Server, offer: &str, user: &str) {
    until("the offer decides again", BACK_WITHIN, async || {
        server.claim(offer, user, Some(user), json!({"quantity": 1})).await.0 == StatusCode::CREATED
    })
    .await;
}

fn epoch(server: &Server) -> u32 {
    server.sql("SELECT epoch FROM directory WHERE kind = 'offer' AND number = 1").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_redis_has_whole_is_kept_and_what_is_behind_is_loaded() {
    let server = components::cluster("postgres").await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 10})).await;
    is_back(&server, "drop", "a").await;
    let hash = Hash::of(&server);
    hash.mark();
    let before = {
        let dumped = hash.ask(&["DUMP"]);
        dumped.strip_suffix(b"\n").unwrap_or(&dumped).to_vec()
    };
    is_back(&server, "drop", "b").await;
    hash.is_in_doubt();
    is_back(&server, "drop", "c").await;
    assert!(hash.is_marked(), "a state that was whole was thrown away");
    assert_eq!(epoch(&server), 2);

    // A replica that had not heard of the last two is promoted.
    restore(&hash.key, &before);
    hash.is_in_doubt();
    is_back(&server, "drop", "d").await;
    assert!(!hash.is_marked(), "a state that was behind was kept");
    assert_eq!(epoch(&server), 3);
    assert_eq!(server.offer("drop").await["confirmed"], 4);
    for user in ["a", "b", "c", "d"] {
        let (status, _) = server.claim("drop", user, Some(user), json!({"quantity": 1})).await;
        assert_eq!(status, StatusCode::CREATED, "the key of {user} is answered as before");
    }
    assert_eq!(server.offer("drop").await["confirmed"], 4);
    server.until_projected().await;
    server.assert_reconciled();
}

/// `RESTORE` in a script, since no argument of a command can have all bytes.
fn restore(key: &str, dumped: &[u8]) {
    let escaped = dumped.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "\\{byte:03}");
        text
    });
    let script = format!("return redis.call('RESTORE', KEYS[1], 0, '{escaped}', 'REPLACE')");
    redis_cli(components::redis(), &["EVAL", &script, "1", key], &[]);
}

/// A recovery waits for the ledger longer than others wait for a node that says nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recovery_that_takes_long_is_left_to_whoever_began_it() {
    let server = components::cluster("postgres").await;
    server.put_offer("drop", json!({"kind": "coupon", "quantity": 10})).await;
    is_back(&server, "drop", "a").await;
    server.until_projected().await;
    // Nothing of the topic gets into the ledger in the meantime.
    let mut client = Command::new("psql");
    client.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &server.setting("BUNHO_LEDGER__URL"), "-c"]);
    client.arg("BEGIN; LOCK TABLE projector_offsets IN EXCLUSIVE MODE; SELECT pg_sleep(25); COMMIT").stdout(Stdio::null());
    let mut held_up = client.spawn().unwrap();
    Hash::of(&server).is_in_doubt();
    is_back(&server, "drop", "b").await;
    assert!(held_up.wait().unwrap().success());
    assert_eq!(epoch(&server), 2, "it was taken over from a node that was at it");
    server.until_projected().await;
    server.assert_reconciled();
}

/// What was claimed, made and restored since the copy comes back from the topic, and nothing that is decided afterwards is dropped as of an
/// epoch that has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_brought_back_from_an_older_copy_gets_the_rest_from_the_topic() {
    for redis_is_lost_too in [false, true] {
        let environment = components::environment("postgres");
        let environment: Vec<(&str, &str)> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut server = Server::start_nodes(1, &environment, &[]).await;
        let url = server.setting("BUNHO_LEDGER__URL");
        server.put_offer("drop", json!({"kind": "coupon", "quantity": 10})).await;
        is_back(&server, "drop", "a").await;
        server.until_projected().await;
        let copy = shell("pg_dump", &["--clean", &url]);

        is_back(&server, "drop", "b").await;
        for _ in 0..2 {
            let epoch = epoch(&server);
            Hash::of(&server).is_in_doubt();
            until("it is restored", BACK_WITHIN, async || {
                let is_back = server.get("/v1/offers/drop").await.0 == StatusCode::OK;
                is_back && self::epoch(&server) > epoch
            })
            .await;
        }
        server.put_offer("late", json!({"kind": "coupon", "quantity": 10})).await;
        is_back(&server, "drop", "c").await;
        is_back(&server, "late", "a").await;
        server.until_projected().await;
        server.kill();
        if redis_is_lost_too {
            let prefix = server.setting("BUNHO_REDIS__PREFIX");
            for offer in 1..=2 {
                for key in [format!("{offer}"), format!("{offer}:due"), format!("{offer}:wait"), "outbox".into()] {
                    redis_cli(components::redis(), &["UNLINK", &format!("{prefix}:{{{offer}}}:{key}")], &[]);
                }
            }
        }
        let file = server.data().join("copy.sql");
        std::fs::write(&file, copy).unwrap();
        shell("psql", &["-Xq", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", "-f", file.to_str().unwrap(), &url]);
        assert_eq!(epoch(&server), 1);
        let output = server.run("rebuild");
        assert!(output.status.success(), "{output:?}");
        assert!(epoch(&server) > 3, "{} is an epoch that was there before", epoch(&server));

        server.restart().await;
        for (offer, users) in [("drop", &["a", "b", "c", "d"][..]), ("late", &["a", "e"])] {
            for user in users {
                is_back(&server, offer, user).await;
            }
            assert_eq!(server.offer(offer).await["confirmed"], users.len(), "{offer}");
        }
        server.until_projected().await;
        assert_eq!(server.sql("SELECT count(*) FROM claims"), "6");
        server.assert_reconciled();
    }
}

fn shell(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    output.stdout
}
