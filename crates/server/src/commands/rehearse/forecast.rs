//! What a crowd will ask for, and which part has the least room for it. Arithmetic only: people, a zone's settings, costs that were measured a moment ago
//! and what the machine gives go in; for each part comes out how many people it is enough for.
//!
//! The crowd comes evenly within `arrive_seconds`, each with a connection of its own, loads the waiting page, joins, and polls as told until it is let in. That is the worst
//! a crowd does: whoever comes earlier or later, shares a connection, or gives up, asks for less.

use super::Facts;
use std::fmt;

/// Share of the processors' time that a crowd may take: the rest is for the database's writer, the kernel's network and what comes unevenly.
const BUSY_MAX: f64 = 0.7;
/// A person on the way polls after this part of the wait that is left (`line::view` of the domain).
const POLLS_ON_THE_WAY: f64 = 4.0;
/// Bytes of a waiting person at most, with a key of their own (docs/scaling.md).
const WAITING_BYTES: f64 = 150.0;
/// Bytes of an open connection with a request of it under way: 20 KB were measured (docs/reliability.md, 10,000 idle connections).
const CONNECTION_BYTES: f64 = 20_000.0;
/// Bytes that a claim takes on the disk in the end: journal, ledger and its indexes.
const CLAIM_DISK_BYTES: f64 = 1_024.0;
/// How much memory is not counted on.
const MEMORY_KEPT_BYTES: f64 = 128.0 * 1_024.0 * 1_024.0;
/// Nobody plans for more.
const PEOPLE_MAX: f64 = 1e9;

/// What the zone asks of the crowd.
#[derive(Clone, Debug)]
pub(super) struct Zone {
    /// Entries a minute; none: no limit.
    pub(super) limit_per_minute: Option<f64>,
    pub(super) poll_seconds: f64,
    pub(super) poll_seconds_max: f64,
}

/// What was measured.
#[derive(Clone, Debug, Default)]
pub(super) struct Costs {
    /// Processor seconds of the node that answers it for one of each.
    pub(super) join: f64,
    pub(super) poll: f64,
    pub(super) page: f64,
    pub(super) claim: Option<f64>,
    /// Claims that were answered in a second, with all connections of the rehearsal busy.
    pub(super) claims_per_second: Option<f64>,
    /// Seconds of one Redis primary for a poll or a join, and for a claim; none: not told.
    pub(super) redis_poll: Option<f64>,
    pub(super) redis_claim: Option<f64>,
    /// How long one answer in a hundred took, and one in a thousand, in seconds.
    pub(super) answer_p99: f64,
    pub(super) answer_p999: f64,
}

/// The event.
#[derive(Clone, Debug)]
pub(super) struct Event {
    pub(super) people: f64,
    pub(super) arrive_seconds: f64,
    pub(super) zone: Zone,
}

/// How many people one part is enough for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Room {
    /// What it is.
    pub(super) part: &'static str,
    /// People whom it is enough for; none: more than anybody plans for.
    pub(super) people: Option<f64>,
    /// What the event asks of it, and what there is.
    pub(super) asked: String,
    /// What to change.
    pub(super) mend: &'static str,
}

impl Event {
    /// People who arrive in a second.
    pub(super) fn arrivals(&self, people: f64) -> f64 {
        people / self.arrive_seconds
    }

    /// Entries in a second, once there is a line.
    pub(super) fn entries(&self, people: f64) -> f64 {
        match self.zone.limit_per_minute {
            Some(limit) => (limit / 60.0).min(self.arrivals(people)),
            None => self.arrivals(people),
        }
    }

    /// Polls in a second when all have come and nobody has entered.
    pub(super) fn polls(&self, people: f64) -> f64 {
        let (short, long) = (self.zone.poll_seconds, self.zone.poll_seconds_max);
        let pace = match self.zone.limit_per_minute {
            None => return 0.0,
            Some(limit) => limit / 60.0,
        };
        // The wait at rank r is r / pace; it is polled after a part of it, at least `short` and at most `long` seconds.
        let rank_after = |seconds: f64| POLLS_ON_THE_WAY * seconds * pace;
        let (near, far) = (rank_after(short), rank_after(long));
        let front = people.min(near) / short;
        let middle = if people > near && near > 0.0 { POLLS_ON_THE_WAY * pace * (people.min(far) / near).ln() } else { 0.0 };
        front + middle + (people - far).max(0.0) / long
    }

    /// Seconds until the last one is in; none where there is no limit, or nobody is let in.
    pub(super) fn last_after(&self) -> Option<f64> {
        self.zone.limit_per_minute.filter(|limit| *limit > 0.0).map(|limit| self.people / limit * 60.0)
    }

