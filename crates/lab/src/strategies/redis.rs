//! The strategies in which Redis decides, guards or caches.

use super::{Failure, World, sql};
use crate::database::{Database, Transaction};
use crate::job::Job;
use redis::aio::MultiplexedConnection;
use redis::{Client, Cmd, FromRedisValue, Pipeline, RedisError, Script, cmd, pipe};
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How long a lock is one's own, and how long it is waited for: what the source document `001` gives its `tryLock`.
const LEASE_MS: u64 = 1_000;
const LOCK_WAIT: Duration = Duration::from_secs(5);
/// Longest time that a cached number is believed.
const CACHE_MS: u64 = 1_000;
/// Orders that the background writes in one statement.
pub const FLUSH_MAX: usize = 500;

/// One connection, opened anew when it has broken, and how often it was used.
pub struct Redis {
    client: Client,
    connection: RefCell<Option<MultiplexedConnection>>,
    trips: AtomicU64,
    /// What every key begins with.
    prefix: String,
    next: AtomicU64,
}

impl Redis {
    /// Connects.
    ///
    /// # Errors
    /// It is not there.
    pub async fn open(job: &Job) -> Result<Self, Failure> {
        let client = Client::open(job.redis.as_str())?;
        let connection = RefCell::new(Some(client.get_multiplexed_async_connection().await?));
        Ok(Self { client, connection, trips: AtomicU64::new(0), prefix: job.prefix.clone(), next: AtomicU64::new(0) })
    }

    /// Round trips so far.
    #[must_use]
    pub fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    /// A key of this run.
    #[must_use]
    pub fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    /// One command.
    ///
    /// # Errors
    /// Redis's.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, RedisError> {
        self.with(async |mut connection| command.query_async(&mut connection).await).await
    }

    async fn together(&self, commands: &Pipeline) -> Result<(), RedisError> {
        self.with(async |mut connection| commands.query_async(&mut connection).await).await
    }

    async fn with<T>(&self, work: impl AsyncFnOnce(MultiplexedConnection) -> Result<T, RedisError>) -> Result<T, RedisError> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        let open = self.connection.borrow().clone();
        let connection = match open {
            Some(connection) => connection,
            None => self.client.get_multiplexed_async_connection().await?,
        };
        *self.connection.borrow_mut() = Some(connection.clone());
        let done = work(connection).await;
        if done.as_ref().is_err_and(|error| error.is_unrecoverable_error() || error.is_io_error()) {
            *self.connection.borrow_mut() = None;
        }
        done
    }

    /// Takes one of `quantity` for a user: the script of the source document `003`. True: taken.
    ///
    /// # Errors
    /// Redis's.
    pub async fn decide(&self, user: i64, quantity: i64) -> Result<bool, RedisError> {
        let script = Script::new(
            "if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 2 end \
             if redis.call('SCARD', KEYS[1]) < tonumber(ARGV[2]) then redis.call('SADD', KEYS[1], ARGV[1]) return 1 end \
             return 3",
        );
        let users = self.key("users");
        let said: i64 =
            self.with(async |mut connection| script.key(users).arg(user).arg(quantity).invoke_async(&mut connection).await).await?;
        Ok(said == 1)
    }

    /// Takes a unit back that nobody got.
    ///
    /// # Errors
    /// Redis's.
    pub async fn give_back(&self, user: i64) -> Result<(), RedisError> {
        self.ask(cmd("SREM").arg(self.key("users")).arg(user)).await
    }

    /// Waits for the lock; its token.
    async fn lock(&self) -> Result<String, Failure> {
        let (key, began) = (self.key("lock"), Instant::now());
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let token = format!("{}-{turn}", std::process::id());
        let mut wait_us = 200 + turn % 7 * 100;
        loop {
            let got: Option<String> = self.ask(cmd("SET").arg(&key).arg(&token).arg("NX").arg("PX").arg(LEASE_MS)).await?;
            if got.is_some() {
                return Ok(token);
            }
            if began.elapsed() > LOCK_WAIT {
                return Err(Failure::Other("no lock within 5 s".into()));
            }
            tokio::time::sleep(Duration::from_micros(wait_us)).await;
            // Up to some milliseconds: a crowd that asks all the time keeps Redis from answering the holder.
            wait_us = (wait_us * 2).min(5_000 + turn % 11 * 300);
        }
    }

    /// Gives the lock back, if it still is one's own.
    async fn unlock(&self, token: String) -> Result<(), RedisError> {
        let script = Script::new("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end");
        let key = self.key("lock");
        self.with(async |mut connection| script.key(key).arg(token).invoke_async::<i64>(&mut connection).await).await.map(drop)
    }

    /// What is left, from Redis; where it does not know, from SQL.
    async fn left(&self, database: &Database) -> Result<i64, Failure> {
        let key = self.key("stock");
        if let Some(left) = self.ask::<Option<i64>>(cmd("GET").arg(&key)).await? {
            return Ok(left);
        }
        let [left] = database.row("SELECT remaining FROM offers WHERE id = 1", &[]).await?;
        self.ask::<Option<String>>(cmd("SET").arg(&key).arg(left).arg("NX")).await?;
        Ok(left)
    }
}

