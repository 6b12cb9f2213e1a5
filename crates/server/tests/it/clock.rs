//! A system clock that steps, while a server runs and between two starts. A test sets it through a file that the real binary
//! reads when it is built with failpoints; what passes meanwhile is real.

use crate::disk::run;
use crate::harness::{ADMIN_KEY, Server, until};
use reqwest::StatusCode;
use serde_json::json;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const HOUR_MS: i64 = 3_600_000;
pub const DAY_MS: i64 = 24 * HOUR_MS;

/// What is added to the system's clock.
pub struct SystemClock {
    dir: TempDir,
}

impl SystemClock {
    pub fn new() -> Self {
        Self { dir: TempDir::new().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("clock")
    }

    pub fn set(&self, ms: i64) {
        // Renamed, so that no reader sees half of it.
        std::fs::write(self.dir.path().join("new"), ms.to_string()).unwrap();
        std::fs::rename(self.dir.path().join("new"), self.path()).unwrap();
    }

    pub fn environment(&self) -> [(&'static str, String); 1] {
        [("BUNHO_TEST_CLOCK_FILE", self.path().to_str().unwrap().into())]
    }

    pub async fn server(&self) -> Server {
        let [(name, path)] = self.environment();
        Server::start_with(&[(name, &path)], &[]).await
    }

    fn bunho(&self, server: &Server, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bunho"));
        command.args(arguments).arg("--data").arg(server.data()).env("BUNHO_ADMIN_KEY", ADMIN_KEY).envs(self.environment());
        run(command)
    }
}

async fn status_of(server: &Server, user: &str, claim: &str) -> String {
    server.user_get(user, &format!("/v1/claims/{claim}")).await.1["status"].as_str().unwrap().to_string()
}

async fn hold(server: &Server, offer: &str, user: &str) -> String {
    let (status, claim) = server.claim(offer, user, Some(user), json!({"quantity": 1})).await;
    assert_eq!((status, claim["status"].as_str()), (StatusCode::CREATED, Some("held")), "{claim}");
    claim["id"].as_str().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_while_it_runs_neither_cuts_a_hold_short_nor_lets_it_last() {
    let clock = SystemClock::new();
    let server = clock.server().await;
    server.put_offer("brief", json!({"kind": "goods", "quantity": 100, "hold_seconds": 3, "standby": false})).await;
    let mut before = 0;
    for step in [HOUR_MS, -HOUR_MS, 365 * DAY_MS, 0, -60_000] {
        let mut tries = 0;
        let (began, watched, claim) = loop {
            let (watched, paid) = (format!("watched{step}-{tries}"), format!("paid{step}-{tries}"));
            let began = Instant::now();
            let (claim, other) = (hold(&server, "brief", &watched).await, hold(&server, "brief", &paid).await);
            clock.set(step);
            is_looked_at().await;
            let held = status_of(&server, &watched, &claim).await;
            let (status, answer) = server.service_post(&format!("/v1/claims/{other}/confirm"), json!({})).await;
            // What was asked later than this tells nothing: the holds may have ended by themselves.
            if began.elapsed() < Duration::from_millis(2_900) {
                assert_eq!(held, "held", "after a step to {step} ms");
                assert_eq!((status, answer["status"].as_str()), (StatusCode::OK, Some("confirmed")), "after a step to {step} ms: {answer}");
                break (began, watched, claim);
            }
            tries += 1;
            assert!(tries < 10, "the machine is too slow for a hold of 3 s");
            clock.set(before);
            is_looked_at().await;
        };
        before = step;
        // A hold that followed the clock back would last a minute at least.
        until("the hold ends", Duration::from_secs(40), async || status_of(&server, &watched, &claim).await == "expired").await;
        let lasted = began.elapsed();
        assert!(lasted >= Duration::from_millis(2_990), "{lasted:?} of 3 s after a step to {step} ms");
        assert!(lasted < Duration::from_secs(45), "{lasted:?} of 3 s after a step to {step} ms");
    }
}

/// The server has looked at its clock several times by then.
async fn is_looked_at() {
    tokio::time::sleep(Duration::from_millis(500)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_opens_no_window_twice_and_ends_no_pass() {
    let clock = SystemClock::new();
    let server = clock.server().await;
    let zone =
        json!({"entry_limit_per_minute": 3, "window_seconds": 5, "slot_seconds": 1, "poll_interval_ms": 200, "poll_interval_max_ms": 400});
    server.put_zone("GATE", zone).await;
    let mut entered = Vec::new();
    for step in [HOUR_MS, -HOUR_MS, 0] {
        for _ in 0..3 {
            entered.push(enter(&server).await);
        }
        clock.set(step);
        entered.push(enter(&server).await);
        for Entered { pass, .. } in &entered {
            let answer = server.client.get(format!("{}/verify?zone=GATE&pass={pass}", server.url)).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::NO_CONTENT, "a pass after a step to {step} ms");
        }
    }
    for four in entered.windows(4) {
        let apart = four[3].answered - four[0].asked;
        assert!(apart >= Duration::from_millis(4_990), "four entered within {apart:?}, and three may in 5 s");
    }
    let all = entered[entered.len() - 1].answered - entered[0].asked;
    assert!(all < Duration::from_secs(60), "{} entered in {all:?}: the line stood still", entered.len());
    server.until_projected().await;
    // What was recorded, in server time, which may be faster by one part in 2,000.
    let closest = "select min(d) >= 5 - 0.003 from (select (julianday(admitted_at) - julianday(lag(admitted_at, 3) over (order by admitted_at))) * 86400 as d \
                   from tickets where admitted_at is not null)";
    assert_eq!(server.sql(closest), "1", "never four within five seconds of server time");
}

/// Someone who was let in, at some moment between these two.
struct Entered {
    asked: Instant,
    answered: Instant,
    pass: String,
}

/// Joins, and polls until let in.
async fn enter(server: &Server) -> Entered {
    let mut asked = Instant::now();
    let mut answer = server.join("GATE").await.1;
    let token = answer["token"].as_str().unwrap().to_string();
    let entered = async || {
        if answer["canEnter"] != true {
            asked = Instant::now();
            answer = server.poll("GATE", &token).await.1;
        }
        answer["canEnter"] == true
    };
    until("the line moves", Duration::from_secs(30), entered).await;
    Entered { asked, answered: Instant::now(), pass: answer["pass"].as_str().unwrap().to_string() }
}

/// The time that was noted for a restart, in Unix milliseconds.
fn noted(server: &Server) -> Option<i64> {
    let line = std::fs::read_to_string(server.data().join("journal/witness")).ok()?;
    line.split_whitespace().find_map(|word| word.strip_prefix("time=")?.parse().ok())
}

async fn is_closed(server: &Server) -> bool {
    server.claim("ends", "late", None, json!({"quantity": 1})).await.1["code"] == "closed"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_with_an_earlier_clock_goes_on_where_time_was() {
    let clock = SystemClock::new();
    let mut server = clock.server().await;
    // Nothing is recorded about its end: only the clock knows that it has come.
    let closes_at = jiff::Timestamp::now() + Duration::from_secs(10);
    let settings = json!({"kind": "goods", "quantity": 100, "hold_seconds": 600, "closes_at": closes_at.to_string()});
    server.put_offer("ends", settings).await;
    let claim = hold(&server, "ends", "early").await;
    until("it is closed", Duration::from_secs(40), async || is_closed(&server).await).await;
    // What was told is noted once a second.
    let is_noted = async || noted(&server).is_some_and(|noted| noted >= closes_at.as_millisecond());
    until("the time is noted", Duration::from_secs(30), is_noted).await;
    server.kill();
    clock.set(-60_000);
    server.restart().await;
    assert!(is_closed(&server).await, "an offer that was closed stays closed");
    assert_eq!(status_of(&server, "early", &claim).await, "held");
    server.kill();

    clock.set(-DAY_MS);
    let (code, text) = clock.bunho(&server, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(65), "{text}");
    for part in ["the system's clock says", "the latest time known here is", "hours later", "NTP", "--accept-clock"] {
        assert!(text.contains(part), "`{part}` is not in: {text}");
    }
    clock.set(0);
    server.restart().await;
    assert_eq!(status_of(&server, "early", &claim).await, "held");
    server.kill();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_was_far_ahead_can_be_set_right() {
    let clock = SystemClock::new();
    clock.set(400 * DAY_MS);
    let mut server = clock.server().await;
    server.put_offer("drop", json!({"kind": "goods", "quantity": 100, "hold_seconds": 600})).await;
    let zone =
        json!({"entry_limit_per_minute": 2, "window_seconds": 3, "slot_seconds": 1, "poll_interval_ms": 200, "poll_interval_max_ms": 400});
    server.put_zone("GATE", zone).await;
    let claim = hold(&server, "drop", "from-the-future").await;
    for _ in 0..2 {
        assert_eq!(server.join("GATE").await.1["canEnter"], true);
    }
    server.until_projected().await;
    server.kill();
    clock.set(0);
    let (code, text) = clock.bunho(&server, &["serve", "--listen", "127.0.0.1:0"]);
    assert!(code == Some(65) && text.contains("399 days later") | text.contains("400 days later"), "{code:?} {text}");
    let (code, text) = clock.bunho(&server, &["rebuild"]);
    assert!(code == Some(65) && text.contains("--accept-clock"), "{code:?} {text}");
    let (code, text) = clock.bunho(&server, &["rebuild", "--accept-clock"]);
    assert_eq!(code, Some(0), "{text}");
    for _ in 0..2 {
        server.restart().await;
        assert_eq!(status_of(&server, "from-the-future", &claim).await, "held", "what was promised stays");
        enter(&server).await;
        let user = format!("now{}", server.pid());
        let now = hold(&server, "drop", &user).await;
        let until_then = server.user_get(&user, &format!("/v1/claims/{now}")).await.1;
        let expires: jiff::Timestamp = until_then["hold_expires_at"].as_str().unwrap().parse().unwrap();
        let seconds = expires.as_second() - jiff::Timestamp::now().as_second();
        assert!((590..=610).contains(&seconds), "{until_then}");
        server.until_projected().await;
        server.assert_reconciled();
        server.kill();
    }
}
