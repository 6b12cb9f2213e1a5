//! A look at the process from outside: what the kernel says of it, and what it says of itself.

use super::node::Node;
use super::world::World;
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Duration;

/// One look.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(super) struct Sample {
    /// Seconds since the run began.
    pub(super) at: f64,
    /// Which life of the server, from 0.
    pub(super) life: u32,
    /// Which season, from 0.
    pub(super) season: u32,
    pub(super) resident_bytes: u64,
    pub(super) descriptors: u64,
    /// Connections that are open, and descriptors therefore.
    pub(super) connections: u64,
    pub(super) threads: u64,
    pub(super) journal_bytes: u64,
    pub(super) ledger_bytes: u64,
    /// Records that the ledger does not have yet.
    pub(super) lag: u64,
    pub(super) cpu_seconds: f64,
    /// Calls that were answered since the look before, a second.
    pub(super) rate: f64,
    pub(super) p50_us: u64,
    pub(super) p99_us: u64,
    pub(super) max_us: u64,
}

/// Looks. None: the server is away, or there is no `/proc`.
pub(super) fn look(node: &Node, world: &World, at: Duration, since: Duration) -> Option<Sample> {
    let pid = node.pid();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let number = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.trim_start_matches(':').split_whitespace().next()?.parse().ok()
    };
    let text = node.client().get("/metrics", &[]).ok()?;
    let text = String::from_utf8_lossy(&text.body).into_owned();
    let metric = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    };
    let data = node.data();
    let recent = world.meter().take_recent();
    Some(Sample {
        at: at.as_secs_f64(),
        life: 0,
        season: 0,
        resident_bytes: number("VmRSS")? * 1_024,
        descriptors: std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as u64,
        connections: metric("bunho_connections_open") as u64,
        threads: number("Threads")?,
        journal_bytes: folder_bytes(&data.join("journal")),
        ledger_bytes: ["ledger.db", "ledger.db-wal"].iter().map(|name| file_bytes(&data.join(name))).sum(),
        lag: metric("bunho_projector_lag_records") as u64,
        cpu_seconds: metric("process_cpu_seconds_total"),
        rate: recent.len() as f64 / since.as_secs_f64().max(0.001),
        p50_us: recent.value_at_quantile(0.5),
        p99_us: recent.value_at_quantile(0.99),
        max_us: recent.max(),
    })
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn folder_bytes(path: &Path) -> u64 {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| if entry.path().is_dir() { folder_bytes(&entry.path()) } else { file_bytes(&entry.path()) }).sum()
}
