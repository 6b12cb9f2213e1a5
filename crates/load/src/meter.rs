//! Counts while a run goes on: per call, per second. What is counted here ends in the [`Record`](crate::record::Record).

use crate::record::{Call, CallTotals, Second};
use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};
use std::collections::BTreeMap;

/// Longest time that is told apart, microseconds: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Digits of a run's histograms, and of a second's, which is emptied every second.
const DIGITS: u8 = 3;
const DIGITS_OF_A_SECOND: u8 = 2;

const CALLS: [Call; 8] = [Call::Wait, Call::Entry, Call::Leave, Call::Claim, Call::Confirm, Call::Release, Call::Read, Call::Null];

/// How an answer is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// It succeeded.
    Good,
    /// A refusal that belongs to the game, by its code.
    Refused(&'a str),
    /// Anything else, by its code.
    Failed(&'a str),
}

/// When a call was due, sent and answered, microseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// When it should have been sent.
    pub due_us: u64,
    /// When it was.
    pub sent_us: u64,
    /// When its answer was there.
    pub answered_us: u64,
}

/// Everything that is counted.
pub struct Meter {
    totals: [Option<Totals>; CALLS.len()],
    seconds: Vec<Second>,
    second: Second,
    latency: Histogram<u32>,
    /// People waiting now.
    waiting: u64,
    faults: BTreeMap<String, u64>,
    cpu_us: u64,
    began_us: u64,
}

struct Totals {
    good: u64,
    others: Vec<(Box<str>, u64)>,
    latency_us: Histogram<u64>,
    service_us: Histogram<u64>,
}

/// Bounds that are constants and right; were they not, the first histogram of the first run would say so.
fn histogram<C: hdrhistogram::Counter>(digits: u8) -> Histogram<C> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, digits).expect("the bounds of a histogram are right")
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            totals: std::array::from_fn(|_| None),
            seconds: Vec::new(),
            second: Second::default(),
            latency: histogram(DIGITS_OF_A_SECOND),
            waiting: 0,
            faults: BTreeMap::new(),
            cpu_us: own_cpu_us(),
            began_us: own_cpu_us(),
        }
    }
}

impl Meter {
    /// Calls fell due.
    pub fn due(&mut self, calls: u64) {
        self.second.due += calls;
    }

    /// Somebody came to a line.
    pub fn arrived(&mut self) {
        self.second.arrived += 1;
        self.waiting += 1;
    }

    /// Somebody was let in.
    pub fn entered(&mut self) {
        self.second.entered += 1;
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// Somebody waits no more, and is not in.
    pub fn left(&mut self) {
        self.waiting = self.waiting.saturating_sub(1);
    }

    /// A claim was given.
    pub fn claimed(&mut self) {
        self.second.claimed += 1;
    }

    /// A call was answered.
    pub fn answered(&mut self, call: Call, times: Times, outcome: Outcome<'_>) {
        self.second.answered += 1;
        self.count(call, times, outcome);
    }

    /// A call will not be answered.
    pub fn unanswered(&mut self, call: Call, times: Times) {
        self.count(call, times, Outcome::Failed("no_answer"));
    }

    fn count(&mut self, call: Call, times: Times, outcome: Outcome<'_>) {
        let latency_us = times.answered_us.saturating_sub(times.due_us);
        self.latency.saturating_record(latency_us);
        let totals = self.totals[call as usize].get_or_insert_with(Totals::default);
        totals.latency_us.saturating_record(latency_us);
        totals.service_us.saturating_record(times.answered_us.saturating_sub(times.sent_us));
        match outcome {
            Outcome::Good => totals.good += 1,
            Outcome::Refused(code) => totals.other(code),
            Outcome::Failed(code) => {
                totals.other(code);
                self.second.failed += 1;
            }
        }
    }

    /// Something that no answer explains.
    pub fn fault(&mut self, text: impl Into<String>) {
        *self.faults.entry(text.into()).or_default() += 1;
    }

    /// Ends the second under way; it.
    pub fn end_second(&mut self) -> Second {
        let cpu_us = own_cpu_us();
        let mut second = std::mem::take(&mut self.second);
        second.waiting = self.waiting;
        second.p50_us = self.latency.value_at_quantile(0.5);
        second.p99_us = self.latency.value_at_quantile(0.99);
        second.max_us = self.latency.max();
        second.own_cpu_millicores = u32::try_from((cpu_us - self.cpu_us) / 1_000).unwrap_or(u32::MAX);
        self.cpu_us = cpu_us;
        self.latency.reset();
        self.seconds.push(second.clone());
        second
    }

    /// Seconds that ended.
    #[must_use]
    pub fn seconds_ended(&self) -> u64 {
        self.seconds.len() as u64
    }

    /// Calls answered or given up so far, of every kind.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.totals.iter().flatten().map(|totals| totals.latency_us.len()).sum()
    }

