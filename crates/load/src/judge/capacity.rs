//! What of the capacity was used while people waited: real admissions over those of a limiter that loses no millisecond.
//!
//! The ideal limiter starts from the real admissions before the line had formed and then admits, at every millisecond, as many as the
//! window and the slot leave. Both count whole slots only, since a real crowd uses a slot up over its length and the ideal one at
//! its start; and only while more people *surely* waited than a slot admits. Surely: who was let in later, or waited to the end. Who
//! left is not counted, since it is not known until when they would have entered. (Waiting is seen by our clock and admission by the
//! server's; they need agree only to a fraction of a slot.)

use super::order::waited;
use super::window::admissions_of;
use super::wording::{count, counted, percent, seconds};
use super::{Trial, Verdict};
use crate::record::{Record, Zone};
use std::collections::VecDeque;

/// Least share that must be used.
const USED_MIN: f64 = 0.99;
/// Shorter waits are not judged: what one slot loses at the ends would weigh too much.
const WINDOWS_MIN: i64 = 2;

pub(super) fn capacity_is_used(record: &Record) -> Verdict {
    let mut trial = Trial::new("capacity_used", "At least 99 % of the allowed entries are used while people wait");
    let (mut real, mut ideal, mut judged) = (0, 0, 0);
    let mut zones = Vec::new();
    for zone in record.zones.iter().filter(|zone| !zone.otherwise_bound) {
        let Some(used) = use_of(zone, record) else { continue };
        judged += 1;
        real += used.real;
        ideal += used.ideal;
        zones.push((used, zone));
    }
    if judged == 0 {
        return trial.not_judged(why_not(record), String::new());
    }
    let share = share(real, ideal);
    trial.value("capacity_used", share);
    trial.value("capacity_entries", real as f64);
    trial.value("capacity_entries_possible", ideal as f64);
    // One entry a zone is what counting whole people cannot tell.
    if share < USED_MIN && ideal - real > judged {
        zones.sort_by(|a, b| a.0.share().total_cmp(&b.0.share()));
        for (used, zone) in zones.iter().filter(|(used, _)| used.share() < USED_MIN) {
            trial.case(|| {
                let (from, until) = (seconds(used.from), seconds(used.until));
                format!("zone {}: {} of {} possible entries from {from} to {until}", zone.id, count(used.real), count(used.ideal))
            });
        }
    }
    let figures = format!(
        "{} of what a limiter without any loss would have let in: {} of {} ({}).",
        percent(share),
        count(real),
        count(ideal),
        counted(judged, "zone", "zones")
    );
    trial.judged(figures)
}

fn why_not(record: &Record) -> &'static str {
    if record.zones.is_empty() {
        "nobody stood in a line"
    } else if record.zones.iter().all(|zone| zone.otherwise_bound || zone.limit.is_none_or(|limit| limit == 0)) {
        "something else than the limit held people back"
    } else {
        "people did not wait for two whole windows on end"
    }
}

fn share(real: u64, ideal: u64) -> f64 {
    // More than all is possible at the edges, by what the clocks differ.
    if ideal == 0 { 1.0 } else { (real as f64 / ideal as f64).min(1.0) }
}

struct Use {
    from: i64,
    until: i64,
    real: u64,
    ideal: u64,
}

impl Use {
    fn share(&self) -> f64 {
        share(self.real, self.ideal)
    }
}

/// A zone's limiter, with slots counted in times relative to the run's beginning.
struct Limiter {
    limit: u64,
    window_ms: i64,
    quota: u64,
    slot_ms: i64,
    /// Slots begin at whole multiples of their length in Unix time; so much of one had passed when the run began.
    offset_ms: i64,
}

impl Limiter {
    fn of(zone: &Zone, record: &Record) -> Option<Self> {
        let limit = u64::from(zone.limit.filter(|limit| *limit > 0)?);
        let (window_ms, slot_ms) = (i64::from(zone.window_ms.max(1)), i64::from(zone.slot_ms.max(1)));
        let quota = (limit * slot_ms.unsigned_abs()).div_ceil(window_ms.unsigned_abs());
        Some(Self { limit, window_ms, quota, slot_ms, offset_ms: record.began_unix_ms.rem_euclid(slot_ms) })
    }

    const fn slot(&self, at: i64) -> i64 {
        (at + self.offset_ms).div_euclid(self.slot_ms)
    }

    const fn slot_start(&self, slot: i64) -> i64 {
        slot * self.slot_ms - self.offset_ms
    }

