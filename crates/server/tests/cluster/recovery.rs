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

async fn is_back(server: &Server, user: &str) {
    until("the offer decides again", BACK_WITHIN, async || {
        server.claim("drop", user, Some(user), json!({"quantity": 1})).await.0 == StatusCode::CREATED
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
    is_back(&server, "a").await;
    let hash = Hash::of(&server);
    hash.mark();
    let before = {
        let dumped = hash.ask(&["DUMP"]);
        dumped.strip_suffix(b"\n").unwrap_or(&dumped).to_vec()
    };
    is_back(&server, "b").await;
    hash.is_in_doubt();
    is_back(&server, "c").await;
    assert!(hash.is_marked(), "a state that was whole was thrown away");
    assert_eq!(epoch(&server), 2);

    // A replica that had not heard of the last two is promoted.
    restore(&hash.key, &before);
    hash.is_in_doubt();
    is_back(&server, "d").await;
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
    is_back(&server, "a").await;
    server.until_projected().await;
    // Nothing of the topic gets into the ledger in the meantime.
    let mut client = Command::new("psql");
    client.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-d", &server.setting("BUNHO_LEDGER__URL"), "-c"]);
    client.arg("BEGIN; LOCK TABLE projector_offsets IN EXCLUSIVE MODE; SELECT pg_sleep(25); COMMIT").stdout(Stdio::null());
    let mut held_up = client.spawn().unwrap();
    Hash::of(&server).is_in_doubt();
    is_back(&server, "b").await;
    assert!(held_up.wait().unwrap().success());
    assert_eq!(epoch(&server), 2, "it was taken over from a node that was at it");
    server.until_projected().await;
    server.assert_reconciled();
}
