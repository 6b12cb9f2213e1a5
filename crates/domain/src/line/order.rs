//! The tickets of one epoch in the order of their numbers, and how many stand ahead of any of them.
//!
//! Numbers are dense, so the line is an array: chunks of 1,024 slots, each with one bit per ticket for *alive*
//! (present or absent: counted in ranks), one for *present* (holds its place) and one for *waiting* (dormant ones
//! too: may still be served). Three Fenwick trees sum the bits per chunk. A rank is a prefix of at most 22 chunk sums and a count of at most 16 words of bits, however
//! long the line. A chunk is allocated when its first ticket comes and freed when its last one has ended; gaps
//! in the numbers, which a restart leaves, cost 16 bytes per 1,024.

use crate::fenwick::Fenwick;
use crate::line::slot::{Presence, Slot, Standing};

/// Tickets in a chunk.
const CHUNK: usize = 1_024;
const CHUNK_BITS: u32 = CHUNK.trailing_zeros();
const WORDS: usize = CHUNK / 64;
const _: () = assert!(CHUNK.is_power_of_two() && WORDS * 64 == CHUNK);

/// The list of chunks is rebuilt without its freed front once that is longer than this and than half the list:
/// so each rebuilding step is paid for by a chunk that was freed.
const FREED_FRONT_MIN: usize = 16;

/// One epoch's tickets.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Number of the chunk at the front of `chunks`.
    first: u32,
    chunks: Vec<Option<Box<Chunk>>>,
    /// That many chunks at the front of `chunks` are freed, or were never used.
    freed_front: usize,
    alive: Fenwick,
    present: Fenwick,
    waiting: Fenwick,
    alive_total: u32,
    present_total: u32,
}

#[derive(Debug)]
struct Chunk {
    slots: Box<[Slot]>,
    alive: [u64; WORDS],
    present: [u64; WORDS],
    waiting: [u64; WORDS],
    /// Slots that are not unknown.
    used: u32,
}

impl Order {
    /// The ticket with this number, if it is known.
    pub(super) fn get(&self, seq: u32) -> Option<&Slot> {
        let (index, within) = self.locate(seq)?;
        let slot = &self.chunks.get(index)?.as_ref()?.slots[within];
        (slot.standing != Standing::Unknown).then_some(slot)
    }

    /// As [`Self::get`]. Whoever changes its standing calls [`Self::mark`].
    pub(super) fn get_mut(&mut self, seq: u32) -> Option<&mut Slot> {
        let (index, within) = self.locate(seq)?;
        let slot = &mut self.chunks.get_mut(index)?.as_mut()?.slots[within];
        (slot.standing != Standing::Unknown).then_some(slot)
    }

    /// Puts a ticket at its number, where none is known.
    pub(super) fn insert(&mut self, seq: u32, slot: Slot) {
        let index = self.make_room(seq);
        let chunk = self.chunks[index].get_or_insert_with(Chunk::new);
        chunk.slots[within(seq)] = slot;
        chunk.used += 1;
        self.freed_front = self.freed_front.min(index);
        self.mark(seq);
    }

    /// Forgets a ticket. Its chunk is freed with its last ticket, unless `next`, the number to be given out next,
    /// falls into it too.
    pub(super) fn remove(&mut self, seq: u32, next: u32) {
        let Some(slot) = self.get_mut(seq) else { return };
        slot.standing = Standing::Unknown;
        self.mark(seq);
        let Some((index, within)) = self.locate(seq) else { return };
        if let Some(chunk) = &mut self.chunks[index] {
            chunk.slots[within] = Slot::EMPTY;
            chunk.used -= 1;
        }
        self.free(seq >> CHUNK_BITS, next);
    }

    /// Brings the bits and sums in line with the ticket's standing.
    pub(super) fn mark(&mut self, seq: u32) {
        let Some((index, within)) = self.locate(seq) else { return };
        let Some(Some(chunk)) = self.chunks.get_mut(index) else { return };
        let (waiting, alive, present) = match chunk.slots[within].standing {
            Standing::Waiting { presence: Presence::Present, .. } => (true, true, true),
            Standing::Waiting { presence: Presence::Absent, .. } => (true, true, false),
            Standing::Waiting { presence: Presence::Dormant, .. } => (true, false, false),
            Standing::Admitted { .. } | Standing::Unknown => (false, false, false),
        };
        let delta = set(&mut chunk.waiting, within, waiting);
        if delta != 0 {
            self.waiting.add(index, delta);
        }
        let delta = set(&mut chunk.alive, within, alive);
        if delta != 0 {
            self.alive.add(index, delta);
            self.alive_total = self.alive_total.wrapping_add_signed(delta);
        }
        let delta = set(&mut chunk.present, within, present);
        if delta != 0 {
            self.present.add(index, delta);
            self.present_total = self.present_total.wrapping_add_signed(delta);
        }
    }

