//! Which charts a run has, and what is in them.

use super::axis::Scale;
use super::chart::{Chart, Level, POINTS_MAX, Series, Style};
use crate::judge::wording::{count, seconds};
use crate::record::{Fate, Record, Second, ServerSample, Zone};

/// Courses of people drawn at most: more lines than colours cannot be told apart.
const COURSES_MAX: usize = 5;

/// All charts for which the run has values, as HTML.
pub(super) fn draw(record: &Record) -> String {
    let zone = record.zones.iter().max_by_key(|zone| zone.people.len());
    let charts = [
        traffic(record),
        latencies(record),
        crowd(record),
        courses(record, zone),
        zone.and_then(|zone| admissions(record, zone)),
        zone.and_then(|zone| windows(record, zone)),
        claims(record),
        processors(record),
        memory(record),
    ];
    charts.iter().flatten().map(Chart::draw).collect()
}

/// A run's seconds in few enough groups to be drawn.
struct Groups<'a> {
    seconds: &'a [Second],
    size: usize,
    until: f64,
}

impl<'a> Groups<'a> {
    fn of(record: &'a Record) -> Option<Self> {
        // The last second of a run is rarely a whole one: drawn, a mere moment would look like a collapse.
        let whole = usize::try_from(record.elapsed_ms.saturating_add(500) / 1_000).unwrap_or(usize::MAX).max(1);
        let seconds = &record.seconds[..record.seconds.len().min(whole)];
        (!seconds.is_empty()).then(|| Self { seconds, size: seconds.len().div_ceil(POINTS_MAX), until: seconds.len() as f64 })
    }

    fn at(&self) -> Vec<f64> {
        (0..self.seconds.len()).step_by(self.size).map(|second| second as f64).collect()
    }

    fn mean(&self, value: impl Fn(&Second) -> f64) -> Vec<Option<f64>> {
        self.seconds.chunks(self.size).map(|group| Some(group.iter().map(&value).sum::<f64>() / group.len() as f64)).collect()
    }

    fn most(&self, value: impl Fn(&Second) -> f64) -> Vec<Option<f64>> {
        self.seconds.chunks(self.size).map(|group| group.iter().map(&value).reduce(f64::max)).collect()
    }

    fn chart(&self, id: &'static str, title: &str, about: &str, unit: &'static str, series: Vec<Series>) -> Chart {
        let about = if self.size > 1 { format!("{about} Each point stands for {} s.", self.size) } else { about.into() };
        Chart { id, title: title.into(), about, unit, scale: Scale::Linear, at: self.at(), until: self.until, series, levels: vec![] }
    }
}

fn series(name: impl Into<String>, style: Style, colour: u8, values: Vec<Option<f64>>) -> Series {
    Series { name: name.into(), style, colour, values }
}

fn traffic(record: &Record) -> Option<Chart> {
    let groups = Groups::of(record)?;
    let mut lines = vec![
        series("calls due", Style::Line, 4, groups.mean(|s| s.due as f64)),
        series("answered", Style::Area, 1, groups.mean(|s| s.answered as f64)),
        series("failed", Style::Line, 2, groups.most(|s| s.failed as f64)),
    ];
    if record.seconds.iter().any(|s| s.arrived > 0) {
        lines.push(series("people arriving", Style::Line, 3, groups.mean(|s| s.arrived as f64)));
    }
    let about = "What fell due and what was answered; where the lines part, the server fell behind.";
    Some(groups.chart("chart-traffic", "Arrivals and calls", about, "per second", lines))
}

fn latencies(record: &Record) -> Option<Chart> {
    let groups = Groups::of(record)?;
    let ms = |us: u64| us as f64 / 1_000.0;
    // A second without an answer has no times: the logarithm leaves its zero out.
    let lines = vec![
        series("slowest", Style::Line, 4, groups.most(|s| ms(s.max_us))),
        series("p99", Style::Line, 2, groups.most(|s| ms(s.p99_us))),
        series("p50", Style::Line, 1, groups.mean(|s| ms(s.p50_us))),
    ];
    let about = "From the moment a call was due, so that a stalled server is not flattered.";
    let mut chart = groups.chart("chart-latency", "Answer times", about, "milliseconds, logarithmic", lines);
    chart.scale = Scale::Log;
    Some(chart)
}

fn crowd(record: &Record) -> Option<Chart> {
    if record.zones.is_empty() {
        return None;
    }
    let groups = Groups::of(record)?;
    let mut so_far = 0;
    let entered: Vec<f64> = record
        .seconds
        .iter()
        .map(|s| {
            so_far += s.entered;
            so_far as f64
        })
        .collect();
    let entered = entered.chunks(groups.size).map(|group| group.last().copied()).collect();
    let lines =
        vec![series("waiting", Style::Area, 1, groups.most(|s| s.waiting as f64)), series("let in so far", Style::Line, 2, entered)];
    Some(groups.chart("chart-crowd", "The crowd", "People in line, and people let in since the run began.", "people", lines))
}

