//! Standby: the ordered wait for units that come back.

use super::slab::Slab;
use crate::claim::{Standby, StandbyStatus};
use crate::fenwick::Fenwick;
use crate::ids::StandbyId;

/// Every place on standby of one offer, in the order of joining.
#[derive(Debug)]
pub(super) struct Waits {
    number: u32,
    places: Slab<Option<Box<Standby>>>,
    /// 1 at the sequence number of each place that waits: a position is a prefix sum.
    waiting: Fenwick,
    /// No place before this one waits.
    first: u32,
    pub(super) count: u32,
}

impl Waits {
    pub(super) fn new(number: u32) -> Self {
        Self { number, places: Slab::new(), waiting: Fenwick::new(), first: 0, count: 0 }
    }

    pub(super) fn next_seq(&self) -> u32 {
        self.places.len()
    }

    pub(super) fn get(&self, id: StandbyId) -> Option<&Standby> {
        if id.offer_number() != self.number {
            return None;
        }
        self.at(id.seq()).filter(|place| place.id == id)
    }

    pub(super) fn at(&self, seq: u32) -> Option<&Standby> {
        self.places.get(seq)?.as_deref()
    }

    /// 1 for the place that is served next.
    pub(super) fn position(&self, seq: u32) -> u32 {
        self.waiting.prefix(seq as usize) + 1
    }

    /// The place that is served next.
    pub(super) fn first(&self) -> Option<&Standby> {
        if self.count == 0 { None } else { self.at(self.first) }
    }

    /// Makes the list show `place`, if its version is higher than the one it shows. Returns whether it did.
    pub(super) fn put(&mut self, place: &Standby) -> bool {
        let seq = place.id.seq();
        while self.places.len() <= seq {
            self.places.push(None);
            self.waiting.push(0);
        }
        let old = self.at(seq);
        if old.is_some_and(|old| old.version >= place.version) {
            return false;
        }
        let was = old.is_some_and(|old| old.status == StandbyStatus::Waiting);
        let is = place.status == StandbyStatus::Waiting;
        self.places[seq] = Some(Box::new(place.clone()));
        match (was, is) {
            (false, true) => {
                self.waiting.add(seq as usize, 1);
                self.count += 1;
                self.first = if self.count == 1 { seq } else { self.first.min(seq) };
            }
            (true, false) => {
                self.waiting.add(seq as usize, -1);
                self.count -= 1;
                // Each place is passed once in its life, so the walk is O(1) a place.
                while self.count > 0 && self.at(self.first).is_none_or(|place| place.status != StandbyStatus::Waiting) {
                    self.first += 1;
                }
            }
            _ => {}
        }
        true
    }
}
