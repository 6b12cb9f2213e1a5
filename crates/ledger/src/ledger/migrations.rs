//! The schema of each dialect, embedded, and what becomes of a database whose schema is another.

use crate::error::LedgerError;
use crate::sql::{Dialect, Place};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::{AssertSqlSafe, MySqlConnection, PgConnection, SqlSafeStr, SqlitePool};

pub(super) static SQLITE: Migrator = sqlx::migrate!("migrations/sqlite");
pub(super) static POSTGRES: Migrator = sqlx::migrate!("migrations/postgres");
pub(super) static MYSQL: Migrator = sqlx::migrate!("migrations/mysql");

/// Compares bytes, trailing spaces too: in MariaDB, as the migrations say it, and in MySQL.
const MARIADB_COLLATION: &str = "utf8mb4_nopad_bin";
const MYSQL_COLLATION: &str = "utf8mb4_0900_bin";

/// The newest version that this program knows.
pub(super) fn newest(dialect: Dialect) -> i64 {
    newest_of(match dialect {
        Dialect::Sqlite => &SQLITE,
        Dialect::Postgres => &POSTGRES,
        Dialect::MySql => &MYSQL,
    })
}

fn newest_of(migrator: &Migrator) -> i64 {
    migrator.iter().map(|migration| migration.version).max().unwrap_or(0)
}

pub(super) async fn of_sqlite(pool: &SqlitePool) -> Result<(), MigrateError> {
    SQLITE.run(pool).await
}

pub(super) async fn of_postgres(connection: &mut PgConnection) -> Result<(), MigrateError> {
    POSTGRES.run(connection).await
}

pub(super) async fn of_mysql(connection: &mut MySqlConnection, is_mariadb: bool) -> Result<(), MigrateError> {
    if is_mariadb {
        return MYSQL.run(connection).await;
    }
    let renamed = MYSQL.iter().map(|migration| {
        // The checksum stays: it is the same migration.
        let sql = migration.sql.as_str().replace(MARIADB_COLLATION, MYSQL_COLLATION);
        sqlx::migrate::Migration { sql: AssertSqlSafe(sql).into_sql_str(), ..migration.clone() }
    });
    Migrator::with_migrations(renamed.collect()).run(connection).await
}

/// Says what it means.
pub(super) fn refused(place: Place, error: MigrateError, migrator: &Migrator) -> LedgerError {
    let known = newest_of(migrator);
    match error {
        MigrateError::VersionMissing(found) if found > known => LedgerError::SchemaNewer { found, known },
        source => LedgerError::Migrate { place, source },
    }
}
