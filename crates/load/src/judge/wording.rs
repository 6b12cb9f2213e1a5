//! How numbers and times are written for people, here and in everything that reports.

use crate::record::Zone;

/// 1234567 as `1,234,567`.
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A count and its noun in the right number: `1 claim`, `2 claims`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", count(number), if number == 1 { one } else { many })
}

/// Milliseconds as seconds with three places: `12.345 s`.
pub(crate) fn seconds(ms: i64) -> String {
    let sign = if ms < 0 { "-" } else { "" };
    let ms = ms.unsigned_abs();
    format!("{sign}{}.{:03} s", count(ms / 1_000), ms % 1_000)
}

/// A share as per cent with two places.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

/// Microseconds, in the unit in which they are read easily.
#[must_use]
pub fn latency(us: u64) -> String {
    match us {
        0..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// Milliseconds as a span for a headline: `2 min 40 s`.
pub(crate) fn span(ms: u64) -> String {
    match ms / 1_000 {
        0 => format!("{ms} ms"),
        s @ 1..60 => format!("{}.{} s", s, ms % 1_000 / 100),
        s @ 60..3_600 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

/// A moment of Unix time as `2026-01-01 10:00:00 UTC`.
#[must_use]
pub fn utc(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms)
        .map_or_else(|_| format!("{unix_ms} ms"), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// A person of a zone: the number in the order of first answers.
pub(crate) fn person(zone: &Zone, index: usize) -> String {
    format!("person {} of zone {}", count(index as u64), zone.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(counted(1, "claim", "claims"), "1 claim");
        assert_eq!(seconds(-1_204), "-1.204 s");
        assert_eq!(seconds(1_234_567), "1,234.567 s");
        assert_eq!(percent(0.991_23), "99.12 %");
        assert_eq!([latency(950), latency(36_480), latency(250_000), latency(2_500_000)], ["0.95 ms", "36.5 ms", "250 ms", "2.50 s"]);
        assert_eq!([span(800), span(12_340), span(160_000), span(3_660_000)], ["800 ms", "12.3 s", "2 min 40 s", "1 h 1 min"]);
        assert_eq!(utc(1_767_225_600_000), "2026-01-01 00:00:00 UTC");
    }
}
