//! The HTML page: everything in one file, in the same clothes as the load generator's.

use super::{COLUMNS, Report, guide, may, rates, row, verdict};
use crate::cell::Cell;
use bunho_load::judge::wording::{count, latency};
use bunho_load::report::STYLE;
use bunho_load::report::markup::Text;
use std::fmt::Write;

const BARS: &str = include_str!("bars.css");

/// The whole page.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>bunho-lab</title><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><style>{STYLE}{BARS}</style></head><body>\n"
    );
    let (class, mark, said) = match (report.contradicts(), report.cut, report.failures.is_empty() && !report.shows_nothing()) {
        (true, ..) => ("bad", "✗", "a strategy broke what theory says it keeps"),
        (false, true, _) => ("open", "–", "cut by Ctrl-C; this is what was measured by then"),
        (false, false, false) => ("open", "–", "not everything could be measured; what was broke nothing that theory says it keeps"),
        (false, false, true) => ("good", "✓", "no strategy broke anything but what theory lets it break"),
    };
    let _ = write!(
        html,
        "<header><p class=\"kind\">bunho-lab</p><h1>Every strategy side by side</h1><p class=\"when\">{}</p>\
         <p class=\"badge {class}\"><b aria-hidden=\"true\">{mark}</b>{said}</p></header>\n<main>\n",
        Text(&report.about())
    );
    for (title, cells) in report.groups() {
        let _ = write!(html, "<section><h2>{}</h2>\n<div class=\"charts\">", Text(&title));
        let rate = |cell: &Cell| (rates(cell)[1], count(rates(cell)[1].round() as u64));
        bars("Accepted a second", "Longer is better.", &cells, &rate, "c1", &mut html);
        let slow = |cell: &Cell| {
            let us = cell.course.latency_us.value_at_quantile(0.99);
            (us as f64, latency(us))
        };
        bars("Answer time, p99", "Shorter is better.", &cells, &slow, "c2", &mut html);
        let harm = |cell: &Cell| {
            let all = cell.oversold + cell.lost + cell.double;
            (all as f64, format!("{} · {} · {}", count(cell.oversold), count(cell.lost), count(cell.double)))
        };
        bars("Broken: oversold · lost · double", "Only zero is good.", &cells, &harm, "c5", &mut html);
        html.push_str("</div>\n");
        table(&cells, &mut html);
        html.push_str("</section>\n");
    }
    if !report.failures.is_empty() {
        html.push_str("<section><h2>Not measured</h2><ul>");
        for failure in &report.failures {
            let _ = write!(html, "<li>{}</li>", Text(failure));
        }
        html.push_str("</ul></section>\n");
    }
    for paragraph in super::NOTES.replace('*', "").trim().split("\n\n") {
        let _ = write!(html, "<p class=\"detail\">{}</p>", Text(paragraph));
    }
    theory(report, &mut html);
    published(&mut html);
    html.push_str("<section><h2>Which of these is enough for whom</h2><dl class=\"guide\">");
    for (question, answer) in guide::guide(report) {
        let _ = write!(html, "<dt>{}</dt><dd>{}</dd>", Text(question), Text(&answer));
    }
    html.push_str("</dl></section>\n<section><h2>Run and machine</h2><table class=\"facts\"><tbody>");
    for (name, value) in report.facts() {
        let _ = write!(html, "<tr><th scope=\"row\">{}</th><td>{}</td></tr>", Text(&name), Text(&value));
    }
    let _ = write!(
        html,
        "</tbody></table></section>\n</main>\n<footer>Drawn by bunho-lab {}.</footer></body></html>\n",
        env!("CARGO_PKG_VERSION")
    );
    html
}

/// A row of bars, one for each cell; letters beside them, so that nothing depends on colour or length alone.
fn bars(title: &str, about: &str, cells: &[&Cell], value: &dyn Fn(&Cell) -> (f64, String), colour: &str, html: &mut String) {
    let most = cells.iter().map(|cell| value(cell).0).fold(0.0, f64::max).max(1e-9);
    let _ =
        write!(html, "<figure class=\"rows\"><figcaption><h3>{}</h3><p>{}</p></figcaption><div class=\"bars\">", Text(title), Text(about));
    for cell in cells {
        let (number, words) = value(cell);
        let share = 100.0 * number / most;
        let _ = write!(
            html,
            "<span>{}</span><span class=\"soft\">{}</span><i class=\"track {colour}\"><b style=\"width:{share:.1}%\"></b></i><span class=\"figure\">{}</span>",
            Text(cell.strategy.facts().name),
            cell.database,
            Text(&words)
        );
    }
    html.push_str("</div></figure>");
}

fn table(cells: &[&Cell], html: &mut String) {
    html.push_str("<div class=\"wide cells\"><table><thead><tr>");
    for column in COLUMNS {
        let _ = write!(html, "<th scope=\"col\">{column}</th>");
    }
    html.push_str("<th scope=\"col\" class=\"words\">as declared</th></tr></thead><tbody>");
    for cell in cells {
        let mut row = row(cell).into_iter();
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", Text(&row.next().unwrap_or_default()));
        for value in row {
            let _ = write!(html, "<td>{}</td>", Text(&value));
        }
        let class = if cell.contradictions().is_empty() { "words" } else { "words against" };
        let _ = write!(html, "<td class=\"{class}\">{}</td></tr>", Text(&verdict(cell)));
    }
    html.push_str("</tbody></table></div>\n");
}

fn theory(report: &Report, html: &mut String) {
    html.push_str("<section><h2>What theory says</h2><div class=\"wide\"><table><thead><tr><th scope=\"col\">strategy</th>");
    html.push_str("<th class=\"words\">what it does</th><th class=\"words\">may</th><th class=\"words\">why</th></tr></thead><tbody>");
    for strategy in report.strategies() {
        let facts = strategy.facts();
        let _ = write!(html, "<tr><th scope=\"row\">{}</th>", facts.name);
        for words in [facts.line, &may(strategy), facts.why] {
            let _ = write!(html, "<td class=\"words\">{}</td>", Text(words));
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table></div></section>\n");
}

fn published(html: &mut String) {
    html.push_str(
        "<section><h2>Figures of the source documents, measured elsewhere</h2><p>Other machines, other programs, other years.</p>",
    );
    html.push_str("<div class=\"wide\"><table><thead><tr><th>document</th><th class=\"words\">strategy</th><th class=\"words\">published</th></tr></thead><tbody>");
    for [document, strategy, figure] in guide::PUBLISHED {
        let _ = write!(
            html,
            "<tr><th scope=\"row\">{document}</th><td class=\"words\">{}</td><td class=\"words\">{}</td></tr>",
            Text(strategy),
            Text(figure)
        );
    }
    html.push_str("</tbody></table></div></section>\n");
}
