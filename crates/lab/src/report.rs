//! What a run is told as: Markdown to be committed, JSON for scripts, one HTML page to look at. All three say the same.

mod guide;
mod page;

use crate::cell::Cell;
use crate::strategy::{Harm, Strategy};
use bunho_load::judge::wording::{count, latency, utc};
use bunho_load::report::machine;
use serde_json::{Value, json};
use std::fmt::Write;

pub use page::render;

/// A whole run.
#[derive(Debug)]
pub struct Report {
    /// How it was called.
    pub command: String,
    /// When it began, Unix milliseconds.
    pub began_unix_ms: i64,
    /// What was measured, in order.
    pub cells: Vec<Cell>,
    /// What could not be measured, and why.
    pub failures: Vec<String>,
    /// Whether it was cut by Ctrl-C.
    pub cut: bool,
    /// Programs and their versions.
    pub versions: Vec<(String, String)>,
    /// Units.
    pub quantity: u32,
    /// Users and their attempts.
    pub crowd: (u32, u32),
    /// Attempts under way at a time.
    pub tasks: u16,
}

/// The columns of the table.
pub(crate) const COLUMNS: [&str; 15] = [
    "strategy",
    "SQL",
    "oversold",
    "lost",
    "double",
    "in SQL",
    "attempts/s",
    "accepted/s",
    "p50",
    "p95",
    "p99",
    "errors",
    "SQL trips",
    "Redis trips",
    "DB CPU s",
];

impl Report {
    /// Whether something was seen that theory does not allow.
    #[must_use]
    pub fn contradicts(&self) -> bool {
        self.cells.iter().any(|cell| !cell.contradictions().is_empty())
    }

    /// Whether some strategy gave out nothing at all, which shows nothing.
    #[must_use]
    pub fn shows_nothing(&self) -> bool {
        !self.cut && self.cells.iter().any(|cell| cell.course.yes() == 0)
    }

    /// The cells by what died in them: the plain ones first.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<&Cell>)> {
        let mut groups: Vec<(String, Vec<&Cell>)> = Vec::new();
        for cell in &self.cells {
            let title = cell.killed.map_or_else(|| "Nobody dies".to_owned(), |victim| format!("With a SIGKILL in the middle: {victim}"));
            match groups.iter_mut().find(|(known, _)| *known == title) {
                Some((_, cells)) => cells.push(cell),
                None => groups.push((title, vec![cell])),
            }
        }
        groups
    }

    /// What was run, in a sentence.
    pub(crate) fn about(&self) -> String {
        let (users, attempts) = (count(self.crowd.0.into()), count(self.crowd.1.into()));
        format!(
            "{users} users make {attempts} attempts in a random order, {} at a time, for {} units: one unit per user, an order row in SQL for each.",
            self.tasks,
            count(self.quantity.into())
        )
    }

    /// The facts of the machine and the programs.
    pub(crate) fn facts(&self) -> Vec<(String, String)> {
        let mut facts = vec![("date".to_owned(), utc(self.began_unix_ms)), ("command".to_owned(), self.command.clone())];
        facts.extend(machine().into_iter().map(|(name, value)| (name.to_owned(), value)));
        facts.extend(self.versions.iter().cloned());
        facts
    }

    /// As Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = format!("# The lab: every strategy side by side\n\n{}\n", self.about());
        if self.cut {
            text.push_str("\n**This run was cut by Ctrl-C; what follows is what it had by then.**\n");
        }
        text.push('\n');
        for (name, value) in self.facts() {
            let _ = writeln!(text, "- {name}: {}", if name == "command" { format!("`{value}`") } else { value });
        }
        for (title, cells) in self.groups() {
            let _ = writeln!(text, "\n## {title}\n\n| {} | as declared |", COLUMNS.join(" | "));
            let _ = writeln!(text, "|---|---|{}---|", "---:|".repeat(COLUMNS.len() - 2));
            for cell in cells {
                let _ = writeln!(text, "| {} | {} |", row(cell).join(" | "), verdict(cell));
            }
        }
        if !self.failures.is_empty() {
            text.push_str("\n## Not measured\n\n");
            for failure in &self.failures {
                let _ = writeln!(text, "- {failure}");
            }
        }
        text.push_str(NOTES);
        text.push_str("\n## What theory says\n\n| strategy | what it does | may | why |\n|---|---|---|---|\n");
        for strategy in self.strategies() {
            let facts = strategy.facts();
            let _ = writeln!(text, "| {} | {} | {} | {} |", facts.name, facts.line, may(strategy), facts.why);
        }
        text.push_str("\n## Figures of the source documents, measured elsewhere\n\nOther machines, other programs, other years: they say what was possible there, not who is faster.\n\n");
        text.push_str("| document | strategy | published |\n|---|---|---|\n");
        for [document, strategy, figure] in guide::PUBLISHED {
            let _ = writeln!(text, "| `{document}` | {strategy} | {figure} |");
        }
        text.push_str("\n## Which of these is enough for whom\n");
        for (question, answer) in guide::guide(self) {
            let _ = write!(text, "\n**{question}** {answer}\n");
        }
        text
    }

    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        let cells: Vec<Value> = self.cells.iter().map(cell_json).collect();
        json!({
            "command": self.command, "began_unix_ms": self.began_unix_ms, "cut": self.cut, "contradicts": self.contradicts(),
            "users": self.crowd.0, "attempts": self.crowd.1, "quantity": self.quantity, "tasks": self.tasks,
            "facts": self.facts().into_iter().map(|(name, value)| json!([name, value])).collect::<Vec<_>>(),
            "cells": cells, "not_measured": self.failures,
        })
    }

    pub(crate) fn strategies(&self) -> Vec<Strategy> {
        Strategy::ALL.into_iter().filter(|strategy| self.cells.iter().any(|cell| cell.strategy == *strategy)).collect()
    }
}

