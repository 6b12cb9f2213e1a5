//! A point in time as RFC 3339 has it. Written only: what is read stands in a message's data, as a number.

use bunho_domain::time::Millis;

const MS_PER_DAY: i64 = 86_400_000;

/// `2026-01-02T03:04:05.678Z`; none outside of the years 0 to 9999, which it cannot name.
pub(super) fn rfc3339(at: Millis) -> Option<String> {
    let (year, month, day) = civil(at.0.div_euclid(MS_PER_DAY));
    if !(0..=9_999).contains(&year) {
        return None;
    }
    let ms = at.0.rem_euclid(MS_PER_DAY);
    let (hour, minute, second, ms) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

/// Year, month and day of a day since 1970-01-01: Howard Hinnant's `civil_from_days`. Eras have 400 years, years begin in March.
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year_of_era + era * 400 + next_year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (ms, text) in [
            (0, Some("1970-01-01T00:00:00.000Z")),
            (-1, Some("1969-12-31T23:59:59.999Z")),
            (951_782_400_000, Some("2000-02-29T00:00:00.000Z")),
            (1_767_323_045_678, Some("2026-01-02T03:04:05.678Z")),
            (253_402_300_799_999, Some("9999-12-31T23:59:59.999Z")),
            (253_402_300_800_000, None),
            (-62_167_219_200_000, Some("0000-01-01T00:00:00.000Z")),
            (-62_167_219_200_001, None),
            (i64::MAX, None),
            (i64::MIN, None),
        ] {
            assert_eq!(rfc3339(Millis(ms)).as_deref(), text, "{ms}");
        }
    }
}
