//! What a run saw, as plain data: written while it runs, read afterwards by the judge and by everything that reports.
//!
//! Times are milliseconds since the run began unless a name says otherwise. A person or claim is a few numbers, since there are
//! hundreds of thousands of them.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Everything that one run saw.
pub struct Record {
    /// What was asked for, for the head of the report: `seed 002`, `line`, …
    pub title: String,
    /// Settings worth printing, in order: name and value. The seed of the random choices is among them.
    pub settings: Vec<(String, String)>,
    /// When the run began, Unix milliseconds.
    pub began_unix_ms: i64,
    /// How long it ran.
    pub elapsed_ms: u64,
    /// Why it ended.
    pub end: End,
    /// Figures that the source document published for the same experiment, beside today's: empty but for `seed`.
    pub published: Vec<Published>,
    /// Per kind of call, over the whole run.
    pub calls: BTreeMap<Call, CallTotals>,
    /// One entry a second, from second 0, none left out.
    pub seconds: Vec<Second>,
    /// Zones that people waited for.
    pub zones: Vec<Zone>,
    /// Offers that were claimed.
    pub offers: Vec<Offer>,
    /// The course of a few people through a line.
    pub trails: Vec<Trail>,
    /// Server processor and memory where `/metrics` could be read, else empty.
    pub server: Vec<ServerSample>,
    /// What went wrong in a way that no answer explains: text and how often.
    pub faults: BTreeMap<String, u64>,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// As planned.
    Planned,
    /// By Ctrl-C; what was measured until then stands.
    Interrupted,
    /// The target went away, or something else made going on pointless.
    GaveUp(String),
}

/// A figure of the source document.
pub struct Published {
    /// What it is of: "API calls", "P95 of the answer time", …
    pub name: String,
    /// As published, with its unit.
    pub published: String,
    /// Today's, with the same unit.
    pub today: String,
}

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `POST /traffic/wait`
    Wait,
    /// `POST /traffic/entry`
    Entry,
    /// `POST /traffic/leave`
    Leave,
    /// `POST /v1/offers/{id}/claims`
    Claim,
    /// `POST /v1/claims/{id}/confirm`
    Confirm,
    /// `POST /v1/claims/{id}/release`
    Release,
    /// Reads of offers and claims.
    Read,
    /// `GET /healthz`
    Null,
}

impl Call {
    /// The word for it in tables and JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Entry => "entry",
            Self::Leave => "leave",
            Self::Claim => "claim",
            Self::Confirm => "confirm",
            Self::Release => "release",
            Self::Read => "read",
            Self::Null => "null",
        }
    }
}

/// One kind of call over a whole run.
pub struct CallTotals {
    /// Answer times in microseconds from the moment the call was *due*, so that a stalled server is not flattered.
    pub latency_us: Histogram<u64>,
    /// The same from the moment the call was sent, for comparison.
    pub service_us: Histogram<u64>,
    /// Answers by what they said: `2xx`, a problem's `code` (`sold_out`, `overloaded`, …) or `no_answer`.
    pub outcomes: BTreeMap<String, u64>,
}

/// One second of a run.
#[derive(Clone, Debug, Default)]
pub struct Second {
    /// Calls that fell due.
    pub due: u64,
    /// Calls answered in any way.
    pub answered: u64,
    /// Answers that were neither success nor a refusal that the workload expects, and calls without an answer.
    pub failed: u64,
    /// People who came to a line.
    pub arrived: u64,
    /// People waiting at its end.
    pub waiting: u64,
    /// People who were let in.
    pub entered: u64,
    /// Claims given.
    pub claimed: u64,
    /// Answer times of this second, microseconds, from when due.
    pub p50_us: u64,
    /// 99 of 100.
    pub p99_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Processor seconds this generator used in this second, in thousandths of a core.
    pub own_cpu_millicores: u32,
}

