//! What watches Bunho, as `deploy/` has it: Prometheus and Alertmanager are the real programs, with the rules and cards that are delivered; only what
//! makes a test long is shortened in a copy (how often is scraped, how long a state must last, how long messages are gathered).

mod catcher;
mod dashboards;
mod delivery;
mod programs;
mod traffic;
