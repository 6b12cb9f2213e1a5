//! What the crowd really does: how fast people drop out, and how much of what is allowed they use.
//!
//! An estimate from the configured limit alone is wrong twice: many ahead will never enter, and not every
//! allowed entry is used. Both are measured over about the last minute and forgotten exponentially.

use crate::line::log::Log;
use crate::line::schedule::Limits;
use crate::line::slot::Seen;
use crate::time::Millis;

/// After so many seconds a measurement counts 1/e.
const MEMORY_SECONDS: f64 = 60.0;
/// Forgetting is done in steps of this, so that a poll costs no exponential.
const STEP_MS: i64 = 1_000;
/// Ticket-seconds without a loss that every measurement starts from, so that one leaver in a new line is no trend.
const CALM_SECONDS: f64 = 60.0;
/// First polls that the share of those who never ask again starts from.
const CALM_FIRST_POLLS: f64 = 10.0;
/// However slow the crowd was measured, it is not taken to be slower than this.
const USE_MIN: f64 = 0.02;

/// Measurements of one line.
#[derive(Debug)]
pub(super) struct Pace {
    at: Millis,
    forgotten_at: Millis,
    /// Tickets present that have not asked for their place yet.
    fresh: u32,
    /// Seconds that tickets were present which had asked before, summed over tickets.
    present_seconds: f64,
    /// How many of those stopped being present without entering, less those that came back.
    losses: f64,
    /// Tickets that asked for the first time, and that should have and did not.
    first_polls: f64,
    first_misses: f64,
    /// Admissions in slots in which enough people waited, and how many could have been.
    used: f64,
    allowed: f64,
    /// Admissions, and seconds during which anyone was present.
    admissions: f64,
    waiting_seconds: f64,
    slot: Option<Watched>,
    stood: Stood,
}

/// Whether the line stood still lately: a slot in which it did says nothing of entries that nobody took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stood {
    /// Not in the slot under way.
    Not,
    /// For a part of it.
    ForAPart,
    /// It does, as far as anybody was told.
    Still,
}

/// The slot under way.
#[derive(Clone, Copy, Debug)]
struct Watched {
    limits: Limits,
    number: i64,
    /// Tickets present when it began; 0 if it is not to be measured.
    present: u32,
}

impl Pace {
    pub(super) const fn new(now: Millis) -> Self {
        Self {
            at: now,
            forgotten_at: now,
            fresh: 0,
            first_polls: 0.0,
            first_misses: 0.0,
            present_seconds: 0.0,
            losses: 0.0,
            used: 0.0,
            allowed: 0.0,
            admissions: 0.0,
            waiting_seconds: 0.0,
            slot: None,
            stood: Stood::Not,
        }
    }

    /// Time has passed with `present` tickets present throughout.
    pub(super) fn pass(&mut self, now: Millis, present: u32) {
        let seconds = now.since_ms(self.at) as f64 / 1_000.0;
        self.at = now;
        self.present_seconds += seconds * f64::from(present.saturating_sub(self.fresh));
        if present > 0 {
            self.waiting_seconds += seconds;
        }
        if now.since_ms(self.forgotten_at) >= STEP_MS {
            let kept = (now.since_ms(self.forgotten_at) as f64 / -1_000.0 / MEMORY_SECONDS).exp();
            for sum in [
                &mut self.present_seconds,
                &mut self.losses,
                &mut self.first_polls,
                &mut self.first_misses,
                &mut self.used,
                &mut self.allowed,
                &mut self.admissions,
                &mut self.waiting_seconds,
            ] {
                *sum *= kept;
            }
            self.forgotten_at = now;
        }
    }

    /// A ticket was given out to someone who waits with it.
    pub(super) fn joined(&mut self) {
        self.fresh += 1;
    }

    /// A present ticket stopped polling, or was given up.
    pub(super) fn lost(&mut self, seen: Seen) {
        match seen {
            Seen::Once => {
                self.fresh = self.fresh.saturating_sub(1);
                self.first_misses += 1.0;
            }
            Seen::Again => self.losses += 1.0,
        }
    }

