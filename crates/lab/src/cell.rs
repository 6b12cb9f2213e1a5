//! One strategy on one database, once: everything it needs is made under a name of its own, a crowd comes, something may die in the middle, and then the
//! orders in SQL are held against the answers.

use crate::cli::{DatabaseName, RunArgs};
use crate::counted;
use crate::database::{Database, Kind};
use crate::drive::{Course, Crowd, drive};
use crate::job::Job;
use crate::node::Node;
use crate::services::Services;
use crate::strategies::redis::Redis;
use crate::strategy::{Harm, Strategy, Victim};
use bunho_load::exit::Failure;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// How long what was answered may take to reach SQL after the crowd has gone.
const SETTLE: Duration = Duration::from_secs(60);
/// Longer than any projection needs when nothing is left to project.
const QUIET: Duration = Duration::from_secs(8);

/// What was measured.
#[derive(Clone, Debug)]
pub struct Cell {
    /// The strategy.
    pub strategy: Strategy,
    /// The database.
    pub database: &'static str,
    /// What died in the middle.
    pub killed: Option<Victim>,
    /// What the driver saw.
    pub course: Course,
    /// Processor seconds of the database. None: it is somebody else's.
    pub database_cpu: Option<f64>,
    /// Round trips to SQL and to Redis. None: nobody counted them.
    pub trips: [Option<u64>; 2],
    /// Units in SQL.
    pub units: u64,
    /// Units in SQL or in answers, beyond what there was.
    pub oversold: u64,
    /// Answered yes, and not in SQL.
    pub lost: u64,
    /// Users with more than one.
    pub double: u64,
}

impl Cell {
    /// How often a harm was seen.
    #[must_use]
    pub fn count(&self, harm: Harm) -> u64 {
        match harm {
            Harm::Oversold => self.oversold,
            Harm::Lost => self.lost,
            Harm::Double => self.double,
        }
    }

    /// What was seen and theory does not allow.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Harm> {
        let seen = [Harm::Oversold, Harm::Lost, Harm::Double].into_iter();
        seen.filter(|harm| self.count(*harm) > 0 && !self.strategy.may(*harm, self.killed)).collect()
    }
}

/// What is run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The strategy.
    pub strategy: Strategy,
    /// Where the orders go.
    pub database: DatabaseName,
    /// What dies in the middle.
    pub kill: Option<Victim>,
}

/// Runs one.
///
/// # Errors
/// Something that it needs is not there.
pub async fn run(
    plan: Plan,
    args: &RunArgs,
    services: &mut Services,
    run: &str,
    program: &Path,
    stop: &AtomicBool,
    think_ms: u64,
) -> Result<Cell, Failure> {
    let strategy = plan.strategy;
    let base = services.database(plan.database)?;
    let maker = Database::open(&base, 1).await.map_err(|error| {
        let name = Kind::of(&base).name();
        Failure::unreachable(format_args!(
            "{name} does not answer where it was said to be ({error}); scripts/cluster/sql.sh start {name} DIR PORT starts one"
        ))
    })?;
    fitting(&maker).await?;
    let redis = if strategy.uses_redis() && !strategy.is_bunho() { services.redis()? } else { String::new() };
    if args.redis.is_some() && !redis.is_empty() {
        alone(&redis).await?;
    }
    let name = format!("lab_{run}");
    maker.execute(&format!("CREATE DATABASE {name}"), &[]).await.map_err(sql)?;
    let mut job = Job {
        strategy: strategy.facts().name.into(),
        sql: with_database(&base, &name),
        redis,
        prefix: format!("lab:{run}:"),
        brokers: if strategy.uses_kafka() { services.kafka()? } else { String::new() },
        topic: format!("lab-{run}"),
        bunho: String::new(),
        quantity: args.quantity.into(),
        tasks: args.tasks.into(),
        think_ms,
    };
    let measured = measure(plan, args, services, &mut job, program, stop).await;
    // What was made is removed whatever became of the run.
    let drop_it = if maker.kind == Kind::Postgres { format!("DROP DATABASE {name} WITH (FORCE)") } else { format!("DROP DATABASE {name}") };
    maker.execute(&drop_it, &[]).await.map_err(sql)?;
    maker.close().await;
    forget(&job).await;
    measured
}

