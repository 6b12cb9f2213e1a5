//! Holds what a run saw against what is promised.
//!
//! The judge knows only answers: it cannot see the server, so it accuses only where no honest server could have given those
//! answers in that order. Where answers leave room (a hold that may have ended, two joins on their way at the same time, a claim
//! whose last call was lost) the doubt goes to the server, and every file says where it does. What cannot be told from a run is
//! [`Outcome::NotJudged`] with the reason, never silently held.

mod calls;
mod capacity;
mod claims;
mod estimates;
mod kendall;
mod line;
mod order;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;
mod window;
pub mod wording;

use crate::record::Record;

/// Offending cases that are told; further ones are only counted.
pub const CASES_MAX: usize = 10;

/// What the judge says of one promise.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Stable name for scripts: `never_oversold`, …
    pub name: &'static str,
    /// The promise in words.
    pub promise: &'static str,
    /// Whether it was kept.
    pub outcome: Outcome,
    /// What was seen, as a sentence with its figures; may be empty where nothing was judged.
    pub figures: String,
    /// The same figures for scripts: stable name and value.
    pub values: Vec<(&'static str, f64)>,
    /// Offending cases in words, at most [`CASES_MAX`].
    pub cases: Vec<String>,
    /// How many there were in all.
    pub cases_total: u64,
}

/// Whether a promise was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Yes, as far as this run could tell.
    Held,
    /// No.
    Failed,
    /// This run could not tell, for this reason.
    NotJudged(String),
}

impl Verdict {
    /// Whether the promise was broken.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }

    /// The figure of this name.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

/// The figure of this name among all verdicts'; names are told apart by verdict only where they need be.
#[must_use]
pub fn value(verdicts: &[Verdict], name: &str) -> Option<f64> {
    verdicts.iter().find_map(|verdict| verdict.value(name))
}

/// Judges every promise, always in the same order.
#[must_use]
pub fn judge(record: &Record) -> Vec<Verdict> {
    vec![
        claims::never_oversold(record),
        claims::never_lost(record),
        claims::never_twice(record),
        window::limit_of_any_window(record),
        order::first_come_first_served(record),
        line::ranks_never_rise(record),
        line::answers_stand(record),
        line::nobody_lost(record),
        estimates::estimates_hold(record),
        capacity::capacity_is_used(record),
        calls::calls_are_answered(record),
    ]
}

/// A promise under judgement: cases make it fail.
struct Trial {
    name: &'static str,
    promise: &'static str,
    values: Vec<(&'static str, f64)>,
    cases: Vec<String>,
    cases_total: u64,
}

impl Trial {
    const fn new(name: &'static str, promise: &'static str) -> Self {
        Self { name, promise, values: vec![], cases: vec![], cases_total: 0 }
    }

    fn value(&mut self, name: &'static str, value: f64) {
        self.values.push((name, value));
    }

    /// Notes an offending case; the words are only made if it is one of the first.
    fn case(&mut self, words: impl FnOnce() -> String) {
        self.cases_total += 1;
        if self.cases.len() < CASES_MAX {
            self.cases.push(words());
        }
    }

    fn judged(self, figures: String) -> Verdict {
        let outcome = if self.cases_total > 0 { Outcome::Failed } else { Outcome::Held };
        self.ends(outcome, figures)
    }

    /// Says that the run could not tell. What it did see may still be worth a sentence.
    fn not_judged(self, reason: impl Into<String>, figures: String) -> Verdict {
        self.ends(Outcome::NotJudged(reason.into()), figures)
    }

    fn ends(self, outcome: Outcome, figures: String) -> Verdict {
        let Self { name, promise, values, cases, cases_total } = self;
        Verdict { name, promise, outcome, figures, values, cases, cases_total }
    }
}
