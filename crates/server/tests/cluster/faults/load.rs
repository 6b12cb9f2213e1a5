//! The way to the nodes: by turns, again where nothing or nothing certain was said, and a record of when who was answered.

use super::books::Books;
use crate::harness::{ADMIN_KEY, Random, Server};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What everybody in the crowd has in common.
pub struct Load {
    pub began: Instant,
    pub stop: AtomicBool,
    client: Client,
    urls: Mutex<Vec<String>>,
    turns: AtomicUsize,
    books: Mutex<Books>,
    /// When requests of a kind were answered, and whether with 2xx.
    answered: Mutex<BTreeMap<&'static str, Vec<(Instant, bool)>>>,
}

/// As whom one calls.
#[derive(Clone, Copy)]
pub enum As<'a> {
    Anyone,
    User(&'a str),
    Service,
}

/// One request, as often as it takes.
pub struct Ask<'a> {
    /// What it counts as: an offer or the line.
    pub kind: &'static str,
    pub who: As<'a>,
    pub method: Method,
    pub path: String,
    pub body: Option<Value>,
    pub key: Option<&'a str>,
}

/// What one try said.
#[derive(Debug)]
pub enum Tried {
    Answered(StatusCode, Value),
    /// 503 with a code that says that nothing happened.
    Nothing,
    /// 503 `indeterminate`, or no answer.
    Unknown,
}

/// A client waits for so long for one answer.
const PATIENCE: Duration = Duration::from_secs(3);
/// Before the next try.
const AGAIN: Duration = Duration::from_millis(100);
/// Somebody who is not answered for so long, however often they ask, is not served any more.
const GIVEN_UP: Duration = Duration::from_secs(120);

/// What must be served: every kind of offer, and the line.
pub const KINDS: [&str; 6] = ["drop", "flash", "stay", "seats", "coupon", LINE];
pub const LINE: &str = "line";
/// People in line at a time.
const IN_LINE: u64 = 40;
/// Of the line: admissions in any [`WINDOW_MS`].
pub const LIMIT: usize = 20;
pub const WINDOW_MS: i64 = 4_000;
/// Of the line: admissions in one of its slots.
pub const QUOTA: usize = 5;

/// What the crowd comes for.
pub async fn put_everything(server: &Server) {
    for (id, body) in [
        ("drop", json!({"kind": "goods", "quantity": 100_000, "hold_seconds": 7_200, "per_user_limit": 2, "max_per_claim": 2})),
        ("flash", json!({"kind": "goods", "quantity": 40, "hold_seconds": 1, "per_user_limit": 1})),
        ("thanks", json!({"kind": "coupon", "quantity": 100_000, "grant_only": true})),
        ("stay", json!({"kind": "booking", "quantity": 100_000, "hold_seconds": 7_200, "per_user_limit": 1, "grants": "thanks"})),
        ("seats", json!({"kind": "goods", "quantity": 8, "hold_seconds": 2, "standby": true, "standby_hold_seconds": 2})),
        ("coupon", json!({"kind": "coupon", "quantity": 400})),
    ] {
        server.put_offer(id, body).await;
    }
    let zone = json!({"entry_limit_per_minute": LIMIT, "window_seconds": WINDOW_MS / 1_000, "slot_seconds": 1, "poll_interval_ms": 300,
        "poll_interval_max_ms": 600});
    server.put_zone("LINE", zone).await;
}

