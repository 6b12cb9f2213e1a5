//! The summary of a run for people in a terminal: what was asked for, what was measured, and what the judge says, on one screen.

use crate::judge::wording::{count, counted, latency, percent, seconds, span};
use crate::judge::{Outcome, Verdict, value};
use crate::record::{CallTotals, End, Fate, Record};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Width to which running text is broken.
const COLUMNS: usize = 118;
/// Outcomes named per kind of call; the rest is one number.
const OUTCOMES_MAX: usize = 8;

/// Writes the summary.
///
/// # Errors
///
/// What `out` fails with.
pub fn print(record: &Record, verdicts: &[Verdict], out: &mut impl Write) -> io::Result<()> {
    head(record, out)?;
    calls(record, out)?;
    line(record, verdicts, out)?;
    claims(record, verdicts, out)?;
    published(record, out)?;
    judgement(verdicts, out)?;
    writeln!(out)?;
    paragraph(out, "", &ending(record, verdicts))
}

fn head(record: &Record, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "bunho-load · {} · {}", record.title, span(record.elapsed_ms))?;
    let settings: Vec<String> = record.settings.iter().map(|(name, value)| format!("{name} {value}")).collect();
    paragraph(out, "  ", &settings.join(" · "))
}

fn calls(record: &Record, out: &mut impl Write) -> io::Result<()> {
    if record.calls.is_empty() {
        return writeln!(out, "\n  No call was made.");
    }
    writeln!(
        out,
        "\n{:<9}{:>12}{:>11}{:>10}{:>10}{:>10}{:>10}{:>10}{:>13}",
        "calls", "count", "a second", "p50", "p95", "p99", "p99.9", "max", "p99 service"
    )?;
    let mut total = 0;
    for (call, totals) in &record.calls {
        let n: u64 = totals.outcomes.values().sum();
        total += n;
        row(out, call.word(), n, record, Some((&totals.latency_us, &totals.service_us)))?;
    }
    if record.calls.len() > 1 {
        let mut all: Option<(Histogram<u64>, Histogram<u64>)> = None;
        for totals in record.calls.values() {
            let (latencies, services) =
                all.get_or_insert_with(|| (Histogram::new_from(&totals.latency_us), Histogram::new_from(&totals.service_us)));
            // Histograms of one run have the same bounds; one that did not fit would only be missing in this row.
            let _ = latencies.add(&totals.latency_us).and(services.add(&totals.service_us));
        }
        row(out, "all", total, record, all.as_ref().map(|(latencies, services)| (latencies, services)))?;
    }
    writeln!(out, "         Times count from when a call was due; service from when it was sent.")?;
    let outcomes: Vec<String> = record.calls.iter().map(|(call, totals)| format!("{}: {}", call.word(), outcomes(totals))).collect();
    paragraph(out, "answers  ", &outcomes.join("; "))
}

fn outcomes(totals: &CallTotals) -> String {
    let mut outcomes: Vec<(&String, &u64)> = totals.outcomes.iter().collect();
    outcomes.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
    let mut words: Vec<String> = outcomes.iter().take(OUTCOMES_MAX).map(|(outcome, n)| format!("{} {outcome}", count(**n))).collect();
    if outcomes.len() > OUTCOMES_MAX {
        words.push(format!("{} others", count(outcomes[OUTCOMES_MAX..].iter().map(|(_, n)| **n).sum())));
    }
    words.join(", ")
}

fn row(out: &mut impl Write, name: &str, n: u64, record: &Record, times: Option<(&Histogram<u64>, &Histogram<u64>)>) -> io::Result<()> {
    write!(out, " {name:<8}{:>12}{:>11}", count(n), count(rate(n, record.elapsed_ms)))?;
    if let Some((latencies, services)) = times.filter(|(latencies, _)| !latencies.is_empty()) {
        for quantile in [0.5, 0.95, 0.99, 0.999, 1.0] {
            write!(out, "{:>10}", latency(latencies.value_at_quantile(quantile)))?;
        }
        write!(out, "{:>13}", latency(services.value_at_quantile(0.99)))?;
    }
    writeln!(out)
}

