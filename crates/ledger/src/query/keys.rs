//! Keys of services and administrators. Only a hash of each is kept; what a role may do is the server's to say.

use super::accounts::{Changed, left, take_turn};
use super::audit;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::query;
use crate::timestamp::Timestamp;
use bunho_domain::time::Millis;
use bunho_journal::{Audit, crash_point};

/// A key to be kept.
#[derive(Clone, Copy, Debug)]
pub struct NewKey<'a> {
    /// Its public id.
    pub id: &'a str,
    /// What it may do.
    pub role: &'a str,
    /// What people call it.
    pub name: &'a str,
    /// Hash of the secret.
    pub key_hash: &'a str,
    /// Until when it counts; none: until it is revoked.
    pub expires_at: Option<Millis>,
    /// Which client certificate must come with it.
    pub certificate: Option<&'a str>,
}

/// A stored key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRow {
    /// Its public id.
    pub id: String,
    /// What it may do.
    pub role: String,
    /// What people call it.
    pub name: String,
    /// Hash of the secret.
    pub key_hash: String,
    /// When it was made.
    pub created_at: Millis,
    /// Until when it counts; none: until it is revoked.
    pub expires_at: Option<Millis>,
    /// Which client certificate must come with it.
    pub certificate: Option<String>,
}

const KEYS: &str = "SELECT id, role, name, key_hash, created_at, expires_at, certificate FROM admins WHERE revoked_at IS NULL
    ORDER BY created_at, id";

impl Ledger {
    /// Keeps a key and notes who made it, both or neither.
    ///
    /// # Errors
    /// The database cannot be written, or has a key with this id.
    pub async fn insert_key(&self, key: &NewKey<'_>, now: Millis, audit: &Audit) -> Result<(), LedgerError> {
        let mut transaction = self.begin_write().await?;
        query("INSERT INTO admins (id, role, name, key_hash, created_at, expires_at, certificate) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(key.id)
            .bind(key.role)
            .bind(key.name)
            .bind(key.key_hash)
            .bind(Timestamp::new(now).as_str())
            .bind(key.expires_at.map(Timestamp::new).as_ref().map(Timestamp::as_str))
            .bind(key.certificate)
            .execute(&mut transaction.connection())
            .await
            .map_err(LedgerError::sql("keep a key"))?;
        crash_point!("ledger::key_inserted");
        audit::insert(&mut transaction.connection(), now, audit).await?;
        transaction.commit().await.map_err(LedgerError::sql("keep a key"))
    }

    /// Revokes a key with its sessions and notes who did. Where there is no such key, or it was revoked before, or nobody would be left who may
    /// do everything, nothing is changed or noted.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn revoke_key(&self, id: &str, now: Millis, audit: &Audit) -> Result<Changed, LedgerError> {
        let action = LedgerError::sql("revoke a key");
        let mut transaction = self.begin_write().await?;
        let connection = &mut transaction.connection();
        let before = take_turn(connection).await?;
        let revoked = query("UPDATE admins SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL")
            .bind(Timestamp::new(now).as_str())
            .bind(id)
            .execute(connection)
            .await
            .map_err(&action)?;
        query("DELETE FROM sessions WHERE kind = 'key' AND subject = ?").bind(id).execute(connection).await.map_err(&action)?;
        let changed = if revoked == 0 { Changed::Unknown } else { left(connection, before).await? };
        if changed != Changed::Done {
            transaction.rollback().await.map_err(&action)?;
            return Ok(changed);
        }
        crash_point!("ledger::key_revoked");
        audit::insert(connection, now, audit).await?;
        transaction.commit().await.map_err(&action)?;
        Ok(changed)
    }

    /// Every key that is not revoked, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn keys(&self) -> Result<Vec<KeyRow>, LedgerError> {
        let rows = query(KEYS).fetch_all(&mut self.reader().await?.connection()).await.map_err(LedgerError::sql("list keys"))?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row, "admins");
                Ok(KeyRow {
                    id: columns.take()?,
                    role: columns.take()?,
                    name: columns.take()?,
                    key_hash: columns.take()?,
                    created_at: columns.time("created_at")?,
                    expires_at: columns.time_or_none("expires_at")?,
                    certificate: columns.take()?,
                })
            })
            .collect()
    }
}
