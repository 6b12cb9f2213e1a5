//! Which ticket a client's key was given: from the keyed hash of the key, which is the ticket's nonce, to its number.
//!
//! Only numbers are stored; the nonce to compare with is in the ticket's slot. The table is cut into 64 shards,
//! because a table that doubles moves all it holds under the line's lock: a 64th of it at a time is a pause of
//! microseconds even with a million tickets. The nonce is a keyed hash already, so nobody can aim at one bucket.

use crate::line::order::Order;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

const SHARDS: usize = 64;

/// From nonces to numbers of tickets.
#[derive(Debug)]
pub(super) struct Keys(Box<[HashTable<u32>]>);

impl Keys {
    pub(super) fn new() -> Self {
        Self(std::iter::repeat_with(HashTable::new).take(SHARDS).collect())
    }

    /// The number of the ticket that was given to this nonce.
    pub(super) fn find(&self, order: &Order, nonce: u64) -> Option<u32> {
        self.0[shard(nonce)].find(nonce, |seq| nonce_of(order, *seq) == nonce).copied()
    }

    /// Remembers that ticket `seq` was given to this nonce, unless another ticket was.
    pub(super) fn insert(&mut self, order: &Order, nonce: u64, seq: u32) {
        let shard = &mut self.0[shard(nonce)];
        if let Entry::Vacant(place) = shard.entry(nonce, |s| nonce_of(order, *s) == nonce, |s| nonce_of(order, *s)) {
            place.insert(seq);
        }
    }

    /// Forgets ticket `seq`, which was given to this nonce. Its slot may be forgotten only afterwards.
    pub(super) fn remove(&mut self, nonce: u64, seq: u32) {
        if let Ok(entry) = self.0[shard(nonce)].find_entry(nonce, |s| *s == seq) {
            entry.remove();
        }
    }

    /// Bytes on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        let tables: usize = self.0.iter().map(HashTable::allocation_size).sum();
        tables + SHARDS * size_of::<HashTable<u32>>()
    }
}

/// Bits that neither the table's buckets (the lowest) nor its tags (the highest) are taken from.
const fn shard(nonce: u64) -> usize {
    (nonce >> 40) as usize % SHARDS
}

/// Every number in the table has a slot; a nonce that is not there would only miss.
fn nonce_of(order: &Order, seq: u32) -> u64 {
    order.get(seq).map_or(0, |slot| slot.nonce)
}