/// Whether a database is new enough for what is asked of it.
async fn fitting(database: &Database) -> Result<(), Failure> {
    let (text, least, needs) = match database.kind {
        Kind::Postgres => ("SELECT CAST(current_setting('server_version_num') AS BIGINT) / 10000", 12, "PostgreSQL 12"),
        // MariaDB counts from 10; MySQL 8 is what it calls itself.
        Kind::Mariadb => (
            "SELECT CAST(SUBSTRING_INDEX(VERSION(), '.', 1) AS SIGNED) * 100 + CAST(SUBSTRING_INDEX(SUBSTRING_INDEX(VERSION(), '.', 2), '.', -1) AS SIGNED)",
            800,
            "MariaDB 10.6 or MySQL 8",
        ),
    };
    let [version] = database.row::<1>(text, &[]).await.map_err(sql)?;
    if version >= least && !(1_000..1_006).contains(&version) {
        return Ok(());
    }
    let name = database.kind.name();
    Err(Failure::unreachable(format_args!(
        "{name} there is too old (SKIP LOCKED and more need {needs}); scripts/cluster/sql.sh start {name} DIR PORT starts one"
    )))
}

/// Whether a Redis is one that the strategies can use: several keys in one script need a Redis that is not one of many.
async fn alone(url: &str) -> Result<(), Failure> {
    let asked = async {
        let mut connection = redis::Client::open(url)?.get_multiplexed_async_connection().await?;
        redis::cmd("INFO").arg("cluster").query_async::<String>(&mut connection).await
    };
    match asked.await {
        Ok(text) if text.contains("cluster_enabled:1") => Err(Failure::usage(format_args!(
            "--redis {url} is a node of a Redis Cluster, and these strategies use a Redis of their own; without --redis the lab starts one"
        ))),
        Ok(_) => Ok(()),
        Err(error) => Err(Failure::unreachable(format_args!(
            "Redis does not answer where it was said to be ({error}); redis-server --port PORT --appendonly yes starts one"
        ))),
    }
}

async fn measure(
    plan: Plan,
    args: &RunArgs,
    services: &mut Services,
    job: &mut Job,
    program: &Path,
    stop: &AtomicBool,
) -> Result<Cell, Failure> {
    let mut node = None;
    if plan.strategy.is_bunho() {
        let started = start_node(plan, args, services, job)?;
        job.bunho = started.url();
        node = Some(started);
    } else {
        let database = Database::open(&job.sql, 1).await.map_err(sql)?;
        schema(&database, plan.strategy, args.quantity).await.map_err(sql)?;
        database.close().await;
        if plan.strategy.uses_kafka() {
            topic(&job.brokers, &job.topic).await?;
        }
    }
    let before = services.database_cpu(plan.database);
    let counted = counted::before(plan, services, job).await;
    let crowd = Crowd {
        users: args.users,
        attempts: args.attempts,
        quantity: args.quantity,
        tasks: args.tasks.into(),
        seed: args.seed,
        deaths: args.deaths,
    };
    let course = drive(&crowd, job, plan, services, node.as_mut(), program, stop).await?;
    let orders = settled(job, plan.strategy, &course).await?;
    let after = services.database_cpu(plan.database);
    let trips = match &counted {
        Some(counted) => counted.since().await,
        None => [Some(course.trips.sql), Some(course.trips.redis)],
    };
    drop(node);
    let units: u64 = orders.values().sum();
    Ok(Cell {
        strategy: plan.strategy,
        database: Kind::of(&job.sql).name(),
        killed: plan.kill.filter(|_| course.deaths > 0),
        database_cpu: before.zip(after).map(|(before, after)| after - before),
        trips,
        units,
        oversold: units.max(course.accepted.len() as u64).saturating_sub(args.quantity.into()),
        lost: course.accepted.keys().filter(|user| !orders.contains_key(user)).count() as u64,
        double: orders.values().filter(|units| **units > 1).count() as u64,
        course,
    })
}

