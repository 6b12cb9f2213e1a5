//! The result for people: a few lines, a section of a page, and charts.

use super::outcome::Outcome;
use super::sample::Sample;
use crate::cli::SoakArgs;
use crate::exit::Failure;
use crate::judge::wording::{count, latency};
use crate::report::picture::{Course, draw};
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// Between these, a page has what the last soak wrote.
const FROM: &str = "<!-- soak: written by `bunho-load soak --into` -->";
const TO: &str = "<!-- end of soak -->";

/// What was asked for of it.
pub(super) fn write(outcome: &Outcome, arguments: &SoakArgs) -> Result<(), Failure> {
    if let Some(folder) = &arguments.pictures {
        for (name, svg) in pictures(outcome) {
            put(&folder.join(name), &svg)?;
        }
    }
    let Some(page) = &arguments.into else { return Ok(()) };
    let text = fs::read_to_string(page).map_err(|error| Failure::usage(format_args!("{} cannot be read: {error}", page.display())))?;
    let parts = text.split_once(FROM).and_then(|(before, rest)| Some((before, rest.split_once(TO)?.1)));
    let Some((before, after)) = parts else {
        return Err(Failure::usage(format_args!("{} has no lines `{FROM}` and `{TO}` to write between", page.display())));
    };
    put(page, &format!("{before}{FROM}\n\n{}\n{TO}{after}", section(outcome)))
}

fn put(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(|error| Failure::internal(format_args!("{} cannot be written: {error}", path.display())))
}

/// A few lines.
pub(super) fn summary(outcome: &Outcome) -> String {
    let mut text = format!("{}\n", in_short(outcome));
    for (name, number) in &outcome.counts {
        let _ = writeln!(text, "  {name}: {}", count(*number));
    }
    for judged in outcome.judge() {
        let _ = writeln!(text, "{} {}: {}", if judged.kept { "kept  " } else { "BROKEN" }, judged.what, judged.figures);
    }
    for finding in &outcome.findings {
        let _ = writeln!(text, "  {finding}");
    }
    text
}

fn in_short(outcome: &Outcome) -> String {
    format!(
        "{} s from {}: {} calls ({} a second), p50 {}, p99 {}, p99.9 {}, slowest {}; {} told to come again, {} without an answer",
        count(outcome.elapsed_seconds.round() as u64),
        outcome.began,
        count(outcome.calls),
        count((outcome.calls as f64 / outcome.elapsed_seconds.max(1.0)) as u64),
        latency(outcome.p50_us),
        latency(outcome.p99_us),
        latency(outcome.p999_us),
        latency(outcome.max_us),
        count(outcome.later),
        count(outcome.unanswered)
    )
}

/// The section of a page.
fn section(outcome: &Outcome) -> String {
    let machine: Vec<&str> = outcome.machine.iter().map(|(_, value)| value.as_str()).collect();
    let mut text = format!("{}, seed {}; {}.\n\n{}.\n\n", outcome.version, outcome.seed, machine.join(", "), in_short(outcome));
    text.push_str("| judged | | figures |\n|---|---|---|\n");
    for judged in outcome.judge() {
        let _ = writeln!(text, "| {} | {} | {} |", judged.what, if judged.kept { "kept" } else { "**broken**" }, judged.figures);
    }
    let deaths = |how: &str| outcome.deaths.iter().filter(|died| died.how == how).count();
    let slowest = outcome.deaths.iter().map(|died| died.ready_seconds).fold(0.0, f64::max);
    let _ = writeln!(
        text,
        "\n{} × SIGKILL and {} × SIGTERM under load, each followed by a start with other settings (ready within {slowest:.2} s) and a comparison of all open claims and keys with SQL\n\
         before anybody was let in again; {} settings read anew by SIGHUP; {} seasons of six offers and a line made, closed, compared, taken back and deleted.",
        deaths("SIGKILL"),
        deaths("SIGTERM"),
        outcome.reloads,
        outcome.seasons
    );
    text.push_str("\n| what was done | how often |\n|---|---:|\n");
    for (name, number) in &outcome.counts {
        let _ = writeln!(text, "| {name} | {} |", count(*number));
    }
    text.push_str("\n| claims at the end | | units |\n|---|---:|---:|\n");
    for (status, claims, units) in &outcome.claims {
        let _ = writeln!(text, "| {status} | {} | {} |", count(*claims), count(*units));
    }
    text.push('\n');
    for (name, _) in pictures(outcome) {
        let _ = writeln!(text, "![{}](pictures/{name})\n", name.trim_end_matches(".svg").replace('-', " "));
    }
    if outcome.findings_total > 0 {
        text.push_str("Findings:\n\n");
        for finding in &outcome.findings {
            let _ = writeln!(text, "- {finding}");
        }
    }
    text
}

fn pictures(outcome: &Outcome) -> Vec<(&'static str, String)> {
    let deaths: Vec<f64> = outcome.deaths.iter().map(|died| died.at).collect();
    let course = |name: &str, value: &dyn Fn(&Sample) -> f64| Course { name: name.into(), points: points(&outcome.samples, value) };
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    vec![
        (
            "soak-memory.svg",
            draw(
                "Resident memory",
                "MB; a dashed line is a death of the server",
                false,
                &[course("resident", &|sample| megabytes(sample.resident_bytes))],
                &deaths,
            ),
        ),
        (
            "soak-descriptors.svg",
            draw(
                "Descriptors and threads",
                "without those of connections",
                false,
                &[
                    course("descriptors", &|sample| sample.descriptors.saturating_sub(sample.connections) as f64),
                    course("threads", &|sample| sample.threads as f64),
                ],
                &deaths,
            ),
        ),
        (
            "soak-latency.svg",
            draw(
                "Answer times",
                "milliseconds, logarithmic",
                true,
                &[
                    course("p50", &|sample| sample.p50_us as f64 / 1e3),
                    course("p99", &|sample| sample.p99_us as f64 / 1e3),
                    course("slowest", &|sample| sample.max_us as f64 / 1e3),
                ],
                &deaths,
            ),
        ),
        (
            "soak-disk.svg",
            draw(
                "Journal and ledger",
                "MB on disk",
                false,
                &[course("journal", &|sample| megabytes(sample.journal_bytes)), course("ledger", &|sample| megabytes(sample.ledger_bytes))],
                &deaths,
            ),
        ),
        ("soak-rate.svg", draw("Calls answered", "per second", false, &[course("calls", &|sample| sample.rate)], &deaths)),
    ]
}

/// Between two lives there is nothing to see.
fn points(samples: &[Sample], value: &dyn Fn(&Sample) -> f64) -> Vec<(f64, Option<f64>)> {
    let mut points = Vec::with_capacity(samples.len());
    let mut life = 0;
    for sample in samples {
        if sample.life != life {
            life = sample.life;
            points.push((sample.at, None));
        }
        points.push((sample.at, Some(value(sample))));
    }
    points
}
