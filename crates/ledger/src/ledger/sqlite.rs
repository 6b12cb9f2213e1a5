//! A SQLite file: one connection that writes, a few that read.
//!
//! SQLite lets one connection write at a time. A pool of exactly one makes writers queue here, in order, and not
//! inside SQLite, where waiting is polling. In WAL mode readers see the last committed state and neither wait for the
//! writer nor hold it up, the `sqlite3` shell included.

use super::migrations;
use crate::error::LedgerError;
use crate::sql::{Place, Pool};
use bunho_journal::crash_point;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection};
use std::path::Path;
use std::time::Duration;

/// Connections for queries. Each has a thread and up to [`READER_CACHE_KIB`] of cache.
const READERS: u32 = 4;
/// The page cache of the writer: 64 MiB holds the upper levels of every index at some ten million claims.
const WRITER_CACHE_KIB: i64 = 64 * 1024;
/// The page cache of one reader.
const READER_CACHE_KIB: i64 = 8 * 1024;
/// Bytes of a page, fixed when the file is made. Users arrive in random order, so a batch dirties pages all over the
/// indexes on users; 8 KiB was measured some 15 % faster than 4 KiB.
const PAGE_BYTES: u32 = 8 * 1024;
/// The WAL is copied back into the file when it has this many pages: 8,192 × 8 KiB = 64 MiB, some ten full batches,
/// so that a page which every batch touches is copied once and not ten times.
const CHECKPOINT_PAGES: u32 = 8_192;
/// What the WAL file shrinks to after it has been copied back.
const WAL_BYTES_KEPT: u64 = CHECKPOINT_PAGES as u64 * PAGE_BYTES as u64;
/// How long a connection waits for a lock that another process holds (a shell that writes, a backup).
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows that SQLite's thread may be ahead of us: wakes each side once per so many rows.
const ROWS_AHEAD: usize = 512;

/// The connection that writes, and those that read.
pub(super) async fn open(path: &Path) -> Result<(Pool, Pool), LedgerError> {
    let opening = |source| LedgerError::Open { place: Place::from(path), source };
    let options = connect_options(path);
    let writer = pool_options(1)
        .acquire_timeout(WRITER_WAIT)
        // What a statement of 500 rows needs to undo itself stays in memory; by default each such page is a file write.
        .connect_with(options.clone().pragma("cache_size", format!("-{WRITER_CACHE_KIB}")).pragma("temp_store", "MEMORY"))
        .await
        .map_err(opening)?;
    crash_point!("ledger::opened");
    migrations::of_sqlite(&writer).await.map_err(|error| migrations::refused(Place::from(path), error, &migrations::SQLITE))?;
    crash_point!("ledger::migrated");
    // After the migrations, so that no reader has seen an older schema.
    let readers = pool_options(READERS)
        .connect_with(options.pragma("cache_size", format!("-{READER_CACHE_KIB}")).pragma("query_only", "ON"))
        .await
        .map_err(opening)?;
    Ok((Pool::Sqlite(writer), Pool::Sqlite(readers)))
}

fn connect_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .page_size(PAGE_BYTES)
        .journal_mode(SqliteJournalMode::Wal)
        // FULL syncs the WAL at every commit: the projected offset never runs ahead of what a power cut leaves.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
        // Events about different things may be applied in any order; there are no foreign keys to check.
        .foreign_keys(false)
        .pragma("wal_autocheckpoint", CHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string())
        .row_buffer_size(ROWS_AHEAD)
        // A statement of 500 rows is not a log line; failures are logged where they are handled.
        .disable_statement_logging()
}

/// How long somebody may wait for the one connection that writes. It is the whole file's own new writing after somebody was forgotten that takes long,
/// not a failure: of a hundred million claims an hour. Who cannot wait that long has a limit of their own.
const WRITER_WAIT: Duration = Duration::from_secs(6 * 3_600);

fn pool_options(connections: u32) -> SqlitePoolOptions {
    // Connections to a file do not go stale: none is closed for its age, none is tried out before use.
    let options = SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None).test_before_acquire(false);
    // After a full disk or a failed read SQLite has ended the transaction by itself, and the ROLLBACK that follows fails. sqlx
    // then counts one for ever and begins none again on that connection, so it is closed and another one opened.
    options.before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
}

#[cfg(test)]
mod tests {
    use crate::Ledger;
    use crate::sql::{Connection, query};

    /// `INSERT OR FAIL`, as the projector's, has no statement journal: a full disk then ends the whole transaction.
    #[tokio::test]
    async fn a_full_disk_does_not_end_writing() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&dir.path().join("ledger.db")).await.expect("a ledger");
        let pages =
            query("PRAGMA page_count").fetch_long(&mut ledger.writer().await.expect("a writer").connection()).await.expect("a count");
        let mut full = ledger.begin_write().await.expect("begun");
        let Connection::Sqlite(connection) = full.connection() else { panic!("a file") };
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).execute(connection).await.expect("set");
        let insert = "INSERT OR FAIL INTO apps (id, name, created_at) VALUES (?, hex(zeroblob(100000)), '')";
        query(insert).bind("a").execute(&mut full.connection()).await.expect_err("the disk is full");
        drop(full);

        let mut again = ledger.begin_write().await.expect("a transaction");
        query(insert).bind("a").execute(&mut again.connection()).await.expect("there is room again");
        again.commit().await.expect("committed");
        assert_eq!(ledger.check().await.expect("checked").complaints(), Vec::<String>::new());
    }
}
