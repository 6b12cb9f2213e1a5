//! Whether everything is set for the event: the zone, its offer, the machine, and what the promises rest on. Each check says what it found and, where that is not as it must be, the
//! mend.

use super::Facts;
use super::Verdict::{self, Fail, Ok, Warn};
use super::forecast::{Event, Figure};
use super::load::Crowd;
use jiff::{SignedDuration, Timestamp, Zoned};
use serde::Serialize;
use serde_json::Value;

/// Files that journal, ledger, Redis and Kafka keep open besides connections: 256 are more than all have been seen to use.
const OTHER_FILES: u64 = 256;
/// A sync slower than this in the mean is a disk that everybody waits for.
const SYNC_SLOW_US: u64 = 10_000;
/// Clocks of the one who asks and the one who answers may differ by this, the time on the way included.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(2);
/// Records that the ledger may lack before it is worth a word.
const LAG_MAX: u64 = 10_000;
/// What Linux has had as its default since 5.4. Less was set by somebody, or is an old kernel's 128.
const SOMAXCONN_MIN: u64 = 4_096;
/// Ports that a proxy in front on this machine may use, at least.
const PORTS_MIN: u64 = 20_000;

/// What is checked.
pub(super) struct Seen<'a> {
    pub(super) facts: &'a Facts,
    pub(super) zone: &'a Value,
    /// The zone's offer, as administration shows it.
    pub(super) offer: Option<&'a Value>,
    pub(super) crowd: &'a Crowd,
    pub(super) event: &'a Event,
    pub(super) at: &'a Zoned,
    pub(super) now: Timestamp,
}

/// One of them, and how it stands.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) verdict: Verdict,
    pub(super) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mend: Option<String>,
}

fn check(name: &str, verdict: Verdict, found: impl Into<String>, mend: &str) -> Check {
    Check { name: name.into(), verdict, found: found.into(), mend: (verdict != Ok).then(|| mend.into()) }
}

/// All of them, what must be mended first.
pub(super) fn all(seen: &Seen<'_>) -> Vec<Check> {
    let mut checks = vec![opening(seen), limit(seen), time_left(seen)];
    checks.extend(offer(seen));
    checks.extend([clock(seen), files(seen.facts)]);
    checks.extend(queue(seen.facts));
    checks.extend(disk(seen.facts));
    checks.extend(database(seen.facts));
    checks.extend(page(seen));
    checks.extend(redis(seen));
    checks.extend(seen.facts.parts.iter().map(|part| Check {
        name: part.name.clone(),
        verdict: if part.well { Ok } else { Fail },
        found: part.found.clone(),
        mend: None,
    }));
    checks.sort_by_key(|check| match check.verdict {
        Fail => 0,
        Warn => 1,
        Ok => 2,
    });
    checks
}

fn opening(seen: &Seen<'_>) -> Check {
    let zone = seen.zone;
    let text = |name: &str| zone[name].as_str();
    let put = "set its opens_at and closes_at right, in the console or by `bunho zone set ZONE opens_at=…`";
    if zone["paused"] == true {
        return check("zone opens", Fail, "it is paused", "resume it before the event: `bunho zone resume`");
    }
    if text("closes_at").and_then(|at| at.parse::<Timestamp>().ok()).is_some_and(|closes| closes <= seen.at.timestamp()) {
        return check("zone opens", Fail, format!("it closes at {}, before the event", text("closes_at").unwrap_or_default()), put);
    }
    match text("opens_at").and_then(|at| at.parse::<Timestamp>().ok()) {
        Some(opens) if opens == seen.at.timestamp() => check("zone opens", Ok, format!("at {opens}"), ""),
        Some(opens) if opens > seen.at.timestamp() => check("zone opens", Fail, format!("at {opens}, after the event begins"), put),
        Some(opens) if opens > seen.now => check("zone opens", Warn, format!("at {opens}, before the event begins"), put),
        _ => check("zone opens", Warn, "it is open already: who comes early enters early", put),
    }
}

fn limit(seen: &Seen<'_>) -> Check {
    match seen.event.zone.limit_per_minute {
        None => check(
            "entry limit",
            Warn,
            "none: everybody enters at once, and nothing protects what is behind the line",
            "set entry_limit_per_minute to what the service behind it carries",
        ),
        Some(0.0) => check("entry limit", Fail, "0: nobody enters", "set entry_limit_per_minute to what the service behind it carries"),
        Some(limit) => check("entry limit", Ok, format!("{} a minute", Figure(limit)), ""),
    }
}

