//! SQL for the strategies: one text for both databases, each round trip counted where it is made, and deadlocks tried again as every application must.

use sqlx::any::{AnyArguments, AnyPoolOptions, AnyRow};
use sqlx::pool::PoolConnection;
use sqlx::query::Query;
use sqlx::{Any, AnyPool, AssertSqlSafe, Connection, Row};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What it costs and how it is spelt where two databases differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `postgres://`
    Postgres,
    /// `mysql://`
    Mariadb,
}

impl Kind {
    /// Which database an address is one of.
    #[must_use]
    pub fn of(url: &str) -> Self {
        if url.starts_with("postgres") { Self::Postgres } else { Self::Mariadb }
    }

    /// Its name in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mariadb => "mariadb",
        }
    }
}

/// A database, and how often it was asked.
#[derive(Clone, Debug)]
pub struct Database {
    pool: AnyPool,
    /// Which one.
    pub kind: Kind,
    trips: Arc<AtomicU64>,
}

/// A connection out of the pool, for a transaction or a session's lock.
pub struct Session<'a> {
    connection: PoolConnection<Any>,
    database: &'a Database,
}

impl Database {
    /// Connects, with this many connections at most.
    ///
    /// # Errors
    /// It is not there.
    pub async fn open(url: &str, connections: u32) -> Result<Self, sqlx::Error> {
        sqlx::any::install_default_drivers();
        // A ping before each use would be a round trip that no strategy asked for.
        let options =
            AnyPoolOptions::new().max_connections(connections).test_before_acquire(false).acquire_timeout(Duration::from_secs(20));
        let pool = options.connect(url).await?;
        // All of them at once, as an application that has been up for a while has them.
        let mut warm = Vec::new();
        for _ in 0..connections {
            warm.push(pool.acquire().await?);
        }
        drop(warm);
        Ok(Self { pool, kind: Kind::of(url), trips: Arc::default() })
    }

    /// Round trips so far.
    #[must_use]
    pub fn trips(&self) -> u64 {
        self.trips.load(Ordering::Relaxed)
    }

    /// A connection of one's own.
    ///
    /// # Errors
    /// None is free within 20 s.
    pub async fn session(&self) -> Result<Session<'_>, sqlx::Error> {
        Ok(Session { connection: self.pool.acquire().await?, database: self })
    }

    /// One statement; how many rows it changed.
    ///
    /// # Errors
    /// The database's.
    pub async fn execute(&self, sql: &str, values: &[i64]) -> Result<u64, sqlx::Error> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        Ok(self.query(sql, values).execute(&self.pool).await?.rows_affected())
    }

    /// The first row's numbers.
    ///
    /// # Errors
    /// The database's; no row.
    pub async fn row<const N: usize>(&self, sql: &str, values: &[i64]) -> Result<[i64; N], sqlx::Error> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        numbers(&self.query(sql, values).fetch_one(&self.pool).await?)
    }

    /// All rows' numbers.
    ///
    /// # Errors
    /// The database's.
    pub async fn rows<const N: usize>(&self, sql: &str) -> Result<Vec<[i64; N]>, sqlx::Error> {
        self.trips.fetch_add(1, Ordering::Relaxed);
        self.query(sql, &[]).fetch_all(&self.pool).await?.iter().map(numbers).collect()
    }

    /// Orders of these users, each at most once.
    ///
    /// # Errors
    /// The database's.
    pub async fn insert_orders(&self, users: &[i64]) -> Result<u64, sqlx::Error> {
        if users.is_empty() {
            return Ok(0);
        }
        self.execute(&self.order(users.len()), users).await
    }

    /// The statement that writes so many orders, and passes over users who have one.
    #[must_use]
    pub fn order(&self, count: usize) -> String {
        let values = vec!["(1, ?)"; count].join(", ");
        match self.kind {
            Kind::Postgres => format!("INSERT INTO orders (offer_id, user_id) VALUES {values} ON CONFLICT DO NOTHING"),
            Kind::Mariadb => format!("INSERT IGNORE INTO orders (offer_id, user_id) VALUES {values}"),
        }
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn query<'q>(&self, sql: &str, values: &[i64]) -> Query<'q, Any, AnyArguments> {
        let text = match self.kind {
            Kind::Mariadb => sql.to_owned(),
            Kind::Postgres => numbered(sql),
        };
        values.iter().fold(sqlx::query(AssertSqlSafe(text)), |query, value| query.bind(*value))
    }
}

