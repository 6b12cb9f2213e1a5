//! The report of a run: one HTML page that needs nothing else, to be read, kept and sent around.
//!
//! It answers in this order: were the promises kept; what happened over time; what exactly was measured; and where. Charts are drawn
//! here, not in the browser; the one small script only shows values under the pointer. Colours follow the reader's light or dark
//! setting, widths the window, and nothing is fetched from anywhere.

mod axis;
mod chart;
mod charts;
pub mod markup;
pub mod picture;
mod tables;
#[cfg(test)]
mod tests;

use crate::judge::wording::{count, latency, percent, span, utc};
use crate::judge::{Outcome, Verdict, value};
use crate::record::Record;
use crate::summary::{ending, fates, rate};
use hdrhistogram::Histogram;
use markup::Text;
use std::fmt::Write;

/// Colours, letters and tables of a page that needs nothing else.
pub const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = include_str!("report/readout.js");

/// The whole page.
#[must_use]
pub fn render(record: &Record, verdicts: &[Verdict]) -> String {
    let mut html = String::with_capacity(256 * 1_024);
    let title = Text(&record.title);
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>bunho-load: {title}</title>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\">\
         <style>{STYLE}</style></head><body>\n"
    );
    head(record, verdicts, &mut html);
    html.push_str("<main>\n");
    tables::verdicts(verdicts, &mut html);
    tables::published(record, &mut html);
    let charts = charts::draw(record);
    if !charts.is_empty() {
        let _ = write!(html, "<section id=\"charts\"><h2>Over time</h2><div class=\"charts\">\n{charts}</div></section>\n");
    }
    tables::calls(record, &mut html);
    tables::faults(record, &mut html);
    let _ = write!(html, "<div class=\"pair\">");
    tables::settings(record, &mut html);
    tables::machine(&machine(), &mut html);
    let _ = write!(
        html,
        "</div>\n</main>\n<footer>Drawn by bunho-load {}.</footer>\n<script>{SCRIPT}</script>\n</body></html>\n",
        env!("CARGO_PKG_VERSION")
    );
    html
}

fn head(record: &Record, verdicts: &[Verdict], html: &mut String) {
    let failed = verdicts.iter().any(Verdict::failed);
    let judged = verdicts.iter().any(|verdict| !matches!(verdict.outcome, Outcome::NotJudged(_)));
    let (class, mark) = match (failed, judged) {
        (true, _) => ("bad", "✗"),
        (false, true) => ("good", "✓"),
        (false, false) => ("open", "–"),
    };
    let _ = write!(
        html,
        "<header><p class=\"kind\">bunho-load</p><h1>{}</h1><p class=\"when\">{} · {}</p><p id=\"verdict\" class=\"badge {class}\"><b aria-hidden=\"true\">{mark}</b>{}</p><dl class=\"keys\">",
        Text(&record.title),
        utc(record.began_unix_ms),
        span(record.elapsed_ms),
        Text(&ending(record, verdicts)),
    );
    for (name, figure, detail) in keys(record, verdicts) {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{figure}</dd><dd class=\"detail\">{detail}</dd></div>");
    }
    html.push_str("</dl></header>\n");
}

/// The numbers to see first: what it is, the number, and a word on it.
fn keys(record: &Record, verdicts: &[Verdict]) -> Vec<(&'static str, String, String)> {
    let calls: u64 = record.calls.values().flat_map(|totals| totals.outcomes.values()).sum();
    let mut keys = vec![("Calls", count(calls), format!("{} a second", count(rate(calls, record.elapsed_ms))))];
    if let Some(all) = all_latencies(record) {
        keys.push((
            "P95 of the answer time",
            latency(all.value_at_quantile(0.95)),
            format!("p99 {}, slowest {}", latency(all.value_at_quantile(0.99)), latency(all.max())),
        ));
    }
    let number = |name: &str| value(verdicts, name).unwrap_or(0.0) as u64;
    keys.push(("Failed calls", count(number("calls_failed")), format!("{} turned away in order", count(number("calls_shed")))));
    if !record.zones.is_empty() {
        let [came, entered, _, left, waiting, _] = fates(record);
        let most = record.seconds.iter().map(|second| second.waiting).max().unwrap_or(0);
        keys.push(("People", count(came), format!("at most {} waiting", count(most))));
        keys.push(("Let in", count(entered), format!("{} left, {} still waiting", count(left), count(waiting))));
    }
    let mut figure = |name: &'static str, key: &str, show: &dyn Fn(f64) -> String, detail: &str| {
        if let Some(value) = value(verdicts, key) {
            keys.push((name, show(value), detail.into()));
        }
    };
    figure("Order kept", "kendall_tau_b", &|tau| format!("{tau:.4}"), "Kendall’s tau-b; 1 is perfect");
    figure("Capacity used", "capacity_used", &percent, "of a lossless limiter’s entries");
    figure("Error of estimates", "estimate_error_median", &percent, "median over waits of 10 s or more");
    if !record.offers.is_empty() {
        let offered = format!("of {} offered", count(number("units_offered")));
        keys.push(("Units surely taken", count(number("units_surely_taken")), offered));
    }
    keys
}

/// All answer times of the run. None: there was no answer.
fn all_latencies(record: &Record) -> Option<Histogram<u64>> {
    let mut all: Option<Histogram<u64>> = None;
    for totals in record.calls.values() {
        match &mut all {
            None => all = Some(totals.latency_us.clone()),
            // Histograms of one run have the same bounds.
            Some(all) => _ = all.add(&totals.latency_us),
        }
    }
    all.filter(|all| !all.is_empty())
}

/// What this generator ran on: name and value. On systems that do not say, less.
#[must_use]
pub fn machine() -> Vec<(&'static str, String)> {
    let cores = std::thread::available_parallelism().map_or_else(|_| "unknown".into(), |n| n.to_string());
    let mut facts = vec![("cores", cores)];
    let line = |file: &str, key: &str| {
        let text = std::fs::read_to_string(file).ok()?;
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    facts.extend(line("/proc/cpuinfo", "model name").map(|model| ("processor", model)));
    let kibibytes = line("/proc/meminfo", "MemTotal").and_then(|total| total.trim_end_matches("kB").trim().parse::<f64>().ok());
    facts.extend(kibibytes.map(|kib| ("memory", format!("{:.1} GB", kib * 1_024.0 / 1e9))));
    facts.push(("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)));
    facts
}
