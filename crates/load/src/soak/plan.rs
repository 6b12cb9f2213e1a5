//! What happens when: deaths of the server, seasons of offers and lines, looks at the process.
//!
//! The run has three parts. In its first and last sixth the server dies again and again, by turns with SIGKILL and SIGTERM; between them it lives one long
//! life, since only in a long one can be seen whether memory stays flat. A *season* is a set of offers and a line: when the next one begins, the one before is closed and, when the last of
//! its holds has ended, deleted. So what should be there is the same at the end of every season, and what is there more was left behind.

use std::time::Duration;

/// A run of at least so long has many deaths and long seasons.
const LONG: Duration = Duration::from_secs(1_800);

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// SIGKILL, under load.
    Kill,
    /// SIGTERM, under load: what is under way is answered.
    Term,
}

impl Death {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL",
            Self::Term => "SIGTERM",
        }
    }
}

/// The course of a run.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// How long it plays.
    pub(super) total: Duration,
    /// One set of offers.
    pub(super) season: Duration,
    /// From the end of a season until what it left is checked and deleted: longer than any hold.
    pub(super) retire: Duration,
    /// How long units are held.
    pub(super) hold_seconds: u32,
    /// Between two looks at the process.
    pub(super) sample: Duration,
    /// Calls a second that are aimed at.
    pub(super) rate: f64,
    /// When the server dies, and how.
    pub(super) deaths: Vec<(Duration, Death)>,
}

impl Plan {
    pub(super) fn of(minutes: f64, rate: f64) -> Self {
        let total = Duration::from_secs_f64(minutes * 60.0);
        let long = total >= LONG;
        // An eighth of a third of a two hours' run: five minutes.
        let deaths_each = if long { 4 } else { 2 };
        let step = total / 6 / deaths_each;
        let first = (1..=deaths_each).map(|n| step * n);
        let last = (0..deaths_each).map(|n| total - total / 6 + step * n);
        let deaths = first.chain(last).zip([Death::Kill, Death::Term].into_iter().cycle()).collect();
        Self {
            total,
            season: if long { total / 24 } else { Duration::from_secs(12) },
            retire: Duration::from_secs(if long { 30 } else { 6 }),
            hold_seconds: if long { 8 } else { 2 },
            sample: Duration::from_secs(if long { 10 } else { 1 }),
            rate,
            deaths,
        }
    }

    /// From when to when the long life goes.
    pub(super) fn long_life(&self) -> (Duration, Duration) {
        (self.total / 6, self.total - self.total / 6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_has_deaths_at_both_ends_and_one_long_life() {
        for (minutes, deaths) in [(120.0, 8), (1.25, 4)] {
            let plan = Plan::of(minutes, 500.0);
            assert_eq!(plan.deaths.len(), deaths);
            assert!(plan.deaths.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1), "{:?}", plan.deaths);
            let (from, to) = plan.long_life();
            assert!(plan.deaths.iter().all(|(at, _)| *at <= from || *at >= to) && to - from > plan.total / 2);
            assert!(plan.retire > Duration::from_secs(2 * u64::from(plan.hold_seconds)) && plan.retire < plan.season);
        }
    }
}
