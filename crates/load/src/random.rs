//! Random choices that a printed seed brings again.

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, good enough to choose who leaves and when.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same choices.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: no division, and a bias below bound / 2^64.
        ((u128::from(self.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// True with a probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && ((self.draw() >> 11) as f64 / (1_u64 << 53) as f64) < probability
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_come_again_and_are_even() {
        let draw = |seed| (0..8).map(|_| Random::new(seed).below(1_000_000)).collect::<Vec<_>>();
        assert_eq!(draw(7), draw(7));
        let mut random = Random::new(7);
        let fifth = (0..100_000).filter(|_| random.chance(0.2)).count();
        assert!((19_500..20_500).contains(&fifth), "{fifth}");
        assert!(!random.chance(0.0) && random.chance(1.0));
        assert!((0..1_000).all(|_| random.below(3) < 3));
    }
}