    /// Admissions in [from, until) of a limiter that admits the moment it may, after these.
    fn ideal(&self, before: &[i64], from: i64, until: i64) -> u64 {
        // Times and how many, oldest first.
        let mut recent: VecDeque<(i64, u64)> = VecDeque::new();
        let (mut inside, mut in_slot, mut given) = (0, 0, 0);
        for at in before.iter().filter(|at| **at > from - self.window_ms) {
            recent.push_back((*at, 1));
            inside += 1;
            in_slot += u64::from(self.slot(*at) == self.slot(from));
        }
        let mut now = from;
        while now < until {
            while let Some((_, n)) = recent.front().copied().filter(|(at, _)| *at <= now - self.window_ms) {
                recent.pop_front();
                inside -= n;
            }
            let admits = self.limit.saturating_sub(inside).min(self.quota.saturating_sub(in_slot));
            if admits > 0 {
                recent.push_back((now, admits));
                inside += admits;
                in_slot += admits;
                given += admits;
            }
            let next_slot = self.slot_start(self.slot(now) + 1);
            let next_room = recent.front().map_or(next_slot, |(at, _)| at + self.window_ms);
            // Whatever was not admitted now is held back by the slot, the window, or both; the later one lets go.
            let next = if in_slot >= self.quota { next_slot } else { next_room.min(next_slot).max(now + 1) };
            if next >= next_slot {
                in_slot = 0;
            }
            now = next;
        }
        given
    }
}

fn use_of(zone: &Zone, record: &Record) -> Option<Use> {
    let limiter = Limiter::of(zone, record)?;
    let times = admissions_of(zone);
    let (from, until) = longest_wait(zone, record, limiter.quota.max(1))?;
    // The slot in which the crowd shrank below a slot's worth need not have been filled.
    let until = limiter.slot_start(limiter.slot(until));
    if until - from < WINDOWS_MIN * limiter.window_ms {
        return None;
    }
    let before = times.partition_point(|at| *at < from);
    let real = times.partition_point(|at| *at < until) - before;
    Some(Use { from, until, real: real as u64, ideal: limiter.ideal(&times[..before], from, until) })
}

/// The longest time on end in which at least `crowd` people surely waited.
fn longest_wait(zone: &Zone, record: &Record, crowd: u64) -> Option<(i64, i64)> {
    let end = i64::try_from(record.elapsed_ms).unwrap_or(i64::MAX);
    let mut steps: Vec<(i64, i64)> = Vec::new();
    for person in zone.people.iter().filter(|person| waited(person)) {
        let from = i64::from(person.join_answered_ms);
        let until = if person.admitted_server_ms == i64::MIN { end } else { person.admitted_server_ms };
        if until > from {
            steps.extend([(from, 1), (until, -1)]);
        }
    }
    steps.sort_unstable();
    let (mut waiting, mut since) = (0_i64, None);
    let mut longest: Option<(i64, i64)> = None;
    for (at, change) in steps {
        waiting += change;
        let enough = waiting.unsigned_abs() >= crowd;
        match since {
            None if enough => since = Some(at),
            Some(from) if !enough => {
                since = None;
                if longest.is_none_or(|(a, b)| at - from > b - a) {
                    longest = Some((from, at));
                }
            }
            _ => {}
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition: look at every millisecond.
    fn naive(limiter: &Limiter, before: &[i64], from: i64, until: i64) -> u64 {
        let mut all = before.to_vec();
        let mut given = 0;
        for now in from..until {
            let inside = all.iter().filter(|at| **at > now - limiter.window_ms).count() as u64;
            let in_slot = all.iter().filter(|at| limiter.slot(**at) == limiter.slot(now)).count() as u64;
            let admits = limiter.limit.saturating_sub(inside).min(limiter.quota.saturating_sub(in_slot));
            all.extend(std::iter::repeat_n(now, admits as usize));
            given += admits;
        }
        given
    }

    proptest! {
        #[test]
        fn the_ideal_limiter_agrees_with_looking_at_every_millisecond(
            limit in 1_u64..20, window_ms in 5_i64..60, slot_ms in 1_i64..20, offset in 0_i64..20,
            mut before in prop::collection::vec(0_i64..100, 0..20), length in 0_i64..200,
        ) {
            before.sort_unstable();
            let slot_ms = slot_ms.min(window_ms);
            let quota = (limit * slot_ms as u64).div_ceil(window_ms as u64);
            let limiter = Limiter { limit, window_ms, quota, slot_ms, offset_ms: offset % slot_ms };
            prop_assert_eq!(limiter.ideal(&before, 100, 100 + length), naive(&limiter, &before, 100, 100 + length));
        }
    }
}
