//! The experiments of the source documents, with their sizes, and what they published.
//!
//! * `000`, the farm-stay: seven bookings of two against a capacity of ten came in at once; of threads that all read "10 left" each
//!   took its two from ten. Here five succeed, and each has a coupon of thanks.
//! * `001`, the goods drop: 1,000 users within a second, one unit each; a fifth leave at the payment, a fifth of the payments fail.
//! * `002`, the waiting room: k6 with 600,000 virtual users in four stages, 160 s in all, 10.13 million calls.
//! * `003`, the coupon drop: 150,000 attempts of 1,000 users, one coupon each, with impatient second clicks.

use super::{LinePlay, PLAIN, Play, Scenario, ShopPlay, Thing, UNTIL_DONE, probability, random_seed};
use crate::cli::{SeedArgs, SeedNumber};
use crate::exit::Failure;
use crate::judge::wording;
use crate::plan::{Model, Stages};
use crate::record::{Call, Published, Record};
use hdrhistogram::Histogram;
use serde_json::json;
use std::time::Duration;

/// Polls of `002` come at most so many milliseconds apart.
///
/// The four stages are 72.0 million user-seconds (half of 600,000 × 10 s, three quarters × 110 s, all × 30 s, half × 10 s). Each user first
/// sleeps 1.5 s on average, which leaves 71.1 million. Far back in the line the server keeps one part in eleven of
/// the longest interval for its jitter, so polls are P = 7,950 × 10/11 = 7,227 ms apart on average. A user who is there for T seconds
/// makes T/P + ½ calls on average, the first being the one that joins: 71.1 M / 7.227 s + 0.3 M = 10.14 million, as many as
/// the 10.13 million of the source. At the full number that is 83,000 calls a second.
const POLL_MAX_MS: f64 = 7_950.0;
/// As in the source's script, which waits three seconds where it is told nothing else.
const POLL_MS: f64 = 3_000.0;
/// The script sleeps up to this before it joins.
const PAUSE_US: f64 = 3_000_000.0;
/// An admission is answered when its journal batch is on the disk, and holds its connection as long. A slot of six seconds lets in
/// 600 people in one moment: over 64 connections they would wait for ten such batches one after the other, with everybody behind them.
const CONNECTIONS: u32 = 256;
/// Users of `002` who are due in one moment share a packet. The source spread its users over twenty generators; here they share two cores
/// with the server, and at 88,000 calls a second a packet for each call and one for each answer take most of both.
const PIPELINE: u32 = 8;

/// A document's experiment.
pub(super) fn of(arguments: &SeedArgs, run: String) -> Result<Scenario, Failure> {
    let scale = arguments.time_scale;
    if !(0.001..=10.0).contains(&scale) {
        return Err(Failure::usage(format_args!("--time-scale must be 0.001 to 10, not {scale}")));
    }
    let number = arguments.number;
    let word = match number {
        SeedNumber::Farm => "000",
        SeedNumber::Goods => "001",
        SeedNumber::Line => "002",
        SeedNumber::Coupon => "003",
    };
    let vus = arguments.vus.unwrap_or(match number {
        SeedNumber::Farm => 7,
        SeedNumber::Goods | SeedNumber::Coupon => 1_000,
        SeedNumber::Line => 600_000,
    });
    let id = format!("load-{word}-{run}");
    let play = match number {
        SeedNumber::Farm => Play::Shop(farm(&id, vus)),
        SeedNumber::Goods => Play::Shop(goods(&id, vus)),
        SeedNumber::Coupon => Play::Shop(coupon(&id, vus)),
        SeedNumber::Line => Play::Line(line(arguments, id, scale)?),
    };
    let at = |seconds: f64| Duration::from_secs_f64(seconds * scale);
    let full = f64::from(vus);
    let (stages, total) = match number {
        SeedNumber::Farm => (Stages::steady(full, UNTIL_DONE), Some(u64::from(vus))),
        SeedNumber::Goods => (Stages::new(&[(at(1.0), full), (UNTIL_DONE, full)]), Some(u64::from(vus))),
        SeedNumber::Coupon => (Stages::steady(full, UNTIL_DONE), Some(u64::from(vus) * 150)),
        SeedNumber::Line => (Stages::new(&[(at(10.0), full / 2.0), (at(110.0), full), (at(30.0), full), (at(10.0), 0.0)]), None),
    };
    let connections = if number == SeedNumber::Farm { vus } else { CONNECTIONS };
    Ok(Scenario {
        title: format!("seed {word}"),
        seed: Some(number),
        place: arguments.place.clone(),
        connections: arguments.how.connections.unwrap_or(connections),
        pipeline: arguments.how.pipeline.unwrap_or(if number == SeedNumber::Line { PIPELINE } else { 1 }),
        random_seed: random_seed(&arguments.how),
        how: arguments.how.clone(),
        model: Model::Closed { users: stages, total },
        think_us: 0,
        finish_us: if number == SeedNumber::Line { 0 } else { 20_000_000 },
        run,
        play,
        settings: if scale == 1.0 { Vec::new() } else { vec![("time scale".into(), scale.to_string())] },
    })
}