const NOTES: &str = "\n*attempts/s*: all answers over the time of the crowd. *p50, p95, p99*: from sending an attempt to reading its answer, where there was one.\n\
*errors*: attempts that failed, gave up, or whose application was killed under them; a user who met one waits 0.1 s. *trips*: round trips for one accepted\n\
unit, with those of refused attempts and of what goes on in the background. The strategies count their own; Bunho's are the statements that its database and the\n\
scripts and waits that its Redis counted, several of which may share a trip. *DB CPU s*: processor seconds of the database's processes, the opening of the\n\
application's connections included. *in SQL*: units with an order, after everything asynchronous had its time.\n\
*oversold*: units in SQL, or users with a yes, beyond what there was. *lost*: users who were answered yes and have no order. *double*: users with more than one.\n\
\n\
What dies gets a SIGKILL at even distances in what is given out, the process and *redis* several times (`--deaths`), the rest once. A strategy that writes in two places works\n\
for 2 ms in between there, as an application would that has more to do, so that a death can hit it. The process is started again at once (of Bunho it is the node), Redis and the broker after a second. *redis* has an append-only file that is synced every second: a SIGKILL takes nearly nothing of it, a power cut would take up to a second.\n\
*redis-data* comes back empty, as after a snapshot that never was or with a replica that had nothing yet; of the cluster all six nodes do. The naive\n\
strategy has no unique index on its orders (it looks instead); everybody else has one.\n\
\n\
*declared, not seen here*: theory names a way to break, and no death of this run hit its moment, such as that between a holder's two writes.\n";

/// Rates of a cell: attempts and accepted a second.
pub(crate) fn rates(cell: &Cell) -> [f64; 2] {
    let seconds = cell.course.elapsed.as_secs_f64().max(1e-6);
    let answered = cell.course.yes() + cell.course.refused;
    [answered as f64 / seconds, cell.course.yes() as f64 / seconds]
}

/// A cell as the table shows it.
pub(crate) fn row(cell: &Cell) -> Vec<String> {
    let [attempts, accepted] = rates(cell).map(|rate| count(rate.round() as u64));
    let times = [0.5, 0.95, 0.99].map(|quantile| latency(cell.course.latency_us.value_at_quantile(quantile)));
    let per = |trips: Option<u64>| match cell.course.yes() {
        0 => "–".to_owned(),
        yes => trips.map_or_else(|| "–".to_owned(), |trips| format!("{:.1}", trips as f64 / yes as f64)),
    };
    let cpu = cell.database_cpu.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.2}"));
    let mut cells = vec![cell.strategy.facts().name.to_owned(), cell.database.to_owned()];
    cells.extend([cell.oversold, cell.lost, cell.double, cell.units].map(count));
    cells.extend([attempts, accepted]);
    cells.extend(times);
    cells.push(count(cell.course.failed));
    cells.extend([per(cell.trips[0]), per(cell.trips[1]), cpu]);
    cells
}

/// What theory allows, in words.
#[must_use]
pub fn may(strategy: Strategy) -> String {
    let may = strategy.facts().may;
    if may.is_empty() {
        return "nothing".into();
    }
    let word = |(harm, when): &(Harm, crate::strategy::When)| match when {
        crate::strategy::When::Always => format!("may {harm}"),
        crate::strategy::When::Killed(victim) => format!("may {harm} on kill of {victim}"),
    };
    may.iter().map(word).collect::<Vec<_>>().join(", ")
}

/// How a cell stands to theory.
pub(crate) fn verdict(cell: &Cell) -> String {
    let against = cell.contradictions();
    if !against.is_empty() {
        let harms: Vec<String> = against.iter().map(ToString::to_string).collect();
        return format!("✗ contradicts: it may not {}", harms.join(" or "));
    }
    if cell.course.yes() == 0 {
        return "✗ nobody got anything".into();
    }
    let allowed: Vec<Harm> =
        [Harm::Oversold, Harm::Lost, Harm::Double].into_iter().filter(|harm| cell.strategy.may(*harm, cell.killed)).collect();
    if allowed.is_empty() {
        return "✓ nothing broken".into();
    }
    let part = |seen: bool| {
        let harms = allowed.iter().filter(|harm| (cell.count(**harm) > 0) == seen).map(ToString::to_string).collect::<Vec<_>>();
        (!harms.is_empty())
            .then(|| format!("{}: {}", if seen { "✓ seen as declared" } else { "declared, not seen here" }, harms.join(", ")))
    };
    [part(true), part(false)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn cell_json(cell: &Cell) -> Value {
    let [attempts, accepted] = rates(cell);
    let course = &cell.course;
    let us = |quantile| course.latency_us.value_at_quantile(quantile);
    json!({
        "strategy": cell.strategy.facts().name, "database": cell.database, "killed": cell.killed.map(|victim| victim.to_string()),
        "sent": course.sent, "accepted": course.yes(), "refused": course.refused, "failed": course.failed, "elapsed_ms": course.elapsed.as_millis() as u64,
        "attempts_per_second": attempts, "accepted_per_second": accepted, "p50_us": us(0.5), "p95_us": us(0.95), "p99_us": us(0.99),
        "sql_trips": cell.trips[0], "redis_trips": cell.trips[1], "database_cpu_seconds": cell.database_cpu,
        "units": cell.units, "oversold": cell.oversold, "lost": cell.lost, "double": cell.double, "cut": course.cut,
        "may": may(cell.strategy), "contradicts": cell.contradictions().iter().map(ToString::to_string).collect::<Vec<_>>(),
    })
}
