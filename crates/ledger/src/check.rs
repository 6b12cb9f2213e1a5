//! What `bunho doctor` asks: the settings that durability rests on, as SQLite itself reports them.

use crate::error::LedgerError;
use crate::ledger::{Ledger, schema_version};

/// What SQLite says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Version of the schema.
    pub schema_version: i64,
    /// Version of the SQLite library.
    pub sqlite_version: String,
    /// `PRAGMA journal_mode` of the connection that writes; must be `wal`.
    pub journal_mode: String,
    /// `PRAGMA synchronous` of the connection that writes; must be 2, FULL.
    pub synchronous: i64,
    /// What `PRAGMA quick_check` found; empty: the file is sound.
    pub damage: Vec<String>,
}

impl Check {
    /// Everything that is wrong, each with its mend; empty: all is well.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if self.journal_mode != "wal" {
            complaints.push(format!(
                "journal_mode is {}, not wal: the folder's file system must allow shared memory (a local disk, not a network share)",
                self.journal_mode
            ));
        }
        if self.synchronous != 2 {
            complaints.push(format!("synchronous is {}, not 2 (FULL): a power cut could lose committed rows", self.synchronous));
        }
        complaints.extend(self.damage.iter().map(|line| format!("the file is damaged ({line}): restore a copy")));
        complaints
    }
}

impl Ledger {
    /// Reads the settings in force, checks the file, and takes and gives back the write lock with a row written.
    /// Reads the whole file.
    ///
    /// # Errors
    /// The database cannot be read or written.
    pub async fn check(&self) -> Result<Check, LedgerError> {
        let action = LedgerError::sql("check itself");
        let mut writing = self.begin_write().await?;
        let journal_mode = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *writing).await.map_err(&action)?;
        let synchronous = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *writing).await.map_err(&action)?;
        sqlx::query(r#"INSERT INTO projector_offsets (name, "offset") VALUES ('doctor', 0)"#)
            .execute(&mut *writing)
            .await
            .map_err(LedgerError::sql("write"))?;
        writing.rollback().await.map_err(&action)?;
        let sqlite_version = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(self.readers()).await.map_err(&action)?;
        let damage = self.damage().await?;
        Ok(Check { schema_version: schema_version(), sqlite_version, journal_mode, synchronous, damage })
    }

    /// What `PRAGMA quick_check` finds; nothing: the file is sound. Reads the whole file.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn damage(&self) -> Result<Vec<String>, LedgerError> {
        let check = sqlx::query_scalar("PRAGMA quick_check").fetch_all(self.readers());
        let mut damage: Vec<String> = check.await.map_err(LedgerError::sql("check itself"))?;
        damage.retain(|line| line != "ok");
        Ok(damage)
    }
}
