//! PostgreSQL, MySQL and MariaDB: reached over a network, which may fail or fall silent at any time, and shared by several nodes.

use super::migrations;
use crate::error::LedgerError;
use crate::sql::{Place, Pool};
use sqlx::mysql::MySqlConnectOptions;
use sqlx::pool::PoolOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Database, Executor, MySqlConnection};
use std::time::Duration;
use url::Url;

/// Connections that write: the projector's, and those of keys, audit and repair, which need not wait for it.
const WRITERS: u32 = 4;
/// Connections for queries.
const READERS: u32 = 8;
/// How long a start waits for the database to answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long whoever needs a connection waits for one.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that hangs in the middle of a transaction must not stop the others: the server ends it after half a minute.
const POSTGRES_SESSION: &str = "SET idle_in_transaction_session_timeout = '30s'; SET lock_timeout = '30s'";
/// Strict, so that nothing is cut off to fit; double quotes are for names, as in the other dialects.
const MYSQL_SESSION: &str = "SET SESSION sql_mode = 'STRICT_ALL_TABLES,ANSI_QUOTES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
    innodb_lock_wait_timeout = 30";
/// As for PostgreSQL; MySQL has no such setting.
const MARIADB_SESSION: &str = "SET SESSION idle_transaction_timeout = 30";

pub(super) async fn open_postgres(place: &Place, url: &Url) -> Result<(Pool, Pool), LedgerError> {
    let opening = |source| LedgerError::Unreachable { place: place.clone(), source };
    let connect = PgConnectOptions::from_url(url).map_err(opening)?.application_name("bunho").disable_statement_logging();
    let mut first = in_time(connect.connect()).await.map_err(opening)?;
    migrations::of_postgres(&mut first).await.map_err(|error| migrations::refused(place.clone(), error, &migrations::POSTGRES))?;
    first.close().await.map_err(opening)?;
    let pool = |connections| {
        let options = pool_options::<sqlx::Postgres>(connections);
        let options = options
            .after_connect(|connection, _| Box::pin(async move { connection.execute(sqlx::raw_sql(POSTGRES_SESSION)).await.map(drop) }));
        Pool::Postgres(options.connect_lazy_with(connect.clone()))
    };
    Ok((pool(WRITERS), pool(READERS)))
}

pub(super) async fn open_mysql(place: &Place, url: &Url) -> Result<(Pool, Pool), LedgerError> {
    let opening = |source| LedgerError::Unreachable { place: place.clone(), source };
    let connect = MySqlConnectOptions::from_url(url).map_err(opening)?;
    let connect = connect.pipes_as_concat(false).no_engine_substitution(false).disable_statement_logging();
    let mut first = in_time(connect.connect()).await.map_err(opening)?;
    let is_mariadb = is_mariadb(&mut first).await.map_err(opening)?;
    set_session(&mut first, is_mariadb).await.map_err(opening)?;
    migrations::of_mysql(&mut first, is_mariadb).await.map_err(|error| migrations::refused(place.clone(), error, &migrations::MYSQL))?;
    first.close().await.map_err(opening)?;
    let pool = |connections| {
        let options = pool_options::<sqlx::MySql>(connections);
        let options = options.after_connect(move |connection, _| Box::pin(set_session(connection, is_mariadb)));
        Pool::MySql(options.connect_lazy_with(connect.clone()))
    };
    Ok((pool(WRITERS), pool(READERS)))
}

async fn set_session(connection: &mut MySqlConnection, is_mariadb: bool) -> Result<(), sqlx::Error> {
    connection.execute(sqlx::raw_sql(MYSQL_SESSION)).await?;
    if is_mariadb {
        connection.execute(sqlx::raw_sql(MARIADB_SESSION)).await?;
    }
    Ok(())
}

async fn is_mariadb(connection: &mut MySqlConnection) -> Result<bool, sqlx::Error> {
    let version: String = sqlx::query_scalar("SELECT VERSION()").fetch_one(connection).await?;
    Ok(version.contains("MariaDB"))
}

fn pool_options<D: Database>(connections: u32) -> PoolOptions<D> {
    PoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT)
}

async fn in_time<T>(connecting: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
    let silence = |_| sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer within 10 s"));
    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(silence)?
}
