//! What a soak saw, as it is kept in `soak.json`, and what is judged of it.
//!
//! Memory is judged in the long life alone, after its first quarter: caches of a fixed size fill until then. The medians of its second and of its last quarter are compared, so that
//! one look at a busy moment decides nothing; descriptors and threads the same way, without those of connections, which the load opens. Lives of the
//! same length at both ends of the run are compared with each other: what a restart brings back must not grow either.

use super::sample::Sample;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Growth that is none: 5 % of what it was, or 8 MiB.
const GROWTH_SHARE: f64 = 0.05;
const GROWTH_BYTES: f64 = 8.0 * 1_048_576.0;
/// The same where the long life is shorter than half an hour: then caches are filling all the time.
const GROWTH_SHARE_SHORT: f64 = 0.35;
const GROWTH_BYTES_SHORT: f64 = 48.0 * 1_048_576.0;
/// Lives of the same length at both ends of the run.
const LIVES_SHARE: f64 = 0.15;
const LIVES_SHARE_SHORT: f64 = 0.35;
/// Files and threads that come and go with compactions and with work that blocks.
const DESCRIPTORS: f64 = 8.0;
const THREADS: f64 = 16.0;
/// A long life has at least this, seconds.
const LONG_SECONDS: f64 = 1_800.0;

/// Everything about one run.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Outcome {
    pub(super) began: String,
    pub(super) seed: u64,
    /// What `--version` says.
    pub(super) version: String,
    pub(super) machine: Vec<(String, String)>,
    pub(super) planned_seconds: f64,
    pub(super) elapsed_seconds: f64,
    /// When the long life was to be.
    pub(super) long_life: (f64, f64),
    /// The run came to its end.
    pub(super) finished: bool,
    pub(super) samples: Vec<Sample>,
    pub(super) deaths: Vec<Died>,
    pub(super) seasons: u32,
    pub(super) reloads: u64,
    pub(super) checks: u64,
    pub(super) rows_compared: u64,
    pub(super) reconciled: u64,
    pub(super) counts: BTreeMap<String, u64>,
    /// Status, claims and units at the end.
    pub(super) claims: Vec<(String, u64, u64)>,
    pub(super) calls: u64,
    pub(super) later: u64,
    pub(super) unanswered: u64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
    pub(super) findings: Vec<String>,
    pub(super) findings_total: u64,
}

/// One end of a life.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Died {
    pub(super) at: f64,
    pub(super) how: String,
    /// From its start until it was ready.
    pub(super) ready_seconds: f64,
    /// Claims and keys that were compared with SQL before anybody was let in again.
    pub(super) compared: u64,
}

/// One thing that is judged.
pub(super) struct Judged {
    pub(super) what: &'static str,
    pub(super) kept: bool,
    pub(super) figures: String,
}

impl Outcome {
    /// All that is judged, in the same order always.
    pub(super) fn judge(&self) -> Vec<Judged> {
        let mut judged = vec![self.books(), self.came_to_its_end()];
        judged.extend([self.memory(), self.lives(), self.descriptors(), self.threads()]);
        judged
    }

    pub(super) fn kept(&self) -> bool {
        self.judge().iter().all(|judged| judged.kept)
    }

    fn books(&self) -> Judged {
        Judged {
            what: "books equal",
            kept: self.findings_total == 0,
            figures: format!(
                "{} comparisons with SQL over {} rows, {} claims reconciled, {} findings",
                self.checks, self.rows_compared, self.reconciled, self.findings_total
            ),
        }
    }

    fn came_to_its_end(&self) -> Judged {
        Judged {
            what: "the run came to its end",
            kept: self.finished,
            figures: format!("{:.0} of {:.0} s, {} deaths", self.elapsed_seconds, self.planned_seconds, self.deaths.len()),
        }
    }

    fn is_long(&self) -> bool {
        self.long_life.1 - self.long_life.0 >= LONG_SECONDS
    }

    /// The long life's second and last quarter.
    fn quarters(&self, value: impl Fn(&Sample) -> f64) -> Option<(f64, f64)> {
        let (from, to) = self.long_life;
        let quarter = (to - from) / 4.0;
        let median = |from: f64, to: f64| median(self.samples.iter().filter(|s| s.at >= from && s.at < to).map(&value).collect());
        Some((median(from + quarter, from + 2.0 * quarter)?, median(to - quarter, to)?))
    }

    fn memory(&self) -> Judged {
        let (share, bytes) = if self.is_long() { (GROWTH_SHARE, GROWTH_BYTES) } else { (GROWTH_SHARE_SHORT, GROWTH_BYTES_SHORT) };
        let Some((before, after)) = self.quarters(|sample| sample.resident_bytes as f64) else { return not_seen("memory flat") };
        let (from, to) = self.long_life;
        let slope =
            slope(self.samples.iter().filter(|s| s.at >= from + (to - from) / 4.0 && s.at < to).map(|s| (s.at, s.resident_bytes as f64)));
        Judged {
            what: "memory flat",
            kept: after - before <= (before * share).max(bytes),
            figures: format!(
                "{:.1} MB in the second quarter of the long life, {:.1} MB in its last ({:+.1} %; {:+.2} MB an hour); bound {:.0} % or {:.0} MiB",
                before / 1e6,
                after / 1e6,
                (after / before - 1.0) * 100.0,
                slope * 3_600.0 / 1e6,
                share * 100.0,
                bytes / 1_048_576.0
            ),
        }
    }

