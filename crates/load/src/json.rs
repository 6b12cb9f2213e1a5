//! The results of a run for scripts: one JSON object.
//!
//! Names are stable: fields are added, never renamed. Counts are integers, shares are 0 to 1, times end in their unit; what was not
//! measured is null. Times without `unix` count from the beginning of the run.
//!
//! ```text
//! {
//!   "schema": 1,
//!   "title", "settings": {name: value},
//!   "began_unix_ms", "elapsed_ms",
//!   "end": "planned" | "interrupted" | "gave_up", "end_reason": string | null,
//!   "passed": bool,                               false: a verdict failed, and bunho-load exits 1
//!   "calls": {kind: {"count", "per_second",
//!                    "latency_us": {"p50", "p90", "p95", "p99", "p999", "max", "mean"},   from when a call was due
//!                    "service_us": {…},                                                   from when it was sent
//!                    "outcomes": {outcome: count}}},     kinds: wait, entry, leave, claim, confirm, release, read, null
//!   "zones": [{"id", "limit", "window_ms", "slot_ms", "otherwise_bound",
//!              "came", "entered", "entered_at_once", "left", "waiting", "lost"}],
//!   "offers": [{"id", "quantity", "per_user_limit", "answers", "confirmed", "granted", "before", "after"}],
//!                                                  stocks: {"quantity", "remaining", "held", "confirmed"} | null
//!   "published": [{"name", "published", "today"}],
//!   "verdicts": [{"name", "promise", "outcome": "held" | "failed" | "not_judged", "reason": string | null,
//!                 "figures": sentence, "values": {name: number}, "cases": [string], "cases_total"}],
//!   "faults": {text: count},
//!   "seconds": [{"second", "due", "answered", "failed", "arrived", "waiting", "entered", "claimed",
//!                "p50_us", "p99_us", "max_us", "own_cpu_millicores"}],
//!   "server": [{"at_ms", "cpu_seconds", "resident_bytes"}],
//!   "trails": [{"zone_person", "points": [[at_ms, rank, estimate_ms | null]]}]
//! }
//! ```

use crate::judge::{Outcome, Verdict};
use crate::record::{self, ClaimState, End, Fate, Record};
use crate::summary::rate;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

/// The version of this shape.
const SCHEMA: u32 = 1;

/// The whole record as JSON, with a line break at its end.
#[must_use]
pub fn render(record: &Record, verdicts: &[Verdict]) -> String {
    // Strings, numbers and lists cannot fail to be written; floats that are not numbers become null.
    let mut text = serde_json::to_string_pretty(&Results::of(record, verdicts)).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Serialize)]
struct Results<'a> {
    schema: u32,
    title: &'a str,
    settings: serde_json::Map<String, serde_json::Value>,
    began_unix_ms: i64,
    elapsed_ms: u64,
    end: &'static str,
    end_reason: Option<&'a str>,
    passed: bool,
    calls: BTreeMap<&'static str, Calls<'a>>,
    zones: Vec<Zone<'a>>,
    offers: Vec<Offer<'a>>,
    published: Vec<Published<'a>>,
    verdicts: Vec<Judgement<'a>>,
    faults: &'a BTreeMap<String, u64>,
    seconds: Vec<Second>,
    server: Vec<ServerSample>,
    trails: Vec<Trail<'a>>,
}

#[derive(Serialize)]
struct Calls<'a> {
    count: u64,
    per_second: u64,
    latency_us: Times,
    service_us: Times,
    outcomes: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Times {
    p50: u64,
    p90: u64,
    p95: u64,
    p99: u64,
    p999: u64,
    max: u64,
    mean: u64,
}

#[derive(Serialize)]
struct Zone<'a> {
    id: &'a str,
    limit: Option<u32>,
    window_ms: u32,
    slot_ms: u32,
    otherwise_bound: bool,
    came: usize,
    entered: usize,
    entered_at_once: usize,
    left: usize,
    waiting: usize,
    lost: usize,
}

#[derive(Serialize)]
struct Offer<'a> {
    id: &'a str,
    quantity: u64,
    per_user_limit: Option<u32>,
    answers: usize,
    confirmed: usize,
    granted: usize,
    before: Option<Stock>,
    after: Option<Stock>,
}

