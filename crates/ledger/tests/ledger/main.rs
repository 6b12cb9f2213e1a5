//! The ledger against a real SQLite file and a real journal, each test in a folder of its own.

mod world;

mod guards;
mod lists;
mod load;
mod projecting;
mod reconciling;
mod upkeep;
