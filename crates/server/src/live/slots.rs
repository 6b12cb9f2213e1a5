//! What each zone did in the last slots of its limiter, taken from what its line counts: looking twice tells what was in between.

use bunho_domain::ids::ZoneId;
use bunho_domain::line::Status;
use bunho_domain::time::Millis;
use bunho_engine::ZoneReport;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};

/// Finished slots that are kept of a zone: ten minutes of 6 s. Each is 24 bytes, so 500 zones are 1.2 MB.
const SLOTS_KEPT: usize = 100;

/// A slot that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// When it began.
    pub(crate) at: Millis,
    /// Admissions.
    pub(crate) entered: u32,
    /// People waiting at its end.
    pub(crate) waiting: u32,
    /// Who gave up.
    pub(crate) left: u32,
}

/// Every zone's.
#[derive(Debug, Default)]
pub(crate) struct Slots(Mutex<HashMap<ZoneId, ZoneSlots>>);

#[derive(Debug)]
struct ZoneSlots {
    slot_ms: i64,
    last: Status,
    under_way: Slot,
    finished: VecDeque<Slot>,
}

impl Slots {
    /// A look at all zones, at a whole multiple of `every`: what is new happened in the time before.
    pub(crate) fn look(&self, reports: &[ZoneReport], at: Millis, every: i64) {
        let mut zones = self.0.lock();
        zones.retain(|id, _| reports.iter().any(|report| report.settings.id == *id));
        for report in reports {
            let slot_ms = i64::from(report.settings.slot_seconds.max(1)) * 1_000;
            let began = Millis((at.0 - every).div_euclid(slot_ms) * slot_ms);
            match zones.get_mut(&report.settings.id) {
                Some(zone) if zone.slot_ms == slot_ms => zone.look(report.status, began, at),
                // Slots of another length are another picture.
                _ => drop(zones.insert(report.settings.id.clone(), ZoneSlots::new(report.status, slot_ms, at))),
            }
        }
    }

    /// A zone's finished slots, oldest first.
    pub(crate) fn of(&self, zone: &ZoneId) -> Vec<Slot> {
        self.0.lock().get(zone).map_or_else(Vec::new, |zone| zone.finished.iter().copied().collect())
    }
}

impl ZoneSlots {
    fn new(status: Status, slot_ms: i64, at: Millis) -> Self {
        let under_way = Slot { at: Millis(at.0.div_euclid(slot_ms) * slot_ms), entered: 0, waiting: status.waiting, left: 0 };
        Self { slot_ms, last: status, under_way, finished: VecDeque::new() }
    }

    fn look(&mut self, status: Status, began: Millis, at: Millis) {
        while self.under_way.at < began {
            self.finish();
        }
        // A line that began anew counts anew.
        let entered = status.entered_in_all.saturating_sub(self.last.entered_in_all);
        // Those of the last second of a minute are in neither count.
        let known = if status.minute == self.last.minute { self.last.dropped_in_minute } else { 0 };
        self.under_way.entered = self.under_way.entered.saturating_add(u32::try_from(entered).unwrap_or(u32::MAX));
        self.under_way.left = self.under_way.left.saturating_add(status.dropped_in_minute.saturating_sub(known));
        self.under_way.waiting = status.waiting;
        self.last = status;
        if self.under_way.at.0 + self.slot_ms <= at.0 {
            self.finish();
        }
    }

    fn finish(&mut self) {
        if self.finished.len() == SLOTS_KEPT {
            self.finished.pop_front();
        }
        self.finished.push_back(self.under_way);
        let next = Millis(self.under_way.at.0 + self.slot_ms);
        self.under_way = Slot { at: next, entered: 0, waiting: self.under_way.waiting, left: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bunho_domain::ids::AppId;
    use bunho_domain::line::State;
    use bunho_domain::line::settings::ZoneSettings;
    use std::sync::Arc;

    fn report(slot_seconds: u32, entered_in_all: u64, waiting: u32, minute: i64, dropped_in_minute: u32) -> ZoneReport {
        let (id, app) = (ZoneId::parse("Z").expect("an id"), AppId::parse("a").expect("an id"));
        let settings = ZoneSettings { slot_seconds, ..ZoneSettings::new(id, app, Some(60)) };
        let status = Status {
            state: State::Waiting,
            waiting,
            present: waiting,
            entered_last_minute: 0,
            limit_per_minute: Some(60),
            estimated_seconds: None,
            active: 0,
            entered_in_all,
            minute: Millis(minute),
            dropped_in_minute,
            left_in_all: 0,
            silent_in_all: 0,
            unused_in_all: 0,
        };
        ZoneReport { settings: Arc::new(settings), status }
    }

    #[test]
    fn what_happened_between_two_looks_is_in_its_slot() {
        let slots = Slots::default();
        // Of 2 s; looked at each second. The first look only says from where to count.
        for (at, entered, waiting, left) in
            [(1_000, 100, 9, 5), (2_000, 101, 8, 5), (3_000, 104, 6, 6), (4_000, 104, 6, 8), (5_000, 105, 5, 8), (6_000, 105, 5, 8)]
        {
            slots.look(&[report(2, entered, waiting, 0, left)], Millis(at), 1_000);
        }
        let zone = ZoneId::parse("Z").expect("an id");
        let slot = |at, entered, waiting, left| Slot { at: Millis(at), entered, waiting, left };
        assert_eq!(slots.of(&zone), [slot(0, 1, 8, 0), slot(2_000, 3, 6, 3), slot(4_000, 1, 5, 0)]);
        // A look that was missed: the empty slot is there, and what happened in the meantime stands in the one that is looked at.
        slots.look(&[report(2, 110, 4, 60_000, 2)], Millis(10_000), 1_000);
        assert_eq!(slots.of(&zone)[3..], [slot(6_000, 0, 5, 0), slot(8_000, 5, 4, 2)]);
        slots.look(&[report(2, 3, 4, 60_000, 0)], Millis(12_000), 1_000);
        assert_eq!(slots.of(&zone)[5..], [slot(10_000, 0, 4, 0)], "a line that began anew");
        slots.look(&[report(4, 3, 4, 60_000, 0)], Millis(13_000), 1_000);
        assert_eq!(slots.of(&zone), [], "slots of another length");
        slots.look(&[], Millis(14_000), 1_000);
        assert!(slots.0.lock().is_empty(), "nothing is kept of what was deleted");
    }

    #[test]
    fn memory_is_bounded() {
        let slots = Slots::default();
        for second in 0..1_000 {
            slots.look(&[report(1, second, 0, 0, 0)], Millis(second as i64 * 1_000), 1_000);
        }
        let kept = slots.of(&ZoneId::parse("Z").expect("an id"));
        assert_eq!(kept.len(), SLOTS_KEPT);
        assert!(kept.iter().all(|slot| slot.entered == 1));
    }
}
