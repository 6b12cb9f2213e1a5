//! What Bunho asks of SQL and Redis, as these count it themselves: it is a program of its own, and the lab sees only its answers.

use crate::cell::Plan;
use crate::database::{Database, Kind};
use crate::job::Job;
use crate::services::Services;
use crate::strategy::{Strategy, Victim};

/// Counters as they were before the crowd.
pub struct Counted {
    sql: Option<Database>,
    redis: Vec<String>,
    redis_lives: bool,
    before: [Option<u64>; 2],
}

/// Counters of a Bunho's services, where they are the lab's own. None: the strategy counts for itself.
pub async fn before(plan: Plan, services: &mut Services, job: &Job) -> Option<Counted> {
    if !plan.strategy.is_bunho() {
        return None;
    }
    let sql = if services.is_own(plan.database) { Database::open(&job.sql, 1).await.ok() } else { None };
    if let Some(database) = sql.as_ref().filter(|database| database.kind == Kind::Postgres) {
        // Where it cannot be had there are no counts, and the report says so with a dash.
        let _ = database.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements", &[]).await;
    }
    let redis = if plan.strategy == Strategy::BunhoCluster { services.redis_cluster().unwrap_or_default() } else { Vec::new() };
    // What dies forgets what it has counted.
    let redis_lives = !matches!(plan.kill, Some(Victim::Redis | Victim::RedisData));
    let mut counted = Counted { sql, redis, redis_lives, before: [None; 2] };
    counted.before = counted.now().await;
    Some(counted)
}

impl Counted {
    /// How much has come since.
    pub async fn since(&self) -> [Option<u64>; 2] {
        let now = self.now().await;
        [0, 1].map(|which| now[which].zip(self.before[which]).map(|(now, before)| now.saturating_sub(before)))
    }

    async fn now(&self) -> [Option<u64>; 2] {
        let sql = match &self.sql {
            Some(database) => statements(database).await,
            None => None,
        };
        // Whoever has no Redis asks nothing of one.
        let mut redis = self.redis_lives.then_some(0);
        for node in self.redis.iter().filter(|_| self.redis_lives) {
            redis = redis.zip(scripts(node).await).map(|(sum, more)| sum + more);
        }
        [sql, redis]
    }
}

/// Statements of all clients of this database so far, or, where it does not tell them apart, of the server.
async fn statements(database: &Database) -> Option<u64> {
    let text = match database.kind {
        Kind::Postgres => {
            "SELECT CAST(COALESCE(SUM(calls), 0) AS BIGINT) FROM pg_stat_statements WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"
        }
        Kind::Mariadb => "SELECT CAST(VARIABLE_VALUE AS SIGNED) FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'QUESTIONS'",
    };
    let [count] = database.row::<1>(text, &[]).await.ok()?;
    u64::try_from(count).ok()
}

/// Scripts that a Redis has run, and waits for its replica. What scripts call is not a trip.
async fn scripts(node: &str) -> Option<u64> {
    let client = redis::Client::open(node).ok()?;
    let mut connection = client.get_multiplexed_async_connection().await.ok()?;
    let text: String = redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.ok()?;
    let calls = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        matches!(name, "evalsha" | "eval" | "wait").then(|| rest.split(',').next()?.parse::<u64>().ok())?
    };
    Some(text.lines().filter_map(calls).sum())
}
