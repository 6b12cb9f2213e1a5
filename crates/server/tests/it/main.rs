//! The real binary over HTTP, as clients and operators use it: one integration binary.
//!
//! * `seed_000` … `seed_003`: the experiments that the product comes from, as tests that count.
//! * `kill`: `kill -9` at random moments under load, and a journal whose sync fails.
//! * `contract`: every row of the API's tables, hostile input included.
//! * `demo`: the demo's own backend, and the crowd that one may bring.
//! * `forget`, `retention`: people who are forgotten, in every file, because somebody asks for it or because what they had is old.
//! * `hostile`: sockets that idle, drip, hang up, do not read, pipeline and flood, beside normal users.
//! * `door`: floods of joins from very many addresses, work and names before a place, and what a forger tries with tickets, passes and logs.
//! * `backup`: backups of a running server, and what is restored from them.
//! * `commands`: the command line.
//! * `leaving`: told to stop, a server is not ready first, and serves on for a while.
//! * `linear`: histories of concurrent clients, and an order of calls that explains every answer.
//! * `webhooks`: receivers that verify, fail, hang and go away; kills between the lines of delivering.
//! * `rehearse`: what `bunho rehearse` measures, forecasts and refuses.
//! * `load`: `bunho-load`, the client that judges, small.
//! * `metrics`: `/metrics`, under Prometheus' own tool and beside scrapers and disks that hang.
//! * `kernel`: a listen queue that overflows.
//! * `disk`: damaged files, full and read-only disks.
//! * `tls`: encrypted connections, certificates that change, clients that show theirs.
//! * `reload`, `rotation`: configurations and keys that change while it serves.
//! * `logs`, `traces`: what it says of itself, and to whom.
//! * `clock`: a system clock that steps while a server runs, and between two starts.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[expect(dead_code, reason = "the tests of the cluster shape use more of it")]
mod harness;

mod backup;
mod certificates;
#[cfg(feature = "failpoints")]
mod clock;
mod commands;
mod contract;
mod demo;
mod disk;
mod door;
mod forget;
mod hostile;
mod kernel;
mod kill;
mod leaving;
mod linear;
mod load;
mod logged;
mod logs;
mod metrics;
mod rehearse;
mod reload;
#[cfg(feature = "failpoints")]
mod retention;
mod rotation;
mod scrape;
mod seed_000;
mod seed_001;
mod seed_002;
mod seed_003;
mod tls;
mod traces;
mod webhooks;

/// A call takes about a millisecond: so of those who wait no longer than this some are answered.
const IMPATIENT_US: u64 = 3_000;

/// Where the experiments run here: one node, nothing else. crates/server/tests/cluster has them on all the rest.
async fn server() -> harness::Server {
    harness::Server::start().await
}
