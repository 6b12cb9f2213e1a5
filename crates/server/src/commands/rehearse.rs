//! `bunho rehearse`: will this installation carry that crowd in that zone, and what breaks first?
//!
//! It asks a running server what it has (`Facts`), lets a small crowd measure what a page, a join, a poll and a claim cost there (`load`), and computes for how many
//! people each part is enough (`forecast`). So it says something about the machine that will serve, not about a data sheet.

mod checks;
mod forecast;
mod load;
mod page;

use super::remote::{self, Remote};
use crate::cli::Server;
use crate::exit::Failure;
use crate::http::admin::rehearsal::Facts;
use checks::Check;
use clap::Args;
use forecast::{Costs, Event, Room, Zone};
use jiff::{SignedDuration, Timestamp, Zoned, civil};
use load::{Crowd, Load};
use serde::Serialize;
use serde_json::Value;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;

/// People and seconds that a rehearsal may be asked for.
const PEOPLE_MAX: u64 = 1_000_000_000;
const SECONDS_MAX: f64 = 3_600.0;
/// A measurement shorter than this sees too little processor time, and a longer one is a load test (docs/loadtest.md).
const MEASURE_SECONDS: std::ops::RangeInclusive<f64> = 0.5..=60.0;
const CONNECTIONS: std::ops::RangeInclusive<usize> = 1..=512;

/// What is rehearsed.
#[derive(Args, Clone, Debug)]
pub struct Rehearsal {
    /// The zone that the crowd comes to
    #[arg(long)]
    zone: String,
    /// When: 10:00 (the next one by this computer's clock), or 2026-12-01T10:00:00+09:00
    #[arg(long, value_name = "TIME")]
    at: String,
    /// How many come
    #[arg(long)]
    people: u64,
    /// Within how many seconds they come
    #[arg(long, default_value_t = 10.0, value_name = "SECONDS")]
    arrive_within: f64,
    /// Address for clients, where it is not the one of --url
    #[arg(long, value_name = "URL")]
    public: Option<String>,
    /// Seconds that each kind of call is measured
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    measure: f64,
    /// Connections that measure
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Measure no claims: leaves no released claims of the rehearsal in the ledger
    #[arg(long)]
    without_claims: bool,
    /// Go on although people are waiting in some zone: they will wait for the measurement as well
    #[arg(long)]
    disturb: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
}

/// Everything that was found.
struct Report {
    facts: Facts,
    event: Event,
    at: Zoned,
    crowd: Crowd,
    rooms: Vec<Room>,
    checks: Vec<Check>,
}

/// Rehearses. Exit code 1: it is not ready.
///
/// # Errors
/// The server is unreachable or refuses, or the arguments do.
pub fn run(server: &Server, asked: &Rehearsal) -> Result<ExitCode, Failure> {
    let at = time(&asked.at, &Zoned::now())?;
    check(asked)?;
    let remote = Remote::new(server)?;
    let call = |method: &str, path: &str| remote.call(method, path, None);
    let zone = call("GET", &format!("zones/{}", asked.zone))?;
    if !asked.disturb {
        nobody_waits(&call("GET", "zones")?)?;
    }
    let offer = zone["offer"].as_str().map(|id| call("GET", &format!("offers/{id}"))).transpose()?;
    let say = |what: &str| {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[Kmeasuring {what} …");
            let _ = std::io::stderr().flush();
        }
    };
    say("the machine");
    let facts: Facts = serde_json::from_value(call("POST", "rehearsal")?).map_err(|error| another_version(remote.url(), &error))?;
    let now = Timestamp::now();
    let load = Load {
        public: asked.public.as_deref().unwrap_or(remote.url()).trim_end_matches('/').to_owned(),
        remote: &remote,
        tls: remote::tls(server.ca.as_deref())?,
        seconds: asked.measure,
        connections: asked.connections,
        nodes: facts.nodes,
        name: format!("rehearsal-{}", now.strftime("%Y%m%dT%H%M%S")),
    };
    let crowd = load.play(&asked.zone, !asked.without_claims, &say)?;
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
    let event = Event { people: asked.people as f64, arrive_seconds: asked.arrive_within, zone: zone_of(&zone) };
    let checks =
        checks::all(&checks::Seen { facts: &facts, zone: &zone, offer: offer.as_ref(), crowd: &crowd, event: &event, at: &at, now });
    let rooms = event.rooms(&facts, &costs(&crowd));
    let report = Report { facts, event, at, crowd, rooms, checks };
    if asked.json {
        super::print(&serde_json::to_string_pretty(&page::json(&report)).map_err(Failure::internal)?)?;
    } else {
        super::print(&page::text(&report, &asked.zone, now))?;
    }
    Ok(if report.is_ready() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// A server whose answers this program cannot read.
fn another_version(server: &str, error: &serde_json::Error) -> Failure {
    Failure::unavailable(format_args!(
        "{server} is another version of Bunho than this program: {error}\n  mend: use the program that serves"
    ))
}

impl Report {
    /// Parts that are not enough for the crowd.
    fn short(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter().filter(|room| room.people.is_some_and(|people| people < self.event.people))
    }

    fn is_ready(&self) -> bool {
        self.short().next().is_none() && !self.checks.iter().any(|check| check.verdict == Verdict::Fail)
    }
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    /// It works, and somebody should know.
    Warn,
    /// The event should not begin like this.
    Fail,
}

fn check(asked: &Rehearsal) -> Result<(), Failure> {
    let refuse = |what: &str, range: String| Err(Failure::configuration(format_args!("{what} must be {range}")));
    if !(1..=PEOPLE_MAX).contains(&asked.people) {
        return refuse("--people", format!("1 to {PEOPLE_MAX}"));
    }
    if !(asked.arrive_within >= 1.0 && asked.arrive_within <= SECONDS_MAX) {
        return refuse("--arrive-within", format!("1 to {SECONDS_MAX}"));
    }
    if !MEASURE_SECONDS.contains(&asked.measure) {
        return refuse("--measure", format!("{} to {}", MEASURE_SECONDS.start(), MEASURE_SECONDS.end()));
    }
    if !CONNECTIONS.contains(&asked.connections) {
        return refuse("--connections", format!("{} to {}", CONNECTIONS.start(), CONNECTIONS.end()));
    }
    Ok(())
}

/// The next such time of day, or the instant that is named.
fn time(text: &str, now: &Zoned) -> Result<Zoned, Failure> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant.to_zoned(now.time_zone().clone()));
    }
    let refused = || Failure::configuration(format_args!("--at {text:?} is no time\n  mend: write 10:00, or 2026-12-01T10:00:00+09:00"));
    let time: civil::Time = text.parse().map_err(|_| refused())?;
    let today = now.with().time(time).build().map_err(|_| refused())?;
    if &today > now { Ok(today) } else { today.checked_add(SignedDuration::from_hours(24)).map_err(|_| refused()) }
}