/// So many a second.
pub(crate) fn rate(n: u64, elapsed_ms: u64) -> u64 {
    (n * 1_000).checked_div(elapsed_ms).unwrap_or(0)
}

/// How many people's waits ended in each way: came, entered, of these at once, left, still waiting, lost.
pub(crate) fn fates(record: &Record) -> [u64; 6] {
    let mut fates = [0; 6];
    for person in record.zones.iter().flat_map(|zone| &zone.people) {
        fates[0] += 1;
        match person.fate {
            Fate::Entered => {
                fates[1] += 1;
                fates[2] += u64::from(person.entered_ms <= person.join_answered_ms);
            }
            Fate::Left | Fate::LeftSilently => fates[3] += 1,
            Fate::Waiting => fates[4] += 1,
            Fate::Lost => fates[5] += 1,
        }
    }
    fates
}

fn line(record: &Record, verdicts: &[Verdict], out: &mut impl Write) -> io::Result<()> {
    if record.zones.is_empty() {
        return Ok(());
    }
    let [came, entered, at_once, left, waiting, lost] = fates(record).map(count);
    let most = record.seconds.iter().map(|second| second.waiting).max().unwrap_or(0);
    let figure = |name: &str, show: &dyn Fn(f64) -> String| value(verdicts, name).map_or_else(|| "–".into(), show);
    let text = format!(
        "{came} came · {entered} entered, {at_once} of them at once · {left} left · {waiting} waiting at the end · {lost} lost · at most {} waiting",
        count(most)
    );
    writeln!(out)?;
    paragraph(out, "line     ", &text)?;
    let text = format!(
        "order of joining and admission tau-b {} · estimate off by {} (median) · capacity used {}",
        figure("kendall_tau_b", &|tau| format!("{tau:.4}")),
        figure("estimate_error_median", &percent),
        figure("capacity_used", &percent)
    );
    paragraph(out, "         ", &text)
}

fn claims(record: &Record, verdicts: &[Verdict], out: &mut impl Write) -> io::Result<()> {
    if record.offers.is_empty() {
        return Ok(());
    }
    let figure = |name: &str| count(value(verdicts, name).unwrap_or(0.0) as u64);
    let answers: usize = record.offers.iter().map(|offer| offer.claims.len()).sum();
    let text = format!(
        "{} · {} answers with 201, {} replayed · {} of {} units surely taken · {} read again",
        counted(record.offers.len() as u64, "offer", "offers"),
        count(answers as u64),
        figure("answers_replayed"),
        figure("units_surely_taken"),
        figure("units_offered"),
        figure("claims_reread")
    );
    writeln!(out)?;
    paragraph(out, "claims   ", &text)
}

fn published(record: &Record, out: &mut impl Write) -> io::Result<()> {
    if record.published.is_empty() {
        return Ok(());
    }
    let width = record.published.iter().map(|p| p.name.chars().count()).max().unwrap_or(0).max(12);
    writeln!(out, "\n{:<width$}  {:>16}  {:>16}", "against", "published", "today")?;
    for p in &record.published {
        writeln!(out, " {:<width$} {:>16}  {:>16}", p.name, p.published, p.today)?;
    }
    Ok(())
}

fn judgement(verdicts: &[Verdict], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\npromises")?;
    let mut not_judged: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for verdict in verdicts {
        match &verdict.outcome {
            Outcome::Held => paragraph(out, &format!(" ✓ {:<24}", label(verdict)), &verdict.figures)?,
            Outcome::NotJudged(reason) => not_judged.entry(reason).or_default().push(label(verdict)),
            Outcome::Failed => {
                paragraph(out, &format!(" ✗ {:<24}", label(verdict)), &format!("BROKEN. {}", verdict.figures))?;
                for case in &verdict.cases {
                    paragraph(out, "     · ", case)?;
                }
                let untold = verdict.cases_total.saturating_sub(verdict.cases.len() as u64);
                if untold > 0 {
                    writeln!(out, "     · and {} more", count(untold))?;
                }
            }
        }
    }
    for (reason, labels) in not_judged {
        paragraph(out, " – ", &format!("not judged, since {reason}: {}", labels.join(", ")))?;
    }
    Ok(())
}

