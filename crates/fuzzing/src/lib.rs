//! What is true of every parser of outside bytes, as functions of bytes.
//!
//! A target takes any bytes and panics when something that must hold does not. The same functions run in two places: under
//! libFuzzer (`fuzz/`, `scripts/fuzz.sh`), which looks for new paths, and in `tests/replay.rs`, where `make test` replays what
//! those runs found and some thousand mutations of it.
//!
//! Inputs are text wherever the parser's own are, so that a corpus can be read and written by hand.

mod node;
mod requests;
mod sockets;
mod stored;
mod texts;
mod tokens;

pub use requests::{request, settings};
pub use sockets::socket;
pub use stored::{chunk, record};
pub use texts::{configuration, names};
pub use tokens::{key_set, pass, ticket, user_token};

/// One target and what the bounded test does with it.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target, of its file in `fuzz/fuzz_targets` and of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// The target.
    pub run: fn(&[u8]),
    /// Mutations in `make test`: about a third of a second each.
    pub mutations: u32,
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "ticket", run: ticket, mutations: 20_000 },
    Target { name: "pass", run: pass, mutations: 1_500 },
    Target { name: "user_token", run: user_token, mutations: 1_500 },
    Target { name: "key_set", run: key_set, mutations: 1_500 },
    Target { name: "names", run: names, mutations: 50_000 },
    Target { name: "configuration", run: configuration, mutations: 2_000 },
    Target { name: "record", run: record, mutations: 50_000 },
    Target { name: "chunk", run: chunk, mutations: 50_000 },
    Target { name: "request", run: request, mutations: 2_000 },
    Target { name: "settings", run: settings, mutations: 500 },
    Target { name: "socket", run: socket, mutations: 300 },
];

/// Splits an input where its author separates two texts: at the first line that is empty.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&bytes[..at], &bytes[at + 2..]),
        None => (bytes, b""),
    }
}
