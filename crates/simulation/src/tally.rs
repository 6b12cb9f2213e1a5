//! What a run did, in numbers.

use std::collections::BTreeMap;
use std::fmt;

/// Counts by name, and a fingerprint of everything that happened in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Steps by kind.
    pub steps: BTreeMap<&'static str, u64>,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Answers and events by kind.
    pub results: BTreeMap<&'static str, u64>,
    /// Equal for equal runs.
    pub trace: u64,
}

impl Tally {
    /// All steps.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.steps.values().sum()
    }

    /// All faults.
    #[must_use]
    pub fn faults_total(&self) -> u64 {
        self.faults.values().sum()
    }

    /// One more step.
    pub fn step(&mut self, what: &'static str) {
        *self.steps.entry(what).or_default() += 1;
    }

    /// One more fault.
    pub fn fault(&mut self, what: &'static str) {
        *self.faults.entry(what).or_default() += 1;
    }

    /// So many more results.
    pub fn result(&mut self, what: &'static str, more: u64) {
        *self.results.entry(what).or_default() += more;
    }

    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in [(&mut self.steps, &other.steps), (&mut self.faults, &other.faults), (&mut self.results, &other.results)] {
            for (what, more) in theirs {
                *mine.entry(what).or_default() += more;
            }
        }
        self.trace = self.trace.rotate_left(5) ^ other.trace;
    }

    /// Takes something that happened into the fingerprint: FNV-1a over its debug form.
    pub fn trace(&mut self, what: &dyn fmt::Debug) {
        struct Fingerprint(u64);
        impl fmt::Write for Fingerprint {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                for byte in text.bytes() {
                    self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
                Ok(())
            }
        }
        let mut fingerprint = Fingerprint(self.trace ^ 0xcbf2_9ce4_8422_2325);
        // Writing to it does not fail.
        fmt::Write::write_fmt(&mut fingerprint, format_args!("{what:?}")).ok();
        self.trace = fingerprint.0;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (title, counts) in [("steps", &self.steps), ("faults", &self.faults), ("results", &self.results)] {
            writeln!(f, "{title:<10} {:>14}", counts.values().sum::<u64>())?;
            for (what, count) in counts {
                writeln!(f, "  {what:<28} {count:>12}")?;
            }
        }
        Ok(())
    }
}
