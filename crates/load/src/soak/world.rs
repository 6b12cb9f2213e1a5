//! What all callers share: where the server is now, whether calls may be made, the book, and how long answers took.

use super::book::Book;
use super::node::ADMIN_KEY;
use super::season::Season;
use crate::client::{Client, Reply};
use crate::random::Random;
use crate::target::Target;
use hdrhistogram::Histogram;
use serde_json::Value;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Before a call that was turned away, or had no answer, is made again.
const AGAIN: Duration = Duration::from_millis(100);
/// A caller that is turned away for so long makes a finding of it.
const AGAIN_MAX: u32 = 1_800;

/// What all share.
pub(super) struct World {
    gate: Gate,
    target: RwLock<(u64, Target)>,
    book: Mutex<Book>,
    season: RwLock<Arc<Season>>,
    meter: Mutex<Meter>,
    /// No new stories; those that are told go on to their ends.
    finishing: AtomicBool,
    /// The server is gone for good.
    over: AtomicBool,
    users: AtomicU64,
    /// Claims that are to be taken back, and how many of them are under way.
    to_clear: Mutex<(Vec<String>, usize)>,
}

/// Answer times, microseconds: since the last look, and of all.
pub(super) struct Meter {
    pub(super) recent: Histogram<u64>,
    pub(super) all: Histogram<u64>,
    /// Answers that asked to come again, calls without an answer.
    pub(super) later: u64,
    pub(super) unanswered: u64,
}

impl Meter {
    /// What was measured since the last time.
    pub(super) fn take_recent(&mut self) -> Histogram<u64> {
        let recent = self.recent.clone();
        // Both have the same bounds.
        let _ = self.all.add(&recent);
        self.recent.reset();
        recent
    }
}

/// Calls are made inside of it; it can be closed, which waits until nobody is inside.
#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl World {
    pub(super) fn new(target: Target, season: Season) -> Self {
        let histogram = || Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| unreachable!("the bounds are right"));
        Self {
            gate: Gate::default(),
            target: RwLock::new((0, target)),
            book: Mutex::default(),
            season: RwLock::new(Arc::new(season)),
            meter: Mutex::new(Meter { recent: histogram(), all: histogram(), later: 0, unanswered: 0 }),
            finishing: AtomicBool::new(false),
            over: AtomicBool::new(false),
            users: AtomicU64::new(0),
            to_clear: Mutex::default(),
        }
    }

    /// Waits until no call is under way; none begins until [`Self::open`].
    pub(super) fn close(&self) {
        let mut state = lock(&self.gate.state);
        state.0 = true;
        while state.1 > 0 {
            state = self.gate.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    pub(super) fn open(&self) {
        lock(&self.gate.state).0 = false;
        self.gate.changed.notify_all();
    }

    /// The server has come back elsewhere.
    pub(super) fn moved(&self, target: &Target) {
        let mut now = self.target.write().unwrap_or_else(PoisonError::into_inner);
        *now = (now.0 + 1, target.clone());
    }

    pub(super) fn season(&self) -> Arc<Season> {
        self.season.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn turn_season(&self, season: Season) -> Arc<Season> {
        std::mem::replace(&mut *self.season.write().unwrap_or_else(PoisonError::into_inner), Arc::new(season))
    }

    pub(super) fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }

    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        lock(&self.meter)
    }

    pub(super) fn finish(&self) {
        self.finishing.store(true, Ordering::Relaxed);
    }

    pub(super) fn finishing(&self) -> bool {
        self.finishing.load(Ordering::Relaxed) || self.is_over()
    }

    /// Nothing more is asked, also not again.
    pub(super) fn give_up(&self) {
        self.over.store(true, Ordering::Relaxed);
        self.open();
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    pub(super) fn clear(&self, claims: Vec<String>) {
        lock(&self.to_clear).0.extend(claims);
    }

    /// A claim that is to be taken back; [`Self::cleared`] when it was.
    pub(super) fn next_to_clear(&self) -> Option<String> {
        let mut to_clear = lock(&self.to_clear);
        let next = to_clear.0.pop();
        to_clear.1 += usize::from(next.is_some());
        next
    }

    pub(super) fn cleared(&self) {
        lock(&self.to_clear).1 -= 1;
    }

    /// All that was to be taken back was.
    pub(super) fn is_clear(&self) -> bool {
        let to_clear = lock(&self.to_clear);
        to_clear.0.is_empty() && to_clear.1 == 0
    }

    /// Somebody who was not there before.
    pub(super) fn new_user(&self) -> String {
        format!("u{}", self.users.fetch_add(1, Ordering::Relaxed))
    }
}

/// The server is gone for good.
#[derive(Debug)]
pub(super) struct Over;

/// What came back from one call.
pub(super) enum Heard {
    /// A sure answer.
    Said(Reply),
    /// Nothing happened; it is to come again.
    Later,
    /// It may have happened or not.
    Unsure,
}

/// One call.
pub(super) struct Call<'a> {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) user: Option<&'a str>,
    /// The operator's, or the service's.
    pub(super) with_key: bool,
    pub(super) idempotency_key: Option<&'a str>,
    pub(super) pass: Option<&'a str>,
    pub(super) body: Option<Value>,
}

