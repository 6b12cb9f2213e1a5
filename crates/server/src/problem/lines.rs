//! How many lines of one kind the log gets: a crowd that meets an outage must not write one each.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

/// Lines in a second.
const LINES_MAX: u32 = 5;

/// Counts what is said and what is left out.
pub(super) struct Lines {
    /// The second, since the first line, that is counted.
    second: AtomicU64,
    said: AtomicU32,
    left_out: AtomicU64,
}

impl Lines {
    pub(super) const fn new() -> Self {
        Self { second: AtomicU64::new(0), said: AtomicU32::new(0), left_out: AtomicU64::new(0) }
    }

    /// Whether there is room for a line; with how many were left out before it.
    pub(super) fn take(&self) -> Option<u64> {
        static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        self.take_at(FIRST.get_or_init(Instant::now).elapsed().as_secs())
    }

    /// Threads that meet at the turn of a second may say a few more.
    fn take_at(&self, second: u64) -> Option<u64> {
        if self.second.swap(second, Ordering::Relaxed) != second {
            self.said.store(0, Ordering::Relaxed);
        }
        if self.said.fetch_add(1, Ordering::Relaxed) < LINES_MAX {
            return Some(self.left_out.swap(0, Ordering::Relaxed));
        }
        self.left_out.fetch_add(1, Ordering::Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_counted_and_told() {
        let lines = Lines::new();
        let said = (0..100).filter_map(|_| lines.take_at(7)).collect::<Vec<_>>();
        assert_eq!(said, [0; LINES_MAX as usize]);
        assert_eq!(lines.take_at(8), Some(100 - u64::from(LINES_MAX)));
        assert_eq!(lines.take_at(8), Some(0));
    }
}
