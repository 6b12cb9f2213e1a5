//! The cluster engine: several nodes, state in Redis Cluster, truth in Kafka and SQL.

pub mod redis;
