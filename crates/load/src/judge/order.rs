//! First come, first served: the order of admission against the order of joining.
//!
//! Two joins that were on their way at the same time have no order that a client could know. So B *certainly* came after A only if A's
//! answer was here before B's call was sent; if B was admitted before A all the same, B overtook A.
//!
//! That alone is no fault. A turn is taken at one's next poll: once both may enter, whoever polls first is first. Nobody loses by it,
//! since A's turn stays A's; but A's next poll can be as late as the longest polling period told, and as much later as the slowest
//! answer kept the poll before it, or A's own, from arriving. Slots begin and end meanwhile. An overtaking that is larger than
//! these together no honest line explains, and only such ones fail; all are counted and the largest is told.
//!
//! A is anyone who waited and polled as told: who was let in, or still waited at the end (and so enters no earlier than the last
//! one who did). Who left may be passed. B is anyone who was let in, at once too: a newcomer does not pass those who wait.

use super::kendall::tau_b;
use super::wording::{count, counted, person, seconds};
use super::{Trial, Verdict};
use crate::record::{Call, Fate, Person, Record, Zone};

pub(super) fn first_come_first_served(record: &Record) -> Verdict {
    let mut trial = Trial::new("first_come_first_served", "First come, first served");
    let (mut total, mut largest, mut allowed) = (Overtaking::default(), 0, 0);
    let (mut weighted, mut weights) = (0.0, 0.0);
    for zone in &record.zones {
        let mut pairs: Vec<(i64, i64)> = zone.people.iter().filter(|p| waited(p)).filter_map(joined_and_admitted).collect();
        let weight = pairs.len() as f64;
        if let Some(tau) = tau_b(&mut pairs) {
            weighted += tau * weight;
            weights += weight;
        }
        let limit_ms = most_a_turn_takes(record, zone);
        allowed = allowed.max(limit_ms);
        let seen = overtaking(&zone.people, limit_ms, |a, b, by_ms| {
            trial.case(|| tell(zone, a, b, by_ms));
        });
        largest = largest.max(seen.largest_ms);
        total.compared += seen.compared;
        total.certain += seen.certain;
    }
    if total.compared == 0 {
        let reason = if record.zones.is_empty() { "nobody stood in a line" } else { "nobody entered after waiting" };
        return trial.not_judged(reason, String::new());
    }
    let tau = if weights > 0.0 { Some(weighted / weights) } else { None };
    if let Some(tau) = tau {
        trial.value("kendall_tau_b", tau);
    }
    trial.value("certain_overtakings", total.certain as f64);
    trial.value("largest_overtaking_ms", largest as f64);
    trial.value("overtaking_allowed_ms", allowed as f64);
    let figures = format!(
        "Kendall's tau-b {} over {} who waited; {}, the largest by {} (polling explains {}).",
        tau.map_or_else(|| "undefined".into(), |tau| format!("{tau:.6}")),
        counted(total.compared, "person", "people"),
        counted(total.certain, "certain overtaking", "certain overtakings"),
        seconds(largest),
        seconds(allowed),
    );
    trial.judged(figures)
}

fn tell(zone: &Zone, a: usize, b: usize, by_ms: i64) -> String {
    let joined = |i: usize| seconds(zone.people[i].join_sent_ms.into());
    let ahead = match zone.people[a].admitted_server_ms {
        i64::MIN => "still waits".into(),
        at => format!("was admitted at {}", seconds(at)),
    };
    format!(
        "{} (joined at {}) {ahead}; number {} (joined at {}) was admitted at {}, at least {} before",
        person(zone, a),
        joined(a),
        count(b as u64),
        joined(b),
        seconds(zone.people[b].admitted_server_ms),
        seconds(by_ms)
    )
}

/// Whether this person stood in line, as opposed to entering with the first answer, and polled as told.
pub(super) const fn waited(person: &Person) -> bool {
    match person.fate {
        Fate::Entered => person.entered_ms > person.join_answered_ms,
        Fate::Waiting => true,
        Fate::Left | Fate::LeftSilently | Fate::Lost => false,
    }
}

const fn admitted(person: &Person) -> bool {
    person.admitted_server_ms != i64::MIN
}

fn joined_and_admitted(person: &Person) -> Option<(i64, i64)> {
    admitted(person).then(|| (person.join_sent_ms.into(), person.admitted_server_ms))
}

fn most_a_turn_takes(record: &Record, zone: &Zone) -> i64 {
    let slowest_us = [Call::Wait, Call::Entry].iter().filter_map(|call| record.calls.get(call)).map(|totals| totals.latency_us.max()).max();
    let slowest_ms = slowest_us.unwrap_or(0).div_ceil(1_000);
    i64::from(zone.poll_max_ms) + i64::from(zone.slot_ms) + i64::try_from(slowest_ms).unwrap_or(i64::MAX / 2)
}

