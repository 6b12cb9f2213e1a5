//! Estimates of the wait: the first one shown against what it came to.
//!
//! An estimate rests on the pace that was measured, and nobody can measure leavers before they have left. So where people left,
//! estimates of a line's first minute are not judged; where nobody did, all are.

use super::order::waited;
use super::wording::{counted, percent, person, seconds};
use super::{Trial, Verdict};
use crate::record::{Fate, Record, Zone};

/// What the median of the error must stay below.
const ERROR_MAX: f64 = 0.10;
/// Of shorter waits a polling period is too large a part for an estimate to matter.
const WAIT_MIN_MS: u32 = 10_000;
/// A median over fewer people says nothing.
const PEOPLE_MIN: usize = 100;
/// How long a line's pace is measured before estimates can know it.
const MEASURED_MS: u32 = 60_000;

pub(super) fn estimates_hold(record: &Record) -> Verdict {
    let mut trial = Trial::new("estimates", "The first estimate of the wait is wrong by less than 10 %, as a median");
    if record.zones.is_empty() {
        return trial.not_judged("nobody stood in a line", String::new());
    }
    // What frees a seat or opens a door no pace foretells.
    let mut errors: Vec<(f64, &Zone, usize)> = record
        .zones
        .iter()
        .filter(|zone| !zone.otherwise_bound)
        .flat_map(|zone| errors_of(zone).map(move |(error, i)| (error, zone, i)))
        .collect();
    if errors.len() < PEOPLE_MIN {
        let of_whom =
            format!("{} with an estimate that could be judged waited ten seconds", counted(errors.len() as u64, "person", "people"));
        return trial.not_judged(format!("only {of_whom}; {PEOPLE_MIN} are needed"), String::new());
    }
    errors.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let at = |share: usize| errors[(errors.len() - 1) * share / 100].0;
    let (median, p90) = (at(50), at(90));
    trial.value("estimate_error_median", median);
    trial.value("estimate_error_p90", p90);
    trial.value("estimates", errors.len() as f64);
    if median >= ERROR_MAX {
        // From the median on: the very worst are the odd ones, these are what a visitor got.
        for (error, zone, i) in &errors[errors.len() / 2..] {
            trial.case(|| {
                let p = zone.people[*i];
                let (shown, real) = (seconds(p.first_estimate_ms.into()), seconds(i64::from(p.entered_ms) - i64::from(p.first_shown_ms)));
                format!(
                    "{} was shown {shown} at {} and waited {real}: {} off",
                    person(zone, *i),
                    seconds(p.first_shown_ms.into()),
                    percent(*error)
                )
            });
        }
    }
    let figures = format!(
        "Off by {} as a median, nine of ten by less than {} ({} with waits of 10 s or more).",
        percent(median),
        percent(p90),
        counted(errors.len() as u64, "person", "people")
    );
    trial.judged(figures)
}

/// Relative errors of a zone's first estimates, and whose.
fn errors_of(zone: &Zone) -> impl Iterator<Item = (f64, usize)> {
    let from = judged_from(zone);
    zone.people.iter().enumerate().filter_map(move |(i, person)| {
        let shown = person.fate == Fate::Entered && person.first_estimate_ms != u32::MAX && person.first_shown_ms != u32::MAX;
        let real = person.entered_ms.saturating_sub(person.first_shown_ms);
        (shown && person.first_shown_ms >= from && real >= WAIT_MIN_MS)
            .then(|| ((f64::from(person.first_estimate_ms) - f64::from(real)).abs() / f64::from(real), i))
    })
}

/// Estimates shown before are not judged.
fn judged_from(zone: &Zone) -> u32 {
    let formed = zone.people.iter().filter(|person| waited(person)).map(|person| person.join_answered_ms).min().unwrap_or(0);
    let left = zone.people.iter().any(|person| matches!(person.fate, Fate::Left | Fate::LeftSilently));
    if left { formed.saturating_add(MEASURED_MS) } else { 0 }
}