/// Whether the last one still gets something before the zone or the offer closes.
fn time_left(seen: &Seen<'_>) -> Check {
    let Some(last) = seen.event.last_after() else { return check("the last one", Ok, "enters as soon as there is room", "") };
    let span = SignedDuration::from_secs_f64(last.min(1e9));
    let found = format!("enters after {}", Spoken(span));
    let closes = seen.zone["closes_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    match closes {
        Some(closes) if seen.at.timestamp() + span > closes => {
            check("the last one", Warn, format!("{found}, when the zone has closed at {closes}"), "raise the limit, or let it close later")
        }
        _ => check("the last one", Ok, found, ""),
    }
}

fn offer(seen: &Seen<'_>) -> Option<Check> {
    let offer = seen.offer?;
    let name = format!("offer {}", offer["id"].as_str().unwrap_or_default());
    let (zone, own) = (offer["zone"].as_str(), seen.zone["id"].as_str());
    let state = offer["state"].as_str().or_else(|| offer["stock"]["state"].as_str()).unwrap_or_default();
    let opens = offer["opens_at"].as_str().and_then(|at| at.parse::<Timestamp>().ok());
    Some(if state == "closed" {
        check(&name, Fail, "it is closed", "put it anew, or tie another one to the zone")
    } else if opens.is_some_and(|opens| opens > seen.at.timestamp()) {
        check(
            &name,
            Fail,
            format!("it opens at {}, after the zone", offer["opens_at"].as_str().unwrap_or_default()),
            "put it with the zone's opens_at",
        )
    } else if zone != own {
        let mend = "put it with `zone`, so that a pass is required";
        check(&name, Warn, "it asks for no pass of the zone: whoever knows its address claims without waiting", mend)
    } else {
        check(&name, Ok, format!("{}, for who has a pass of the zone", if state.is_empty() { "there" } else { state }), "")
    })
}

fn clock(seen: &Seen<'_>) -> Check {
    let server = Timestamp::from_millisecond(seen.facts.now.0.0).unwrap_or(seen.now);
    let ahead = server.duration_since(seen.now);
    let found = format!(
        "the server's is {} this computer's",
        if ahead.is_negative() { format!("{} behind", Spoken(ahead.abs())) } else { format!("{} ahead of", Spoken(ahead)) }
    );
    let verdict = if ahead.abs() > SKEW_MAX { Fail } else { Ok };
    check("clock", verdict, found, "let both follow a time server; the server's clock decides when the zone opens")
}

fn files(facts: &Facts) -> Check {
    let needed = facts.connections_max + OTHER_FILES;
    match facts.open_files_max {
        Some(most) if most < needed => check(
            "open files",
            Fail,
            format!("{} may be open, server.connections_max is {}", Figure(most as f64), Figure(facts.connections_max as f64)),
            "raise LimitNOFILE (`ulimit -Hn`), or lower server.connections_max",
        ),
        Some(most) => check("open files", Ok, format!("{} may be open, {} are needed", Figure(most as f64), Figure(needed as f64)), ""),
        None => check("open files", Ok, "no limit is told", ""),
    }
}

fn queue(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    if let Some(most) = facts.somaxconn {
        let verdict = if most < SOMAXCONN_MIN { Warn } else { Ok };
        let found = format!("net.core.somaxconn lets {most} connections wait to be accepted");
        checks.push(check(
            "accept queue",
            verdict,
            found,
            "sysctl -w net.core.somaxconn=4096 (docs/kernel.md), then start the server again",
        ));
    }
    if facts.syn_cookies == Some(0) {
        checks.push(check(
            "SYN cookies",
            Warn,
            "net.ipv4.tcp_syncookies 0: a flood of half-open connections shuts everybody out",
            "sysctl -w net.ipv4.tcp_syncookies=1",
        ));
    }
    if let Some(most) = facts.conntrack_max {
        let needed = facts.connections_max * 2;
        let verdict = if most < needed { Warn } else { Ok };
        checks.push(check(
            "connection tracking",
            verdict,
            format!("net.netfilter.nf_conntrack_max {most}"),
            "raise it above twice server.connections_max, or do not track this port",
        ));
    }
    if let Some((low, high)) = facts.local_ports {
        let ports = high.saturating_sub(low);
        let verdict = if ports < PORTS_MIN { Warn } else { Ok };
        checks.push(check(
            "local ports",
            verdict,
            format!("{low} to {high}, for a proxy on this machine"),
            "widen net.ipv4.ip_local_port_range, or keep connections alive",
        ));
    }
    checks
}

