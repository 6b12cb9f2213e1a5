//! Numbers about what happens, for whoever asks: counted where it happens, by additions to numbers in memory and nothing else.
//!
//! Here, since this is the lowest crate in which something takes time; those above count with the same.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Upper bounds of times, in microseconds: a sync of a good disk takes less than a millisecond, and ten seconds are an outage.
pub const TIMES_US: [u64; 14] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 2_500_000, 10_000_000];

/// Upper bounds of numbers of things that were done at once.
pub const SIZES: [u64; 14] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 4_096, 16_384, 65_536];

/// How values were spread, in a fixed number of buckets.
#[derive(Debug)]
pub struct Spread {
    bounds: &'static [u64; BOUNDS],
    /// One for each bound, and one for what is above all of them.
    counts: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

const BOUNDS: usize = TIMES_US.len();

/// A [`Spread`] as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpreadRead {
    /// Each bound, and how many values were not above it.
    pub upto: Vec<(u64, u64)>,
    /// How many there were.
    pub count: u64,
    /// Of all values.
    pub sum: u64,
}

impl Spread {
    /// Nothing yet, over these bounds.
    #[must_use]
    pub const fn over(bounds: &'static [u64; BOUNDS]) -> Self {
        Self { bounds, counts: [const { AtomicU64::new(0) }; BOUNDS + 1], sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub fn note(&self, value: u64) {
        let bucket = self.bounds.iter().position(|bound| value <= *bound).unwrap_or(BOUNDS);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts the time that has passed, in microseconds.
    pub fn note_since(&self, began: Instant) {
        self.note(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }

    /// As it is now. What is counted at the same time may be in the sum and not in the buckets yet.
    #[must_use]
    pub fn read(&self) -> SpreadRead {
        let mut count = 0;
        let mut add = |bucket: &AtomicU64| {
            count += bucket.load(Ordering::Relaxed);
            count
        };
        let upto = self.bounds.iter().zip(&self.counts).map(|(bound, bucket)| (*bound, add(bucket))).collect();
        add(&self.counts[BOUNDS]);
        SpreadRead { upto, count, sum: self.sum.load(Ordering::Relaxed) }
    }
}

/// How long one thing is behind another, both of which count on: since when has the one stood at a number that the other has not reached?
///
/// Marks are set as the first one moves, and are taken away as the other one passes them.
#[derive(Debug, Default)]
pub struct Behind {
    marks: VecDeque<(Instant, u64)>,
}

/// Marks that are kept. When there are more every other one goes, so that a long wait is known less exactly and not forgotten.
const MARKS_MAX: usize = 128;

impl Behind {
    /// Looks at both: how long ago the oldest that is not done yet was there. As exact as looks are often.
    pub fn look(&mut self, now: Instant, there: u64, done: u64) -> Duration {
        while self.marks.front().is_some_and(|(_, mark)| *mark <= done) {
            self.marks.pop_front();
        }
        if there > done && self.marks.back().is_none_or(|(_, mark)| there > *mark) {
            if self.marks.len() == MARKS_MAX {
                // The oldest one stays.
                let mut place = 0_usize;
                self.marks.retain(|_| {
                    place += 1;
                    !place.is_multiple_of(2)
                });
            }
            self.marks.push_back((now, there));
        }
        self.marks.front().map_or(Duration::ZERO, |(since, _)| now.saturating_duration_since(*since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_first_bucket_that_it_fits() {
        let spread = Spread::over(&SIZES);
        for value in [0, 1, 2, 3, 65_536, 65_537] {
            spread.note(value);
        }
        let read = spread.read();
        assert_eq!(read.upto[..4], [(1, 2), (2, 3), (4, 4), (8, 4)]);
        assert_eq!(read.upto[BOUNDS - 1], (65_536, 5));
        assert_eq!((read.count, read.sum), (6, 131_079));
    }

    #[test]
    fn bounds_rise() {
        for bounds in [TIMES_US, SIZES] {
            assert!(bounds.is_sorted_by(|one, other| one < other));
        }
    }

    #[test]
    fn who_is_behind_is_so_since_the_oldest_that_is_not_done() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut behind = Behind::default();
        assert_eq!(behind.look(at(0), 5, 5), Duration::ZERO);
        assert_eq!(behind.look(at(1), 8, 5), Duration::ZERO, "it is there only now");
        assert_eq!(behind.look(at(3), 9, 5), Duration::from_secs(2));
        assert_eq!(behind.look(at(4), 9, 8), Duration::from_secs(1), "the first are done, one is from a second ago");
        assert_eq!(behind.look(at(9), 9, 9), Duration::ZERO);
    }

    #[test]
    fn a_long_wait_is_not_forgotten() {
        let start = Instant::now();
        let mut behind = Behind::default();
        let mut last = Duration::ZERO;
        for second in 0..10_000 {
            last = behind.look(start + Duration::from_secs(second), second + 1, 0);
        }
        assert_eq!(last, Duration::from_secs(9_999));
        assert!(behind.marks.len() <= MARKS_MAX);
        let close = behind.look(start + Duration::from_secs(10_000), 10_000, 9_990);
        assert!(close <= Duration::from_secs(10_000 / MARKS_MAX as u64 * 4), "{close:?}");
    }
}