fn farm(id: &str, vus: u32) -> ShopPlay {
    let thanks = format!("{id}-thanks");
    // Ten places for seven parties, and as many for more.
    let quantity = (vus * 10).div_ceil(7);
    let stay = json!({"kind": "booking", "quantity": quantity, "grants": thanks});
    let coupon = json!({"kind": "coupon", "quantity": quantity, "grant_only": true});
    let offers = vec![Thing::Made { id: id.into(), body: stay }, Thing::Made { id: thanks, body: coupon }];
    ShopPlay { offers, quantity: 2, pays: true, attributes: Some("{\"check_in\":\"2026-05-01\"}".into()), ..PLAIN }
}

fn goods(id: &str, vus: u32) -> ShopPlay {
    let body = json!({"kind": "goods", "quantity": vus, "per_user_limit": 1});
    ShopPlay { offers: vec![Thing::Made { id: id.into(), body }], leave: 0.2, fail: 0.2, pays: true, ..PLAIN }
}

fn coupon(id: &str, vus: u32) -> ShopPlay {
    // Two clicks each make 75 users of 150 attempts; a coupon for two in three of them.
    let body = json!({"kind": "coupon", "quantity": vus * 50});
    ShopPlay { offers: vec![Thing::Made { id: id.into(), body }], clicks: 2, ..PLAIN }
}

fn line(arguments: &SeedArgs, id: String, scale: f64) -> Result<LinePlay, Failure> {
    let scaled = |ms: f64| ((ms * scale) as u32).clamp(100, 29_000);
    let zone = match &arguments.zone {
        Some(zone) => Thing::Existing(zone.clone()),
        None => Thing::Made {
            id,
            body: json!({
                "name": "seed 002",
                "entry_limit_per_minute": arguments.limit,
                "poll_interval_ms": scaled(POLL_MS),
                "poll_interval_max_ms": scaled(POLL_MAX_MS),
                "window_seconds": ((60.0 * scale).round() as u32).clamp(1, 60),
                "slot_seconds": ((6.0 * scale).round() as u32).clamp(1, 6),
            }),
        },
    };
    Ok(LinePlay { zone, leave: probability("--leave", arguments.leave)?, leave_openly: 0.0, pause_us: (PAUSE_US * scale) as u64 })
}

/// What the document published, and what this run has of it.
#[must_use]
pub fn published(seed: SeedNumber, record: &Record) -> Vec<Published> {
    let figure = |name: &str, published: &str, today: String| Published { name: name.into(), published: published.into(), today };
    let seconds = (record.elapsed_ms as f64 / 1_000.0).max(0.001);
    match seed {
        SeedNumber::Farm => {
            let offer = record.offers.first();
            let booked = offer.map_or(0, |offer| offer.claims.iter().filter(|claim| !claim.replayed).count());
            let left = offer.and_then(|offer| offer.after).map_or_else(|| "not read".into(), |stock| stock.remaining.to_string());
            let coupons = record.offers.get(1).map_or(0, |thanks| distinct(&thanks.granted));
            vec![
                figure("bookings of two, of seven against ten", "5 wanted", booked.to_string()),
                figure("places left afterwards", "0 wanted, 6 found without a lock", left),
                figure("coupons of thanks", "one for each booking", coupons.to_string()),
            ]
        }
        SeedNumber::Goods => {
            let done: u64 = record.calls.values().map(|calls| calls.latency_us.len()).sum();
            vec![figure(
                "calls a second (TPS)",
                "164.5 with locks, 209.7 write-back, 431.2 with Lua",
                format!("{:.1}", done as f64 / seconds),
            )]
        }
        SeedNumber::Coupon => {
            let claims = record.calls.get(&Call::Claim);
            let done = claims.map_or(0, |calls| calls.latency_us.len());
            let mean_ms = claims.map_or(0.0, |calls| calls.latency_us.mean() / 1_000.0);
            vec![
                figure("attempts a second (TPS)", "250 with locks, 5,200 at most with Lua", format!("{:.0}", done as f64 / seconds)),
                figure("mean answer time", "5,000 ms with locks, 150 ms with Lua", format!("{mean_ms:.1} ms")),
            ]
        }
        SeedNumber::Line => waiting_room(record),
    }
}

fn waiting_room(record: &Record) -> Vec<Published> {
    let figure = |name: &str, published: &str, today: String| Published { name: name.into(), published: published.into(), today };
    let mut all: Option<Histogram<u64>> = None;
    for calls in record.calls.values() {
        match &mut all {
            // All histograms have the same bounds.
            Some(sum) => drop(sum.add(&calls.latency_us)),
            None => all = Some(calls.latency_us.clone()),
        }
    }
    let count = all.as_ref().map_or(0, Histogram::len);
    let mean_ms = all.as_ref().map_or(0.0, |all| all.mean() / 1_000.0);
    let at = |quantile| format!("{:.2} ms", all.as_ref().map_or(0, |all| all.value_at_quantile(quantile)) as f64 / 1_000.0);
    let users = record.seconds.iter().map(|second| second.waiting).max().unwrap_or(0);
    vec![
        figure("virtual users waiting at a time", "600,000", wording::count(users)),
        figure("API calls", "10,130,000", wording::count(count)),
        figure("mean answer time", "9.94 ms", format!("{mean_ms:.2} ms")),
        figure("median", "2.74 ms", at(0.5)),
        figure("P90", "19.40 ms", at(0.9)),
        figure("P95", "36.48 ms", at(0.95)),
        figure("servers", "16 + 6 of 8 cores, 20 generators", "1, with the generator on it".into()),
    ]
}

fn distinct(granted: &[(u32, String)]) -> usize {
    granted.iter().map(|(_, id)| id).collect::<std::collections::BTreeSet<_>>().len()
}
