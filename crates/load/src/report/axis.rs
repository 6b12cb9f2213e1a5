//! Where values stand on a chart, and which of them are written beside it.

use crate::judge::wording::count;

/// How an axis goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero, evenly.
    Linear,
    /// By powers of ten: what is above zero.
    Log,
}

/// A vertical axis over some values.
#[derive(Debug)]
pub(super) struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
    /// Values with a grid line, lowest first.
    pub(super) ticks: Vec<f64>,
}

/// Grid lines wanted at most.
const TICKS_MAX: f64 = 5.0;

impl Axis {
    /// An axis on which all of these fit. Values that the scale cannot show are ignored.
    pub(super) fn over(scale: Scale, values: impl Iterator<Item = f64>) -> Self {
        match scale {
            Scale::Linear => Self::linear(values.fold(0.0, f64::max)),
            Scale::Log => Self::log(values.filter(|v| *v > 0.0).fold((f64::MAX, 0.0), |(low, high), v| (low.min(v), high.max(v)))),
        }
    }

    fn linear(most: f64) -> Self {
        let most = if most > 0.0 { most } else { 1.0 };
        let step = round_up(most / TICKS_MAX);
        let steps = (most / step).ceil().max(1.0);
        let ticks = (0..=steps as u32).map(|i| f64::from(i) * step).collect();
        Self { scale: Scale::Linear, low: 0.0, high: steps * step, ticks }
    }

    fn log((low, high): (f64, f64)) -> Self {
        let (low, high) = if high > 0.0 { (low, high) } else { (1.0, 10.0) };
        let first = low.log10().floor() as i32;
        let last = (high.log10().ceil() as i32).max(first + 1);
        let decades = (first..=last).map(|exponent| 10_f64.powi(exponent));
        Self { scale: Scale::Log, low: 10_f64.powi(first), high: 10_f64.powi(last), ticks: decades.collect() }
    }

    /// Where a value stands: 0 at the bottom, 1 at the top. None: it cannot be shown.
    pub(super) fn height(&self, value: f64) -> Option<f64> {
        match self.scale {
            Scale::Linear => Some((value / self.high).clamp(0.0, 1.0)),
            Scale::Log if value > 0.0 => Some(((value / self.low).ln() / (self.high / self.low).ln()).clamp(0.0, 1.0)),
            Scale::Log => None,
        }
    }
}

/// The next of 1, 2, 5, 10, 20, … that is not smaller.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    // A hair of slack, so that 0.2 computed with an error does not become 0.5.
    let step = [1.0, 2.0, 5.0].into_iter().find(|step| step * power >= value * (1.0 - 1e-9)).unwrap_or(10.0);
    step * power
}

/// Moments to write under a chart of this many seconds: few enough to be read on a phone.
pub(super) fn moments(seconds: f64) -> Vec<f64> {
    const STEPS: [f64; 13] = [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0];
    // Hours are written longer.
    let most = if seconds > 3_600.0 { 5.0 } else { 8.5 };
    let step = STEPS.into_iter().find(|step| seconds / step <= most).unwrap_or_else(|| round_up(seconds / most));
    (0..=(seconds / step) as u32).map(|i| f64::from(i) * step).collect()
}

/// A moment as minutes and seconds.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds.round().max(0.0) as u64;
    if seconds >= 3_600 {
        format!("{}:{:02}:{:02}", seconds / 3_600, seconds % 3_600 / 60, seconds % 60)
    } else {
        format!("{}:{:02}", seconds / 60, seconds % 60)
    }
}

/// A value for the edge of a chart, short.
pub(super) fn short(value: f64) -> String {
    let (scaled, suffix) = match value {
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    format!("{}{suffix}", exact(scaled))
}

/// A value with as many places as it has, at most three.
pub(super) fn exact(value: f64) -> String {
    if value.fract().abs() < 1e-9 && value.abs() < 1e15 {
        return count(value as u64);
    }
    let places = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        3
    };
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_axes_have_round_steps_and_hold_their_values() {
        for (most, steps, top) in
            [(0.0, 5, 1.0), (1.0, 5, 1.0), (7.0, 4, 8.0), (99.0, 5, 100.0), (101.0, 3, 150.0), (12_345.0, 3, 15_000.0)]
        {
            let axis = Axis::over(Scale::Linear, [most].into_iter());
            assert_eq!((axis.ticks.len() - 1, *axis.ticks.last().unwrap()), (steps, top), "{most}");
            assert!(axis.height(most).unwrap() <= 1.0);
        }
    }

    #[test]
    fn log_axes_go_by_tens_and_skip_what_is_not_above_zero() {
        let axis = Axis::over(Scale::Log, [0.0, 0.4, 36.0].into_iter());
        assert_eq!(axis.ticks, [0.1, 1.0, 10.0, 100.0]);
        assert_eq!((axis.height(0.0), axis.height(0.1), axis.height(100.0)), (None, Some(0.0), Some(1.0)));
        assert!((axis.height(1.0).unwrap() - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(Axis::over(Scale::Log, std::iter::empty()).ticks, [1.0, 10.0]);
    }

    #[test]
    fn moments_are_few_and_start_at_zero() {
        for seconds in [1.0, 59.0, 160.0, 3_600.0, 100_000.0] {
            let moments = moments(seconds);
            assert!((2..=9).contains(&moments.len()) && moments[0] == 0.0 && *moments.last().unwrap() <= seconds, "{seconds}: {moments:?}");
        }
        assert_eq!([clock(0.0), clock(160.0), clock(3_661.0)], ["0:00", "2:40", "1:01:01"]);
        assert_eq!([short(0.0), short(0.25), short(950.0), short(12_500.0), short(2e6)], ["0", "0.25", "950", "12.5k", "2M"]);
    }
}