fn nobody_waits(zones: &Value) -> Result<(), Failure> {
    let waiting = zones["zones"].as_array().into_iter().flatten().filter(|zone| zone["waiting"].as_u64().unwrap_or_default() > 0);
    match waiting.filter_map(|zone| zone["id"].as_str()).next() {
        None => Ok(()),
        Some(zone) => Err(Failure::data(format_args!(
            "people are waiting in {zone}, and a rehearsal takes the server's time from them\n  mend: rehearse when nobody waits, or give --disturb"
        ))),
    }
}

fn zone_of(zone: &Value) -> Zone {
    let milliseconds = |name: &str| zone[name].as_f64().unwrap_or_default() / 1_000.0;
    Zone {
        // The limit is one per window; a window is a minute unless it was set otherwise.
        limit_per_minute: zone["entry_limit_per_minute"]
            .as_f64()
            .map(|limit| limit * 60.0 / zone["window_seconds"].as_f64().unwrap_or(60.0)),
        poll_seconds: milliseconds("poll_interval_ms").max(0.1),
        poll_seconds_max: milliseconds("poll_interval_max_ms").max(0.1),
    }
}

fn costs(crowd: &Crowd) -> Costs {
    let claim = crowd.claim.as_ref().ok();
    let slow = [&crowd.page, &crowd.join, &crowd.poll].map(|measured| measured.p999).into_iter().fold(0.0, f64::max);
    Costs {
        join: crowd.join.processor_seconds,
        poll: crowd.poll.processor_seconds,
        page: crowd.page.processor_seconds,
        claim: claim.map(|claim| claim.processor_seconds),
        claims_per_second: claim.map(load::Measured::per_second),
        redis_poll: crowd.poll.redis_seconds,
        redis_claim: claim.and_then(|claim| claim.redis_seconds),
        answer_p99: crowd.join.p99.max(crowd.poll.p99),
        answer_p999: slow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::time::Rfc3339;

    /// A small machine.
    pub(super) fn facts() -> Facts {
        Facts {
            now: Rfc3339(bunho_domain::time::Millis(1_767_225_600_000)),
            node: "local".into(),
            version: "0.1.0".into(),
            shape: "embedded".into(),
            nodes: 1,
            processors: 2,
            memory_available_bytes: Some(20 << 30),
            disk_free_bytes: Some(50 << 30),
            sync_mean_us: Some(300),
            sync_slowest_us: Some(2_000),
            open_files_max: Some(20_000),
            connections_max: 16_384,
            in_flight_max: 20_000,
            in_flight_per_zone_max: 10_000,
            body_bytes_max: 65_536,
            backlog: 65_535,
            somaxconn: Some(128),
            syn_backlog: Some(512),
            syn_cookies: Some(1),
            conntrack_max: None,
            local_ports: Some((32_768, 60_999)),
            lag: 0,
            parked: 0,
            ledger_us: Some(900),
            parts: Vec::new(),
        }
    }

    #[test]
    fn a_time_of_day_is_the_next_one() {
        let now: Zoned = "2026-11-22T19:30:00[UTC]".parse().expect("a time");
        for (text, at) in [
            ("10:00", "2026-11-23T10:00:00Z"),
            ("19:30:01", "2026-11-22T19:30:01Z"),
            ("19:30", "2026-11-23T19:30:00Z"),
            ("2026-12-01T10:00:00+09:00", "2026-12-01T01:00:00Z"),
            ("2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"),
        ] {
            assert_eq!(time(text, &now).expect(text).timestamp().to_string(), at, "{text}");
        }
        for text in ["", "ten", "25:00", "10:60", "-1:00", "2026-12-01"] {
            assert!(time(text, &now).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_crowd_that_waits_is_not_disturbed() {
        nobody_waits(&serde_json::json!({"zones": [{"id": "A", "waiting": 0}]})).expect("nobody waits");
        let refused =
            nobody_waits(&serde_json::json!({"zones": [{"id": "A", "waiting": 0}, {"id": "B", "waiting": 2}]})).expect_err("two wait");
        assert!(refused.to_string().contains("waiting in B"), "{refused}");
    }
}