fn courses(record: &Record, zone: Option<&Zone>) -> Option<Chart> {
    let until = record.elapsed_ms as f64 / 1_000.0;
    if record.trails.iter().all(|trail| trail.points.len() < 2) || until <= 0.0 {
        return None;
    }
    let every = (until / POINTS_MAX as f64).max(0.5);
    let at: Vec<f64> = (0..(until / every) as usize).map(|i| i as f64 * every).collect();
    let mut lines = Vec::new();
    // Who entered or went at once has no course.
    for trail in record.trails.iter().filter(|trail| trail.points.len() > 1).take(COURSES_MAX) {
        let person = zone.and_then(|zone| zone.people.get(trail.person as usize));
        let ended = person.filter(|person| person.fate == Fate::Entered).map(|person| f64::from(person.entered_ms) / 1_000.0);
        let last = trail.points.last().map_or(0.0, |point| f64::from(point.0) / 1_000.0);
        // The last rank shown stood until the person was let in, or, of somebody who left, until then.
        let until = ended.unwrap_or(last + every);
        let rank = |at: &f64| {
            let shown = trail.points.partition_point(|point| f64::from(point.0) <= at * 1_000.0);
            let rank = shown.checked_sub(1).and_then(|i| trail.points.get(i)).map(|point| f64::from(point.1));
            rank.filter(|_| *at < until)
        };
        let name = format!("person {}", count(trail.person.into()));
        lines.push(series(name, Style::Course, lines.len() as u8 + 1, at.iter().map(rank).collect()));
    }
    Some(Chart {
        id: "chart-ranks",
        title: "Ranks shown to a few people".into(),
        about: "Numbered in the order of joining. A shown rank never rises; a dot is where somebody was let in or stopped asking.".into(),
        unit: "rank",
        scale: Scale::Linear,
        at,
        until,
        series: lines,
        levels: vec![],
    })
}

/// Admissions by time of the server, sorted, for charts that begin with the run.
fn admitted(zone: &Zone) -> Vec<i64> {
    let mut times: Vec<i64> = zone.people.iter().map(|person| person.admitted_server_ms).filter(|at| *at != i64::MIN).collect();
    times.sort_unstable();
    times
}

fn of_zone(record: &Record, zone: &Zone) -> String {
    match record.zones.len() {
        1 => format!("Zone {}.", zone.id),
        n => format!("Zone {}, the busiest of {n}.", zone.id),
    }
}

fn admissions(record: &Record, zone: &Zone) -> Option<Chart> {
    let slot_ms = i64::from(zone.slot_ms.max(1));
    let until = i64::try_from(record.elapsed_ms).unwrap_or(i64::MAX);
    // Rounded up: the last slot need not be whole.
    let slots = usize::try_from(-(-until).div_euclid(slot_ms)).ok().filter(|slots| *slots > 0)?;
    // Slots begin at whole multiples in Unix time; so much of one had passed when the run began.
    let passed = record.began_unix_ms.rem_euclid(slot_ms);
    let mut counts = vec![0_u64; slots + 1];
    for at in admitted(zone) {
        if let Some(count) = usize::try_from((at + passed).div_euclid(slot_ms)).ok().and_then(|slot| counts.get_mut(slot)) {
            *count += 1;
        }
    }
    while counts.len() > 1 && (counts.len() as i64 - 1) * slot_ms - passed >= until {
        counts.pop();
    }
    // Of very many slots, groups of neighbours: the mean, as the quota is one slot's.
    let group = counts.len().div_ceil(POINTS_MAX);
    let means = counts.chunks(group).map(|group| Some(group.iter().sum::<u64>() as f64 / group.len() as f64)).collect();
    let at = (0..counts.len()).step_by(group).map(|slot| ((slot as i64 * slot_ms - passed).max(0)) as f64 / 1_000.0).collect();
    let quota = zone.limit.map(|limit| (u64::from(limit) * u64::from(zone.slot_ms)).div_ceil(u64::from(zone.window_ms.max(1))));
    Some(Chart {
        id: "chart-admissions",
        title: format!("Let in per slot of {}", seconds(slot_ms).replace(".000", "")),
        about: format!("{} Before a line has formed, people enter as they come; then, a slot's share at a time.", of_zone(record, zone)),
        unit: "people per slot",
        scale: Scale::Linear,
        at,
        until: until as f64 / 1_000.0,
        series: vec![series("let in", Style::Bars, 1, means)],
        levels: quota.map(|quota| Level { name: format!("a slot's share: {}", count(quota)), value: quota as f64 }).into_iter().collect(),
    })
}

