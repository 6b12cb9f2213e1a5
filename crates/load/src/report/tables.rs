//! The parts of the report that are words and tables.

use super::markup::Text;
use crate::judge::wording::{count, latency};
use crate::judge::{Outcome, Verdict};
use crate::record::{CallTotals, Record};
use crate::summary::rate;
use std::fmt::Write;

pub(super) fn verdicts(verdicts: &[Verdict], html: &mut String) {
    html.push_str("<section id=\"promises\"><h2>Promises</h2><ul class=\"verdicts\">\n");
    let mut broken_first: Vec<&Verdict> = verdicts.iter().collect();
    broken_first.sort_by_key(|verdict| !verdict.failed());
    for verdict in broken_first {
        let (class, mark, word) = match verdict.outcome {
            Outcome::Held => ("good", "✓", "held"),
            Outcome::Failed => ("bad", "✗", "broken"),
            Outcome::NotJudged(_) => ("open", "–", "not judged"),
        };
        let figures = match &verdict.outcome {
            Outcome::NotJudged(reason) => format!("Not judged: {reason}."),
            _ => verdict.figures.clone(),
        };
        let _ = write!(
            html,
            "<li class=\"{class}\"><span class=\"mark\" role=\"img\" aria-label=\"{word}\">{mark}</span><div><h3>{}</h3><p>{}</p>",
            Text(verdict.promise),
            Text(&figures)
        );
        cases(verdict, html);
        html.push_str("</div></li>\n");
    }
    html.push_str("</ul></section>\n");
}

fn cases(verdict: &Verdict, html: &mut String) {
    if verdict.cases.is_empty() {
        return;
    }
    html.push_str("<ul class=\"cases\">");
    for case in &verdict.cases {
        let _ = write!(html, "<li>{}</li>", Text(case));
    }
    let untold = verdict.cases_total.saturating_sub(verdict.cases.len() as u64);
    if untold > 0 {
        let _ = write!(html, "<li>and {} more</li>", count(untold));
    }
    html.push_str("</ul>");
}

pub(super) fn published(record: &Record, html: &mut String) {
    if record.published.is_empty() {
        return;
    }
    html.push_str(
        "<section id=\"published\"><h2>Published and today</h2><div class=\"wide\"><table><thead><tr><th scope=\"col\">figure</th>\
         <th scope=\"col\">published</th><th scope=\"col\">today</th></tr></thead><tbody>",
    );
    for p in &record.published {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>", Text(&p.name), Text(&p.published), Text(&p.today));
    }
    html.push_str("</tbody></table></div></section>\n");
}

pub(super) fn calls(record: &Record, html: &mut String) {
    if record.calls.is_empty() {
        return;
    }
    html.push_str(
        "<section id=\"calls\"><h2>Calls</h2><p>Times from the moment a call was due. Service: from the moment it was sent.</p><div class=\"wide\"><table><thead><tr>",
    );
    for column in ["call", "count", "a second", "p50", "p95", "p99", "p99.9", "slowest", "p99 service"] {
        let _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html.push_str("<th scope=\"col\" class=\"words\">answers</th></tr></thead><tbody>");
    for (call, totals) in &record.calls {
        let n = totals.outcomes.values().sum();
        let _ =
            write!(html, "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td>", call.word(), count(n), count(rate(n, record.elapsed_ms)));
        let times = &totals.latency_us;
        for us in [0.5, 0.95, 0.99, 0.999, 1.0].map(|quantile| times.value_at_quantile(quantile)) {
            let _ = write!(html, "<td>{}</td>", if times.is_empty() { "–".into() } else { latency(us) });
        }
        let _ = write!(
            html,
            "<td>{}</td><td class=\"words\">{}</td></tr>",
            latency(totals.service_us.value_at_quantile(0.99)),
            Text(&outcomes(totals))
        );
    }
    html.push_str("</tbody></table></div></section>\n");
}

fn outcomes(totals: &CallTotals) -> String {
    let mut outcomes: Vec<_> = totals.outcomes.iter().collect();
    outcomes.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    outcomes.iter().map(|(outcome, n)| format!("{} {outcome}", count(**n))).collect::<Vec<_>>().join(", ")
}

pub(super) fn faults(record: &Record, html: &mut String) {
    if record.faults.is_empty() {
        return;
    }
    html.push_str("<section id=\"faults\"><h2>What no answer explains</h2><ul>");
    for (fault, n) in &record.faults {
        let _ = write!(html, "<li>{}: {}</li>", Text(fault), count(*n));
    }
    html.push_str("</ul></section>\n");
}

pub(super) fn settings(record: &Record, html: &mut String) {
    html.push_str("<section id=\"settings\"><h2>Settings</h2><table class=\"facts\"><tbody>");
    for (name, value) in &record.settings {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Text(name), Text(value));
    }
    html.push_str("</tbody></table></section>");
}

pub(super) fn machine(facts: &[(&str, String)], html: &mut String) {
    html.push_str("<section id=\"machine\"><h2>Machine of the generator</h2><table class=\"facts\"><tbody>");
    for (name, value) in facts {
        let _ = write!(html, "<tr><th scope=\"row\">{name}</th><td>{}</td></tr>", Text(value));
    }
    html.push_str("</tbody></table></section>");
}
