//! Deadlines of holds, earliest first. Entries outlive holds that ended early; they are checked when they fall due.
//!
//! Holds of one length end in the order in which they began, so nearly all deadlines come in order, and waiting in a queue costs
//! the four bytes that name the claim: its deadline stands in the book. An offer has two lengths of hold at a time (claims' and
//! standby's), and edits bring others, so there are a few queues. What fits none goes to a heap.

use crate::time::Millis;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Queues: as many lengths of hold may be mixed without the heap.
const LANES: usize = 4;

/// Entries in one piece of a queue, so that a queue of a million does not copy itself when it grows.
const PIECE: usize = 4_096;

/// A claim by its sequence number, and when it is due. In this order they are taken out.
pub(super) type Due = (Millis, u32);

/// The deadlines of one offer.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    lanes: [Lane; LANES],
    strays: BinaryHeap<Reverse<Due>>,
}

impl Deadlines {
    /// The earliest.
    pub(super) fn first(&self) -> Option<Due> {
        let stray = self.strays.peek().map(|&Reverse(due)| due);
        self.lanes.iter().filter_map(|lane| lane.first).chain(stray).min()
    }

    /// Adds a deadline.
    pub(super) fn push(&mut self, due: Due) {
        // The lane whose end is nearest before it, so that lanes of longer holds stay apart from those of shorter ones; else an empty one.
        match self.lanes.iter_mut().filter(|lane| lane.end().is_none_or(|end| end <= due)).max_by_key(|lane| lane.end()) {
            Some(lane) => lane.push(due),
            None => self.strays.push(Reverse(due)),
        }
    }

    /// Takes the earliest out. `deadline_of` says when a claim is due that was put in.
    pub(super) fn pop(&mut self, deadline_of: impl Fn(u32) -> Millis) -> Option<Due> {
        let first = self.first()?;
        match self.lanes.iter_mut().find(|lane| lane.first == Some(first)) {
            Some(lane) => lane.pop(deadline_of),
            None => drop(self.strays.pop()),
        }
        Some(first)
    }
}

/// Deadlines in order.
#[derive(Debug, Default)]
struct Lane {
    first: Option<Due>,
    /// Meaningful while there is a first.
    last: Due,
    /// Those after the first, in pieces of which all but the first and the last are full.
    rest: VecDeque<VecDeque<u32>>,
}

impl Lane {
    fn end(&self) -> Option<Due> {
        self.first.map(|_| self.last)
    }

    fn push(&mut self, due: Due) {
        self.last = due;
        if self.first.is_none() {
            self.first = Some(due);
            return;
        }
        if self.rest.back().is_none_or(|piece| piece.len() == PIECE) {
            // The first piece grows by itself, so that a small offer stays small.
            self.rest.push_back(if self.rest.is_empty() { VecDeque::new() } else { VecDeque::with_capacity(PIECE) });
        }
        if let Some(piece) = self.rest.back_mut() {
            piece.push_back(due.1);
        }
    }

    fn pop(&mut self, deadline_of: impl Fn(u32) -> Millis) {
        let next = self.rest.front_mut().and_then(VecDeque::pop_front);
        self.first = next.map(|seq| (deadline_of(seq), seq));
        if self.rest.front().is_some_and(VecDeque::is_empty) {
            self.rest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(deadlines: &[i64], pop_every: usize) -> Deadlines {
        let (mut queue, mut heap) = (Deadlines::default(), BinaryHeap::new());
        let deadline_of = |seq: u32| Millis(deadlines[seq as usize]);
        for seq in 0..deadlines.len() as u32 {
            let due = (deadline_of(seq), seq);
            queue.push(due);
            heap.push(Reverse(due));
            assert_eq!(queue.first(), heap.peek().map(|due| due.0));
            if (seq as usize).is_multiple_of(pop_every) {
                assert_eq!(queue.pop(deadline_of), heap.pop().map(|due| due.0));
            }
        }
        let strays = queue.strays.len();
        assert!(strays <= heap.len());
        while let Some(Reverse(due)) = heap.pop() {
            assert_eq!(queue.first(), Some(due));
            assert_eq!(queue.pop(deadline_of), Some(due));
        }
        assert_eq!((queue.first(), queue.pop(deadline_of)), (None, None));
        queue
    }

    #[test]
    fn a_few_lengths_of_hold_need_no_heap() {
        let lengths = [300, 1_200, 60, 86_400];
        let deadlines: Vec<i64> = (0..40_000_i64).map(|now| now + lengths[(now * now / 7 % 4) as usize]).collect();
        let queue = check(&deadlines, 3);
        assert_eq!(queue.strays.capacity(), 0, "something went to the heap");
    }

    #[test]
    fn a_queue_is_given_back() {
        let queue = check(&(0..3 * PIECE as i64).collect::<Vec<_>>(), usize::MAX);
        assert!(queue.lanes.iter().all(|lane| lane.rest.is_empty()));
    }

    proptest! {
        #[test]
        fn they_come_in_the_order_of_a_heap(deadlines in proptest::collection::vec(0_i64..40, 0..300), pop_every in 1_usize..6) {
            check(&deadlines, pop_every);
        }
    }
}
