//! The real binary over HTTP, as clients and operators use it: one integration binary.
//!
//! * `seed_000` … `seed_003`: the experiments that the product comes from, as tests that count.
//! * `kill`: `kill -9` at random moments under load, and a journal whose sync fails.
//! * `contract`: every row of the API's tables, hostile input included.
//! * `demo`: the demo's own backend, and the crowd that one may bring.
//! * `hostile`: sockets that idle, drip, hang up, do not read, pipeline and flood, beside normal users.
//! * `commands`: the command line.
//! * `linear`: histories of concurrent clients, and an order of calls that explains every answer.
//! * `load`: `bunho-load`, the client that judges, small.
//! * `disk`: damaged files, full and read-only disks.
//! * `clock`: a system clock that steps while a server runs, and between two starts.

#![expect(clippy::unwrap_used, reason = "in a test an unwrap is an assertion")]

#[expect(dead_code, reason = "the tests of the cluster shape use more of it")]
mod harness;

#[cfg(feature = "failpoints")]
mod clock;
mod commands;
mod contract;
mod demo;
mod disk;
mod hostile;
mod kill;
mod linear;
mod load;
mod seed_000;
mod seed_001;
mod seed_002;
mod seed_003;

/// A call takes about a millisecond: so of those who wait no longer than this some are answered.
const IMPATIENT_US: u64 = 3_000;

/// Where the experiments run here: one node, nothing else. crates/server/tests/cluster has them on all the rest.
async fn server() -> harness::Server {
    harness::Server::start().await
}
