//! When tickets change by themselves: a timing wheel threaded through the slots.
//!
//! Each ticket with a deadline is in one bucket of a ring of quarter-second buckets, linked to its neighbours there.
//! A poll only moves the deadline further away, and then leaves the ticket in its bucket: when that comes up, the real
//! deadline is looked at and the ticket put where it belongs. Only a deadline that came nearer moves it at once. So
//! a poll costs nothing here, and a sweep costs one step per ticket and period, in pieces as small as one likes.

use crate::line::order::Order;
use crate::line::slot::{NOBODY, UNARMED};
use crate::time::Millis;

/// Length of a bucket in milliseconds: how late a change may come, at most, when sweeping keeps up.
pub const TICK_MS: i64 = 250;

/// Buckets: 128 s of them, longer than the default 60 s until a ticket is dormant. A later deadline waits in the
/// last bucket and is put back once a turn.
const BUCKETS: i64 = 512;
const _: () = assert!(BUCKETS < UNARMED as i64);

/// Deadlines of tickets, to the tick.
#[derive(Debug)]
pub(super) struct Wheel {
    heads: Box<[u32]>,
    /// The tick that is swept next; all before it are empty.
    tick: i64,
}

impl Wheel {
    pub(super) fn new(now: Millis) -> Self {
        Self { heads: vec![NOBODY; BUCKETS as usize].into_boxed_slice(), tick: now.0.div_euclid(TICK_MS) }
    }

    /// Puts the ticket where its deadline comes up: at the first tick that is not before it.
    /// A ticket that already comes up sooner stays there.
    pub(super) fn arm(&mut self, order: &mut Order, seq: u32, deadline: Millis) {
        let tick = deadline.0.saturating_add(TICK_MS - 1).div_euclid(TICK_MS).clamp(self.tick, self.tick + BUCKETS - 1);
        let Some(slot) = order.get(seq) else { return };
        if slot.bucket != UNARMED {
            if self.distance(slot.bucket) <= tick - self.tick {
                return;
            }
            self.disarm(order, seq);
        }
        let bucket = tick.rem_euclid(BUCKETS) as u16;
        let head = std::mem::replace(&mut self.heads[bucket as usize], seq);
        if let Some(slot) = order.get_mut(seq) {
            slot.bucket = bucket;
            slot.next = head;
            slot.previous = NOBODY;
        }
        if let Some(after) = order.get_mut(head) {
            after.previous = seq;
        }
    }

    /// Takes the ticket out of the wheel.
    pub(super) fn disarm(&mut self, order: &mut Order, seq: u32) {
        let Some(slot) = order.get_mut(seq) else { return };
        if slot.bucket == UNARMED {
            return;
        }
        let (bucket, next, previous) = (slot.bucket, slot.next, slot.previous);
        slot.bucket = UNARMED;
        if let Some(before) = order.get_mut(previous) {
            before.next = next;
        } else {
            self.heads[bucket as usize] = next;
        }
        if let Some(after) = order.get_mut(next) {
            after.previous = previous;
        }
    }

    /// Takes out a ticket whose bucket has come up. None: nothing more has come up until `now`.
    pub(super) fn pop(&mut self, order: &mut Order, now: Millis) -> Option<u32> {
        let until = now.0.div_euclid(TICK_MS);
        // After a long silence every bucket has come up once; going round more often would find nothing.
        self.tick = self.tick.max(until - BUCKETS + 1);
        loop {
            let head = self.heads[self.tick.rem_euclid(BUCKETS) as usize];
            if self.tick > until {
                return None;
            }
            if head != NOBODY {
                self.disarm(order, head);
                return Some(head);
            }
            self.tick += 1;
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.heads.len() * size_of::<u32>()
    }

    /// Ticks until this bucket comes up.
    fn distance(&self, bucket: u16) -> i64 {
        (i64::from(bucket) - self.tick).rem_euclid(BUCKETS)
    }
}
