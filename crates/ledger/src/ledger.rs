//! The handle on the database: connections that write, and a few that read.
//!
//! A SQLite file has one connection that writes (`ledger/sqlite.rs` says why). PostgreSQL, MySQL and MariaDB have several, also of
//! several nodes: there the row of a projector in `projector_offsets` is what writers of claims take turns by.

pub mod copy;
mod migrations;
mod network;
mod sqlite;

use crate::error::{BEGIN, BEGIN_READ, GET_READER, GET_WRITER, LedgerError};
use crate::sql::{Connection, Dialect, Place, Pool, Pooled, Transaction, query};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::watch;

/// The ledger. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    place: Place,
    writer: Pool,
    readers: Pool,
    projected: watch::Sender<u64>,
    /// The highest journal offset that somebody waits to see here.
    wanted: watch::Sender<u64>,
    /// How often claims were written by anyone but the projector, which then has to count them afresh.
    repairs: AtomicU64,
    /// Turns of this process's tasks at editing the directory.
    editing: Arc<tokio::sync::Mutex<()>>,
}

impl Ledger {
    /// Opens the ledger at `place`, makes the file if need be, and brings its schema up to date. A path is a SQLite file; see
    /// [`Place::parse`] for URLs.
    ///
    /// # Errors
    /// It cannot be opened, reached or migrated, or its schema is newer than this program.
    pub async fn open(place: impl Into<Place>) -> Result<Self, LedgerError> {
        let place = place.into();
        let (writer, readers) = match &place {
            Place::Sqlite(path) => sqlite::open(path).await,
            Place::Postgres(url) => network::open_postgres(&place, url).await,
            Place::MySql(url) => network::open_mysql(&place, url).await,
        }?;
        let (projected, wanted) = (watch::Sender::new(0), watch::Sender::new(0));
        let shared = Shared { place, writer, readers, projected, wanted, repairs: AtomicU64::new(0), editing: Arc::default() };
        let ledger = Self { shared: Arc::new(shared) };
        ledger.publish_projected(ledger.projected_offset().await?);
        Ok(ledger)
    }

    /// Where it is.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.shared.place
    }

    /// The file; none: it is on a server.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.shared.place.file()
    }

    /// Which installation's database this is, where one has said so.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn installation(&self) -> Result<Option<String>, LedgerError> {
        read_installation(&mut self.reader().await?.connection()).await
    }

    /// Says that this database is the one of installation `id`, for good; any id but "" will do.
    ///
    /// # Errors
    /// Another installation said so before, or the database cannot be used.
    pub async fn belongs_to(&self, id: &str) -> Result<(), LedgerError> {
        match self.join(id).await? {
            found if found == id => Ok(()),
            found => Err(LedgerError::OtherInstallation { place: self.shared.place.clone(), found, own: id.to_owned() }),
        }
    }

    /// As [`Self::belongs_to`] for whoever goes along with what another said before: whose it is from here on.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn join(&self, id: &str) -> Result<String, LedgerError> {
        let action = LedgerError::sql("say whose it is");
        let mut writing = self.begin_write().await?;
        let mut connection = writing.connection();
        query("UPDATE installation SET id = ? WHERE id = ''").bind(id).execute(&mut connection).await.map_err(&action)?;
        let found = read_installation(&mut connection).await?;
        writing.commit().await.map_err(&action)?;
        Ok(found.unwrap_or_default())
    }

    /// Says that this database is the one of installation `id` from here on, whose ever it was; that one is refused then.
    ///
    /// # Errors
    /// The database cannot be used.
    pub async fn take_over(&self, id: &str) -> Result<(), LedgerError> {
        let action = LedgerError::sql("say whose it is");
        let mut writing = self.begin_write().await?;
        query("UPDATE installation SET id = ?").bind(id).execute(&mut writing.connection()).await.map_err(&action)?;
        writing.commit().await.map_err(&action)
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

    /// Lets running statements end and closes the connections.
    pub async fn close(&self) {
        self.shared.readers.close().await;
        self.shared.writer.close().await;
    }

    pub(crate) fn dialect(&self) -> Dialect {
        self.shared.writer.dialect()
    }

    /// Whether other nodes may write to the same database.
    pub(crate) fn is_shared(&self) -> bool {
        self.dialect() != Dialect::Sqlite
    }

    /// A connection that only reads.
    pub(crate) async fn reader(&self) -> Result<Pooled, LedgerError> {
        self.shared.readers.acquire().await.map_err(LedgerError::sql(GET_READER))
    }

    /// A connection that writes.
    pub(crate) async fn writer(&self) -> Result<Pooled, LedgerError> {
        self.shared.writer.acquire().await.map_err(LedgerError::sql(GET_WRITER))
    }

    pub(crate) async fn begin_write(&self) -> Result<Transaction, LedgerError> {
        self.shared.writer.begin_write().await.map_err(LedgerError::sql(BEGIN))
    }

    /// Begins a transaction in which everything stands still.
    pub(crate) async fn begin_snapshot(&self) -> Result<Transaction, LedgerError> {
        self.shared.readers.begin_snapshot().await.map_err(LedgerError::sql(BEGIN_READ))
    }

    pub(crate) fn editing(&self) -> Arc<tokio::sync::Mutex<()>> {
        self.shared.editing.clone()
    }

    pub(crate) async fn projected_offset(&self) -> Result<u64, LedgerError> {
        crate::projector::read_offset(&mut self.reader().await?.connection()).await
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

    /// The version of the schema that this program writes.
    pub(crate) fn schema_version(&self) -> i64 {
        migrations::newest(self.dialect())
    }
}

async fn read_installation(connection: &mut Connection<'_>) -> Result<Option<String>, LedgerError> {
    let action = LedgerError::sql("read whose it is");
    let row = query("SELECT id FROM installation").fetch_one(connection).await.map_err(&action)?;
    Ok(row.text(0).map_err(&action)?.filter(|id| !id.is_empty()).map(ToOwned::to_owned))
}