    /// Every part, the one that is full first coming first.
    pub(super) fn rooms(&self, facts: &Facts, costs: &Costs) -> Vec<Room> {
        let mut rooms = vec![self.processors(facts, costs), self.backlog(facts, costs), self.in_flight(facts, costs)];
        rooms.extend(self.memory(facts));
        rooms.extend(self.disk(facts));
        rooms.extend(self.claims(costs));
        rooms.extend(self.redis(costs));
        rooms.sort_by(|a, b| a.people.unwrap_or(PEOPLE_MAX).total_cmp(&b.people.unwrap_or(PEOPLE_MAX)));
        rooms
    }

    fn room(&self, part: &'static str, mend: &'static str, have: f64, unit: &str, ask: impl Fn(f64) -> f64) -> Room {
        let asked = format!("{} of {} {unit}", Figure(ask(self.people)), Figure(have));
        Room { part, people: enough_for(have, ask), asked, mend }
    }

    fn processors(&self, facts: &Facts, costs: &Costs) -> Room {
        let have = f64::from(facts.processors) * f64::from(facts.nodes) * BUSY_MAX;
        let mend = "more processors or nodes; a longer zone.poll_interval_max_ms; pages from a cache in front";
        self.room("processors", mend, have, "processors, while they come", |people| {
            let claims = costs.claim.unwrap_or_default() * self.entries(people);
            self.arrivals(people) * (costs.join + costs.page) + self.polls(people) * costs.poll + claims
        })
    }

    fn backlog(&self, facts: &Facts, costs: &Costs) -> Room {
        let have = facts.somaxconn.unwrap_or(facts.backlog).min(facts.backlog) as f64 * f64::from(facts.nodes);
        let mend = "raise net.core.somaxconn, server.backlog and net.ipv4.tcp_max_syn_backlog (docs/kernel.md), or keep connections in a proxy in front";
        // Whatever holds one answer in a thousand up for so long holds up the accepting as well.
        self.room("accept queue", mend, have, "connections that wait to be accepted", |people| self.arrivals(people) * costs.answer_p999)
    }

    fn in_flight(&self, facts: &Facts, costs: &Costs) -> Room {
        let have = facts.in_flight_per_zone_max.min(facts.in_flight_max) as f64 * f64::from(facts.nodes);
        self.room("requests under way", "raise server.in_flight_per_zone_max", have, "requests of one zone at a time", |people| {
            (self.arrivals(people) + self.polls(people)) * costs.answer_p99
        })
    }

    fn memory(&self, facts: &Facts) -> Option<Room> {
        let nodes = f64::from(facts.nodes);
        let have = facts.memory_available_bytes? as f64 * nodes - MEMORY_KEPT_BYTES;
        let connections = facts.connections_max as f64 * nodes;
        let megabyte = 1_048_576.0;
        Some(self.room("memory", "more memory", have.max(0.0) / megabyte, "MiB that are free", |people| {
            (people * WAITING_BYTES + people.min(connections) * CONNECTION_BYTES) / megabyte
        }))
    }

    fn disk(&self, facts: &Facts) -> Option<Room> {
        let gigabyte = 1_073_741_824.0;
        let have = facts.disk_free_bytes? as f64 / gigabyte;
        Some(self.room("disk", "more disk, before the event", have, "GiB that are free", |people| people * CLAIM_DISK_BYTES / gigabyte))
    }

    fn claims(&self, costs: &Costs) -> Option<Room> {
        let have = costs.claims_per_second?;
        let mend = "a lower entry limit, a faster disk or Redis and Kafka that are nearer; several offers instead of one";
        Some(self.room("claims", mend, have, "claims a second, one for each entry", |people| self.entries(people)))
    }

    fn redis(&self, costs: &Costs) -> Option<Room> {
        // Claims that were not measured are nowhere asked for; those that were, and whose time was not told, are not free.
        let claim = if costs.claim.is_some() { costs.redis_claim? } else { 0.0 };
        let poll = costs.redis_poll?;
        let mend = "a longer zone.poll_interval_max_ms, or several zones: one zone is one Redis process";
        Some(self.room("Redis of the zone", mend, BUSY_MAX, "of its time", |people| {
            (self.arrivals(people) + self.polls(people)) * poll + self.entries(people) * claim
        }))
    }
}

