//! What the server asks of the ledger, and the few things that it writes beside the journal.
//!
//! Lists are read in pages: a cursor is the id of the last entry seen, and a page costs the same wherever it begins.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod claims;
pub(crate) mod deliveries;
pub(crate) mod keys;
pub(crate) mod minutes;
pub(crate) mod nodes;
pub(crate) mod pages;
pub(crate) mod parked;
pub(crate) mod persons;
pub(crate) mod retention;
pub(crate) mod sales;
pub(crate) mod sessions;
pub(crate) mod standby;
pub(crate) mod webhooks;

/// Entries of a page at most.
const PAGE_MAX: usize = 200;

/// A page's length within bounds.
fn page(limit: usize) -> usize {
    limit.clamp(1, PAGE_MAX)
}