#[derive(Default)]
struct Overtaking {
    /// People who waited and were let in.
    compared: u64,
    /// Pairs of which one certainly came later and was admitted earlier.
    certain: u64,
    largest_ms: i64,
}

/// Counts overtakings in O(n log n): later people are met in the order in which they sent their joins, behind all whose
/// answers were here by then. Tells of those beyond the limit, one for each who overtook: whom, of all overtaken, it passed by most.
fn overtaking(people: &[Person], limit_ms: i64, mut beyond: impl FnMut(usize, usize, i64)) -> Overtaking {
    let last = people.iter().filter(|p| admitted(p)).map(|p| p.admitted_server_ms).max();
    let Some(last) = last else { return Overtaking::default() };
    let entry = |p: &Person| if admitted(p) { p.admitted_server_ms } else { last };
    let mut ahead: Vec<usize> = (0..people.len()).filter(|i| waited(&people[*i])).collect();
    ahead.sort_unstable_by_key(|i| people[*i].join_answered_ms);
    let mut later: Vec<usize> = (0..people.len()).filter(|i| admitted(&people[*i])).collect();
    later.sort_unstable_by_key(|i| people[*i].join_sent_ms);
    let mut times: Vec<i64> = ahead.iter().map(|i| entry(&people[*i])).collect();
    times.sort_unstable();
    times.dedup();
    let mut counts = Counts(vec![0; times.len() + 1]);
    let mut seen = Overtaking { compared: ahead.iter().filter(|i| admitted(&people[**i])).count() as u64, ..Overtaking::default() };
    // Of those ahead so far, whoever entered last.
    let mut last_ahead: Option<(i64, usize)> = None;
    let mut met = 0;
    for b in later {
        while let Some(a) = ahead.get(met).copied().filter(|a| people[*a].join_answered_ms < people[b].join_sent_ms) {
            counts.add(times.partition_point(|t| *t < entry(&people[a])));
            last_ahead = last_ahead.max(Some((entry(&people[a]), a)));
            met += 1;
        }
        let at = people[b].admitted_server_ms;
        let not_later = counts.before(times.partition_point(|t| *t <= at));
        seen.certain += met as u64 - not_later;
        let Some((entered, a)) = last_ahead else { continue };
        let by_ms = entered - at;
        seen.largest_ms = seen.largest_ms.max(by_ms);
        if by_ms > limit_ms {
            beyond(a, b, by_ms);
        }
    }
    seen
}

/// Counts by place with sums of everything before a place: a Fenwick tree.
struct Counts(Vec<u64>);

impl Counts {
    fn add(&mut self, place: usize) {
        let mut i = place + 1;
        while let Some(sum) = self.0.get_mut(i) {
            *sum += 1;
            i += i & i.wrapping_neg();
        }
    }

    fn before(&self, place: usize) -> u64 {
        let (mut i, mut sum) = (place, 0);
        while i > 0 {
            sum += self.0[i];
            i &= i - 1;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::sample;
    use proptest::prelude::*;

    fn people(times: &[(u32, u32, Option<i64>, bool)]) -> Vec<Person> {
        let person = |(sent, took, admitted, left): &(u32, u32, Option<i64>, bool)| {
            let mut person = sample::waiting(*sent, sent + took);
            if let Some(at) = admitted {
                person.fate = Fate::Entered;
                person.admitted_server_ms = i64::from(*sent) + at;
                person.entered_ms = sent + took + *at as u32;
            } else if *left {
                person.fate = Fate::LeftSilently;
            }
            person
        };
        times.iter().map(person).collect()
    }

    proptest! {
        #[test]
        fn agrees_with_looking_at_every_pair(
            times in prop::collection::vec((0_u32..60, 0_u32..20, prop::option::weighted(0.8, 0_i64..90), any::<bool>()), 0..60),
            limit_ms in 0_i64..80,
        ) {
            let people = people(&times);
            let last = people.iter().map(|p| p.admitted_server_ms).max().unwrap_or(i64::MIN);
            let (mut certain, mut largest, mut guilty) = (0, 0, 0);
            for b in people.iter().filter(|b| admitted(b)) {
                let overtaken = people.iter().filter(|a| waited(a) && a.join_answered_ms < b.join_sent_ms);
                let by: Vec<i64> = overtaken.map(|a| if admitted(a) { a.admitted_server_ms } else { last } - b.admitted_server_ms).collect();
                certain += by.iter().filter(|ms| **ms > 0).count() as u64;
                let most = by.iter().max().copied().unwrap_or(0);
                largest = largest.max(most);
                guilty += u64::from(most > limit_ms);
            }
            let mut told = 0;
            let seen = overtaking(&people, limit_ms, |_, _, _| told += 1);
            prop_assert_eq!((seen.certain, seen.largest_ms, told), (certain, largest, guilty));
        }
    }
}