/// Units of each user in SQL, when everything asynchronous has had its time.
async fn settled(job: &Job, strategy: Strategy, course: &Course) -> Result<HashMap<i64, u64>, Failure> {
    let database = Database::open(&job.sql, 1).await.map_err(sql)?;
    let integer = if database.kind == Kind::Postgres { "BIGINT" } else { "SIGNED" };
    let text = if strategy.is_bunho() {
        format!(
            "SELECT CAST(user_id AS {integer}), CAST(SUM(quantity) AS {integer}) FROM claims WHERE offer_id = 'lab' AND status = 'confirmed' GROUP BY user_id"
        )
    } else {
        "SELECT user_id, COUNT(*) FROM orders GROUP BY user_id".to_owned()
    };
    let answered = course.accepted.len() as u64;
    let (began, mut grew) = (Instant::now(), Instant::now());
    let mut last = 0;
    let orders = loop {
        let rows: Vec<[i64; 2]> = database.rows(&text).await.map_err(sql)?;
        let orders: HashMap<i64, u64> = rows.iter().map(|[user, units]| (*user, units.unsigned_abs())).collect();
        let units: u64 = orders.values().sum();
        if units != last {
            (last, grew) = (units, Instant::now());
        }
        // A worker says itself when it has drained; a server projects on its own.
        let wait = if strategy.is_bunho() { QUIET } else { Duration::ZERO };
        if units >= answered || grew.elapsed() >= wait || began.elapsed() > SETTLE {
            break orders;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    database.close().await;
    Ok(orders)
}

/// The same tables for every strategy; a unique index for everybody but the naive one, which looks instead.
async fn schema(database: &Database, strategy: Strategy, quantity: u32) -> Result<(), sqlx::Error> {
    let id = if database.kind == Kind::Postgres { "BIGINT GENERATED ALWAYS AS IDENTITY" } else { "BIGINT AUTO_INCREMENT" };
    database
        .execute(
            "CREATE TABLE offers (id BIGINT PRIMARY KEY, quantity BIGINT NOT NULL, remaining BIGINT NOT NULL, version BIGINT NOT NULL)",
            &[],
        )
        .await?;
    database.execute(
        &format!("CREATE TABLE orders (id {id} PRIMARY KEY, offer_id BIGINT NOT NULL, user_id BIGINT NOT NULL, ordered_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"),
        &[],
    )
    .await?;
    let unique = if strategy == Strategy::Naive { "" } else { "UNIQUE" };
    database.execute(&format!("CREATE {unique} INDEX orders_of_user ON orders (offer_id, user_id)"), &[]).await?;
    let quantity = i64::from(quantity);
    database.execute("INSERT INTO offers VALUES (1, ?, ?, 0)", &[quantity, quantity]).await?;
    if strategy == Strategy::SkipLocked {
        database.execute("CREATE TABLE units (id BIGINT PRIMARY KEY, offer_id BIGINT NOT NULL, user_id BIGINT NOT NULL)", &[]).await?;
        database.execute("CREATE INDEX units_free ON units (offer_id, user_id, id)", &[]).await?;
        let numbers: Vec<i64> = (1..=quantity).collect();
        for chunk in numbers.chunks(1_000) {
            database.execute(&format!("INSERT INTO units VALUES {}", vec!["(?, 1, 0)"; chunk.len()].join(", ")), chunk).await?;
        }
    }
    Ok(())
}

fn start_node(plan: Plan, args: &RunArgs, services: &mut Services, job: &Job) -> Result<Node, Failure> {
    let folder = services.folder().join(&job.topic);
    let mut settings = vec![("BUNHO_LEDGER__URL".to_owned(), job.sql.clone())];
    if plan.strategy == Strategy::BunhoCluster {
        let nodes: Vec<String> = services.redis_cluster()?.iter().map(|node| format!("\"{node}\"")).collect();
        let more = [
            ("BUNHO_ENGINE__SHAPE", "cluster".to_owned()),
            ("BUNHO_REDIS__NODES", format!("[{}]", nodes.join(", "))),
            ("BUNHO_REDIS__PREFIX", job.topic.clone()),
            ("BUNHO_KAFKA__BROKERS", job.brokers.clone()),
            ("BUNHO_KAFKA__TOPIC", job.topic.clone()),
            ("BUNHO_KAFKA__PARTITIONS", "6".to_owned()),
            ("BUNHO_KAFKA__REPLICATION", "1".to_owned()),
            ("BUNHO_CLUSTER__SECRETS_DIR", folder.join("secrets").display().to_string()),
        ];
        settings.extend(more.map(|(name, value)| (name.to_owned(), value)));
    }
    let beside = || std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join("bunho"))).unwrap_or_else(|| "bunho".into());
    let program = args.bunho.clone().unwrap_or_else(beside);
    Node::start(program, folder, services.ports(1)?, settings, args.quantity)
}

