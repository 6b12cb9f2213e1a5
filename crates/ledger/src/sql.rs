//! One way to talk to three databases: SQLite, PostgreSQL, and MySQL or MariaDB.
//!
//! Statements are written once, in words that all three understand, with `?` (or `?1`, `?2`, …) where values go; where a
//! dialect has words of its own, [`Text`] holds each. Only two kinds of values go in or come out: whole numbers and texts.
//! So neither rows nor arguments need more than an enum here, and sqlx's own `Any`, which knows fewer types and translates
//! every value, is not needed.

mod bind;
mod place;
mod row;
mod text;

pub(crate) use bind::Binder;
pub use place::{Place, PlaceError};
pub(crate) use row::{Row, Stored};
pub(crate) use text::Text;

use futures_util::TryStreamExt;
use sqlx::mysql::MySqlArguments;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgArguments;
use sqlx::sqlite::SqliteArguments;
use sqlx::{
    AssertSqlSafe, Executor, MySql, MySqlConnection, MySqlPool, PgConnection, PgPool, Postgres, Sqlite, SqliteConnection, SqlitePool,
};
use std::sync::Arc;

/// Which words a database understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Sqlite,
    Postgres,
    MySql,
}

/// Connections that are kept open.
#[derive(Clone, Debug)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
    MySql(MySqlPool),
}

impl Pool {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    pub(crate) async fn acquire(&self) -> Result<Pooled, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Pooled::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Pooled::Postgres(pool.acquire().await?),
            Self::MySql(pool) => Pooled::MySql(pool.acquire().await?),
        })
    }

    /// Begins a transaction that writes. In SQLite IMMEDIATE takes the write lock at once: a transaction that reads first and
    /// asks for it later could be refused half way.
    pub(crate) async fn begin_write(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => Ok(Transaction::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?)),
            Self::Postgres(_) => self.begin_shared(&["BEGIN ISOLATION LEVEL READ COMMITTED"]).await,
            Self::MySql(_) => self.begin_shared(&["SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"]).await,
        }
    }

    /// Begins a transaction that sees one state of everything.
    pub(crate) async fn begin_snapshot(&self) -> Result<Transaction, sqlx::Error> {
        match self {
            Self::Sqlite(pool) => Ok(Transaction::Sqlite(pool.begin().await?)),
            Self::Postgres(_) => self.begin_shared(&["BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"]).await,
            Self::MySql(_) => {
                let start = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";
                self.begin_shared(&["SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", start]).await
            }
        }
    }

    async fn begin_shared(&self, statements: &[&'static str]) -> Result<Transaction, sqlx::Error> {
        let mut begun = Begun { pooled: Some(self.acquire().await?) };
        for statement in statements {
            begun.connection().run(statement).await?;
        }
        Ok(Transaction::Shared(begun))
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
            Self::MySql(pool) => pool.close().await,
        }
    }
}

/// A connection on loan.
#[derive(Debug)]
pub(crate) enum Pooled {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
    MySql(PoolConnection<MySql>),
}

impl Pooled {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(connection) => Connection::Sqlite(&mut *connection),
            Self::Postgres(connection) => Connection::Postgres(&mut *connection),
            Self::MySql(connection) => Connection::MySql(&mut *connection),
        }
    }
}

/// A transaction; dropped without a commit it is rolled back.
#[derive(Debug)]
pub(crate) enum Transaction {
    Sqlite(sqlx::Transaction<'static, Sqlite>),
    Shared(Begun),
}

/// A transaction over a network. One that is given up, perhaps while its database does not answer, takes its connection with
/// it: the server rolls back, and nobody waits for the answer that a later user of the connection would have to read first.
#[derive(Debug)]
pub(crate) struct Begun {
    pooled: Option<Pooled>,
}

impl Begun {
    fn connection(&mut self) -> Connection<'_> {
        // Only the end takes it out.
        self.pooled.as_mut().map(Pooled::connection).expect("a transaction that has not ended has its connection")
    }