#[derive(Serialize)]
struct Stock {
    quantity: u64,
    remaining: u64,
    held: u64,
    confirmed: u64,
}

#[derive(Serialize)]
struct Published<'a> {
    name: &'a str,
    published: &'a str,
    today: &'a str,
}

#[derive(Serialize)]
struct Judgement<'a> {
    name: &'static str,
    promise: &'static str,
    outcome: &'static str,
    reason: Option<&'a str>,
    figures: &'a str,
    values: BTreeMap<&'static str, f64>,
    cases: &'a [String],
    cases_total: u64,
}

#[derive(Serialize)]
struct Second {
    second: usize,
    due: u64,
    answered: u64,
    failed: u64,
    arrived: u64,
    waiting: u64,
    entered: u64,
    claimed: u64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
    own_cpu_millicores: u32,
}

#[derive(Serialize)]
struct ServerSample {
    at_ms: u64,
    cpu_seconds: f64,
    resident_bytes: u64,
}

#[derive(Serialize)]
struct Trail<'a> {
    zone_person: u32,
    points: &'a [(u32, u32, Option<u32>)],
}

impl<'a> Results<'a> {
    fn of(record: &'a Record, verdicts: &'a [Verdict]) -> Self {
        let (end, end_reason) = match &record.end {
            End::Planned => ("planned", None),
            End::Interrupted => ("interrupted", None),
            End::GaveUp(why) => ("gave_up", Some(why.as_str())),
        };
        Self {
            schema: SCHEMA,
            title: &record.title,
            settings: record.settings.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect(),
            began_unix_ms: record.began_unix_ms,
            elapsed_ms: record.elapsed_ms,
            end,
            end_reason,
            passed: !verdicts.iter().any(Verdict::failed),
            calls: record.calls.iter().map(|(call, totals)| (call.word(), Calls::of(totals, record.elapsed_ms))).collect(),
            zones: record.zones.iter().map(Zone::of).collect(),
            offers: record.offers.iter().map(Offer::of).collect(),
            published: record.published.iter().map(|p| Published { name: &p.name, published: &p.published, today: &p.today }).collect(),
            verdicts: verdicts.iter().map(Judgement::of).collect(),
            faults: &record.faults,
            seconds: record.seconds.iter().enumerate().map(|(second, s)| Second::of(second, s)).collect(),
            server: record.server.iter().map(ServerSample::of).collect(),
            trails: record.trails.iter().map(|trail| Trail { zone_person: trail.person, points: &trail.points }).collect(),
        }
    }
}

impl<'a> Calls<'a> {
    fn of(totals: &'a record::CallTotals, elapsed_ms: u64) -> Self {
        let count = totals.outcomes.values().sum();
        Self {
            count,
            per_second: rate(count, elapsed_ms),
            latency_us: Times::of(&totals.latency_us),
            service_us: Times::of(&totals.service_us),
            outcomes: &totals.outcomes,
        }
    }
}

impl Times {
    fn of(times: &Histogram<u64>) -> Self {
        let at = |quantile| times.value_at_quantile(quantile);
        Self { p50: at(0.5), p90: at(0.9), p95: at(0.95), p99: at(0.99), p999: at(0.999), max: times.max(), mean: times.mean() as u64 }
    }
}

impl<'a> Zone<'a> {
    fn of(zone: &'a record::Zone) -> Self {
        let count = |fates: &[Fate]| zone.people.iter().filter(|person| fates.contains(&person.fate)).count();
        let at_once = |person: &&record::Person| person.fate == Fate::Entered && person.entered_ms <= person.join_answered_ms;
        Self {
            id: &zone.id,
            limit: zone.limit,
            window_ms: zone.window_ms,
            slot_ms: zone.slot_ms,
            otherwise_bound: zone.otherwise_bound,
            came: zone.people.len(),
            entered: count(&[Fate::Entered]),
            entered_at_once: zone.people.iter().filter(at_once).count(),
            left: count(&[Fate::Left, Fate::LeftSilently]),
            waiting: count(&[Fate::Waiting]),
            lost: count(&[Fate::Lost]),
        }
    }
}