fn admin(brokers: &str) -> Result<AdminClient<DefaultClientContext>, Failure> {
    ClientConfig::new().set("bootstrap.servers", brokers).create().map_err(|error| Failure::unreachable(format_args!("Kafka: {error}")))
}

async fn topic(brokers: &str, name: &str) -> Result<(), Failure> {
    let made = admin(brokers)?.create_topics([&NewTopic::new(name, 1, TopicReplication::Fixed(1))], &AdminOptions::new()).await;
    match made.map(|results| results.into_iter().next()) {
        Ok(Some(Ok(_))) => Ok(()),
        Ok(other) => Err(Failure::unreachable(format_args!("Kafka does not make the topic: {other:?}"))),
        Err(error) => {
            Err(Failure::unreachable(format_args!("Kafka does not make the topic ({error}); scripts/cluster/kafka.sh start starts one")))
        }
    }
}

/// Removes the run's keys and topic. What cannot be removed has a name of its own and disturbs nobody.
async fn forget(job: &Job) {
    if !job.redis.is_empty()
        && let Ok(redis) = Redis::open(job).await
    {
        let keys = ["users", "stock", "orders", "lock", "left"].map(|name| redis.key(name));
        let _ = redis.ask::<i64>(redis::cmd("DEL").arg(&keys)).await;
    }
    if !job.brokers.is_empty()
        && let Ok(admin) = admin(&job.brokers)
    {
        let _ = admin.delete_topics(&[&job.topic], &AdminOptions::new()).await;
    }
}

/// The same address with another database.
fn with_database(url: &str, name: &str) -> String {
    let (address, query) = url.split_once('?').map_or((url, None), |(address, query)| (address, Some(query)));
    let scheme = address.find("://").map_or(0, |at| at + 3);
    let host = address[scheme..].find('/').map_or(address, |slash| &address[..scheme + slash]);
    query.map_or_else(|| format!("{host}/{name}"), |query| format!("{host}/{name}?{query}"))
}

fn sql(error: sqlx::Error) -> Failure {
    Failure::unreachable(format_args!("SQL: {error}"))
}

#[cfg(test)]
mod tests {
    use super::with_database;

    #[test]
    fn only_the_database_of_an_address_changes() {
        for (url, with) in [
            ("postgres://bunho@127.0.0.1:5432/bunho", "postgres://bunho@127.0.0.1:5432/x"),
            ("mysql://a:b@h/d?ssl-mode=disabled", "mysql://a:b@h/x?ssl-mode=disabled"),
            ("postgres://h", "postgres://h/x"),
        ] {
            assert_eq!(with_database(url, "x"), with);
        }
    }
}