fn label(verdict: &Verdict) -> String {
    verdict.name.replace('_', " ")
}

/// How the run ended and what the judge says in all, in a sentence or two.
pub(crate) fn ending(record: &Record, verdicts: &[Verdict]) -> String {
    let after = seconds(i64::try_from(record.elapsed_ms).unwrap_or(i64::MAX));
    let how = match &record.end {
        End::Planned => String::new(),
        End::Interrupted => format!("Interrupted after {after}; what was measured until then stands. "),
        End::GaveUp(why) => format!("Gave up after {after}: {why}. What was measured until then stands. "),
    };
    let failed = verdicts.iter().filter(|verdict| verdict.failed()).count() as u64;
    let judged = verdicts.iter().filter(|verdict| !matches!(verdict.outcome, Outcome::NotJudged(_))).count() as u64;
    let verdict = match (failed, judged) {
        (0, 0) => "No promise could be judged.".into(),
        (0, n) => format!("{} judged, all held.", counted(n, "promise", "promises")),
        (n, of) => format!("{n} of {} BROKEN.", counted(of, "promise", "promises")),
    };
    how + &verdict
}

/// Writes text after a lead, broken at spaces and indented like its first line.
fn paragraph(out: &mut impl Write, lead: &str, text: &str) -> io::Result<()> {
    let indent = lead.chars().count();
    let mut column = indent;
    write!(out, "{lead}")?;
    for (i, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > COLUMNS {
            write!(out, "\n{:indent$}", "")?;
            column = indent;
        } else if i > 0 {
            write!(out, " ")?;
            column += 1;
        }
        write!(out, "{word}")?;
        column += width;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{judge, sample};

    fn printed(record: &Record) -> String {
        let mut out = Vec::new();
        print(record, &judge(record), &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        // For whoever wants to look: cargo test -p bunho-load summary -- --nocapture
        println!("{text}");
        text
    }

    #[test]
    fn a_right_run_fits_one_screen() {
        let text = printed(&sample::right(&sample::SMALL));
        assert!(text.lines().count() <= 45, "{} lines", text.lines().count());
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "too wide");
        for part in [
            "seed 002 · 1 min 0 s",
            "seed 42",
            "p99.9",
            "3,000 came",
            "tau-b 0.99",
            "36.48 ms",
            " ✓ never oversold",
            "11 promises judged, all held.",
        ] {
            assert!(text.contains(part), "{part:?} is missing");
        }
    }

    #[test]
    fn what_is_broken_stands_out_with_its_cases() {
        let mut record = sample::right(&sample::SMALL);
        record.zones[0].people[7].rank_rose = true;
        record.offers[0].reread.clear();
        let text = printed(&record);
        for part in [
            " ✗ ranks never rise        BROKEN.",
            "· person 7 of zone main-gate",
            "1 of 10 promises BROKEN.",
            "not judged, since no claim was read again: never lost",
        ] {
            assert!(text.contains(part), "{part:?} is missing");
        }
    }

    #[test]
    fn a_cut_run_says_so_and_an_empty_one_is_printed() {
        let mut record = sample::right(&sample::SMALL);
        record.end = End::Interrupted;
        assert!(printed(&record).contains("Interrupted after 60.000 s; what was measured until then stands."));
        record.end = End::GaveUp("nothing listens there any more".into());
        (record.zones, record.offers, record.calls, record.seconds, record.elapsed_ms) = (vec![], vec![], [].into(), vec![], 0);
        let text = printed(&record);
        assert!(
            text.contains("nothing listens there any more") && text.contains("No call was made.") && text.contains("No promise could be")
        );
    }
}