impl<'a> Offer<'a> {
    fn of(offer: &'a record::Offer) -> Self {
        Self {
            id: &offer.id,
            quantity: offer.quantity,
            per_user_limit: offer.per_user_limit,
            answers: offer.claims.len(),
            confirmed: offer.claims.iter().filter(|claim| !claim.replayed && claim.state == ClaimState::Confirmed).count(),
            granted: offer.granted.len(),
            before: offer.before.map(Stock::of),
            after: offer.after.map(Stock::of),
        }
    }
}

impl Stock {
    const fn of(stock: record::Stock) -> Self {
        let record::Stock { quantity, remaining, held, confirmed } = stock;
        Self { quantity, remaining, held, confirmed }
    }
}

impl<'a> Judgement<'a> {
    fn of(verdict: &'a Verdict) -> Self {
        let (outcome, reason) = match &verdict.outcome {
            Outcome::Held => ("held", None),
            Outcome::Failed => ("failed", None),
            Outcome::NotJudged(why) => ("not_judged", Some(why.as_str())),
        };
        Self {
            name: verdict.name,
            promise: verdict.promise,
            outcome,
            reason,
            figures: &verdict.figures,
            values: verdict.values.iter().copied().collect(),
            cases: &verdict.cases,
            cases_total: verdict.cases_total,
        }
    }
}

impl Second {
    const fn of(second: usize, seen: &record::Second) -> Self {
        let record::Second { due, answered, failed, arrived, waiting, entered, claimed, p50_us, p99_us, max_us, own_cpu_millicores } =
            *seen;
        Self { second, due, answered, failed, arrived, waiting, entered, claimed, p50_us, p99_us, max_us, own_cpu_millicores }
    }
}

impl ServerSample {
    const fn of(sample: &record::ServerSample) -> Self {
        Self { at_ms: sample.at_ms, cpu_seconds: sample.cpu_seconds, resident_bytes: sample.resident_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::render;
    use crate::judge::{judge, sample};
    use crate::record::{End, Record};
    use serde_json::Value;

    fn parsed(record: &Record) -> Value {
        serde_json::from_str(&render(record, &judge(record))).expect("JSON")
    }

    #[test]
    fn scripts_find_what_the_summary_says() {
        let json = parsed(&sample::right(&sample::SMALL));
        assert_eq!((&json["schema"], &json["passed"], &json["end"]), (&1.into(), &true.into(), &"planned".into()));
        assert_eq!(json["settings"]["seed"], "42");
        assert_eq!(json["calls"]["claim"]["outcomes"]["sold_out"], 310);
        assert!(json["calls"]["wait"]["latency_us"]["p999"].as_u64() >= json["calls"]["wait"]["latency_us"]["p50"].as_u64());
        assert_eq!(json["zones"][0]["came"], 3_000);
        assert_eq!(json["offers"][0]["after"]["confirmed"], 20);
        assert_eq!(json["seconds"].as_array().map(Vec::len), Some(60));
        assert_eq!(json["verdicts"].as_array().map(Vec::len), Some(11));
        let order = json["verdicts"].as_array().unwrap().iter().find(|v| v["name"] == "first_come_first_served").unwrap();
        assert!(order["values"]["kendall_tau_b"].as_f64().unwrap() > 0.99);
        assert_eq!(json["trails"][0]["points"][0].as_array().map(Vec::len), Some(3));
    }

    #[test]
    fn broken_and_cut_runs_say_so() {
        let mut record = sample::right(&sample::SMALL);
        record.zones[0].people[7].rank_rose = true;
        record.end = End::GaveUp("gone".into());
        let json = parsed(&record);
        assert_eq!((&json["passed"], &json["end"], &json["end_reason"]), (&false.into(), &"gave_up".into(), &"gone".into()));
        let rank = json["verdicts"].as_array().unwrap().iter().find(|v| v["name"] == "ranks_never_rise").unwrap();
        assert_eq!((&rank["outcome"], &rank["cases_total"]), (&"failed".into(), &1.into()));
    }
}
