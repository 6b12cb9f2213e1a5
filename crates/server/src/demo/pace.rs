//! A bound on changes a second: a bucket that fills by itself.

use parking_lot::Mutex;
use std::time::Instant;

/// So many a second, and so many at once after a pause.
pub(super) struct Pace {
    a_second: f64,
    at_once: f64,
    left: Mutex<(f64, Instant)>,
}

impl Pace {
    pub(super) fn new(a_second: u32, at_once: u32) -> Self {
        Self { a_second: a_second.into(), at_once: at_once.into(), left: Mutex::new((at_once.into(), Instant::now())) }
    }

    /// Whether there may be one more now.
    pub(super) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut bucket = self.left.lock();
        let (left, since) = *bucket;
        let filled = (left + now.saturating_duration_since(since).as_secs_f64() * self.a_second).min(self.at_once);
        let may = filled >= 1.0;
        *bucket = (if may { filled - 1.0 } else { filled }, now);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_and_then_so_many_a_second() {
        let pace = Pace::new(2, 3);
        let now = Instant::now();
        let taken = |at| (0..10).filter(|_| pace.take_at(now + at)).count();
        assert_eq!(taken(Duration::ZERO), 3);
        assert_eq!(taken(Duration::from_secs(1)), 2);
        assert_eq!(taken(Duration::from_secs(60)), 3, "a pause saves up no more than a burst");
    }
}