impl Session<'_> {
    /// As [`Database::execute`].
    ///
    /// # Errors
    /// The database's.
    pub async fn execute(&mut self, sql: &str, values: &[i64]) -> Result<u64, sqlx::Error> {
        self.database.trips.fetch_add(1, Ordering::Relaxed);
        Ok(self.database.query(sql, values).execute(&mut *self.connection).await?.rows_affected())
    }

    /// As [`Database::row`]; None where there is no row.
    ///
    /// # Errors
    /// The database's.
    pub async fn row<const N: usize>(&mut self, sql: &str, values: &[i64]) -> Result<Option<[i64; N]>, sqlx::Error> {
        self.database.trips.fetch_add(1, Ordering::Relaxed);
        self.database.query(sql, values).fetch_optional(&mut *self.connection).await?.as_ref().map(numbers).transpose()
    }

    /// Runs `work` in a transaction: kept where it says true.
    ///
    /// # Errors
    /// The database's; the transaction is undone then.
    pub async fn transaction(
        &mut self,
        work: impl AsyncFnOnce(&mut Transaction<'_>) -> Result<bool, sqlx::Error>,
    ) -> Result<bool, sqlx::Error> {
        let trips = &self.database.trips;
        trips.fetch_add(1, Ordering::Relaxed);
        let mut open = Transaction { inner: self.connection.begin().await?, database: self.database };
        let keep = work(&mut open).await;
        trips.fetch_add(1, Ordering::Relaxed);
        match keep {
            Ok(true) => open.inner.commit().await.map(|()| true),
            Ok(false) => open.inner.rollback().await.map(|()| false),
            Err(error) => {
                // Of the two errors the first one tells more.
                let _ = open.inner.rollback().await;
                Err(error)
            }
        }
    }
}

/// An open transaction.
pub struct Transaction<'a> {
    inner: sqlx::Transaction<'a, Any>,
    database: &'a Database,
}

impl Transaction<'_> {
    /// As [`Database::execute`].
    ///
    /// # Errors
    /// The database's.
    pub async fn execute(&mut self, sql: &str, values: &[i64]) -> Result<u64, sqlx::Error> {
        self.database.trips.fetch_add(1, Ordering::Relaxed);
        Ok(self.database.query(sql, values).execute(&mut *self.inner).await?.rows_affected())
    }

    /// As [`Session::row`].
    ///
    /// # Errors
    /// The database's.
    pub async fn row<const N: usize>(&mut self, sql: &str, values: &[i64]) -> Result<Option<[i64; N]>, sqlx::Error> {
        self.database.trips.fetch_add(1, Ordering::Relaxed);
        self.database.query(sql, values).fetch_optional(&mut *self.inner).await?.as_ref().map(numbers).transpose()
    }

    /// An order of this user; false where the user has one.
    ///
    /// # Errors
    /// The database's.
    pub async fn order(&mut self, user: i64) -> Result<bool, sqlx::Error> {
        Ok(self.execute(&self.database.order(1), &[user]).await? == 1)
    }
}

/// Whether the database asks to begin again: a deadlock, or a conflict that it saw.
#[must_use]
pub fn begins_again(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| matches!(code.as_ref(), "40001" | "40P01" | "1213" | "1020"))
}

fn numbers<const N: usize>(row: &AnyRow) -> Result<[i64; N], sqlx::Error> {
    let mut numbers = [0; N];
    for (index, number) in numbers.iter_mut().enumerate() {
        *number = row.try_get(index)?;
    }
    Ok(numbers)
}

/// `?` as PostgreSQL writes it. No statement here has one within a text.
fn numbered(sql: &str) -> String {
    let mut parts = sql.split('?');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for (index, part) in parts.enumerate() {
        text.push_str(&format!("${}{part}", index + 1));
    }
    text
}
