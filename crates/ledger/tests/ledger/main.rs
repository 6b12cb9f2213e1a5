//! The ledger against a real journal, a real topic and real databases: a SQLite file, PostgreSQL and MariaDB, each test with one of its own.

mod backend;
#[expect(dead_code, reason = "the journal's tests stop brokers, these do not")]
#[path = "../../../journal/tests/kafka/broker.rs"]
#[expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
mod broker;
mod world;

mod console;
mod directory;
mod faults;
mod guards;
mod lists;
mod load;
mod projecting;
mod reconciling;
mod retention;
mod telling;
mod topic;
mod upkeep;
