//! What people were told when they joined against what it took: of a few of them, so that whoever waits pays nothing for it.
//!
//! Only tickets whose number is a multiple of the zone's stride count. Where more of them wait than are remembered the stride doubles, and half
//! of those that are remembered are forgotten, evenly; where few are left it halves. A poll that still waits does nothing here; one that
//! enters looks at the stride, and takes the lock only if it may be one that counts. On a cluster a ticket counts where the node that it
//! joined at is the one that lets it in.

use bunho_domain::event::TicketNumber;
use bunho_domain::ids::ZoneId;
use bunho_domain::time::Millis;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};

/// Zones share so many places by their numbers; two that share one also share a stride.
const PLACES: usize = 64;
/// Tickets that are remembered in a place: 64 × 256 × some 60 bytes are 1 MB.
const REMEMBERED_MAX: usize = 256;
/// Below this many the stride halves again.
const REMEMBERED_FEW: usize = 64;
/// Samples that are kept of a zone.
const KEPT: usize = 100;
/// Whoever has not entered this long after what was told has left, or never will.
const FORGOTTEN_AFTER_MS: i64 = 3_600_000;

/// One that entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Estimate {
    /// When it entered.
    pub(crate) at: Millis,
    /// Seconds that it was told when it joined.
    pub(crate) told: u32,
    /// Seconds that it took.
    pub(crate) kept: u32,
}

/// Every zone's.
#[derive(Debug)]
pub(crate) struct Estimates([Place; PLACES]);

#[derive(Debug)]
struct Place {
    /// Only numbers with none of these bits count: a power of two less one.
    mask: AtomicU32,
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    waiting: HashMap<(u32, TicketNumber), Told>,
    entered: HashMap<ZoneId, Entered>,
}

/// Of one zone.
#[derive(Debug, Default)]
struct Entered {
    latest: VecDeque<Estimate>,
    sums: Sums,
}

/// Over all that counted, since the zone was first seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    /// Seconds that they were told.
    pub(crate) told: u64,
    /// Seconds that it took.
    pub(crate) kept: u64,
    /// How many they are.
    pub(crate) people: u64,
}

#[derive(Clone, Copy, Debug)]
struct Told {
    at: Millis,
    seconds: u32,
}

impl Default for Estimates {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Place { mask: AtomicU32::new(0), inside: Mutex::default() }))
    }
}

impl Estimates {
    /// Somebody joined and was told so many seconds.
    pub(crate) fn joined(&self, zone: u32, ticket: TicketNumber, seconds: u32, now: impl FnOnce() -> Millis) {
        let place = self.place(zone);
        let mask = place.mask.load(Ordering::Relaxed);
        if ticket.seq & mask != 0 {
            return;
        }
        let now = now();
        let mut inside = place.inside.lock();
        if inside.waiting.len() >= REMEMBERED_MAX {
            inside.waiting.retain(|_, told| now.since_ms(told.at) < i64::from(told.seconds) * 1_000 + FORGOTTEN_AFTER_MS);
        }
        if inside.waiting.len() >= REMEMBERED_MAX {
            let wider = mask << 1 | 1;
            inside.waiting.retain(|(_, ticket), _| ticket.seq & wider == 0);
            place.mask.store(wider, Ordering::Relaxed);
            if ticket.seq & wider != 0 || inside.waiting.len() >= REMEMBERED_MAX {
                return;
            }
        }
        // Joining again with the same key gives the same ticket: what was told first counts.
        inside.waiting.entry((zone, ticket)).or_insert(Told { at: now, seconds });
    }

    /// Somebody is in, perhaps for a while already.
    pub(crate) fn entered(&self, id: &ZoneId, zone: u32, ticket: TicketNumber, at: Millis) {
        let place = self.place(zone);
        let mask = place.mask.load(Ordering::Relaxed);
        if ticket.seq & mask != 0 {
            return;
        }
        let mut inside = place.inside.lock();
        let Some(told) = inside.waiting.remove(&(zone, ticket)) else { return };
        if mask > 0 && inside.waiting.len() < REMEMBERED_FEW {
            place.mask.store(mask >> 1, Ordering::Relaxed);
        }
        let kept = u32::try_from(at.since_ms(told.at).max(0) / 1_000).unwrap_or(u32::MAX);
        let entered = inside.entered.entry(id.clone()).or_default();
        entered.sums.told += u64::from(told.seconds);
        entered.sums.kept += u64::from(kept);
        entered.sums.people += 1;
        if entered.latest.len() == KEPT {
            entered.latest.pop_front();
        }
        entered.latest.push_back(Estimate { at, told: told.seconds, kept });
    }

