//! Counts in a row, with the sum of any first part of the row in O(log n).
//!
//! A place in a line is such a sum: how many stand ahead. Walking the line would cost more the longer it is; a
//! Fenwick tree keeps partial sums so that both a change and a question touch at most 32 of them.

/// A row of `u32` counts that grows at its end. The sum of all of them must stay below 2^32.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fenwick {
    /// `tree[i]` is the sum of the `lowest_bit(i + 1)` counts that end with count `i`.
    tree: Vec<u32>,
}

impl Fenwick {
    /// An empty row.
    pub(crate) const fn new() -> Self {
        Self { tree: Vec::new() }
    }

    /// Adds a count at the end.
    pub(crate) fn push(&mut self, count: u32) {
        let place = self.tree.len() + 1;
        let first = place - lowest_bit(place);
        let mut sum = count;
        let mut below = place - 1;
        while below > first {
            sum = sum.wrapping_add(self.tree[below - 1]);
            below -= lowest_bit(below);
        }
        self.tree.push(sum);
    }

    /// Changes count `i` by `delta`. Beyond the end there is nothing to change.
    pub(crate) fn add(&mut self, i: usize, delta: i32) {
        let mut place = i + 1;
        while place <= self.tree.len() {
            self.tree[place - 1] = self.tree[place - 1].wrapping_add_signed(delta);
            place += lowest_bit(place);
        }
    }

    /// Sum of the first `i` counts: those before count `i`. Beyond the end: the sum of all.
    pub(crate) fn prefix(&self, i: usize) -> u32 {
        let mut place = i.min(self.tree.len());
        let mut sum = 0_u32;
        while place > 0 {
            sum = sum.wrapping_add(self.tree[place - 1]);
            place -= lowest_bit(place);
        }
        sum
    }

    /// Index of the first count that is not 0. None: all are.
    pub(crate) fn first_nonzero(&self) -> Option<usize> {
        let mut zeros = 0;
        let mut step = self.tree.len().checked_ilog2().map_or(0, |bits| 1 << bits);
        while step > 0 {
            // The sum of the `step` counts that follow those already seen to be 0.
            if self.tree.get(zeros + step - 1) == Some(&0) {
                zeros += step;
            }
            step /= 2;
        }
        (zeros < self.tree.len()).then_some(zeros)
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.tree.capacity() * size_of::<u32>()
    }
}

impl FromIterator<u32> for Fenwick {
    fn from_iter<I: IntoIterator<Item = u32>>(counts: I) -> Self {
        let mut row = Self::new();
        for count in counts {
            row.push(count);
        }
        row
    }
}

const fn lowest_bit(place: usize) -> usize {
    place & place.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn sums_are_those_of_a_plain_row(first in prop::collection::vec(prop_oneof![Just(0_u32), 0_u32..9], 0..40), changes in prop::collection::vec((0_usize..80, prop_oneof![Just(0_u32), 0_u32..9]), 0..80)) {
            let mut row: Fenwick = first.iter().copied().collect();
            let mut plain = first;
            for (i, count) in changes {
                if i < plain.len() {
                    let delta = count as i32 - plain[i] as i32;
                    plain[i] = count;
                    row.add(i, delta);
                } else {
                    plain.push(count);
                    row.push(count);
                }
                for end in 0..=plain.len() {
                    prop_assert_eq!(row.prefix(end), plain[..end].iter().sum::<u32>());
                }
                prop_assert_eq!(row.prefix(usize::MAX), plain.iter().sum::<u32>());
                prop_assert_eq!(row.first_nonzero(), plain.iter().position(|count| *count != 0));
            }
        }
    }
}