/// A zone as its crowd saw it.
pub struct Zone {
    /// Its id.
    pub id: String,
    /// Entries allowed in any window; none: no limit.
    pub limit: Option<u32>,
    /// The window's length, milliseconds (60,000 unless the zone says otherwise).
    pub window_ms: u32,
    /// The slot's length, milliseconds.
    pub slot_ms: u32,
    /// The longest `pollingPeriod` that any answer told, milliseconds. Who polls as told may be passed by so much: a turn is taken
    /// at one's next poll.
    pub poll_max_ms: u32,
    /// The zone's other bound (seats, schedule, an offer that can sell out) may have held people back, so unused capacity is no fault.
    pub otherwise_bound: bool,
    /// Everybody who got a place or came in at once, in the order in which they got their first answer.
    pub people: Vec<Person>,
}

/// One person of a line.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    /// When the call that gave the place was sent.
    pub join_sent_ms: u32,
    /// When its answer came.
    pub join_answered_ms: u32,
    /// The server's own time of admission, milliseconds relative to the run's beginning (it may be compared only with others of
    /// its kind: it comes from `passExpiresAt`, less the pass's life, by the server's clock); `i64::MIN`: not admitted.
    pub admitted_server_ms: i64,
    /// When the answer that let them in came; `u32::MAX`: not admitted.
    pub entered_ms: u32,
    /// First rank shown; 0: none was.
    pub first_rank: u32,
    /// First estimate shown, milliseconds, and `u32::MAX` for none; `first_shown_ms` is when.
    pub first_estimate_ms: u32,
    /// When rank and estimate were first shown in state `waiting`.
    pub first_shown_ms: u32,
    /// How it ended.
    pub fate: Fate,
    /// A later rank was higher than an earlier one (outside of `recovering`).
    pub rank_rose: bool,
    /// How often the same ticket was answered with another pass, or an admission was answered as waiting later. 0 in a right run.
    pub contradictions: u8,
}

/// How a person's wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Still waiting when the run ended.
    Waiting,
    /// Let in.
    Entered,
    /// Left on purpose, with a call.
    Left,
    /// Just stopped polling.
    LeftSilently,
    /// Told that the ticket is gone though it polled as told.
    Lost,
}

/// An offer as its buyers saw it.
pub struct Offer {
    /// Its id.
    pub id: String,
    /// Its quantity.
    pub quantity: u64,
    /// Units that one user may have; none: no limit.
    pub per_user_limit: Option<u32>,
    /// How long a claim is held before it ends by itself, milliseconds; 0: it is confirmed at once. A claim that was left held counts
    /// against the quantity only as long.
    pub hold_ms: u32,
    /// Every claim that was answered with 201, once for each answer.
    pub claims: Vec<Claim>,
    /// Stock before the run and after it, where it could be read.
    pub before: Option<Stock>,
    /// See `before`.
    pub after: Option<Stock>,
    /// Claims that another offer's confirmation gave of this one, as its answers said (`granted`): user and claim id.
    pub granted: Vec<(u32, String)>,
    /// A sample of claims read again after the run: id, status that our own calls let expect, status read.
    pub reread: Vec<(String, ClaimState, Option<String>)>,
}

/// An offer's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    /// `quantity` as read.
    pub quantity: u64,
    /// Units left.
    pub remaining: u64,
    /// Units held.
    pub held: u64,
    /// Units sold.
    pub confirmed: u64,
}

/// A claim as its user saw it.
pub struct Claim {
    /// Its id.
    pub id: String,
    /// Number of the user within the run.
    pub user: u32,
    /// Units.
    pub quantity: u32,
    /// When the answer came.
    pub answered_ms: u32,
    /// The answer said `Idempotency-Replayed: true`.
    pub replayed: bool,
    /// What became of it as far as answers told.
    pub state: ClaimState,
}

/// What the last sure answer said of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimState {
    /// Held.
    Held,
    /// Confirmed.
    Confirmed,
    /// Released.
    Released,
    /// A call about it had no sure answer.
    Unknown,
}

/// One person's course.
pub struct Trail {
    /// Index into the zone's people.
    pub person: u32,
    /// When, rank, and estimate in milliseconds.
    pub points: Vec<(u32, u32, Option<u32>)>,
}

/// One look at the server's `/metrics`.
#[derive(Clone, Copy, Debug)]
pub struct ServerSample {
    /// When.
    pub at_ms: u64,
    /// Processor seconds since the server began (`process_cpu_seconds_total`).
    pub cpu_seconds: f64,
    /// Resident bytes (`process_resident_memory_bytes`).
    pub resident_bytes: u64,
}
