//! Slab indices by the hash of what they stand for: users by name, claims by key.
//!
//! One large hash table copies itself when it grows, a million entries under the offer's lock, each hashed again from a text that
//! is in no cache: more than half a second in which nobody claims. So there are many small tables (extendible hashing): a full one
//! splits in two by the next bit of its entries' hashes, which stand in the entries.

use hashbrown::HashTable;

/// Entries of a table before it splits: what 512 buckets hold at the most. Splitting moves so many, in about ten microseconds.
const LEAF_MAX: usize = 448;

/// Bits of a hash that choose the table at most; the lower ones choose the place in it. Tables that cannot split any
/// further grow by themselves, from 2^23 × 448 entries on or where hashes are alike.
const DEPTH_MAX: u32 = 23;
const _: () = assert!(LEAF_MAX <= 1 << (u32::BITS - DEPTH_MAX));

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    index: u32,
}

#[derive(Debug)]
struct Leaf {
    /// How many of the highest bits all of its hashes share.
    depth: u32,
    entries: HashTable<Entry>,
}

/// Slab indices by hash.
#[derive(Debug)]
pub(super) struct Index {
    leaves: Vec<Leaf>,
    /// For each value of the `depth` highest bits of a hash, its leaf. It doubles when the deepest leaf splits: four bytes for some
    /// hundred entries, copied.
    directory: Vec<u32>,
    depth: u32,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { leaves: vec![Leaf { depth: 0, entries: HashTable::new() }], directory: vec![0], depth: 0 }
    }

    /// The index with this hash of which `is` is true.
    pub(super) fn find(&self, hash: u32, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let leaf = &self.leaves[self.leaf_of(hash)];
        leaf.entries.find(spread(hash), |entry| entry.hash == hash && is(entry.index)).map(|entry| entry.index)
    }

    /// Adds an index, which is not in it yet.
    pub(super) fn insert(&mut self, hash: u32, index: u32) {
        loop {
            let number = self.leaf_of(hash);
            let leaf = &mut self.leaves[number];
            if leaf.entries.len() < LEAF_MAX || leaf.depth == DEPTH_MAX {
                leaf.insert(Entry { hash, index });
                return;
            }
            self.split(number, hash);
        }
    }

    fn leaf_of(&self, hash: u32) -> usize {
        self.directory[top_bits(hash, self.depth)] as usize
    }

    /// Splits the leaf of `hash` by the first bit that its hashes need not share.
    fn split(&mut self, number: usize, hash: u32) {
        let leaf = &mut self.leaves[number];
        let shared = leaf.depth;
        let mut halves = [(); 2].map(|()| Leaf { depth: shared + 1, entries: HashTable::with_capacity(LEAF_MAX) });
        for entry in std::mem::take(&mut leaf.entries) {
            halves[top_bits(entry.hash, shared + 1) & 1].insert(entry);
        }
        let [low, high] = halves;
        *leaf = low;
        // Leaves hold hundreds of entries each, of which there are fewer than 2^32.
        let new = self.leaves.len() as u32;
        self.leaves.push(high);
        if shared == self.depth {
            self.directory = self.directory.iter().flat_map(|&leaf| [leaf, leaf]).collect();
            self.depth += 1;
        }
        let places = 1 << (self.depth - shared);
        let first = top_bits(hash, shared) * places;
        self.directory[first + places / 2..first + places].fill(new);
    }
}

impl Leaf {
    fn insert(&mut self, entry: Entry) {
        self.entries.insert_unique(spread(entry.hash), entry, |entry| spread(entry.hash));
    }
}

const fn top_bits(hash: u32, bits: u32) -> usize {
    ((hash as u64) << bits >> u32::BITS) as usize
}

/// A hash as the small tables want it: they look at the lowest bits and at the seven highest.
const fn spread(hash: u32) -> u64 {
    (hash as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash of a number that uses all its bits.
    fn hash_of(number: u32) -> u32 {
        (spread(number) >> 29) as u32
    }

    fn check(count: u32, hash_of: impl Fn(u32) -> u32) -> Index {
        let mut index = Index::new();
        for number in 0..count {
            assert_eq!(index.find(hash_of(number), |other| other == number), None);
            index.insert(hash_of(number), number);
        }
        for number in 0..count {
            assert_eq!(index.find(hash_of(number), |other| other == number), Some(number), "{number} of {count}");
            assert_eq!(index.find(hash_of(number), |other| other == number + count), None);
        }
        index
    }

    #[test]
    fn everything_is_found_again() {
        for count in [1, LEAF_MAX as u32, LEAF_MAX as u32 + 1, 100_000] {
            let index = check(count, hash_of);
            let full = index.leaves.iter().all(|leaf| leaf.entries.len() <= LEAF_MAX);
            assert!(full && index.leaves.len() <= count as usize / 100 + 1, "{} leaves for {count}", index.leaves.len());
        }
    }

    #[test]
    fn leaves_of_different_depth_stand_side_by_side() {
        // Nine tenths share their highest twelve bits.
        let index = check(20_000, |number| if number % 10 == 0 { hash_of(number) } else { hash_of(number) >> 12 });
        let depths: std::collections::BTreeSet<u32> = index.leaves.iter().map(|leaf| leaf.depth).collect();
        assert!(depths.len() > 3, "{depths:?}");
    }

    #[test]
    fn hashes_that_are_alike_end_in_one_table() {
        let index = check(2_000, |_| 7);
        assert!(index.leaves.len() as u32 <= DEPTH_MAX + 1, "{}", index.leaves.len());
    }
}