    /// A zone's samples, oldest first.
    pub(crate) fn of(&self, id: &ZoneId, zone: u32) -> Vec<Estimate> {
        self.place(zone).inside.lock().entered.get(id).map_or_else(Vec::new, |entered| entered.latest.iter().copied().collect())
    }

    /// Every zone's sums.
    pub(crate) fn sums(&self) -> HashMap<ZoneId, Sums> {
        let mut sums = HashMap::new();
        for place in &self.0 {
            sums.extend(place.inside.lock().entered.iter().map(|(id, entered)| (id.clone(), entered.sums)));
        }
        sums
    }

    /// Forgets zones that are no more.
    pub(crate) fn keep_only(&self, is_there: impl Fn(&ZoneId) -> bool) {
        for place in &self.0 {
            let mut inside = place.inside.lock();
            if !inside.entered.is_empty() {
                inside.entered.retain(|id, _| is_there(id));
            }
        }
    }

    fn place(&self, zone: u32) -> &Place {
        &self.0[zone as usize % PLACES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> ZoneId {
        ZoneId::parse("Z").expect("an id")
    }

    const fn ticket(seq: u32) -> TicketNumber {
        TicketNumber { epoch: 1, seq }
    }

    #[test]
    fn what_was_told_first_is_held_against_what_it_took() {
        let estimates = Estimates::default();
        estimates.joined(1, ticket(0), 60, || Millis(0));
        estimates.joined(1, ticket(0), 10, || Millis(50_000));
        estimates.joined(65, ticket(0), 7, || Millis(0));
        estimates.entered(&zone(), 1, ticket(5), Millis(1));
        estimates.entered(&zone(), 1, ticket(0), Millis(62_900));
        estimates.entered(&zone(), 1, ticket(0), Millis(70_000));
        assert_eq!(estimates.of(&zone(), 1), [Estimate { at: Millis(62_900), told: 60, kept: 62 }], "once");
        assert_eq!(estimates.sums(), HashMap::from([(zone(), Sums { told: 60, kept: 62, people: 1 })]));
        estimates.keep_only(|_| false);
        assert_eq!(estimates.of(&zone(), 1), []);
    }

    #[test]
    fn a_crowd_is_sampled_evenly_in_bounded_memory_and_a_small_line_wholly() {
        let estimates = Estimates::default();
        for seq in 0..1_000_000 {
            estimates.joined(3, ticket(seq), seq / 10, || Millis(0));
        }
        let remembered = estimates.place(3).inside.lock().waiting.len();
        assert!((REMEMBERED_MAX / 4..=REMEMBERED_MAX).contains(&remembered), "{remembered}");
        let stride = estimates.place(3).mask.load(Ordering::Relaxed) + 1;
        assert!(stride.is_power_of_two() && stride >= 4_096, "{stride}");
        for seq in 0..1_000_000 {
            estimates.entered(&zone(), 3, ticket(seq), Millis(i64::from(seq) * 100));
        }
        let kept = estimates.of(&zone(), 3);
        assert_eq!(kept.len(), KEPT);
        let sums = estimates.sums()[&zone()];
        assert!(sums.people > KEPT as u64 && sums.told == sums.kept, "{sums:?}");
        assert!(kept.iter().all(|sample| sample.told == sample.kept), "{kept:?}");
        assert!(estimates.place(3).inside.lock().waiting.is_empty());
        // Everybody enters at once: the stride comes down with each that counts.
        for seq in 1_048_576..1_048_676 {
            estimates.joined(3, ticket(seq), 1, || Millis(0));
            estimates.entered(&zone(), 3, ticket(seq), Millis(1_000));
        }
        assert!(estimates.place(3).mask.load(Ordering::Relaxed) < stride - 1);
    }

    #[test]
    fn who_never_enters_does_not_stay() {
        let estimates = Estimates::default();
        for seq in 0..REMEMBERED_MAX as u32 {
            estimates.joined(1, ticket(seq), 1, || Millis(0));
        }
        estimates.joined(1, ticket(9_999), 1, || Millis(FORGOTTEN_AFTER_MS + 2_000));
        assert_eq!(estimates.place(1).inside.lock().waiting.len(), 1);
        assert_eq!(estimates.place(1).mask.load(Ordering::Relaxed), 0, "there was room");
    }
}