impl Load {
    pub fn new(urls: Vec<String>) -> Self {
        Self {
            began: Instant::now(),
            stop: AtomicBool::new(false),
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
            urls: Mutex::new(urls),
            turns: AtomicUsize::new(0),
            books: Mutex::default(),
            answered: Mutex::default(),
        }
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    /// Where the nodes are from now on.
    pub fn now_at(&self, urls: Vec<String>) {
        *self.urls.lock().unwrap() = urls;
    }

    pub fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// Everybody at once, until they are let go.
    pub fn crowd(self: &Arc<Self>, random: &mut Random) -> JoinSet<()> {
        let mut tasks = JoinSet::new();
        for task in 0..12 + IN_LINE {
            let (load, mut random) = (self.clone(), random.fork());
            tasks.spawn(async move {
                while load.goes_on() {
                    match task {
                        0..8 => load.buy(&mut random).await,
                        8..12 => load.stand_by(&mut random).await,
                        _ => load.wait_in_line().await,
                    }
                }
            });
        }
        tasks
    }

    /// One try at the node whose turn it is.
    pub async fn try_once(&self, ask: &Ask<'_>) -> Tried {
        let url = {
            let urls = self.urls.lock().unwrap();
            urls[self.turns.fetch_add(1, Ordering::Relaxed) % urls.len()].clone()
        };
        let mut request = self.client.request(ask.method.clone(), format!("{url}{}", ask.path));
        request = match ask.who {
            As::Anyone => request,
            As::User(user) => request.header("x-bunho-user", user),
            As::Service => request.bearer_auth(ADMIN_KEY),
        };
        if let Some(body) = &ask.body {
            request = request.json(body);
        }
        if let Some(key) = ask.key {
            request = request.header("idempotency-key", key);
        }
        let Ok(response) = request.send().await else { return Tried::Unknown };
        let status = response.status();
        // Its head arrived and its body did not: that is no answer.
        let Ok(bytes) = response.bytes().await else { return Tried::Unknown };
        let answer: Value = if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or(Value::Null) };
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let code = answer["code"].as_str().unwrap_or_default().to_owned();
            *self.books().unavailable.entry(code.clone()).or_default() += 1;
            return match code.as_str() {
                "suspended" | "recovering" | "overloaded" => Tried::Nothing,
                "indeterminate" => Tried::Unknown,
                _ => panic!("{}: {status} {answer}", ask.path),
            };
        }
        assert!(!status.is_server_error(), "{}: {status} {answer}", ask.path);
        self.answered.lock().unwrap().entry(ask.kind).or_default().push((Instant::now(), status.is_success()));
        Tried::Answered(status, answer)
    }

    /// Again until it is answered; who is at the door does not go home because nobody opens.
    pub async fn ask(&self, ask: &Ask<'_>) -> (StatusCode, Value) {
        let began = Instant::now();
        loop {
            if let Tried::Answered(status, answer) = self.try_once(ask).await {
                return (status, answer);
            }
            assert!(began.elapsed() < GIVEN_UP, "{} is never answered", ask.path);
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// The first 2xx answer of a kind at or after a moment.
    pub fn first_answer(&self, kind: &str, after: Instant) -> Option<Instant> {
        let answered = self.answered.lock().unwrap();
        let times = answered.get(kind)?;
        times.iter().find(|(at, well)| *well && *at >= after).map(|(at, _)| *at)
    }

    /// Whether every kind was answered since, and somebody was let in.
    pub fn is_served_since(&self, moment: Instant) -> bool {
        let answered = self.answered.lock().unwrap();
        KINDS.iter().all(|kind| answered.get(kind).is_some_and(|times| times.last().is_some_and(|(at, _)| *at > moment)))
            && self.books.lock().unwrap().last_entered.is_some_and(|at| at > moment)
    }

    /// Longest time without a 2xx of anybody since then; and without an answer, of each kind.
    pub fn without_service(&self, since: Instant) -> (Duration, String) {
        let answered = self.answered.lock().unwrap();
        let mut all: Vec<Instant> = answered.values().flatten().filter(|(_, well)| *well).map(|(at, _)| *at).collect();
        all.sort_unstable();
        let mut by_kind = String::new();
        for (kind, times) in &*answered {
            let times: Vec<Instant> = times.iter().map(|(at, _)| *at).collect();
            let separator = if by_kind.is_empty() { "" } else { ", " };
            let _ = write!(by_kind, "{separator}{kind} {:.1?}", longest(&times, since));
        }
        (longest(&all, since), by_kind)
    }
}

/// The longest pause in ascending times, of those that end after a moment.
fn longest(times: &[Instant], since: Instant) -> Duration {
    times.windows(2).filter(|pair| pair[1] >= since).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
}
