//! Measures a server that it starts itself, beside the null endpoint of the same run, and writes the tables.
//!
//! The null endpoint is the server's own `/healthz`: what HTTP itself costs on this machine with this client. Work is measured in
//! turns with it, so that a noisy neighbour hits both; the figure that counts is the ratio. The generator shares the machine with
//! the server, as everything here does.

mod page;
mod parts;
mod server;

use crate::cli::BenchArgs;
use crate::exit::{Failure, KEPT};
use crate::run::Outside;
use crate::target::allow_connections;
use page::Page;
use parts::Bench;
use std::time::Duration;

/// Most connections of any part.
const CONNECTIONS_MAX: usize = 1_000;

/// Sizes of a run.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// One turn of work, and one of the null endpoint.
    pub turn: Duration,
    /// How many of each.
    pub turns: u32,
    /// Waiting crowds that are polled.
    pub waiting: &'static [u32],
    /// How long latency is measured in the open model.
    pub latency: Duration,
    /// People whose memory is measured; claims that are held when those of the restart's backlog come.
    pub live: u32,
    /// The first of those claims, which fill caches before the memory of the others is measured.
    pub filling: u32,
    /// Claims that the ledger does not have at the restart.
    pub replayed: u32,
}

const WHOLE: Sizes = Sizes {
    turn: Duration::from_secs(4),
    turns: 4,
    waiting: &[10_000, 100_000, 1_000_000],
    latency: Duration::from_secs(15),
    live: 1_000_000,
    filling: 300_000,
    replayed: 100_000,
};
const QUICK: Sizes = Sizes {
    turn: Duration::from_secs(1),
    turns: 2,
    waiting: &[10_000],
    latency: Duration::from_secs(2),
    live: 20_000,
    filling: 6_000,
    replayed: 2_000,
};

impl Sizes {
    /// Claims whose memory is measured.
    const fn measured(self) -> u32 {
        self.live - self.filling
    }
}

/// Measures everything, prints the page, and writes it if asked to.
///
/// # Errors
/// The server does not start, or answers what it should not.
pub fn run(arguments: &BenchArgs, outside: &mut Outside<'_>) -> Result<u8, Failure> {
    if !arguments.server.is_file() {
        return Err(Failure::usage(format_args!(
            "{} is no program; build it with `cargo build --release --bin bunho`",
            arguments.server.display()
        )));
    }
    allow_connections(CONNECTIONS_MAX)?;
    let sizes = if arguments.quick { QUICK } else { WHOLE };
    let mut page = Page::new(sizes);
    let wanted = |name: &str| arguments.only.is_empty() || arguments.only.iter().any(|only| name.contains(only.as_str()));
    let mut bench = Bench { server: &arguments.server, sizes, outside };
    if ["claims", "cold", "polls", "latency"].into_iter().any(wanted) {
        bench.speed(&mut page, &wanted)?;
    }
    if wanted("memory") {
        bench.memory_of_waiting(&mut page)?;
    }
    if wanted("memory") || wanted("restart") {
        bench.live_claims(&mut page)?;
    }
    let text = page.render();
    let _ = writeln!(outside.out, "{text}");
    if let Some(path) = &arguments.write {
        std::fs::write(path, &text).map_err(|error| Failure::internal(format_args!("{} cannot be written: {error}", path.display())))?;
    }
    Ok(KEPT)
}