    /// Answers counted as good so far, of one kind.
    #[must_use]
    pub fn good(&self, call: Call) -> u64 {
        self.totals[call as usize].as_ref().map_or(0, |totals| totals.good)
    }

    /// Processor time of this process since the meter was made, microseconds.
    #[must_use]
    pub fn own_cpu_us(&self) -> u64 {
        own_cpu_us() - self.began_us
    }

    /// What the record has of it: calls, seconds, faults.
    #[must_use]
    pub fn finish(self) -> (BTreeMap<Call, CallTotals>, Vec<Second>, BTreeMap<String, u64>) {
        let calls = CALLS.into_iter().zip(self.totals).filter_map(|(call, totals)| {
            let totals = totals?;
            let mut outcomes: BTreeMap<String, u64> = totals.others.into_iter().map(|(code, count)| (code.into(), count)).collect();
            if totals.good > 0 {
                outcomes.insert("2xx".into(), totals.good);
            }
            Some((call, CallTotals { latency_us: totals.latency_us, service_us: totals.service_us, outcomes }))
        });
        (calls.collect(), self.seconds, self.faults)
    }
}

impl Default for Totals {
    fn default() -> Self {
        Self { good: 0, others: Vec::new(), latency_us: histogram(DIGITS), service_us: histogram(DIGITS) }
    }
}

impl Totals {
    fn other(&mut self, code: &str) {
        match self.others.iter_mut().find(|(known, _)| **known == *code) {
            Some((_, count)) => *count += 1,
            None => self.others.push((code.into(), 1)),
        }
    }
}

/// Processor time that this process has used, microseconds.
fn own_cpu_us() -> u64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    u64::try_from(time.tv_sec * 1_000_000 + time.tv_nsec / 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_and_failures_stand_out() {
        assert!(CALLS.iter().enumerate().all(|(index, call)| *call as usize == index));
        let mut meter = Meter::default();
        let times = Times { due_us: 1_000, sent_us: 3_000, answered_us: 5_000 };
        meter.answered(Call::Claim, times, Outcome::Good);
        meter.answered(Call::Claim, times, Outcome::Refused("sold_out"));
        meter.answered(Call::Claim, times, Outcome::Failed("overloaded"));
        meter.unanswered(Call::Claim, times);
        meter.arrived();
        meter.arrived();
        meter.entered();
        let second = meter.end_second();
        assert_eq!((second.answered, second.failed, second.waiting, second.entered), (3, 2, 1, 1));
        assert!((3_900..4_100).contains(&second.p50_us), "{}", second.p50_us);
        let (calls, seconds, _) = meter.finish();
        let claims = &calls[&Call::Claim];
        let outcomes: Vec<_> = claims.outcomes.iter().map(|(code, count)| (code.as_str(), *count)).collect();
        assert_eq!(outcomes, [("2xx", 1), ("no_answer", 1), ("overloaded", 1), ("sold_out", 1)]);
        assert_eq!((claims.latency_us.len(), claims.service_us.len(), seconds.len()), (4, 4, 1));
        assert!(claims.service_us.max() < claims.latency_us.min());
    }
}
