//! Calls that failed.
//!
//! A refusal is an answer: `sold_out` or `too_fast` fail nothing. So is an orderly 503 (`overloaded`, `recovering`): the node said at
//! once that it did nothing; these are counted beside the verdict. No answer at all, any other 5xx, and whatever the generator could
//! not make sense of, fail it.

use super::wording::{count, counted};
use super::{Trial, Verdict};
use crate::record::Record;

/// Orderly refusals of work: 503 with `Retry-After`, nothing happened.
const SHED: [&str; 2] = ["overloaded", "recovering"];
/// No usable answer, and codes of the contract that come with a 5xx.
const FAILURES: [&str; 5] = ["no_answer", "unreadable", "internal", "suspended", "indeterminate"];

pub(super) fn calls_are_answered(record: &Record) -> Verdict {
    let mut trial = Trial::new("calls_answered", "Every call is answered, none with a failure of the server");
    let (mut calls, mut shed, mut failed) = (0, 0, 0);
    for (call, totals) in &record.calls {
        for (outcome, n) in &totals.outcomes {
            calls += n;
            if SHED.contains(&outcome.as_str()) {
                shed += n;
            } else if is_failure(outcome) {
                failed += n;
                trial.case(|| format!("{}: {outcome}, {}", call.word(), counted(*n, "time", "times")));
            }
        }
    }
    for (fault, n) in &record.faults {
        trial.case(|| format!("{fault}, {}", counted(*n, "time", "times")));
    }
    if calls == 0 && trial.cases_total == 0 {
        return trial.not_judged("no call was made", String::new());
    }
    trial.value("calls", calls as f64);
    trial.value("calls_failed", failed as f64);
    trial.value("calls_shed", shed as f64);
    let figures = format!(
        "{} of {} failed, {} turned away with an orderly 503.",
        count(failed),
        counted(calls, "call", "calls"),
        counted(shed, "was", "were")
    );
    trial.judged(figures)
}

/// Whether this outcome of a call is a failure of the server: by its code, or by its status where it came without one.
fn is_failure(outcome: &str) -> bool {
    let status = outcome.trim_start_matches("http_").trim_start_matches("status_");
    FAILURES.contains(&outcome) || outcome.ends_with("5xx") || status.parse::<u16>().is_ok_and(|status| status >= 500)
}

#[cfg(test)]
mod tests {
    use super::is_failure;

    #[test]
    fn only_failures_of_the_server_are_failures() {
        for outcome in ["no_answer", "internal", "indeterminate", "suspended", "502", "http_500", "error_5xx", "unreadable"] {
            assert!(is_failure(outcome), "{outcome}");
        }
        for outcome in ["2xx", "sold_out", "too_fast", "overloaded", "404", "ticket_gone", "error_other"] {
            assert!(!is_failure(outcome), "{outcome}");
        }
    }
}
