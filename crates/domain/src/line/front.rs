//! The front: below which number nobody waits any more.
//!
//! After a restart a ticket that nothing is known of is put back at its number. One that ended long ago is unknown as
//! well, since admissions and leaves are not kept for ever; so the line tells from time to time up to where all have ended.

use crate::event::{ZoneChange, ZoneEvent};
use crate::line::Line;
use crate::time::Millis;

/// Milliseconds between two looks at where the front is. Whoever ended since the last one is known without it: the
/// ledger keeps admissions and leaves for minutes.
const FRONT_EVERY_MS: i64 = 10_000;

/// How far the front has been told.
#[derive(Debug)]
pub(super) struct Front {
    /// First number of the line's epoch that was not told to have ended.
    told: u32,
    looked_at: Millis,
}

impl Front {
    /// All numbers below `told` have been told to have ended.
    pub(super) const fn new(told: u32, now: Millis) -> Self {
        Self { told, looked_at: now }
    }
}

impl Line {
    /// Tells how far the front has come, if it has. While tickets may be put back, any number may wait again.
    pub(super) fn tell_front(&mut self, now: Millis, events: &mut Vec<ZoneEvent>) {
        if self.recovery.is_some() || now.since_ms(self.front.looked_at) < FRONT_EVERY_MS {
            return;
        }
        self.front.looked_at = now;
        let seq = self.order.first_waiting().unwrap_or(self.next);
        if seq > self.front.told {
            self.front.told = seq;
            self.emit(ZoneChange::Front { epoch: self.settings.epoch, seq }, events);
        }
    }
}
