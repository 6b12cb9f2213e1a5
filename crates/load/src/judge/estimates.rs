//! Estimates of the wait: the first one shown against what it came to.
//!
//! An estimate rests on the pace that was measured, and nobody can measure leavers before they have left. So what is shown in a line's
//! first minute is judged only of people ahead of whom hardly anybody left; whoever joined before and neither entered nor
//! waits any more did leave ahead.

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
/// One leaver of so many ahead moves an estimate by a fifth of what it may be wrong by.
const FORESEEN_ONE_IN: u64 = 50;

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
        .flat_map(|zone| errors_of(zone).into_iter().map(move |(error, i)| (error, zone, i)))
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
fn errors_of(zone: &Zone) -> Vec<(f64, usize)> {
    let mut errors = Vec::new();
    let measured_from = formed(zone).saturating_add(MEASURED_MS);
    let (mut ahead, mut left) = (0_u64, 0_u64);
    for (i, person) in zone.people.iter().enumerate() {
        let shown = person.fate == Fate::Entered && person.first_estimate_ms != u32::MAX && person.first_shown_ms != u32::MAX;
        let real = person.entered_ms.saturating_sub(person.first_shown_ms);
        let foreseeable = person.first_shown_ms >= measured_from || left * FORESEEN_ONE_IN <= ahead;
        if shown && foreseeable && real >= WAIT_MIN_MS {
            errors.push(((f64::from(person.first_estimate_ms) - f64::from(real)).abs() / f64::from(real), i));
        }
        let leaves = matches!(person.fate, Fate::Left | Fate::LeftSilently);
        ahead += u64::from(waited(person) || leaves);
        left += u64::from(leaves);
    }
    errors
}

/// When the first one had to wait.
fn formed(zone: &Zone) -> u32 {
    zone.people.iter().filter(|person| waited(person)).map(|person| person.join_answered_ms).min().unwrap_or(0)
}
