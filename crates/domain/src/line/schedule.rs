//! When the limiter will let the n-th person from now in: exactly, not by an average.
//!
//! The limits are a rolling window (N admissions in any window) and a grid of slots (a quota in each). What was
//! admitted is known to the millisecond, so what becomes free when is known too. The plan walks two windows of slots:
//! a slot admits what has become free by then, up to its quota, and carries the rest over; what it admits becomes
//! free again one window later. After the first window every slot admits what it admitted one window earlier, so the
//! second window repeats for ever and the plan answers for any number. It is made once per slot; a question is two
//! binary searches.
//!
//! The plan times the last poll before an entry (a rolling limit loses for good what late polls delay) and is what
//! the estimate is computed from.

use crate::line::log::Log;
use crate::line::settings::ZoneSettings;
use crate::planted::{self, Bug};
use crate::time::Millis;

/// Entries that become free at the start of a slot are polled for over this part of it, so that a quota of
/// thousands does not come in one millisecond; the other three quarters are left to make up for who does not come.
const SPREAD_PART: i64 = 4;

/// Entries that became free in one millisecond are polled for at this many a millisecond.
pub(super) const POLLS_PER_MS: u32 = 20;

/// The limiter's settings, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// N.
    pub(super) limit: u32,
    pub(super) window_ms: i64,
    pub(super) slot_ms: i64,
    /// Most admissions in a slot while a line exists.
    pub(super) quota: u32,
}

impl Limits {
    /// None: no limit.
    pub(super) fn of(settings: &ZoneSettings) -> Option<Self> {
        Some(Self {
            limit: settings.entry_limit_per_minute?,
            quota: settings.slot_quota()?,
            window_ms: i64::from(settings.window_seconds.max(1)) * 1_000,
            slot_ms: i64::from(settings.slot_seconds.max(1)) * 1_000,
        })
    }

    /// Number of the slot that `moment` is in. Slots are a fixed grid from the Unix epoch.
    pub(super) const fn slot(&self, moment: Millis) -> i64 {
        moment.0.div_euclid(self.slot_ms)
    }

    /// Start of a slot.
    pub(super) const fn slot_start(&self, slot: i64) -> Millis {
        Millis(slot.saturating_mul(self.slot_ms))
    }

    /// Admissions that the window allows at `now`, whatever the slot.
    pub(super) fn window_room(&self, log: &Log, now: Millis) -> u32 {
        let short_ms = if planted::is(Bug::WindowShort) { self.slot_ms } else { 0 };
        let entered = log.total() - log.total_before(now.plus_ms(1 - self.window_ms + short_ms));
        self.limit.saturating_sub(u32::try_from(entered).unwrap_or(u32::MAX))
    }

    /// Admissions that the window and the slot allow at `now`.
    pub(super) fn room(&self, log: &Log, now: Millis) -> u32 {
        let in_slot = log.total() - log.total_before(self.slot_start(self.slot(now)));
        self.window_room(log, now).min(self.quota.saturating_sub(u32::try_from(in_slot).unwrap_or(u32::MAX)))
    }
}

/// What the slots from one on will admit.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What it was made for: the limits and the first slot.
    made_for: Option<(Limits, i64)>,
    /// Admissions since the line began that were before the first slot.
    before: u64,
    slots: Vec<Slot>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: Millis,
    /// Admissions in this slot and all planned before it.
    upto: u32,
    /// Admissions that are free at its start. Negative: more entered than a lowered N allows.
    carried: i64,
    /// Logged admissions that leave the window during the slot: from this one of the log on, so many.
    first_freed: u64,
    freed: u32,
}

impl Plan {
    /// The earliest moment, not before `from`, at which someone may enter who has `ahead` admissions to wait for.
    /// `from` is now, or when the line will open. None: never, because N is 0.
    pub(super) fn moment(&mut self, log: &Log, limits: Limits, from: Millis, ahead: u32) -> Option<Millis> {
        let first = limits.slot(from);
        let entered = |before: u64| u32::try_from(log.total().saturating_sub(before)).unwrap_or(u32::MAX);
        let fits = self.made_for == Some((limits, first)) && self.slots.first().is_some_and(|slot| entered(self.before) <= slot.upto);
        if !fits {
            self.make(log, limits, first);
        }
        let mut place = entered(self.before).saturating_add(ahead);
        // Beyond the plan the second half of it repeats.
        let half = self.slots.get(self.slots.len() / 2 - 1).map_or(0, |slot| slot.upto);
        let whole = self.slots.last().map_or(0, |slot| slot.upto);
        let turn = whole.saturating_sub(half);
        let mut later_ms = 0;
        if place >= whole {
            let turns = (place - whole).checked_div(turn)?.saturating_add(1);
            place = place.saturating_sub(turns.saturating_mul(turn));
            later_ms = i64::from(turns) * limits.slot_ms * (self.slots.len() / 2) as i64;
        }
        Some(self.within(log, limits, from, place).plus_ms(later_ms).max(from))
    }

