//! How much load at what time: levels that rise, fall or stand over stages, in users or in arrivals per second.
//!
//! Each stage goes in a straight line from the level before it to its own, as in k6. A stage of no length is a step.

use std::time::Duration;

/// What the load is counted in.
#[derive(Clone, Debug)]
pub enum Model {
    /// So many users at a time; each begins again when it is done, until so many have begun in all.
    Closed {
        /// Users.
        users: Stages,
        /// Most beginnings in all; none: until the stages end.
        total: Option<u64>,
    },
    /// So many users come in a second, whatever became of those before.
    Open {
        /// Users a second.
        rate: Stages,
    },
}

impl Model {
    /// When the last stage ends, microseconds.
    #[must_use]
    pub fn ends_us(&self) -> u64 {
        match self {
            Self::Closed { users: stages, .. } | Self::Open { rate: stages } => stages.ends_us(),
        }
    }

    /// People who will come at least: users, beginnings or arrivals.
    #[must_use]
    pub fn people(&self) -> u64 {
        match self {
            Self::Closed { users, total } => total.unwrap_or(users.most() as u64),
            Self::Open { rate } => rate.arrivals() as u64,
        }
    }

    /// In words, for the head of a report.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Closed { users, total: Some(total) } => format!("closed: {} users, {total} beginnings in all", users.most()),
            Self::Closed { users, total: None } => format!("closed: up to {} users for {} s", users.most(), users.ends_us() / 1_000_000),
            Self::Open { rate } => format!("open: up to {} arrivals a second for {} s", rate.most(), rate.ends_us() / 1_000_000),
        }
    }
}

/// Levels over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Stages(Vec<Stage>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Stage {
    begins_us: u64,
    length_us: u64,
    from: f64,
    to: f64,
    /// Arrivals before it, the level taken as arrivals per second.
    arrivals_before: f64,
}

impl Stage {
    fn level(&self, into_us: u64) -> f64 {
        if self.length_us == 0 { self.to } else { self.from + (self.to - self.from) * (into_us as f64 / self.length_us as f64) }
    }

    /// Arrivals between its begin and a moment of it: the area under the line.
    fn arrivals(&self, into_us: u64) -> f64 {
        (self.from + self.level(into_us)) / 2.0 * into_us as f64 / 1e6
    }
}

impl Stages {
    /// Stages in order: length and level at the end, from level 0.
    #[must_use]
    pub fn new(stages: &[(Duration, f64)]) -> Self {
        let (mut begins_us, mut from, mut arrivals_before) = (0, 0.0, 0.0);
        let stages = stages.iter().map(|&(length, to)| {
            let length_us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
            let stage = Stage { begins_us, length_us, from, to, arrivals_before };
            begins_us += length_us;
            arrivals_before += stage.arrivals(length_us);
            from = to;
            stage
        });
        Self(stages.collect())
    }

    /// One level from the first moment to the end.
    #[must_use]
    pub fn steady(level: f64, length: Duration) -> Self {
        Self::new(&[(Duration::ZERO, level), (length, level)])
    }

    /// When the last one ends, microseconds.
    #[must_use]
    pub fn ends_us(&self) -> u64 {
        self.0.last().map_or(0, |stage| stage.begins_us + stage.length_us)
    }

    /// The level at a moment; 0 after the end.
    #[must_use]
    pub fn level(&self, at_us: u64) -> f64 {
        let stage = self.0.iter().rev().find(|stage| stage.begins_us <= at_us);
        stage.filter(|stage| at_us < stage.begins_us + stage.length_us).map_or(0.0, |stage| stage.level(at_us - stage.begins_us))
    }

    /// The highest level.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.0.iter().map(|stage| stage.to).fold(0.0, f64::max)
    }

    /// All arrivals until the end.
    #[must_use]
    pub fn arrivals(&self) -> f64 {
        self.0.last().map_or(0.0, |stage| stage.arrivals_before + stage.arrivals(stage.length_us))
    }

    /// When arrival number `number` (from 0) is due, evenly spaced. None: after the end.
    #[must_use]
    pub fn arrival_us(&self, number: u64) -> Option<u64> {
        let number = number as f64;
        let stage = self.0.iter().find(|stage| stage.arrivals_before + stage.arrivals(stage.length_us) > number)?;
        let wanted = number - stage.arrivals_before;
        // from·t + slope·t²/2 = wanted, in seconds. Written so that a flat stage is no special case.
        let slope = (stage.to - stage.from) / (stage.length_us as f64 / 1e6);
        let root = (stage.from * stage.from + 2.0 * slope * wanted).max(0.0).sqrt();
        let seconds = if stage.from + root == 0.0 { 0.0 } else { 2.0 * wanted / (stage.from + root) };
        Some(stage.begins_us + ((seconds * 1e6) as u64).min(stage.length_us))
    }
}

