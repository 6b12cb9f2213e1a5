//! At most N admissions in any window, to the millisecond, by the server's own times of admission.
//!
//! A window is (t − W, t], as the server's line keeps it: an admission at t counts until just before t + W, so two that are exactly
//! W apart are not in the same window. Every window that could hold most ends at an admission, so one pass of two pointers over the
//! sorted times sees them all.

use super::wording::{count, counted, seconds};
use super::{Trial, Verdict};
use crate::record::{Record, Zone};

pub(super) fn limit_of_any_window(record: &Record) -> Verdict {
    let mut trial = Trial::new("rolling_limit", "Never more than N admissions in any rolling window");
    let (mut limited, mut admissions) = (0, 0);
    let mut worst: Option<(u64, &Zone)> = None;
    for zone in &record.zones {
        let Some(limit) = zone.limit else { continue };
        limited += 1;
        let times = admissions_of(zone);
        admissions += times.len() as u64;
        let fullest = fullest_windows(&times, zone.window_ms.into(), limit.into(), |until, inside| {
            trial.case(|| {
                let (inside, window, until) = (count(inside), seconds(zone.window_ms.into()), seconds(until));
                format!("zone {}: {inside} admissions in the {window} up to {until}, {} allowed", zone.id, count(limit.into()))
            });
        });
        // By how far each came to its own limit: zones may have different ones.
        let fuller = |(inside, other): (u64, &Zone)| fullest * u64::from(other.limit.unwrap_or(1)) > inside * u64::from(limit);
        if worst.is_none_or(fuller) {
            worst = Some((fullest, zone));
        }
    }
    let Some((fullest, zone)) = worst else {
        let reason = if record.zones.is_empty() { "nobody stood in a line" } else { "no zone of this run has a limit" };
        return trial.not_judged(reason, String::new());
    };
    let limit = u64::from(zone.limit.unwrap_or(0));
    trial.value("admissions", admissions as f64);
    trial.value("fullest_window", fullest as f64);
    trial.value("fullest_window_limit", limit as f64);
    let figures = format!(
        "The fullest window of {} had {} of {} allowed{}, of {} in all.",
        seconds(zone.window_ms.into()),
        count(fullest),
        count(limit),
        if limited > 1 { format!(" (zone {}, of {limited} zones)", zone.id) } else { String::new() },
        counted(admissions, "admission", "admissions"),
    );
    trial.judged(figures)
}

/// The server's times of admission, sorted.
pub(super) fn admissions_of(zone: &Zone) -> Vec<i64> {
    let mut times: Vec<i64> = zone.people.iter().map(|person| person.admitted_server_ms).filter(|at| *at != i64::MIN).collect();
    times.sort_unstable();
    times
}

/// Most admissions in any window of the sorted times. Tells of windows with more than `limit`: their end and how many; none that
/// overlaps another it told of, so that one excess is not told a thousand times.
fn fullest_windows(times: &[i64], window_ms: i64, limit: u64, mut exceeded: impl FnMut(i64, u64)) -> u64 {
    let (mut oldest, mut fullest) = (0, 0);
    let mut told_until = i64::MIN;
    for (newest, until) in times.iter().enumerate() {
        while times[oldest] <= until - window_ms {
            oldest += 1;
        }
        let inside = (newest - oldest + 1) as u64;
        fullest = fullest.max(inside);
        let last_of_its_time = times.get(newest + 1) != Some(until);
        if inside > limit && last_of_its_time && until - window_ms >= told_until {
            told_until = *until;
            exceeded(*until, inside);
        }
    }
    fullest
}

#[cfg(test)]
mod tests {
    use super::fullest_windows;
    use proptest::prelude::*;

    #[test]
    fn two_exactly_a_window_apart_are_not_in_one() {
        assert_eq!(fullest_windows(&[0, 1_000], 1_000, 9, |_, _| ()), 1);
        assert_eq!(fullest_windows(&[0, 999], 1_000, 9, |_, _| ()), 2);
        assert_eq!(fullest_windows(&[], 1_000, 9, |_, _| ()), 0);
        assert_eq!(fullest_windows(&[5, 5, 5], 1_000, 9, |_, _| ()), 3);
    }

    proptest! {
        #[test]
        fn agrees_with_counting_every_window(mut times in prop::collection::vec(-50_i64..200, 0..80), window in 1_i64..60, limit in 0_u64..20) {
            times.sort_unstable();
            // Windows that end between admissions too.
            let naive = |until: i64| times.iter().filter(|t| **t > until - window && **t <= until).count() as u64;
            let most = (-60..270).map(naive).max().unwrap();
            let mut told = vec![];
            prop_assert_eq!(fullest_windows(&times, window, limit, |until, inside| told.push((until, inside))), most);
            prop_assert_eq!(told.is_empty(), most <= limit);
            for (until, inside) in &told {
                prop_assert_eq!(naive(*until), *inside);
            }
        }
    }
}
