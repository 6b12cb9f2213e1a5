//! Turns at editing the directory, over all nodes.
//!
//! On a server it is the lock of one row, held by a transaction on a connection of its own. A node that ends gives it back with the connection;
//! one that hangs loses it when the server ends connections that say nothing for half a minute. A holder that takes longer than
//! that has lost it without a word, which is why nothing rests on it.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::sql::{Dialect, Transaction, query};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;

/// How long somebody waits for a turn.
const WAIT: Duration = Duration::from_secs(5);

/// A turn at editing; dropping it ends it.
#[derive(Debug)]
#[must_use = "dropping it ends the turn"]
pub struct DirectoryLock {
    /// Before the guard: the row is free when the next one of this process asks for it.
    _row: Option<Transaction>,
    _editing: OwnedMutexGuard<()>,
}

impl Ledger {
    /// Waits for a turn at editing the directory.
    ///
    /// # Errors
    /// [`LedgerError::Busy`]: none within five seconds. Or the database cannot be used.
    pub async fn directory_lock(&self) -> Result<DirectoryLock, LedgerError> {
        // First of this process, so that those who wait for one another here do not each take a connection.
        let waiting = async {
            let editing = self.editing().lock_owned().await;
            Ok(DirectoryLock { _row: self.lock_row().await?, _editing: editing })
        };
        tokio::time::timeout(WAIT, waiting).await.unwrap_or(Err(LedgerError::Busy))
    }

    /// None: nobody else can open this database, or it is a file's.
    async fn lock_row(&self) -> Result<Option<Transaction>, LedgerError> {
        let settings: &[&'static str] = match self.dialect() {
            // Its only writing connection is needed for the edit itself.
            Dialect::Sqlite => return Ok(None),
            Dialect::Postgres => &["SET LOCAL lock_timeout = '6s'"],
            // Another user of the connection would not want them: a transaction that is dropped takes it along.
            Dialect::MySql => &["SET SESSION innodb_lock_wait_timeout = 6", "SET SESSION wait_timeout = 30"],
        };
        let mut row = self.begin_write().await?;
        let connection = &mut row.connection();
        let action = LedgerError::sql("wait for a turn at the directory");
        for statement in settings {
            connection.run(statement).await.map_err(&action)?;
        }
        query("SELECT value FROM directory_counters WHERE name = 'turn' FOR UPDATE").fetch_one(connection).await.map_err(&action)?;
        Ok(Some(row))
    }
}