fn disk(facts: &Facts) -> Option<Check> {
    let (mean, slowest) = facts.sync_mean_us.zip(facts.sync_slowest_us)?;
    // A cluster's claims wait for Kafka's disks.
    let matters = facts.shape == "embedded";
    let verdict = if matters && mean > SYNC_SLOW_US { Warn } else { Ok };
    let found = format!("a sync takes {:.1} ms in the mean, {:.1} ms at most", mean as f64 / 1e3, slowest as f64 / 1e3);
    Some(check(
        "disk",
        verdict,
        found,
        "every claim waits for one: put the data folder on a disk of its own with a cache that outlives a power cut",
    ))
}

fn database(facts: &Facts) -> Vec<Check> {
    let mut checks = Vec::new();
    checks.push(match facts.ledger_us {
        Some(time) => {
            check("database", Ok, format!("answers 16 questions at once within {:.1} ms; its connections are open", time as f64 / 1e3), "")
        }
        None => check("database", Fail, "does not answer", "start it; claims go on without it, and lists and administration do not"),
    });
    if facts.lag > LAG_MAX {
        checks.push(check(
            "ledger",
            Warn,
            format!("lacks {} records", Figure(facts.lag as f64)),
            "look at bunho_projector_lag_records: is it catching up?",
        ));
    }
    if facts.parked > 0 {
        checks.push(check(
            "ledger",
            Fail,
            format!("{} events are parked", facts.parked),
            "`bunho reconcile`, then `--repair`; the console's System page names them",
        ));
    }
    checks
}

/// The page that the crowd loads first: it is in memory now, whoever was first has paid for it.
fn page(seen: &Seen<'_>) -> Option<Check> {
    let page = &seen.crowd.page;
    if page.answered == 0 {
        return Some(check("waiting page", Fail, "/wait/ZONE does not answer well", "open it in a browser: it says why"));
    }
    let mbit = page.bytes as f64 * seen.event.arrivals(seen.event.people) * 8.0 / 1e6;
    let found = format!("{:.1} KB, rendered and kept; {} Mbit/s while they come", page.bytes as f64 / 1e3, Figure(mbit.ceil()));
    Some(check("waiting page", Ok, found, ""))
}

/// Whether Redis told what its scripts took: what it is enough for is not known without.
fn redis(seen: &Seen<'_>) -> Option<Check> {
    let crowd = seen.crowd;
    let told = [Some(&crowd.poll), crowd.claim.as_ref().ok()].into_iter().flatten().all(|measured| measured.redis_seconds.is_some());
    (seen.facts.shape != "embedded" && !told).then(|| {
        let found = "did not tell how long its scripts took: how many people it is enough for is not known";
        check("Redis", Warn, found, "measure longer (--measure 10), and let Bunho's user of Redis run INFO on every primary")
    })
}

/// A span of time as people say it: `2 h 46 min`.
pub(super) struct Spoken(pub(super) SignedDuration);