/// Most people for whom `ask` stays within `have`. What is asked never falls as the crowd grows.
fn enough_for(have: f64, ask: impl Fn(f64) -> f64) -> Option<f64> {
    if ask(PEOPLE_MAX) <= have {
        return None;
    }
    let (mut enough, mut too_many) = (0, PEOPLE_MAX as u64);
    while too_many - enough > 1 {
        let middle = u64::midpoint(enough, too_many);
        if ask(middle as f64) <= have { enough = middle } else { too_many = middle }
    }
    Some(enough as f64)
}

/// A number as people write it: `38,000`, `0.4`.
pub(super) struct Figure(pub(super) f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.abs() < 10.0 && value.fract() != 0.0 {
            return write!(f, "{value:.2}");
        }
        let digits = format!("{:.0}", value.abs());
        let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        write!(f, "{}{text}", if value < 0.0 { "-" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(people: f64, limit: Option<f64>) -> Event {
        Event { people, arrive_seconds: 10.0, zone: Zone { limit_per_minute: limit, poll_seconds: 3.0, poll_seconds_max: 20.0 } }
    }

    #[test]
    fn polls_are_the_sum_over_everybodys_interval() {
        for (people, limit) in [(10.0, 600.0), (100.0, 600.0), (500.0, 600.0), (100_000.0, 600.0), (50_000.0, 12_000.0), (1_000.0, 0.0)] {
            let event = event(people, Some(limit));
            let one_by_one: f64 = (0..people as u32)
                .map(|rank| if limit == 0.0 { 1.0 / 20.0 } else { 1.0 / (f64::from(rank) / (limit / 60.0) / 4.0).clamp(3.0, 20.0) })
                .sum();
            let polls = event.polls(people);
            assert!((polls - one_by_one).abs() <= one_by_one * 0.02 + 0.5, "{people} people, {limit} a minute: {polls} and {one_by_one}");
        }
        assert_eq!(event(1_000.0, None).polls(1_000.0), 0.0, "who does not wait does not poll");
    }

    #[test]
    fn what_is_enough_is_the_most_that_fits() {
        assert_eq!(enough_for(100.0, |people| people / 10.0), Some(1_000.0));
        assert_eq!(enough_for(1.0, |people| people.min(0.5)), None);
        assert_eq!(enough_for(0.0, |people| people), Some(0.0));
    }

    #[test]
    fn the_first_to_be_full_comes_first() {
        let facts = super::super::tests::facts();
        let costs = Costs {
            join: 20e-6,
            poll: 15e-6,
            page: 10e-6,
            claim: Some(35e-6),
            claims_per_second: Some(20_000.0),
            redis_poll: None,
            redis_claim: None,
            answer_p99: 0.005,
            answer_p999: 0.05,
        };
        let rooms = event(100_000.0, Some(600.0)).rooms(&facts, &costs);
        let parts: Vec<_> = rooms.iter().map(|room| (room.part, room.people)).collect();
        assert!(parts.windows(2).all(|two| two[0].1.unwrap_or(PEOPLE_MAX) <= two[1].1.unwrap_or(PEOPLE_MAX)), "{parts:?}");
        // 128 connections wait during 0.05 s: 2,560 a second, 25,600 within ten.
        assert_eq!(parts[0], ("accept queue", Some(25_600.0)), "{parts:?}");
        assert!(
            parts.iter().any(|(part, people)| *part == "claims" && people.is_none()),
            "600 a minute are never 20,000 a second: {parts:?}"
        );
        // Of Redis only what was told of all that was measured.
        let redis = |redis_poll, claim, redis_claim| {
            let costs = Costs { redis_poll, claim, redis_claim, ..costs.clone() };
            let rooms = event(100_000.0, None).rooms(&facts, &costs);
            rooms.iter().find(|room| room.part == "Redis of the zone").map(|room| room.people.map(|people| (people / 1e3).round()))
        };
        assert_eq!((redis(None, Some(1e-6), None), redis(None, None, None)), (None, None));
        assert_eq!(redis(Some(20e-6), Some(1e-6), None), None, "claims are not free because nothing was told of them");
        // 20 µs each of 0.7 s: 35,000 joins a second, 350 thousand within ten; and with 80 µs more for each that claims a fifth of them.
        assert_eq!(redis(Some(20e-6), None, None), Some(Some(350.0)));
        assert_eq!(redis(Some(20e-6), Some(1e-6), Some(80e-6)), Some(Some(70.0)));
        assert_eq!(event(100_000.0, Some(600.0)).last_after(), Some(10_000.0));
    }

    #[test]
    fn figures_are_read_by_people() {
        for (value, text) in [(0.0, "0"), (0.4, "0.40"), (999.4, "999"), (38_000.0, "38,000"), (-1_234_567.0, "-1,234,567")] {
            assert_eq!(Figure(value).to_string(), text);
        }
    }
}