    /// Tickets alive with a lower number.
    pub(super) fn alive_ahead(&self, seq: u32) -> u32 {
        self.ahead(seq, &self.alive, |chunk| &chunk.alive)
    }

    /// Tickets present with a lower number.
    pub(super) fn present_ahead(&self, seq: u32) -> u32 {
        self.ahead(seq, &self.present, |chunk| &chunk.present)
    }

    /// The lowest number that waits: present, absent or dormant.
    pub(super) fn first_waiting(&self) -> Option<u32> {
        let index = self.waiting.first_nonzero()?;
        let within = first_one(&self.chunks.get(index)?.as_ref()?.waiting)?;
        Some((self.first + u32::try_from(index).ok()?) << CHUNK_BITS | within)
    }

    /// Tickets alive: present or absent.
    pub(super) const fn alive(&self) -> u32 {
        self.alive_total
    }

    /// Tickets present.
    pub(super) const fn present(&self) -> u32 {
        self.present_total
    }

    /// Bytes on the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        let chunk = size_of::<Chunk>() + CHUNK * size_of::<Slot>();
        self.chunks.capacity() * size_of::<Option<Box<Chunk>>>()
            + self.chunks.iter().flatten().count() * chunk
            + self.alive.memory_bytes()
            + self.present.memory_bytes()
            + self.waiting.memory_bytes()
    }

    /// Every known ticket with its number. Walks the line: for a reset only.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let chunks = (self.first..).zip(&self.chunks).filter_map(|(number, chunk)| Some((number, chunk.as_ref()?)));
        chunks.flat_map(|(number, chunk)| (number << CHUNK_BITS..).zip(chunk.slots.iter())).filter(|(_, s)| s.standing != Standing::Unknown)
    }

    fn locate(&self, seq: u32) -> Option<(usize, usize)> {
        let index = (seq >> CHUNK_BITS).checked_sub(self.first)?;
        Some((index as usize, within(seq)))
    }

    fn ahead(&self, seq: u32, sums: &Fenwick, bits: impl Fn(&Chunk) -> &[u64; WORDS]) -> u32 {
        let Some((index, within)) = self.locate(seq) else { return 0 };
        let inside = self.chunks.get(index).and_then(Option::as_deref).map_or(0, |chunk| ones_before(bits(chunk), within));
        sums.prefix(index) + inside
    }

    /// Index of the chunk of `seq`, after growing the list to reach it.
    fn make_room(&mut self, seq: u32) -> usize {
        let number = seq >> CHUNK_BITS;
        if self.freed_front == self.chunks.len() {
            *self = Self { first: number, ..Self::default() };
        }
        if number < self.first {
            // A ticket from before a restart, lower than all others so far. Going down by at least the length
            // of the list keeps many such returns from rebuilding it each time.
            let length = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
            self.rebuild(number.min(self.first.saturating_sub(length)));
        }
        let index = (number - self.first) as usize;
        while self.chunks.len() <= index {
            self.chunks.push(None);
            self.alive.push(0);
            self.present.push(0);
            self.waiting.push(0);
        }
        index
    }

    fn free(&mut self, number: u32, next: u32) {
        let Some(index) = number.checked_sub(self.first).map(|i| i as usize) else { return };
        if number == next >> CHUNK_BITS || self.chunks.get(index).and_then(Option::as_ref).is_none_or(|chunk| chunk.used > 0) {
            return;
        }
        self.chunks[index] = None;
        while self.chunks.get(self.freed_front).is_some_and(Option::is_none) {
            self.freed_front += 1;
        }
        if self.freed_front > FREED_FRONT_MIN && self.freed_front > self.chunks.len() / 2 {
            self.rebuild(self.first + u32::try_from(self.freed_front).unwrap_or(0));
        }
    }

    /// Lets the list start at chunk number `first`; what lies before it must be empty.
    fn rebuild(&mut self, first: u32) {
        let old = std::mem::take(&mut self.chunks);
        if first >= self.first {
            self.chunks = old.into_iter().skip((first - self.first) as usize).collect();
        } else {
            let missing = (self.first - first) as usize;
            self.chunks = std::iter::repeat_with(|| None).take(missing).chain(old).collect();
        }
        self.first = first;
        self.freed_front = self.chunks.iter().take_while(|chunk| chunk.is_none()).count();
        self.alive = self.summed(|chunk| &chunk.alive);
        self.present = self.summed(|chunk| &chunk.present);
        self.waiting = self.summed(|chunk| &chunk.waiting);
    }

    fn summed(&self, bits: impl Fn(&Chunk) -> &[u64; WORDS]) -> Fenwick {
        self.chunks.iter().map(|chunk| chunk.as_ref().map_or(0, |chunk| ones_before(bits(chunk), CHUNK))).collect()
    }
}

