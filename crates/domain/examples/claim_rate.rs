//! What deciding costs without HTTP, journal and ledger: claims of users of their own with keys of their own, then the
//! confirmation of each, and how many bytes of memory stay behind a claim. Processor time, which other work on the machine disturbs
//! less than it does the clock.
//!
//! `cargo run --release -p bunho-domain --example claim_rate [claims]`

use bunho_domain::event::Event;
use bunho_domain::ids::{AppId, ClaimId, IdempotencyKey, OfferId, UserId};
use bunho_domain::limits::QUANTITY_MAX;
use bunho_domain::offer::settings::{Kind, OfferSettings};
use bunho_domain::offer::{Actor, ClaimRequest, Offer, Pass, Step};
use bunho_domain::time::Millis;
use std::time::Duration;

/// Claims between two readings, so that neither making the names nor dropping the events is counted.
const ROUND: u32 = 10_000;

fn main() {
    let claims: u32 = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let (app, id) = (AppId::parse("app").expect("a name"), OfferId::parse("offer").expect("a name"));
    let mut settings = OfferSettings::new(id, app, Kind::Goods, QUANTITY_MAX);
    settings.hold_seconds = 86_400;
    let mut offer = Offer::new(1, settings);
    // Filled and emptied, so that its pages are there before memory is measured.
    let mut ids = vec![ClaimId::new(1, 1, 1); claims as usize];
    ids.clear();
    let mut events: Vec<Event> = Vec::with_capacity(ROUND as usize);
    let resident = resident_bytes();
    let (mut took, mut slowest) = (Duration::ZERO, Duration::ZERO);
    while ids.len() < claims as usize {
        let first = ids.len() as u32;
        events.clear();
        let names: Vec<_> = (first..first + ROUND).map(|number| (user(number), key(number))).collect();
        let began = processor_time();
        for (number, (user, key)) in names.iter().enumerate() {
            let now = Millis(1_700_000_000_000 + i64::from(first));
            let nonce = u64::from(first + number as u32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let request = ClaimRequest { user, quantity: 1, key: Some(key), attributes: None, pass: Pass::Missing, nonce };
            let taken = offer.claim(request, &mut Step { now, grants: None, events: &mut events }).expect("units are left");
            ids.push(taken.claim.id);
        }
        let round = processor_time().saturating_sub(began);
        took += round;
        slowest = slowest.max(round);
    }
    let grown = resident_bytes().saturating_sub(resident);
    say("claims", claims, took);
    println!("slowest {ROUND} claims together {slowest:?}; {:.0} resident bytes a claim", grown as f64 / f64::from(claims));

    let now = Millis(1_700_000_000_000 + i64::from(claims));
    let began = processor_time();
    for &id in &ids {
        offer.confirm(Actor::Service(None), id, &mut Step { now, grants: None, events: &mut events }).expect("a held claim");
        events.clear();
    }
    say("confirmations", claims, processor_time().saturating_sub(began));
}

fn user(number: u32) -> UserId {
    UserId::parse(&format!("live-{number}")).expect("a user")
}

/// As long as a UUID, which is what most clients send.
fn key(number: u32) -> IdempotencyKey {
    IdempotencyKey::parse(&format!("{:08x}-0000-4000-8000-{number:012}", number.wrapping_mul(0x9e37_79b9))).expect("a key")
}

fn say(what: &str, count: u32, took: Duration) {
    println!(
        "{count} {what}: {:.0} ns each, {:.0} a second",
        took.as_nanos() as f64 / f64::from(count),
        f64::from(count) / took.as_secs_f64()
    );
}

/// What this thread has used; 0 where the system does not tell.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(0))
}

/// `VmRSS` of this process; 0 where there is no such thing.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1_024
}