    /// One that was present asked for its place.
    pub(super) fn asked(&mut self, seen: Seen) {
        if seen == Seen::Once {
            self.fresh = self.fresh.saturating_sub(1);
            self.first_polls += 1.0;
        }
    }

    /// One that had stopped polling is back.
    pub(super) fn returned(&mut self, seen: Seen) {
        match seen {
            Seen::Once => {
                self.first_misses -= 1.0;
                self.first_polls += 1.0;
            }
            Seen::Again => self.losses -= 1.0,
        }
    }

    /// One that waited entered.
    pub(super) fn admitted(&mut self) {
        self.admissions += 1.0;
    }

    /// Looks whether a slot has ended, and measures it if there were enough people all along. Entries that it allowed and that people who were
    /// there from its beginning did not take.
    pub(super) fn watch(&mut self, log: &Log, limits: Option<Limits>, now: Millis, present: u32) -> u32 {
        let mut unused = 0;
        let Some(limits) = limits else {
            self.slot = None;
            return unused;
        };
        let number = limits.slot(now);
        match self.slot {
            Some(watched) if watched.limits == limits && watched.number == number => return unused,
            Some(watched) if watched.limits == limits && watched.number + 1 == number && present > 0 => {
                let end = limits.slot_start(number);
                let used = log.between(limits.slot_start(watched.number), end);
                let in_window = log.between(end.plus_ms(-limits.window_ms), end);
                let missed = limits.quota.saturating_sub(used).min(limits.limit.saturating_sub(in_window));
                if watched.present >= used.saturating_add(missed) {
                    self.used += f64::from(used);
                    self.allowed += f64::from(used) + f64::from(missed);
                }
                if self.stood == Stood::Not {
                    unused = missed.min(watched.present.saturating_sub(used));
                }
            }
            _ => {}
        }
        self.slot = Some(Watched { limits, number, present });
        if self.stood == Stood::ForAPart {
            self.stood = Stood::Not;
        }
        unused
    }

    /// The line does not run: the slot under way says nothing about the crowd.
    pub(super) fn interrupt(&mut self) {
        self.stood = Stood::Still;
        if let Some(slot) = &mut self.slot {
            slot.present = 0;
        }
    }

    /// Somebody was let in, or told that the line moves.
    pub(super) fn runs(&mut self) {
        if self.stood == Stood::Still {
            self.stood = Stood::ForAPart;
        }
    }

    /// Of `ahead` present tickets with `behind` present ones after them, how many really wait. Tickets that have not
    /// asked yet are the newest; the share of them that never will is taken off.
    pub(super) fn really_waiting(&self, ahead: u32, behind: u32) -> f64 {
        let misses = self.first_misses.max(0.0);
        let share = misses / (misses + self.first_polls.max(0.0) + CALM_FIRST_POLLS);
        f64::from(ahead) - share * f64::from(self.fresh.saturating_sub(behind).min(ahead))
    }

    /// Share of present tickets that drop out per second, once they have asked for their place.
    pub(super) fn loss_per_second(&self) -> f64 {
        (self.losses / (self.present_seconds + CALM_SECONDS)).max(0.0)
    }

    /// Share of the allowed entries that was used: above 0, at most 1.
    pub(super) fn utilisation(&self) -> f64 {
        if self.allowed < 1.0 { 1.0 } else { (self.used / self.allowed).clamp(USE_MIN, 1.0) }
    }

    /// Admissions a second while anyone waited. None: not seen yet.
    pub(super) fn admissions_per_second(&self) -> Option<f64> {
        (self.admissions >= 1.0 && self.waiting_seconds > 0.0).then(|| self.admissions / self.waiting_seconds)
    }
}

/// Of `ahead` tickets, how many will have entered when the last of them is through, if entering them all
/// took `seconds` and each drops out with `loss` a second meanwhile.
///
/// The number ahead shrinks by entries at ahead / seconds and by losses at loss × itself, and is 0 after
/// ln(1 + x) / loss seconds with x = loss × seconds; entries until then are ahead × ln(1 + x) / x.
pub(super) fn survivors(ahead: f64, loss: f64, seconds: f64) -> f64 {
    let x = loss * seconds;
    if x < 1e-6 { ahead } else { ahead * x.ln_1p() / x }
}
