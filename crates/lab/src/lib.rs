//! The concurrency lab: every strategy of the source documents, written the way a good team would write it, over real PostgreSQL, MariaDB, Redis and
//! Kafka, beside Bunho; the same schema, the same question (one unit per user, a fixed quantity, an order row in SQL), the same crowd.

//!
//! [`run`] plans and reports; a [`cell`] is one strategy on one database, once; [`mod@drive`] is the crowd, in this process, and [`worker`] the application,
//! in another one, that can be killed; [`strategies`] are the strategies, and [`strategy`] what theory says of them.

pub mod run;

pub mod cell;
pub mod cli;
pub mod counted;
pub mod database;
pub mod drive;
pub mod job;
pub mod node;
pub mod report;
pub mod services;
pub mod strategies;
pub mod strategy;
pub mod worker;
