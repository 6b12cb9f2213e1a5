//! What a rehearsal found, in one page for people, or as JSON for scripts.

use super::checks::Spoken;
use super::forecast::Figure;
use super::load::Measured;
use super::{Report, Verdict};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::fmt::Write;

/// Width of the bar that shows how much of a part the event takes.
const BAR: f64 = 20.0;

pub(super) fn text(report: &Report, zone: &str, now: Timestamp) -> String {
    let mut page = String::new();
    let (facts, event) = (&report.facts, &report.event);
    let left = report.at.timestamp().duration_since(now);
    let when = if left.is_negative() { format!("{} ago", Spoken(left.abs())) } else { format!("in {}", Spoken(left)) };
    let _ = writeln!(
        page,
        "zone {zone} · {} ({when}) · {} people within {} s\n{} shape, {} node{}, {} processors · bunho {}\n",
        report.at.strftime("%Y-%m-%d %H:%M:%S %:z"),
        Figure(event.people),
        event.arrive_seconds,
        facts.shape,
        facts.nodes,
        if facts.nodes == 1 { "" } else { "s" },
        facts.processors,
        facts.version
    );
    let _ = writeln!(page, "Measured here now                                 p50      p99  slowest  processor time each");
    let crowd = &report.crowd;
    for (name, measured) in [("the waiting page", &crowd.page), ("joins", &crowd.join), ("polls", &crowd.poll)] {
        measured_line(&mut page, name, measured);
    }
    match &crowd.claim {
        Ok(claim) => measured_line(&mut page, "claims, durable", claim),
        Err(why) => drop(writeln!(page, "  claims                not measured: {why}")),
    }
    let _ = writeln!(
        page,
        "\nWhat the crowd asks for\n  {} joins and pages a second while it comes, then {} polls a second{}\n",
        Figure(event.arrivals(event.people).ceil()),
        Figure(event.polls(event.people).ceil()),
        event
            .last_after()
            .map(|last| format!("; the last one enters after {}", Spoken(jiff::SignedDuration::from_secs_f64(last.min(1e9)))))
            .unwrap_or_default()
    );
    let _ = writeln!(page, "What breaks first           enough for");
    for room in &report.rooms {
        let people = room.people.map_or_else(|| "any crowd".into(), |people| format!("{} people", Figure(people)));
        let short = room.people.is_some_and(|people| people < event.people);
        let full = room.people.map_or(0.0, |people| (event.people / people.max(1.0) * BAR).ceil().min(BAR));
        let bar = "█".repeat(full as usize) + &"░".repeat((BAR - full) as usize);
        let _ = writeln!(page, "  {:<20} {people:>18}  {bar}  {}", room.part, room.asked);
        if short {
            let _ = writeln!(page, "      → {}", room.mend);
        }
    }
    let _ = writeln!(page, "\nWhat is set");
    for check in &report.checks {
        let word = match check.verdict {
            Verdict::Ok => "ok   ",
            Verdict::Warn => "WARN ",
            Verdict::Fail => "FAIL ",
        };
        let _ = writeln!(page, "  {word} {}: {}", check.name, check.found);
        if let Some(mend) = &check.mend {
            let _ = writeln!(page, "      → {mend}");
        }
    }
    let _ = write!(page, "\n{}", sentence(report));
    page
}

fn measured_line(page: &mut String, name: &str, measured: &Measured) {
    let ms = |seconds: f64| format!("{:.1} ms", seconds * 1e3);
    let refused = if measured.refused == 0 { String::new() } else { format!("   ({} refused)", Figure(measured.refused as f64)) };
    let _ = writeln!(
        page,
        "  {name:<20} {:>12} a second {:>9} {:>8} {:>8}  {:>6.0} µs{refused}",
        Figure(measured.per_second().round()),
        ms(measured.p50),
        ms(measured.p99),
        ms(measured.slowest),
        measured.processor_seconds * 1e6
    );
}

/// The result in a sentence.
fn sentence(report: &Report) -> String {
    let fails = report.checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    let first = report.rooms.first().map_or_else(String::new, |room| {
        room.people.map_or_else(String::new, |people| format!(" First to give way: {}, at {} people.", room.part, Figure(people)))
    });
    let short = report.short().count();
    match (short, fails) {
        (0, 0) => format!("Ready.{first}"),
        (0, fails) => format!("Not ready: {fails} of the settings must be mended.{first}"),
        (short, 0) => format!("Not ready: {short} part{} not enough for the crowd.{first}", if short == 1 { " is" } else { "s are" }),
        (short, fails) => format!(
            "Not ready: {short} part{} not enough for the crowd, and {fails} of the settings must be mended.{first}",
            if short == 1 { " is" } else { "s are" }
        ),
    }
}

pub(super) fn json(report: &Report) -> Value {
    let measured = |measured: &Measured| {
        json!({
            "per_second": measured.per_second(), "answered": measured.answered, "answered_by_node": measured.own, "refused": measured.refused, "bytes": measured.bytes,
            "p50_ms": measured.p50 * 1e3, "p99_ms": measured.p99 * 1e3, "slowest_ms": measured.slowest * 1e3,
            "processor_us": measured.processor_seconds * 1e6, "redis_us": measured.redis_seconds.map(|seconds| seconds * 1e6),
        })
    };
    let rooms = report.rooms.iter().map(|room| {
        let enough = room.people.is_none_or(|people| people >= report.event.people);
        json!({"part": room.part, "people": room.people, "enough": enough, "asked": room.asked, "mend": room.mend})
    });
    json!({
        "ready": report.is_ready(),
        "at": report.at.timestamp().to_string(),
        "people": report.event.people,
        "joins_per_second": report.event.arrivals(report.event.people),
        "polls_per_second": report.event.polls(report.event.people),
        "last_enters_after_seconds": report.event.last_after(),
        "measured": {
            "page": measured(&report.crowd.page), "join": measured(&report.crowd.join), "poll": measured(&report.crowd.poll),
            "claim": report.crowd.claim.as_ref().ok().map(measured),
        },
        "parts": rooms.collect::<Vec<_>>(),
        "checks": report.checks,
        "facts": report.facts,
    })
}
