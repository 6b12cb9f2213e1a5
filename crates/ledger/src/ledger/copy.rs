//! A copy of a SQLite ledger, taken while a server goes on writing to it, and what makes such a copy fit to be served from.
//!
//! `VACUUM INTO` reads one committed state from beginning to end and writes a new file with nothing in it but the rows: no write-ahead log
//! that could be forgotten, no free pages that still hold what was deleted. The server's own connections neither wait for it nor are
//! waited for; only the write-ahead log cannot be written back before it is done, and grows meanwhile.

use super::sqlite::BUSY_TIMEOUT;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::sql::{Place, query};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection, Row};
use std::path::Path;

/// Numbers of tickets that a line leaves out after its ledger was brought back from a copy. Whoever joined after the copy was made holds a
/// ticket that is as valid as any; its number must not be given to somebody else. 16 million are more than join between two copies, and
/// a gap of so many costs a line 256 KiB.
pub const NUMBERS_SKIPPED: u32 = 1 << 24;

/// What a copy says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The journal offset that it stands for.
    pub offset: u64,
    /// Whose it is.
    pub installation: Option<String>,
    /// Version of its schema.
    pub schema: i64,
    /// Claims in it.
    pub claims: u64,
}

/// Copies the ledger in the file `from`, whoever has it open, into `to`, which must not be there. It is not on the disk before it is synced.
///
/// # Errors
/// The one cannot be read or the other not be written.
pub async fn copy(from: &Path, to: &Path) -> Result<(), LedgerError> {
    let mut connection = open(from).await?;
    let target = to.to_string_lossy().into_owned();
    let copied = sqlx::query("VACUUM INTO ?").bind(target).execute(&mut connection).await;
    copied.map_err(LedgerError::sql("copy itself"))?;
    connection.close().await.map_err(LedgerError::sql("close the file after copying"))
}

/// What a copy says of itself. Nothing is written to it.
///
/// # Errors
/// It cannot be read, is damaged, or is no ledger.
pub async fn inspect(copy: &Path) -> Result<Copied, LedgerError> {
    let mut connection = open(copy).await?;
    let action = LedgerError::sql("read what a copy says of itself");
    let sound: String = one(&mut connection, "PRAGMA quick_check(1)").await.map_err(&action)?;
    if sound != "ok" {
        return Err(LedgerError::Unreadable { table: "(the file)", column: "(a page)", value: sound });
    }
    let offset: i64 =
        one(&mut connection, r#"SELECT coalesce(max("offset"), 0) FROM projector_offsets WHERE name = 'ledger'"#).await.map_err(&action)?;
    let installation: String = one(&mut connection, "SELECT id FROM installation").await.map_err(&action)?;
    let schema = one(&mut connection, "SELECT coalesce(max(version), 0) FROM _sqlx_migrations").await.map_err(&action)?;
    let claims: i64 = one(&mut connection, "SELECT count(*) FROM claim_rows").await.map_err(&action)?;
    connection.close().await.map_err(&action)?;
    let installation = Some(installation).filter(|id| !id.is_empty());
    Ok(Copied { offset: offset.cast_unsigned(), installation, schema, claims: claims.cast_unsigned() })
}

async fn one<T>(connection: &mut SqliteConnection, statement: &'static str) -> Result<T, sqlx::Error>
where
    T: for<'r> sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    sqlx::query(statement).fetch_one(connection).await?.try_get(0)
}

async fn open(path: &Path) -> Result<SqliteConnection, LedgerError> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT).disable_statement_logging();
    options.connect().await.map_err(|source| LedgerError::Open { place: Place::from(path), source })
}

impl Ledger {
    /// Leaves [`NUMBERS_SKIPPED`] numbers of tickets out in every line. For a ledger that was brought back from a copy, before it is served from.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn skip_numbers(&self) -> Result<(), LedgerError> {
        let action = LedgerError::sql("leave numbers of tickets out");
        let statement = "UPDATE zones SET reserved_upto = CASE WHEN reserved_epoch = epoch THEN reserved_upto ELSE 0 END + ?,
             reserved_epoch = epoch WHERE deleted_at IS NULL";
        let mut writing = self.begin_write().await?;
        query(statement).bind(i64::from(NUMBERS_SKIPPED)).execute(&mut writing.connection()).await.map_err(&action)?;
        writing.commit().await.map_err(&action)
    }
}