impl Chunk {
    fn new() -> Box<Self> {
        let slots = vec![Slot::EMPTY; CHUNK].into_boxed_slice();
        Box::new(Self { slots, alive: [0; WORDS], present: [0; WORDS], waiting: [0; WORDS], used: 0 })
    }
}

const fn within(seq: u32) -> usize {
    seq as usize & (CHUNK - 1)
}

/// Sets or clears a bit; what that adds to the count of ones.
fn set(bits: &mut [u64; WORDS], at: usize, on: bool) -> i32 {
    let word = &mut bits[at / 64];
    let was = *word >> (at % 64) & 1;
    *word = *word & !(1 << (at % 64)) | u64::from(on) << (at % 64);
    i32::from(on) - i32::from(was == 1)
}

/// Ones among the first `end` bits.
fn ones_before(bits: &[u64; WORDS], end: usize) -> u32 {
    let whole: u32 = bits[..end / 64].iter().map(|word| word.count_ones()).sum();
    if end.is_multiple_of(64) { whole } else { whole + (bits[end / 64] & ((1 << (end % 64)) - 1)).count_ones() }
}

/// The lowest bit that is set.
fn first_one(bits: &[u64; WORDS]) -> Option<u32> {
    (0..).step_by(64).zip(bits).find(|(_, word)| **word != 0).map(|(start, word): (u32, _)| start + word.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::line::slot::Seen;
    use crate::time::Millis;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// Numbers over a dozen chunks, with their edges.
    fn seq() -> impl Strategy<Value = u32> {
        prop_oneof![0_u32..12_000, (0_u32..12).prop_map(|chunk| chunk * 1_024), (1_u32..12).prop_map(|chunk| chunk * 1_024 - 1)]
    }

    fn waiting(presence: Presence) -> Standing {
        Standing::Waiting { presence, seen: Seen::Once, hasty: 0, period_ms: 0, shown_rank: 0 }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn places_are_those_of_a_plain_list(steps in prop::collection::vec((seq(), 0_u8..6), 1..300)) {
            let mut order = Order::default();
            let mut plain: BTreeMap<u32, Presence> = BTreeMap::new();
            for (seq, what) in steps {
                let presence = [Presence::Present, Presence::Absent, Presence::Dormant][usize::from(what) % 3];
                if what == 5 {
                    // All that are ahead of it end, as a line does that moves on.
                    let rest = plain.split_off(&seq);
                    std::mem::replace(&mut plain, rest).into_keys().for_each(|ended| order.remove(ended, u32::MAX - 1));
                } else if plain.insert(seq, presence).is_some() {
                    order.get_mut(seq).expect("known").standing = waiting(presence);
                    order.mark(seq);
                } else {
                    order.insert(seq, Slot { standing: waiting(presence), ..Slot::waiting(seq.into(), Millis(0), Millis(0)) });
                }
                let alive = |end: u32| plain.range(..end).filter(|(_, p)| **p != Presence::Dormant).count() as u32;
                let present = |end: u32| plain.range(..end).filter(|(_, p)| **p == Presence::Present).count() as u32;
                for end in [0, seq, seq + 1, 6_000, 13_000] {
                    prop_assert_eq!(order.alive_ahead(end), alive(end));
                    prop_assert_eq!(order.present_ahead(end), present(end));
                }
                prop_assert_eq!((order.alive(), order.present()), (alive(u32::MAX), present(u32::MAX)));
                prop_assert_eq!(order.first_waiting(), plain.keys().next().copied());
                prop_assert_eq!(order.iter().map(|(seq, _)| seq).collect::<Vec<_>>(), plain.keys().copied().collect::<Vec<_>>());
                prop_assert_eq!(order.get(seq).map(|slot| slot.nonce), plain.get(&seq).map(|_| u64::from(seq)));
            }
            plain.into_keys().for_each(|ended| order.remove(ended, u32::MAX - 1));
            prop_assert_eq!(order.chunks.iter().flatten().count(), 0, "what has ended is freed");
        }
    }
}