impl std::fmt::Display for Spoken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        match seconds {
            ..10 => write!(f, "{:.1} s", self.0.as_secs_f64()),
            10..120 => write!(f, "{seconds} s"),
            120..7_200 => write!(f, "{} min", seconds / 60),
            7_200..172_800 => write!(f, "{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
            _ => write!(f, "{} days", seconds / 86_400),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::forecast::Zone;
    use super::super::load::Measured;
    use super::*;
    use serde_json::json;

    type Change = fn(&mut Facts);

    fn verdicts(zone: &Value, offer: Option<&Value>, change: impl Fn(&mut Facts)) -> Vec<(String, Verdict)> {
        let mut facts = super::super::tests::facts();
        change(&mut facts);
        let measured = Measured { answered: 1, bytes: 8_000, ..Measured::default() };
        let crowd = Crowd { page: measured.clone(), join: measured.clone(), poll: measured, claim: Err("not asked for".into()) };
        let zone_settings = Zone { limit_per_minute: zone["entry_limit_per_minute"].as_f64(), poll_seconds: 3.0, poll_seconds_max: 20.0 };
        let event = Event { people: 100_000.0, arrive_seconds: 10.0, zone: zone_settings };
        let at: Zoned = "2026-01-01T10:00:00[UTC]".parse().expect("a time");
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().expect("a time");
        let checks = all(&Seen { facts: &facts, zone, offer, crowd: &crowd, event: &event, at: &at, now });
        assert!(checks.iter().all(|check| check.mend.as_ref().is_none_or(|mend| !mend.is_empty())), "{checks:?}");
        checks.into_iter().filter(|check| check.verdict != Ok).map(|check| (check.name, check.verdict)).collect()
    }

    #[test]
    fn each_check_finds_what_it_is_for() {
        let good = json!({"id": "SALE", "entry_limit_per_minute": 600, "opens_at": "2026-01-01T10:00:00.000Z", "paused": false, "closes_at": null});
        let with = |name: &str, value: Value| {
            let mut zone = good.clone();
            zone[name] = value;
            zone
        };
        let usual = |change: Change| {
            move |facts: &mut Facts| {
                facts.somaxconn = Some(4_096);
                change(facts);
            }
        };
        let nothing = usual(|_| {});
        assert_eq!(verdicts(&good, None, nothing), []);
        for (zone, name, verdict) in [
            (with("paused", json!(true)), "zone opens", Fail),
            (with("opens_at", json!("2026-01-01T10:00:01Z")), "zone opens", Fail),
            (with("opens_at", json!("2026-01-01T09:59:59Z")), "zone opens", Warn),
            (with("opens_at", json!(null)), "zone opens", Warn),
            (with("closes_at", json!("2026-01-01T10:00:00Z")), "zone opens", Fail),
            (with("closes_at", json!("2026-01-01T11:00:00Z")), "the last one", Warn),
            (with("entry_limit_per_minute", json!(null)), "entry limit", Warn),
            (with("entry_limit_per_minute", json!(0)), "entry limit", Fail),
        ] {
            // A zone that closes too soon has no last one either.
            assert_eq!(verdicts(&zone, None, nothing).first(), Some(&(name.to_owned(), verdict)), "{zone}");
        }
        let offer = json!({"id": "drop", "zone": "SALE", "state": "not_open", "opens_at": "2026-01-01T10:00:00Z"});
        assert_eq!(verdicts(&good, Some(&offer), nothing), []);
        for (name, value, verdict) in
            [("zone", json!(null), Warn), ("state", json!("closed"), Fail), ("opens_at", json!("2026-01-01T10:30:00Z"), Fail)]
        {
            let mut changed = offer.clone();
            changed[name] = value;
            assert_eq!(verdicts(&good, Some(&changed), nothing), [("offer drop".to_owned(), verdict)], "{changed}");
        }
        let changes: [(Change, &str, Verdict); 9] = [
            (|facts| facts.somaxconn = Some(128), "accept queue", Warn),
            (|facts| facts.syn_cookies = Some(0), "SYN cookies", Warn),
            (|facts| facts.conntrack_max = Some(1_000), "connection tracking", Warn),
            (|facts| facts.local_ports = Some((50_000, 60_000)), "local ports", Warn),
            (|facts| facts.open_files_max = Some(1_024), "open files", Fail),
            (|facts| facts.sync_mean_us = Some(20_000), "disk", Warn),
            (|facts| facts.ledger_us = None, "database", Fail),
            (|facts| facts.parked = 1, "ledger", Fail),
            (|facts| facts.now.0.0 -= 5_000, "clock", Fail),
        ];
        for (change, name, verdict) in changes {
            assert_eq!(verdicts(&good, None, usual(change)), [(name.to_owned(), verdict)]);
        }
    }

    #[test]
    fn spans_are_spoken() {
        for (seconds, text) in [(0.26, "0.3 s"), (62.0, "62 s"), (1_000.0, "16 min"), (10_000.0, "2 h 46 min"), (1e6, "11 days")] {
            assert_eq!(Spoken(SignedDuration::from_secs_f64(seconds)).to_string(), text);
        }
    }
}
