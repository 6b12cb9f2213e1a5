//! The page that a benchmark writes.

use super::Sizes;
use std::fmt::Write;
use std::time::Duration;

/// A kind of work beside the null endpoint.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) work: String,
    pub(super) per_second: f64,
    pub(super) null_per_second: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
}

/// Latency at a rate.
#[derive(Debug)]
pub(super) struct Latency {
    pub(super) work: String,
    pub(super) rate: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) p999_us: u64,
    pub(super) max_us: u64,
}

/// Everything that was measured.
pub(super) struct Page {
    sizes: Sizes,
    pub(super) rows: Vec<Row>,
    pub(super) latencies: Vec<Latency>,
    pub(super) bytes_per_waiting: Option<f64>,
    pub(super) bytes_per_claim: Option<f64>,
    /// Records, and how long they took.
    pub(super) ledger: Option<(u64, Duration)>,
    /// The ledger could be kept from being written to.
    pub(super) ledger_was_held: bool,
    /// Live claims, records to replay, how long it took, and what the server said of it.
    pub(super) restart: Option<(u64, u64, Duration, Option<String>)>,
}

impl Page {
    pub(super) const fn new(sizes: Sizes) -> Self {
        Self {
            sizes,
            rows: Vec::new(),
            latencies: Vec::new(),
            bytes_per_waiting: None,
            bytes_per_claim: None,
            ledger: None,
            ledger_was_held: false,
            restart: None,
        }
    }

    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let _ = write!(
            text,
            "# Benchmarks\n\nWritten by `make bench` (`bunho-load bench --server ./target/release/bunho --write docs/benchmarks.md`); run it to have the figures of your\n\
             machine. The generator runs on the same cores as the server, so the absolute figures are those of a crowded machine; what counts is the\n\
             **ratio** to the null endpoint (`GET /healthz`) of the same run: what HTTP itself costs here.\n\nMachine: {cores} cores ({}), {:.0} GB, {}.\n",
            processor(),
            memory_gb(),
            system()
        );
        self.speed(&mut text);
        self.latency(&mut text);
        self.sizes_and_times(&mut text);
        text
    }

    fn speed(&self, text: &mut String) {
        if self.rows.is_empty() {
            return;
        }
        text.push_str(
            "\n## Speed\n\n| work | per second | null endpoint | ratio | goal | p50 | p99 |\n|---|---:|---:|---:|---:|---:|---:|\n",
        );
        for row in &self.rows {
            let (ratio, goal) = (row.per_second / row.null_per_second, if row.work.starts_with("polls") { 0.8 } else { 0.7 });
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | **{ratio:.2}** | ≥ {goal}: {} | {} | {} |",
                row.work,
                row.per_second,
                row.null_per_second,
                met(ratio >= goal),
                ms(row.p50_us),
                ms(row.p99_us)
            );
        }
        let (turns, seconds) = (self.sizes.turns, self.sizes.turn.as_secs());
        let _ = writeln!(
            text,
            "\n{turns} turns of {seconds} s each, the null endpoint and the work by turns; closed model without think time."
        );
        let ratios: Vec<f64> =
            self.rows.iter().filter(|row| row.work.starts_with("polls")).map(|row| row.per_second / row.null_per_second).collect();
        if let (Some(least), Some(most), true) =
            (ratios.iter().copied().reduce(f64::min), ratios.iter().copied().reduce(f64::max), ratios.len() > 1)
        {
            let spread = (1.0 - least / most) * 100.0;
            let _ = writeln!(text, "Polls over all crowds differ by {spread:.0} % (goal: at most 10 %: {}).", met(spread <= 10.0));
        }
    }

    fn latency(&self, text: &mut String) {
        if self.latencies.is_empty() {
            return;
        }
        text.push_str("\n## Latency at half of that\n\n| work | per second | p50 | p99 | p99.9 | max |\n|---|---:|---:|---:|---:|---:|\n");
        for row in &self.latencies {
            let figures = [row.p50_us, row.p99_us, row.p999_us, row.max_us].map(ms).join(" | ");
            let _ = writeln!(text, "| {} | {:.0} | {figures} |", row.work, row.rate);
        }
        let seconds = self.sizes.latency.as_secs();
        let _ =
            writeln!(text, "\nOpen model, {seconds} s each, 64 connections; from the moment each call was due, whenever it could be sent.");
    }

    fn sizes_and_times(&self, text: &mut String) {
        text.push_str("\n## Sizes and times\n\n| what | measured | goal |\n|---|---:|---:|\n");
        for (what, count, bytes, goal) in [
            ("waiting ticket", self.sizes.live, self.bytes_per_waiting, 120.0),
            ("held claim", self.sizes.measured(), self.bytes_per_claim, 250.0),
        ] {
            if let Some(bytes) = bytes {
                let _ =
                    writeln!(text, "| resident bytes of a {what}, {count} of them | {bytes:.0} B | ≤ {goal} B: {} |", met(bytes <= goal));
            }
        }
        if let Some((records, took)) = self.ledger {
            let per_second = records as f64 / took.as_secs_f64().max(0.001);
            let goal = met(per_second >= 100_000.0);
            let _ = writeln!(text, "| journal → SQLite, records a second, {records} that waited | {per_second:.0} | ≥ 100,000: {goal} |");
        }
        if let Some((claims, lag, took, _)) = &self.restart {
            let seconds = took.as_secs_f64();
            let goal = met(seconds <= 3.0);
            let _ = writeln!(
                text,
                "| SIGKILL, then from start to `/readyz` 200, {claims} live claims, {lag} records to replay | {seconds:.2} s | ≤ 3 s: {goal} |"
            );
        }
        text.push_str(
            "\nResident bytes: `VmRSS` of the server after, less before, divided; so what its journal and its ledger keep in memory counts as well.\n",
        );
        if self.bytes_per_claim.is_some() {
            let filling = self.sizes.filling;
            let _ = writeln!(
                text,
                "Those of claims are counted after {filling} others on the same server: they fill the caches of a fixed size that the journal and the\n\
                 ledger have, so that what is counted is what more claims cost. At the restart all of them are live."
            );
        }
        if let Some((.., Some(said))) = &self.restart {
            let _ = writeln!(text, "Of its restart the server said: `{}`.", said.trim().replace('`', "'"));
        }
        if self.restart.is_some() {
            text.push_str(if self.ledger_was_held {
                "For the records that waited, a `sqlite3` held the ledger's write lock meanwhile; claims go on without the ledger.\n"
            } else {
                "There was no `sqlite3` here to keep the ledger back, so few records waited. `cargo run --release -p bunho-ledger --example drain_rate`\n\
                 measures the ledger alone.\n"
            });
        }
    }
}

fn met(yes: bool) -> &'static str {
    if yes { "met" } else { "missed" }
}

fn ms(us: u64) -> String {
    format!("{:.2} ms", us as f64 / 1_000.0)
}

fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name"));
    name.map_or("unknown processor", |rest| rest.trim_start_matches([':', '\t', ' '])).to_string()
}

fn memory_gb() -> f64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok()).unwrap_or(0.0) / 1_048_576.0
}

fn system() -> String {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // Which build of it a machine runs tells nobody else anything.
    let mut numbers = release.trim().split('.');
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) => format!("Linux {major}.{minor}"),
        _ => "unknown system".into(),
    }
}
