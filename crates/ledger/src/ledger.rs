//! The handle on the SQLite file: one connection that writes, a few that read.
//!
//! SQLite lets one connection write at a time. A pool of exactly one makes writers queue here, in order, and not
//! inside SQLite, where waiting is polling. In WAL mode readers see the last committed state and neither wait for the
//! writer nor hold it up, the `sqlite3` shell included.

use crate::error::LedgerError;
use bunho_journal::crash_point;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, Transaction};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

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
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Rows that SQLite's thread may be ahead of us: wakes each side once per so many rows.
const ROWS_AHEAD: usize = 512;

/// The ledger. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
    projected: watch::Sender<u64>,
    /// The highest journal offset that somebody waits to see here.
    wanted: watch::Sender<u64>,
    /// How often claims were written by anyone but the projector, which then has to count them afresh.
    repairs: AtomicU64,
}

impl Ledger {
    /// Opens the file at `path`, makes it if need be, and brings its schema up to date.
    ///
    /// # Errors
    /// The file cannot be opened or migrated, or its schema is newer than this program.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        let opening = |source| LedgerError::Open { path: path.to_owned(), source };
        let options = connect_options(path);
        let writer = pool_options(1)
            // What a statement of 500 rows needs to undo itself stays in memory; by default each such page is a file write.
            .connect_with(options.clone().pragma("cache_size", format!("-{WRITER_CACHE_KIB}")).pragma("temp_store", "MEMORY"))
            .await
            .map_err(opening)?;
        crash_point!("ledger::opened");
        migrate(path, &writer).await?;
        crash_point!("ledger::migrated");
        // After the migrations, so that no reader has seen an older schema.
        let readers = pool_options(READERS)
            .connect_with(options.pragma("cache_size", format!("-{READER_CACHE_KIB}")).pragma("query_only", "ON"))
            .await
            .map_err(opening)?;
        let (projected, wanted) = (watch::Sender::new(0), watch::Sender::new(0));
        let shared = Shared { path: path.to_owned(), writer, readers, projected, wanted, repairs: AtomicU64::new(0) };
        let ledger = Self { shared: Arc::new(shared) };
        ledger.publish_projected(ledger.projected_offset().await?);
        Ok(ledger)
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Follows the journal offset up to which everything is committed here.
    #[must_use]
    pub fn projected(&self) -> watch::Receiver<u64> {
        self.shared.projected.subscribe()
    }

    /// Where to say which journal offset one is about to wait for: a projector that lets records gather then goes on at once.
    /// What is sent may only rise.
    #[must_use]
    pub fn wanted(&self) -> watch::Sender<u64> {
        self.shared.wanted.clone()
    }

    /// Says that somebody waits for `offset`.
    pub fn want(&self, offset: u64) {
        self.shared.wanted.send_if_modified(|wanted| std::mem::replace(wanted, offset.max(*wanted)) < offset);
    }

    /// Says that somebody waits for whatever is durable now.
    pub(crate) fn want_more(&self) {
        let projected = *self.shared.projected.borrow();
        self.want(projected + 1);
    }

    /// Lets running statements end and closes the file.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.close().await;
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.shared.readers
    }

    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.shared.writer
    }

    /// Begins a transaction that writes. IMMEDIATE takes SQLite's write lock at once: a transaction that reads first
    /// and asks for it later could be refused half way.
    pub(crate) async fn begin_write(&self) -> Result<Transaction<'static, Sqlite>, LedgerError> {
        self.shared.writer.begin_with("BEGIN IMMEDIATE").await.map_err(LedgerError::sql("begin a transaction"))
    }

    pub(crate) async fn projected_offset(&self) -> Result<u64, LedgerError> {
        let mut connection = self.shared.readers.acquire().await.map_err(LedgerError::sql("get a connection"))?;
        crate::projector::read_offset(&mut connection).await
    }

    pub(crate) fn publish_projected(&self, offset: u64) {
        self.shared.projected.send_replace(offset);
    }

    pub(crate) fn repairs(&self) -> u64 {
        self.shared.repairs.load(Ordering::Acquire)
    }

    pub(crate) fn note_repair(&self) {
        self.shared.repairs.fetch_add(1, Ordering::AcqRel);
    }
}

/// The version of the schema that this program writes.
pub(crate) fn schema_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
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

fn pool_options(connections: u32) -> SqlitePoolOptions {
    // Connections to a file do not go stale: none is closed for its age, none is tried out before use.
    let options = SqlitePoolOptions::new().max_connections(connections).idle_timeout(None).max_lifetime(None).test_before_acquire(false);
    // After a full disk or a failed read SQLite has ended the transaction by itself, and the ROLLBACK that follows fails. sqlx
    // then counts one for ever and begins none again on that connection, so it is closed and another one opened.
    options.before_acquire(|connection, _| Box::pin(std::future::ready(Ok(!connection.is_in_transaction()))))
}

async fn migrate(path: &Path, writer: &SqlitePool) -> Result<(), LedgerError> {
    match MIGRATIONS.run(writer).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(found)) if found > schema_version() => {
            Err(LedgerError::SchemaNewer { found, known: schema_version() })
        }
        Err(source) => Err(LedgerError::Migrate { path: path.to_owned(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `INSERT OR FAIL`, as the projector's, has no statement journal: a full disk then ends the whole transaction.
    #[tokio::test]
    async fn a_full_disk_does_not_end_writing() {
        let dir = tempfile::tempdir().expect("a folder");
        let ledger = Ledger::open(&dir.path().join("ledger.db")).await.expect("a ledger");
        let pages: i64 = sqlx::query_scalar("PRAGMA page_count").fetch_one(ledger.writer()).await.expect("a count");
        let mut full = ledger.begin_write().await.expect("begun");
        sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).execute(&mut *full).await.expect("set");
        let insert = "INSERT OR FAIL INTO apps (id, name, created_at) VALUES (?, hex(zeroblob(100000)), '')";
        sqlx::query(insert).bind("a").execute(&mut *full).await.expect_err("the disk is full");
        drop(full);

        let mut again = ledger.begin_write().await.expect("a transaction");
        sqlx::query(insert).bind("a").execute(&mut *again).await.expect("there is room again");
        again.commit().await.expect("committed");
        assert_eq!(ledger.check().await.expect("checked").complaints(), Vec::<String>::new());
    }
}
