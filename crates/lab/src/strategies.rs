//! The strategies themselves, each as a good team would write it, and what they work with.

mod bunho;
pub mod kafka;
pub mod redis;
mod sql;

use crate::database::{Database, begins_again};
use crate::job::{Answer, Job, Trips};
use crate::strategy::Strategy;
use kafka::Kafka;
use redis::Redis;
use std::time::Duration;

/// How often an attempt begins again when the database asks for it.
const AGAIN_MAX: u32 = 10;

/// What a strategy works with. Parts that it does not need are not there.
pub struct World {
    /// The job.
    pub job: Job,
    /// Which strategy.
    pub strategy: Strategy,
    /// SQL; a Bunho has its own.
    pub database: Option<Database>,
    /// Redis.
    pub redis: Option<Redis>,
    /// Kafka.
    pub kafka: Option<Kafka>,
    /// HTTP.
    pub http: reqwest::Client,
}

/// Why an attempt has no answer.
#[derive(Debug)]
pub enum Failure {
    /// SQL's.
    Sql(sqlx::Error),
    /// Redis's.
    Redis(::redis::RedisError),
    /// Kafka's, HTTP's, or the strategy gives up.
    Other(String),
}

impl World {
    /// Connects to what the strategy needs.
    ///
    /// # Errors
    /// Something of it is not there.
    pub async fn open(job: Job, strategy: Strategy) -> Result<Self, Failure> {
        let tasks = u32::try_from(job.tasks).unwrap_or(u32::MAX);
        // As many connections as attempts under way, and one for what goes on in the background; so no attempt waits for a connection.
        let database = if strategy.is_bunho() { None } else { Some(Database::open(&job.sql, tasks + 1).await?) };
        let redis = if strategy.uses_redis() && !strategy.is_bunho() { Some(Redis::open(&job).await?) } else { None };
        let kafka = if strategy.uses_kafka() && !strategy.is_bunho() { Some(Kafka::open(&job)?) } else { None };
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(15)).build();
        let http = http.map_err(|error| Failure::Other(error.to_string()))?;
        Ok(Self { job, strategy, database, redis, kafka, http })
    }

    /// Round trips so far.
    #[must_use]
    pub fn trips(&self) -> Trips {
        Trips { sql: self.database.as_ref().map_or(0, Database::trips), redis: self.redis.as_ref().map_or(0, Redis::trips) }
    }

    /// One user's attempt to get a unit.
    ///
    /// # Errors
    /// It is not known, or not decided.
    pub async fn attempt(&self, user: i64, attempt: usize) -> Result<Answer, Failure> {
        for _ in 0..AGAIN_MAX {
            match self.once(user, attempt).await {
                Err(Failure::Sql(error)) if begins_again(&error) => {}
                other => return other,
            }
        }
        Err(Failure::Other(format!("the database undid it {AGAIN_MAX} times")))
    }

    async fn once(&self, user: i64, attempt: usize) -> Result<Answer, Failure> {
        let yes = match self.strategy {
            Strategy::Naive => sql::naive(self.sql()?, user, self.job.think_ms).await?,
            Strategy::Pessimistic => sql::pessimistic(self.sql()?, user).await?,
            Strategy::Optimistic => sql::optimistic(self.sql()?, user).await?,
            Strategy::Conditional => sql::conditional(self.sql()?, user).await?,
            Strategy::SkipLocked => sql::skip_locked(self.sql()?, user).await?,
            Strategy::Advisory => sql::advisory(self.sql()?, user, &self.job.prefix).await?,
            Strategy::LockWriteThrough => redis::lock_write_through(self, user).await?,
            Strategy::LockWriteBack => redis::lock_write_back(self, user).await?,
            Strategy::Lua => redis::lua(self, user).await?,
            Strategy::LuaKafkaUnawaited => kafka::unawaited(self, user).await?,
            Strategy::LuaKafkaAwaited => kafka::awaited(self, user).await?,
            Strategy::LookAside => redis::look_aside(self, user).await?,
            Strategy::BunhoEmbedded | Strategy::BunhoCluster => bunho::claim(self, user, attempt).await?,
        };
        Ok(if yes { Answer::Yes } else { Answer::No })
    }

    /// SQL.
    ///
    /// # Errors
    /// This strategy has none.
    pub fn sql(&self) -> Result<&Database, Failure> {
        self.database.as_ref().ok_or_else(|| Failure::Other("no database".into()))
    }

    /// Redis.
    ///
    /// # Errors
    /// This strategy has none.
    pub fn redis(&self) -> Result<&Redis, Failure> {
        self.redis.as_ref().ok_or_else(|| Failure::Other("no Redis".into()))
    }

    /// Kafka.
    ///
    /// # Errors
    /// This strategy has none.
    pub fn kafka(&self) -> Result<&Kafka, Failure> {
        self.kafka.as_ref().ok_or_else(|| Failure::Other("no Kafka".into()))
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<::redis::RedisError> for Failure {
    fn from(error: ::redis::RedisError) -> Self {
        Self::Redis(error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sql(error) => write!(f, "SQL: {error}"),
            Self::Redis(error) => write!(f, "Redis: {error}"),
            Self::Other(why) => f.write_str(why),
        }
    }
}
