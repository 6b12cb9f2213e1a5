//! Coming back after a restart: what events told, and which tickets may still return.
//!
//! Waiting is not written down: the tickets carry it. Events tell only what must not be forgotten: which numbers
//! were given out, who was let in and when, who left, and up to which number all have ended. From them the limits and the passes are restored at once, and
//! everybody else by their own next poll.

use crate::event::TicketNumber;
use crate::line::settings::ZoneSettings;
use crate::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// What replayed events told, until all of them are in.
#[derive(Debug, Default)]
pub(super) struct Replay {
    pub(super) admitted: BTreeMap<TicketNumber, Millis>,
    pub(super) left: BTreeSet<TicketNumber>,
    /// Highest reservation, by epoch and then number.
    pub(super) reserved: Option<(u32, u32)>,
    /// Highest front, by epoch and then number.
    pub(super) front: Option<(u32, u32)>,
    /// Start of the last minute that the history has.
    pub(super) minute: Option<Millis>,
}

/// How a line that was restarted treats what it does not know.
#[derive(Debug)]
pub(super) struct Recovery {
    /// Until then nobody is admitted, so that the front is there again.
    pub(super) listen_until: Millis,
    /// Until then an unknown ticket is put back at its number.
    restore_until: Millis,
    /// First number that may have been waiting: those below it were told to have ended.
    pub(super) front: u32,
    /// First number that was not given out before the restart.
    below: u32,
    /// Numbers that have ended, before the restart or since.
    ended: Bits,
}

impl Recovery {
    /// Listens for two short poll intervals; restores for as long as any ticket may have been silent and still hold
    /// its place, and one long interval more.
    pub(super) fn new(settings: &ZoneSettings, now: Millis, front: u32, below: u32) -> Self {
        let silence = now.plus_seconds(settings.abandon_after_seconds).plus_seconds(settings.resume_grace_seconds);
        Self {
            listen_until: now.plus_ms(2 * i64::from(settings.poll_interval_ms)),
            restore_until: silence.plus_ms(i64::from(settings.poll_interval_max_ms)),
            front,
            below,
            ended: Bits::default(),
        }
    }

    /// Whether tickets may still be restored.
    pub(super) fn lasts(&self, now: Millis) -> bool {
        now < self.restore_until
    }

    /// Whether the ticket with this number, which is not known, may be put back.
    pub(super) fn may_return(&self, seq: u32) -> bool {
        (self.front..self.below).contains(&seq) && !self.ended.get(seq)
    }

    /// This ticket has ended, and does not return.
    pub(super) fn end(&mut self, seq: u32) {
        if (self.front..self.below).contains(&seq) {
            self.ended.set(seq);
        }
    }
}

/// A set of numbers that are mostly close together.
#[derive(Debug, Default)]
struct Bits(BTreeMap<u32, Box<[u64; WORDS]>>);

const WORDS: usize = 16;
const BITS: u32 = WORDS as u32 * 64;

impl Bits {
    fn set(&mut self, at: u32) {
        let words = self.0.entry(at / BITS).or_insert_with(|| Box::new([0; WORDS]));
        words[(at % BITS / 64) as usize] |= 1 << (at % 64);
    }

    fn get(&self, at: u32) -> bool {
        self.0.get(&(at / BITS)).is_some_and(|words| words[(at % BITS / 64) as usize] >> (at % 64) & 1 == 1)
    }
}