    async fn end(mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        self.connection().run(statement).await?;
        // Back to the pool, as good as new.
        drop(self.pooled.take());
        Ok(())
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        match &mut self.pooled {
            Some(Pooled::Postgres(connection)) => connection.close_on_drop(),
            Some(Pooled::MySql(connection)) => connection.close_on_drop(),
            Some(Pooled::Sqlite(_)) | None => {}
        }
    }
}

impl Transaction {
    pub(crate) fn connection(&mut self) -> Connection<'_> {
        match self {
            Self::Sqlite(transaction) => Connection::Sqlite(&mut *transaction),
            Self::Shared(begun) => begun.connection(),
        }
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.commit().await,
            Self::Shared(begun) => begun.end("COMMIT").await,
        }
    }

    pub(crate) async fn rollback(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(transaction) => transaction.rollback().await,
            Self::Shared(begun) => begun.end("ROLLBACK").await,
        }
    }
}

/// What statements run on.
#[derive(Debug)]
pub(crate) enum Connection<'c> {
    Sqlite(&'c mut SqliteConnection),
    Postgres(&'c mut PgConnection),
    MySql(&'c mut MySqlConnection),
}

impl Connection<'_> {
    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Sqlite(_) => Dialect::Sqlite,
            Self::Postgres(_) => Dialect::Postgres,
            Self::MySql(_) => Dialect::MySql,
        }
    }

    /// Runs a statement without values, as it is.
    pub(crate) async fn run(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(connection) => (&mut **connection).execute(statement).await.map(drop),
            Self::Postgres(connection) => (&mut **connection).execute(sqlx::raw_sql(statement)).await.map(drop),
            Self::MySql(connection) => (&mut **connection).execute(sqlx::raw_sql(statement)).await.map(drop),
        }
    }
}

/// Values in the form of one dialect.
pub(crate) enum Arguments {
    Sqlite(SqliteArguments),
    Postgres(PgArguments),
    MySql(MySqlArguments),
}

/// One statement with its values.
pub(crate) struct Query<'q> {
    text: Text,
    values: Vec<Value<'q>>,
}

/// A value of a statement.
#[derive(Clone, Copy)]
pub(crate) enum Value<'q> {
    Long(Option<i64>),
    Text(Option<&'q str>),
}

/// A statement in words that all dialects understand, or one in each of theirs.
pub(crate) fn query<'q>(text: impl Into<Text>) -> Query<'q> {
    Query { text: text.into(), values: Vec::new() }
}

impl<'q> Query<'q> {
    pub(crate) fn bind(mut self, value: impl Into<Value<'q>>) -> Self {
        self.values.push(value.into());
        self
    }

    /// How many rows it touched.
    pub(crate) async fn execute(self, connection: &mut Connection<'_>) -> Result<u64, sqlx::Error> {
        let (text, arguments) = self.translate(connection.dialect())?;
        execute(connection, text, arguments).await
    }

    pub(crate) async fn fetch_all(self, connection: &mut Connection<'_>) -> Result<Vec<Row>, sqlx::Error> {
        let (text, arguments) = self.translate(connection.dialect())?;
        fetch_all(connection, text, arguments).await
    }

    pub(crate) async fn fetch_optional(self, connection: &mut Connection<'_>) -> Result<Option<Row>, sqlx::Error> {
        Ok(self.fetch_all(connection).await?.into_iter().next())
    }

    pub(crate) async fn fetch_one(self, connection: &mut Connection<'_>) -> Result<Row, sqlx::Error> {
        self.fetch_optional(connection).await?.ok_or(sqlx::Error::RowNotFound)
    }

    /// The number in the only row's only column.
    pub(crate) async fn fetch_long(self, connection: &mut Connection<'_>) -> Result<i64, sqlx::Error> {
        self.fetch_one(connection).await?.long(0)?.ok_or(sqlx::Error::RowNotFound)
    }