/// Reads `110s:100%` or `30s:500`: a length, and a level in hundredths of `full` or as such.
///
/// # Errors
/// A sentence that says how it is written.
pub fn stage(text: &str, full: f64) -> Result<(Duration, f64), String> {
    let wrong = || format!("`{text}` is no stage: write LENGTH:LEVEL, such as 10s:50% (of the full load) or 10s:200");
    let (length, level) = text.split_once(':').ok_or_else(wrong)?;
    let level = match level.strip_suffix('%') {
        Some(percent) => percent.parse::<f64>().map_err(|_| wrong())? / 100.0 * full,
        None => level.parse().map_err(|_| wrong())?,
    };
    if !(level.is_finite() && level >= 0.0) {
        return Err(wrong());
    }
    Ok((length_of_time(length).ok_or_else(wrong)?, level))
}

/// Reads `250ms`, `10s`, `2m`, or a number of seconds.
#[must_use]
pub fn length_of_time(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len()));
    let seconds = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        _ => return None,
    };
    let seconds = number.parse::<f64>().ok()? * seconds;
    // A week: beyond that somebody meant something else.
    (seconds.is_finite() && (0.0..=604_800.0).contains(&seconds)).then(|| Duration::from_secs_f64(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting_room() -> Stages {
        let stages = ["10s:50%", "110s:100%", "30s:100%", "10s:0"].map(|text| stage(text, 600_000.0).expect("a stage"));
        Stages::new(&stages)
    }

    #[test]
    fn levels_go_in_straight_lines() {
        let stages = waiting_room();
        assert_eq!(stages.ends_us(), 160_000_000);
        for (second, level) in
            [(0, 0.0), (5, 150_000.0), (10, 300_000.0), (65, 450_000.0), (120, 600_000.0), (149, 600_000.0), (155, 300_000.0)]
        {
            assert!((stages.level(second * 1_000_000) - level).abs() < 1e-3, "at {second} s: {}", stages.level(second * 1_000_000));
        }
        assert_eq!(stages.level(160_000_000), 0.0);
        // The user-seconds of the source's load test.
        assert!((stages.arrivals() - 72_000_000.0).abs() < 1.0);
    }

    #[test]
    fn a_stage_without_length_is_a_step() {
        let stages =
            Stages::new(&[(Duration::ZERO, 5.0), (Duration::from_secs(1), 5.0), (Duration::ZERO, 1.0), (Duration::from_secs(1), 1.0)]);
        assert_eq!([0, 999_999, 1_000_000, 1_999_999, 2_000_000].map(|us| stages.level(us)), [5.0, 5.0, 1.0, 1.0, 0.0]);
    }

    #[test]
    fn arrivals_are_even_and_none_is_left_out() {
        let steady = Stages::steady(4.0, Duration::from_secs(2));
        let due: Vec<_> = (0..10).map(|n| steady.arrival_us(n)).collect();
        assert_eq!(due[..8], [0, 250, 500, 750, 1_000, 1_250, 1_500, 1_750].map(|ms| Some(ms * 1_000)));
        assert_eq!(due[8..], [None, None]);
    }

    #[test]
    fn arrivals_of_a_ramp_follow_its_area() {
        let ramp = Stages::new(&[(Duration::from_secs(10), 100.0), (Duration::from_secs(10), 0.0)]);
        assert!((ramp.arrivals() - 1_000.0).abs() < 1e-9);
        // Half of a ramp's arrivals have come at 1/√2 of its length.
        let half = ramp.arrival_us(250).expect("due");
        assert!(half.abs_diff(7_071_067) < 10, "{half}");
        let mut last = 0;
        for number in 0..1_000 {
            let due = ramp.arrival_us(number).expect("due");
            assert!(due >= last);
            last = due;
        }
        assert!((19_000_000..=20_000_000).contains(&last));
        assert_eq!(ramp.arrival_us(1_000), None);
    }

    #[test]
    fn texts() {
        assert_eq!(stage("250ms:200", 1.0), Ok((Duration::from_millis(250), 200.0)));
        assert_eq!(stage("2m:50%", 10.0), Ok((Duration::from_secs(120), 5.0)));
        for wrong in ["", "10s", "10x:5", "10s:x", "-1s:5", "10s:-5", "10s:nan%", "99999999s:1"] {
            assert!(stage(wrong, 1.0).is_err_and(|text| text.contains(wrong)), "{wrong}");
        }
    }
}