    /// Moment of the `place`-th admission since the start of the first slot.
    fn within(&self, log: &Log, limits: Limits, from: Millis, place: u32) -> Millis {
        if let Some(happened) = log.get(self.before + u64::from(place)) {
            return happened.at;
        }
        let s = self.slots.partition_point(|slot| slot.upto <= place);
        let Some(slot) = self.slots.get(s) else { return from };
        let start = if s == 0 { slot.start.max(from) } else { slot.start };
        let index = i64::from(place - self.upto(s));
        if index < slot.carried {
            return start.plus_ms(index * (limits.slot_ms / SPREAD_PART) / i64::from(limits.quota.max(1)));
        }
        let Ok(freed) = u32::try_from(index - slot.carried) else { return start };
        if freed < slot.freed {
            let Some(logged) = log.get(slot.first_freed + u64::from(freed)) else { return start };
            return start.max(logged.at.plus_ms(limits.window_ms + i64::from(logged.index / POLLS_PER_MS)));
        }
        // It becomes free by an admission that this plan foresees in an earlier slot, and that is one step back.
        let Some(earlier) = s.checked_sub(limits.slots_per_window()) else { return start };
        let earlier_place = self.upto(earlier).saturating_add(freed - slot.freed).min(place.saturating_sub(1));
        start.max(self.within(log, limits, from, earlier_place).plus_ms(limits.window_ms))
    }

    fn make(&mut self, log: &Log, limits: Limits, first: i64) {
        let slots = 2 * (limits.window_ms.max(limits.slot_ms) as usize).div_ceil(limits.slot_ms as usize);
        let begin = limits.slot_start(first);
        self.made_for = Some((limits, first));
        self.before = log.total_before(begin);
        self.slots.clear();
        // A logged admission is free from one window after it on; those free at the very start are carried.
        let mut first_freed = log.total_before(begin.plus_ms(1 - limits.window_ms));
        let mut carried = i64::from(limits.limit) - (self.before - first_freed) as i64;
        let mut upto = 0_u32;
        for s in 0..slots {
            let start = limits.slot_start(first + s as i64);
            let end = log.total_before(start.plus_ms(limits.slot_ms - limits.window_ms)).clamp(first_freed, self.before);
            let freed = u32::try_from(end - first_freed).unwrap_or(u32::MAX);
            let again = s.checked_sub(limits.slots_per_window()).map_or(0, |e| self.slots[e].upto - self.upto(e));
            let free = carried + i64::from(freed) + i64::from(again);
            let mut admitted = u32::try_from(free.clamp(0, i64::from(limits.quota))).unwrap_or(0);
            if s == 0 {
                // A burst without a line may have passed the quota.
                admitted = admitted.max(u32::try_from(log.total() - self.before).unwrap_or(u32::MAX));
            }
            upto = upto.saturating_add(admitted);
            self.slots.push(Slot { start, upto, carried, first_freed, freed });
            carried = free - i64::from(admitted);
            first_freed = end;
        }
    }

    /// Admissions planned before slot `s`.
    fn upto(&self, s: usize) -> u32 {
        s.checked_sub(1).and_then(|s| self.slots.get(s)).map_or(0, |slot| slot.upto)
    }
}

impl Limits {
    /// Whole slots in a window, at least one.
    const fn slots_per_window(&self) -> usize {
        let slots = self.window_ms / self.slot_ms;
        if slots < 1 { 1 } else { slots as usize }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const WINDOW_MS: i64 = 10_000;

    /// Lets people in as soon as it may, a millisecond at a time, and notes when.
    fn admit_at_once(log: &Log, limits: Limits, from: Millis, people: usize) -> Vec<Millis> {
        let mut all: Vec<Millis> = (0..log.total()).filter_map(|total| log.get(total)).map(|logged| logged.at).collect();
        let known = all.len();
        let mut now = from;
        while all.len() < known + people {
            let in_window = all.iter().filter(|at| now.since_ms(**at) < WINDOW_MS).count() as u32;
            let in_slot = all.iter().filter(|at| limits.slot(**at) == limits.slot(now)).count() as u32;
            let room = limits.limit.saturating_sub(in_window).min(limits.quota.saturating_sub(in_slot));
            all.extend(std::iter::repeat_n(now, room as usize));
            now = now.plus_ms(1);
        }
        all.split_off(known).into_iter().take(people).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_plan_is_what_a_limiter_without_delay_does(
            limit in 1_u32..30,
            slot_seconds in prop::sample::select(vec![1_i64, 2, 5, 10]),
            gaps in prop::collection::vec(0_i64..2_000, 0..30),
            wait in 0_i64..4_000,
        ) {
            let slot_ms = slot_seconds * 1_000;
            let quota = (u64::from(limit) * slot_ms as u64).div_ceil(WINDOW_MS as u64) as u32;
            let limits = Limits { limit, window_ms: WINDOW_MS, slot_ms, quota };
            let (mut log, mut now) = (Log::default(), Millis(1_000_000_000));
            for gap in gaps {
                now = now.plus_ms(gap);
                if limits.window_room(&log, now) > 0 {
                    log.push(now);
                }
            }
            now = now.plus_ms(wait);
            let people = 4 * limit as usize + 3;
            let ideal = admit_at_once(&log, limits, now, people);
            let mut plan = Plan::default();
            for (ahead, at) in ideal.into_iter().enumerate() {
                let told = plan.moment(&log, limits, now, ahead as u32).expect("a limit above 0");
                let late = told.since_ms(at);
                // Told no sooner than it can be, and later by at most the spread of polls over a part of the slot.
                prop_assert!((0..=slot_ms / SPREAD_PART).contains(&late), "the {ahead}. is told {late} ms late");
                prop_assert!(told > now || (ahead as u32) < limits.room(&log, now), "told to come now without room");
            }
        }
    }
}
