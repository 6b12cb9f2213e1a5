//! Times as SQL readers and clients see them: RFC 3339 UTC with milliseconds, `2026-01-01T00:00:00.000Z`.
//!
//! Always 24 characters, so texts sort as the times do. Written here because a restart reads three of them for each of
//! a million claims and every answer about a claim has two, and the fixed form needs no calendar library.

use bunho_domain::time::Millis;

/// Characters of every time in the ledger.
const WIDTH: usize = 24;
const MS_PER_DAY: i64 = 86_400_000;
/// 0000-01-01T00:00:00.000Z: 719,528 days before 1970.
const EARLIEST_MS: i64 = -719_528 * MS_PER_DAY;
/// 9999-12-31T23:59:59.999Z: 2,932,897 days after 1970 end it. Beyond, the text would grow a digit.
const LATEST_MS: i64 = 2_932_897 * MS_PER_DAY - 1;

/// The text of one instant, on the stack.
#[derive(Clone, Copy)]
pub struct Timestamp([u8; WIDTH]);

impl Timestamp {
    /// Formats `at`; instants outside the years 0 to 9999 become the nearest one inside.
    #[must_use]
    pub fn new(at: Millis) -> Self {
        let ms = at.0.clamp(EARLIEST_MS, LATEST_MS);
        let (day, in_day) = (ms.div_euclid(MS_PER_DAY), ms.rem_euclid(MS_PER_DAY));
        let (year, month, date) = civil_from_days(day);
        let mut text = *b"0000-00-00T00:00:00.000Z";
        put(&mut text[0..4], year);
        put(&mut text[5..7], month);
        put(&mut text[8..10], date);
        put(&mut text[11..13], in_day / 3_600_000);
        put(&mut text[14..16], in_day / 60_000 % 60);
        put(&mut text[17..19], in_day / 1_000 % 60);
        put(&mut text[20..23], in_day % 1_000);
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Reads back what [`Timestamp`] wrote; anything else is none.
pub(crate) fn parse(text: &str) -> Option<Millis> {
    let bytes: &[u8; WIDTH] = text.as_bytes().try_into().ok()?;
    for (at, mark) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'.'), (23, b'Z')] {
        if bytes[at] != mark {
            return None;
        }
    }
    let (year, month, date) = (number(&bytes[0..4])?, number(&bytes[5..7])?, number(&bytes[8..10])?);
    let (hour, minute, second, ms) = (number(&bytes[11..13])?, number(&bytes[14..16])?, number(&bytes[17..19])?, number(&bytes[20..23])?);
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&date) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(Millis(days_from_civil(year, month, date) * MS_PER_DAY + hour * 3_600_000 + minute * 60_000 + second * 1_000 + ms))
}

/// Days of a month of the proleptic Gregorian calendar.
const fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn put(digits: &mut [u8], mut value: i64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, d| d.is_ascii_digit().then(|| n * 10 + i64::from(d - b'0')))
}

// The two below are Howard Hinnant's algorithms for the proleptic Gregorian calendar ("chrono-Compatible Low-Level
// Date Algorithms"): years begin in March, so that the leap day is the last, and 400 of them have 146,097 days.
const DAYS_PER_ERA: i64 = 146_097;
/// Days from 0000-03-01 to 1970-01-01.
const EPOCH_SHIFT: i64 = 719_468;

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + EPOCH_SHIFT;
    let (era, in_era) = (shifted.div_euclid(DAYS_PER_ERA), shifted.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
    let day_of_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, date)
}

fn days_from_civil(year: i64, month: i64, date: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let from_march = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * from_march + 2) / 5 + date - 1;
    era * DAYS_PER_ERA + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - EPOCH_SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (1_767_225_600_000, "2026-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
            (EARLIEST_MS, "0000-01-01T00:00:00.000Z"),
            (LATEST_MS, "9999-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(Timestamp::new(Millis(ms)).as_str(), text);
            assert_eq!(parse(text), Some(Millis(ms)));
        }
        assert_eq!(Timestamp::new(Millis(i64::MAX)).as_str(), "9999-12-31T23:59:59.999Z");
        // Every 7 h 1 min and a bit for three centuries: each day, and each minute of the day, is met.
        for ms in (-4_000_000_000_000..6_000_000_000_000).step_by(25_261_007) {
            assert_eq!(parse(Timestamp::new(Millis(ms)).as_str()), Some(Millis(ms)));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "2026-01-01",
            "2026-01-01T00:00:00Z",
            "2026-13-01T00:00:00.000Z",
            "2026-01-01 00:00:00.000Z",
            "2026-01-01T24:00:00.000Z",
            "2026-02-29T00:00:00.000Z",
            "1900-02-29T00:00:00.000Z",
            "2026-04-31T00:00:00.000Z",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