    /// Hands over each row as it arrives; an error of `on_row` ends it.
    pub(crate) async fn for_each<E>(
        self,
        connection: &mut Connection<'_>,
        failed: impl Fn(sqlx::Error) -> E,
        mut on_row: impl FnMut(&Row) -> Result<(), E>,
    ) -> Result<(), E> {
        let (text, arguments) = self.translate(connection.dialect()).map_err(&failed)?;
        match (connection, arguments) {
            (Connection::Sqlite(connection), Arguments::Sqlite(arguments)) => {
                let mut rows = sqlx::query_with(text, arguments).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await.map_err(&failed)? {
                    on_row(&Row::Sqlite(row))?;
                }
            }
            (Connection::Postgres(connection), Arguments::Postgres(arguments)) => {
                let mut rows = sqlx::query_with(text, arguments).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await.map_err(&failed)? {
                    on_row(&Row::Postgres(row))?;
                }
            }
            (Connection::MySql(connection), Arguments::MySql(arguments)) => {
                let mut rows = sqlx::query_with(text, arguments).fetch(&mut **connection);
                while let Some(row) = rows.try_next().await.map_err(&failed)? {
                    on_row(&Row::MySql(row))?;
                }
            }
            _ => return Err(failed(mixed())),
        }
        Ok(())
    }

    fn translate(self, dialect: Dialect) -> Result<(AssertSqlSafe<Arc<str>>, Arguments), sqlx::Error> {
        let (text, order) = text::placeholders(self.text.of(dialect), dialect, self.values.len());
        let arguments = bind::arguments(dialect, order.iter().map(|&index| self.values[index]))?;
        // Safe: the text is made of literals of this crate; every value is bound.
        Ok((AssertSqlSafe(text), arguments))
    }
}

pub(crate) async fn execute(
    connection: &mut Connection<'_>,
    text: AssertSqlSafe<Arc<str>>,
    arguments: Arguments,
) -> Result<u64, sqlx::Error> {
    Ok(match (connection, arguments) {
        (Connection::Sqlite(connection), Arguments::Sqlite(arguments)) => {
            sqlx::query_with(text, arguments).execute(&mut **connection).await?.rows_affected()
        }
        (Connection::Postgres(connection), Arguments::Postgres(arguments)) => {
            sqlx::query_with(text, arguments).execute(&mut **connection).await?.rows_affected()
        }
        (Connection::MySql(connection), Arguments::MySql(arguments)) => {
            sqlx::query_with(text, arguments).execute(&mut **connection).await?.rows_affected()
        }
        _ => return Err(mixed()),
    })
}

pub(crate) async fn fetch_all(
    connection: &mut Connection<'_>,
    text: AssertSqlSafe<Arc<str>>,
    arguments: Arguments,
) -> Result<Vec<Row>, sqlx::Error> {
    Ok(match (connection, arguments) {
        (Connection::Sqlite(connection), Arguments::Sqlite(arguments)) => {
            sqlx::query_with(text, arguments).fetch_all(&mut **connection).await?.into_iter().map(Row::Sqlite).collect()
        }
        (Connection::Postgres(connection), Arguments::Postgres(arguments)) => {
            sqlx::query_with(text, arguments).fetch_all(&mut **connection).await?.into_iter().map(Row::Postgres).collect()
        }
        (Connection::MySql(connection), Arguments::MySql(arguments)) => {
            sqlx::query_with(text, arguments).fetch_all(&mut **connection).await?.into_iter().map(Row::MySql).collect()
        }
        _ => return Err(mixed()),
    })
}

/// A bug: values for one database met the connection of another.
fn mixed() -> sqlx::Error {
    sqlx::Error::Protocol("values of one dialect, a connection of another".to_owned())
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Self::Long(Some(value))
    }
}

impl From<u32> for Value<'_> {
    fn from(value: u32) -> Self {
        Self::Long(Some(value.into()))
    }
}

impl From<Option<i64>> for Value<'_> {
    fn from(value: Option<i64>) -> Self {
        Self::Long(value)
    }
}

impl<'q> From<&'q str> for Value<'q> {
    fn from(value: &'q str) -> Self {
        Self::Text(Some(value))
    }
}

impl<'q> From<&'q String> for Value<'q> {
    fn from(value: &'q String) -> Self {
        Self::Text(Some(value))
    }
}

impl<'q> From<Option<&'q str>> for Value<'q> {
    fn from(value: Option<&'q str>) -> Self {
        Self::Text(value)
    }
}