fn windows(record: &Record, zone: &Zone) -> Option<Chart> {
    let limit = zone.limit?;
    let window_ms = i64::from(zone.window_ms);
    let seconds_long = (record.elapsed_ms / 1_000).max(1) as usize;
    let group = seconds_long.div_ceil(POINTS_MAX);
    let times = admitted(zone);
    // The fullest window that ends within the group: each admission ends one.
    let mut fullest = vec![0_u64; seconds_long.div_ceil(group)];
    let bucket = |at: i64| usize::try_from(at / 1_000).unwrap_or(0) / group;
    for (i, place) in fullest.iter_mut().enumerate() {
        let at = (i * group) as i64 * 1_000;
        *place = (times.partition_point(|t| *t <= at) - times.partition_point(|t| *t <= at - window_ms)) as u64;
    }
    let mut oldest = 0;
    for (newest, at) in times.iter().enumerate() {
        while times[oldest] <= at - window_ms {
            oldest += 1;
        }
        if let Some(place) = fullest.get_mut(bucket(*at)) {
            *place = (*place).max((newest - oldest + 1) as u64);
        }
    }
    Some(Chart {
        id: "chart-window",
        title: format!("Let in within any {}", seconds(window_ms).replace(".000", "")),
        about: format!("{} The fullest window that ends at each moment, against the limit that it may never pass.", of_zone(record, zone)),
        unit: "people per window",
        scale: Scale::Linear,
        at: (0..fullest.len()).map(|i| (i * group) as f64).collect(),
        until: seconds_long as f64,
        series: vec![series("let in", Style::Area, 1, fullest.iter().map(|n| Some(*n as f64)).collect())],
        levels: vec![Level { name: format!("limit: {}", count(limit.into())), value: f64::from(limit) }],
    })
}

fn claims(record: &Record) -> Option<Chart> {
    if record.offers.is_empty() {
        return None;
    }
    let groups = Groups::of(record)?;
    let lines = vec![series("claims given", Style::Area, 3, groups.mean(|s| s.claimed as f64))];
    Some(groups.chart("chart-claims", "Claims", "Answers that gave a claim.", "per second", lines))
}

/// A server's counter of processor time may count whole seconds only: the difference over one would be 0 or 1.
const CPU_SPAN_MS: u64 = 10_000;

fn processors(record: &Record) -> Option<Chart> {
    let groups = Groups::of(record)?;
    let mut lines = vec![series("generator", Style::Line, 2, groups.mean(|s| f64::from(s.own_cpu_millicores) / 1_000.0))];
    let server = sampled(&groups, &record.server, CPU_SPAN_MS, |a, b| {
        let seconds = (b.at_ms.saturating_sub(a.at_ms)) as f64 / 1_000.0;
        // A restart begins again at zero.
        (seconds > 0.0 && b.cpu_seconds >= a.cpu_seconds).then(|| (b.cpu_seconds - a.cpu_seconds) / seconds)
    });
    if server.iter().any(Option::is_some) {
        lines.insert(0, series("server", Style::Line, 1, server));
    }
    let about = "Cores in use, the server's over ten seconds each; the generator shares the machine with it where both run on one.";
    Some(groups.chart("chart-cpu", "Processor", about, "cores", lines))
}

fn memory(record: &Record) -> Option<Chart> {
    let groups = Groups::of(record)?;
    let server = sampled(&groups, &record.server, 0, |_, sample| Some(sample.resident_bytes as f64 / 1e6));
    server.iter().any(Option::is_some).then(|| {
        let lines = vec![series("server, resident", Style::Area, 1, server)];
        groups.chart("chart-memory", "Memory of the server", "As its own metrics tell.", "megabytes", lines)
    })
}

/// A value of each group, from the last sample `back_ms` before it and the last one within it. A sample that is late by a moment leaves no gap: the
/// two before it stand in.
fn sampled(
    groups: &Groups<'_>,
    samples: &[ServerSample],
    back_ms: u64,
    value: impl Fn(&ServerSample, &ServerSample) -> Option<f64>,
) -> Vec<Option<f64>> {
    let last = samples.last().map_or(0, |sample| sample.at_ms);
    let of_group = |from: usize| {
        let (from, to) = (from as u64 * 1_000, (from + groups.size) as u64 * 1_000);
        let end = samples.partition_point(|sample| sample.at_ms < to).checked_sub(1)?;
        let start = samples.partition_point(|sample| sample.at_ms < from.saturating_sub(back_ms)).min(end).saturating_sub(1);
        if from > last { None } else { value(&samples[start], &samples[end]) }
    };
    (0..groups.seconds.len()).step_by(groups.size).map(of_group).collect()
}