impl<'a> Call<'a> {
    pub(super) fn new(method: &'static str, path: impl Into<String>, body: Option<Value>) -> Self {
        Self { method, path: path.into(), user: None, with_key: false, idempotency_key: None, pass: None, body }
    }

    pub(super) fn of(self, user: &'a str) -> Self {
        Self { user: Some(user), ..self }
    }

    pub(super) fn operator(self) -> Self {
        Self { with_key: true, ..self }
    }
}

/// One thread's way to the server.
pub(super) struct Caller {
    pub(super) world: Arc<World>,
    pub(super) random: Random,
    client: Option<(u64, Client)>,
}

impl Caller {
    pub(super) fn new(world: Arc<World>, random: Random) -> Self {
        Self { world, random, client: None }
    }

    /// Makes a call until it has a sure answer, whatever happens to the server meanwhile.
    pub(super) fn insist(&mut self, call: &Call<'_>) -> Result<Reply, Over> {
        for tried in 0.. {
            if self.world.is_over() {
                return Err(Over);
            }
            match self.call(call) {
                Heard::Said(reply) => return Ok(reply),
                Heard::Later | Heard::Unsure => std::thread::sleep(AGAIN),
            }
            if tried == AGAIN_MAX {
                self.world.book().find(format!("{} {} has had no sure answer for {AGAIN_MAX} tries", call.method, call.path));
            }
        }
        Err(Over)
    }

    /// One call, when the gate is open.
    pub(super) fn call(&mut self, call: &Call<'_>) -> Heard {
        let bearer = format!("Bearer {ADMIN_KEY}");
        let headers: Vec<(&str, &str)> = [
            call.user.map(|user| ("x-bunho-user", user)),
            call.with_key.then_some(("authorization", bearer.as_str())),
            call.idempotency_key.map(|key| ("idempotency-key", key)),
            call.pass.map(|pass| ("bunho-pass", pass)),
        ]
        .into_iter()
        .flatten()
        .collect();
        let world = self.world.clone();
        let _inside = world.gate.enter();
        let client = self.client();
        let began = Instant::now();
        let answered = client.call(call.method, &call.path, &headers, call.body.as_ref());
        let took = began.elapsed().as_micros() as u64;
        let mut meter = world.meter();
        let Ok(reply) = answered else {
            meter.unanswered += 1;
            return Heard::Unsure;
        };
        let _ = meter.recent.record(took.clamp(1, 60_000_000));
        let later = matches!(reply.status, 429 | 503);
        meter.later += u64::from(later);
        drop(meter);
        match reply.status {
            503 if reply.json()["code"] == "indeterminate" => Heard::Unsure,
            429 | 503 => Heard::Later,
            500.. => {
                world.book().find(format!("{} {}: {}", call.method, call.path, reply.refusal()));
                Heard::Unsure
            }
            _ => Heard::Said(reply),
        }
    }

    fn client(&mut self) -> &mut Client {
        let target = self.world.target.read().unwrap_or_else(PoisonError::into_inner);
        let stale = self.client.as_ref().is_none_or(|(life, _)| *life != target.0);
        let fresh = stale.then(|| (target.0, target.1.client()));
        drop(target);
        if fresh.is_some() {
            self.client = fresh;
        }
        match &mut self.client {
            Some((_, client)) => client,
            None => unreachable!("it was made above"),
        }
    }

    /// Where the server is.
    pub(super) fn target(&self) -> Target {
        self.world.target.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }
}

impl Gate {
    fn enter(&self) -> Inside<'_> {
        let mut state = lock(&self.state);
        while state.0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.1 += 1;
        Inside(self)
    }
}

struct Inside<'a>(&'a Gate);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).1 -= 1;
        self.0.changed.notify_all();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// By this machine's clock, which is the server's too.
pub(super) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A time of an answer, Unix milliseconds.
pub(super) fn time(answer: &Value) -> Option<i64> {
    answer.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}
