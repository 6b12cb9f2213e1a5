//! Where an engine's random bits come from.

use std::hash::{BuildHasher, RandomState};

/// A source of bits, each number of them asked for by a counter.
pub(crate) enum Randomness {
    /// A keyed SipHash: unpredictable without the key, which the system's randomness made.
    System(RandomState),
    /// The same every time: for a simulation that repeats itself.
    #[cfg(feature = "simulation")]
    Seeded(u64),
}

impl Default for Randomness {
    fn default() -> Self {
        Self::System(RandomState::new())
    }
}

impl Randomness {
    /// The `count`-th number.
    pub(crate) fn number(&self, count: u64) -> u64 {
        match self {
            Self::System(key) => key.hash_one(count),
            #[cfg(feature = "simulation")]
            Self::Seeded(seed) => {
                // SplitMix64's finisher over both.
                let mut z = seed.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15));
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                z ^ (z >> 31)
            }
        }
    }
}
