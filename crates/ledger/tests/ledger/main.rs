//! The ledger against a real journal and real databases: a SQLite file, PostgreSQL and MariaDB, each test with one of its own.

mod backend;
mod world;

mod directory;
mod faults;
mod guards;
mod lists;
mod load;
mod projecting;
mod reconciling;
mod upkeep;