/// The lock around both: what `001` measured first.
pub async fn lock_write_through(world: &World, user: i64) -> Result<bool, Failure> {
    let (redis, database) = (world.redis()?, world.sql()?);
    let token = redis.lock().await?;
    let done = async {
        if redis.left(database).await? < 1 {
            return Ok(false);
        }
        let work = async |open: &mut Transaction<'_>| {
            Ok(open.order(user).await? && open.execute("UPDATE offers SET remaining = remaining - 1 WHERE id = 1", &[]).await? == 1)
        };
        let taken = database.session().await?.transaction(work).await?;
        if taken {
            if world.job.think_ms > 0 {
                tokio::time::sleep(Duration::from_millis(world.job.think_ms)).await;
            }
            // The order stands, whatever becomes of the cache.
            let _ = redis.ask::<i64>(cmd("DECR").arg(redis.key("stock"))).await;
        }
        Ok(taken)
    }
    .await;
    // Where this fails the lease ends by itself.
    let _ = redis.unlock(token).await;
    done
}

/// The lock around Redis alone: what `001` measured next.
pub async fn lock_write_back(world: &World, user: i64) -> Result<bool, Failure> {
    let redis = world.redis()?;
    let token = redis.lock().await?;
    let done = async {
        let has: bool = redis.ask(cmd("SISMEMBER").arg(redis.key("users")).arg(user)).await?;
        if has || redis.left(world.sql()?).await? < 1 {
            return Ok(false);
        }
        let mut take = pipe();
        take.atomic()
            .decr(redis.key("stock"), 1)
            .ignore()
            .sadd(redis.key("users"), user)
            .ignore()
            .rpush(redis.key("orders"), user)
            .ignore();
        redis.together(&take).await?;
        Ok(true)
    }
    .await;
    let _ = redis.unlock(token).await;
    done
}

/// Writes what waits in Redis to SQL; how many orders that were.
///
/// # Errors
/// One of the two is not there; nothing is removed then.
pub async fn flush(world: &World) -> Result<usize, Failure> {
    let (redis, database) = (world.redis()?, world.sql()?);
    let key = redis.key("orders");
    let waiting: Vec<i64> = redis.ask(cmd("LRANGE").arg(&key).arg(0).arg(FLUSH_MAX - 1)).await?;
    if waiting.is_empty() {
        return Ok(0);
    }
    let written = i64::try_from(database.insert_orders(&waiting).await?).unwrap_or(0);
    database.execute("UPDATE offers SET remaining = remaining - ? WHERE id = 1", &[written]).await?;
    redis.ask::<()>(cmd("LTRIM").arg(&key).arg(waiting.len()).arg(-1)).await?;
    Ok(waiting.len())
}

/// The script decides, and SQL has the order before the answer.
pub async fn lua(world: &World, user: i64) -> Result<bool, Failure> {
    let redis = world.redis()?;
    if !redis.decide(user, world.job.quantity).await? {
        return Ok(false);
    }
    match world.sql()?.insert_orders(&[user]).await {
        Ok(written) => Ok(written == 1),
        Err(error) => {
            redis.give_back(user).await?;
            Err(error.into())
        }
    }
}

/// The cache says no where it can; SQL decides the rest.
pub async fn look_aside(world: &World, user: i64) -> Result<bool, Failure> {
    let (redis, database) = (world.redis()?, world.sql()?);
    let key = redis.key("left");
    // A cache that is away is no reason to refuse anybody.
    let cached = redis.ask::<Option<i64>>(cmd("GET").arg(&key)).await.unwrap_or(None);
    let left = match cached {
        Some(left) => left,
        None => {
            let [left] = database.row("SELECT remaining FROM offers WHERE id = 1", &[]).await?;
            let _ = redis.ask::<Option<String>>(cmd("SET").arg(&key).arg(left).arg("PX").arg(CACHE_MS)).await;
            left
        }
    };
    if left < 1 {
        return Ok(false);
    }
    let taken = sql::conditional(database, user).await?;
    if taken {
        let _ = redis.ask::<i64>(cmd("DEL").arg(&key)).await;
    }
    Ok(taken)
}