    /// The most of each life that is not the long one, at the run's beginning and at its end.
    fn lives(&self) -> Judged {
        let middle = (self.long_life.0 + self.long_life.1) / 2.0;
        let long = self.samples.iter().find(|sample| sample.at >= middle).map_or(u32::MAX, |sample| sample.life);
        let mut most: BTreeMap<u32, f64> = BTreeMap::new();
        for sample in &self.samples {
            let most = most.entry(sample.life).or_default();
            *most = most.max(sample.resident_bytes as f64);
        }
        let of = |wanted: &dyn Fn(u32) -> bool| median(most.iter().filter(|(life, _)| wanted(**life)).map(|(_, most)| *most).collect());
        let (Some(first), Some(last)) = (of(&|life| life < long), of(&|life| life > long)) else { return not_seen("lives alike") };
        let share = if self.is_long() { LIVES_SHARE } else { LIVES_SHARE_SHORT };
        Judged {
            what: "lives alike",
            kept: last <= first * (1.0 + share),
            figures: format!(
                "most of each short life (median): {:.1} MB in the first sixth of the run, {:.1} MB in the last; bound {:.0} %",
                first / 1e6,
                last / 1e6,
                share * 100.0
            ),
        }
    }

    fn descriptors(&self) -> Judged {
        let own = |sample: &Sample| sample.descriptors.saturating_sub(sample.connections) as f64;
        self.steady("no descriptor leak", DESCRIPTORS, own)
    }

    fn threads(&self) -> Judged {
        self.steady("no thread leak", THREADS, |sample| sample.threads as f64)
    }

    fn steady(&self, what: &'static str, bound: f64, value: impl Fn(&Sample) -> f64) -> Judged {
        let Some((before, after)) = self.quarters(value) else { return not_seen(what) };
        Judged {
            what,
            kept: after - before <= bound,
            figures: format!("{before:.0} in the second quarter, {after:.0} in the last; bound +{bound:.0}"),
        }
    }
}

fn not_seen(what: &'static str) -> Judged {
    Judged { what, kept: false, figures: "there are too few looks at the process to tell".into() }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Of the straight line through the points (least squares).
fn slope(points: impl Iterator<Item = (f64, f64)> + Clone) -> f64 {
    let (mut n, mut x, mut y) = (0.0, 0.0, 0.0);
    for point in points.clone() {
        (n, x, y) = (n + 1.0, x + point.0, y + point.1);
    }
    let (x, y) = (x / f64::max(n, 1.0), y / f64::max(n, 1.0));
    let (above, below) = points.fold((0.0, 0.0), |(above, below), (px, py)| (above + (px - x) * (py - y), below + (px - x) * (px - x)));
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hours as planned, with a life's memory and descriptors by its age.
    fn run(resident: impl Fn(f64) -> f64, descriptors: impl Fn(f64) -> f64) -> Outcome {
        let ends = [300.0, 600.0, 900.0, 1_200.0, 6_000.0, 6_300.0, 6_600.0, 6_900.0];
        let samples = (1..720).map(|n| {
            let at = f64::from(n) * 10.0;
            let life = ends.iter().filter(|end| **end <= at).count();
            let age = at - if life == 0 { 0.0 } else { ends[life - 1] };
            Sample {
                at,
                life: life as u32,
                resident_bytes: resident(age) as u64,
                descriptors: descriptors(age) as u64 + 64,
                connections: 64,
                threads: 12,
                ..Sample::default()
            }
        });
        Outcome { samples: samples.collect(), long_life: (1_200.0, 6_000.0), finished: true, ..Outcome::default() }
    }

    fn broken(outcome: &Outcome) -> Vec<&'static str> {
        outcome.judge().iter().filter(|judged| !judged.kept).map(|judged| judged.what).collect()
    }

    #[test]
    fn what_grows_is_found() {
        // Caches that fill, and a little noise.
        let filling = |age: f64| 150e6 * (1.0 - (-age / 300.0).exp()) + 1e6 * (age / 10.0).sin();
        assert_eq!(broken(&run(filling, |_| 40.0)), Vec::<&str>::new());
        // A kilobyte for each of 10 lost things a second.
        assert_eq!(broken(&run(|age| 150e6 + age * 10_240.0, |_| 40.0)), ["memory flat"]);
        assert_eq!(broken(&run(filling, |age| 40.0 + age / 60.0)), ["no descriptor leak"]);
        let grown = Outcome { findings_total: 1, finished: false, ..run(filling, |_| 40.0) };
        assert_eq!(broken(&grown), ["books equal", "the run came to its end"]);
        assert_eq!(broken(&Outcome { finished: true, ..Outcome::default() }).len(), 4, "what was not seen is not judged to be well");
    }

    #[test]
    fn what_every_restart_makes_larger_is_found() {
        let mut outcome = run(|_| 150e6, |_| 40.0);
        outcome.samples.iter_mut().for_each(|sample| sample.resident_bytes += u64::from(sample.life) * 6_000_000);
        assert_eq!(broken(&outcome), ["lives alike"]);
    }
}
