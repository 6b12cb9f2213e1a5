//! Accounts of people who sign in with a name. What a role may do, and how passwords and codes are checked, is the server's to say.

use super::audit;
use crate::error::{LedgerError, is_constraint};
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Connection, Row, query};
use crate::timestamp::Timestamp;
use bunho_domain::time::Millis;
use bunho_journal::{Audit, crash_point};

/// An account as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// What its owner signs in with.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// Hash of the password.
    pub password_hash: String,
    /// What codes are made of, once they are asked for.
    pub totp_secret: Option<String>,
    /// The same, before the first code was given.
    pub totp_pending: Option<String>,
    /// The last step whose code was taken.
    pub totp_step: i64,
    /// Nobody may sign in with it.
    pub disabled: bool,
    /// When it was made.
    pub created_at: Millis,
    /// When somebody last signed in with it.
    pub last_signed_in_at: Option<Millis>,
}

/// What is to be another. None: stays as it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountChange<'a> {
    /// What it may do.
    pub role: Option<&'a str>,
    /// Whether nobody may sign in with it; ends its sessions if so.
    pub disabled: Option<bool>,
    /// Hash of another password; ends its sessions.
    pub password_hash: Option<&'a str>,
    /// Asks for no codes any more.
    pub drops_totp: bool,
    /// The session that goes on although the others end.
    pub keep_session: Option<&'a str>,
}

/// What became of a change of who may administer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Changed {
    /// It was made.
    Done,
    /// There is no such key or account (any more).
    Unknown,
    /// Nobody would be left who may do everything.
    LastAdmin,
}

/// What codes have to do with an account from now on.
#[derive(Clone, Copy, Debug)]
pub enum Totp<'a> {
    /// This secret, once a first code was given.
    Offered(&'a str),
    /// The secret that was offered last counts, if it is this one; its code of this step was taken.
    On(&'a str, i64),
    /// None are asked for.
    Off,
}

const COLUMNS: &str = "SELECT name, role, password_hash, totp_secret, totp_pending, totp_step, disabled, created_at, last_signed_in_at FROM accounts ORDER BY name";
const ONE: &str = "SELECT name, role, password_hash, totp_secret, totp_pending, totp_step, disabled, created_at, last_signed_in_at FROM accounts WHERE name = ?";
/// Whoever takes an administrator away begins with this, so that of two at once the second sees what the first did.
const TAKE_TURN: &str = "UPDATE directory_counters SET value = value + 1 WHERE name = 'admins'";
const ADMINS: &str = "SELECT (SELECT count(*) FROM admins WHERE role = 'admin' AND revoked_at IS NULL AND expires_at IS NULL)
    + (SELECT count(*) FROM accounts WHERE role = 'admin' AND disabled = 0)";
const CHANGE: &str = "UPDATE accounts SET role = coalesce(?1, role), disabled = coalesce(?2, disabled),
    password_hash = coalesce(?3, password_hash) WHERE name = ?4";

impl Ledger {
    /// Keeps an account and notes who made it, both or neither. False: there is one of this name.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn insert_account(&self, account: &AccountRow, now: Millis, audit: &Audit) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("keep an account");
        let mut writing = self.begin_write().await?;
        let inserted = query(
            "INSERT INTO accounts (name, role, password_hash, totp_secret, totp_step, disabled, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(&account.name)
        .bind(&account.role)
        .bind(&account.password_hash)
        .bind(account.totp_secret.as_deref())
        .bind(account.totp_step)
        .bind(i64::from(account.disabled))
        .bind(Timestamp::new(account.created_at).as_str())
        .execute(&mut writing.connection())
        .await;
        match inserted {
            Ok(_) => {}
            Err(error) if is_constraint(&error) => {
                writing.rollback().await.map_err(&action)?;
                return Ok(false);
            }
            Err(error) => return Err(action(error)),
        }
        crash_point!("ledger::account_inserted");
        audit::insert(&mut writing.connection(), now, audit).await?;
        writing.commit().await.map_err(&action)?;
        Ok(true)
    }

    /// Every account, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn accounts(&self) -> Result<Vec<AccountRow>, LedgerError> {
        let rows = query(COLUMNS).fetch_all(&mut self.reader().await?.connection()).await;
        rows.map_err(LedgerError::sql("list accounts"))?.iter().map(account).collect()
    }

    /// One account.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn account(&self, name: &str) -> Result<Option<AccountRow>, LedgerError> {
        let row = query(ONE).bind(name).fetch_optional(&mut self.reader().await?.connection()).await;
        row.map_err(LedgerError::sql("read an account"))?.as_ref().map(account).transpose()
    }

    /// Changes an account and notes who did, both or neither.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn change_account(&self, name: &str, change: AccountChange<'_>, now: Millis, audit: &Audit) -> Result<Changed, LedgerError> {
        let action = LedgerError::sql("change an account");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let before = take_turn(connection).await?;
        let there = query("SELECT count(*) FROM accounts WHERE name = ?").bind(name).fetch_long(connection).await.map_err(&action)?;
        query(CHANGE)
            .bind(change.role)
            .bind(change.disabled.map(i64::from))
            .bind(change.password_hash)
            .bind(name)
            .execute(connection)
            .await
            .map_err(&action)?;
        if change.drops_totp {
            let off = "UPDATE accounts SET totp_secret = NULL, totp_pending = NULL WHERE name = ?";
            query(off).bind(name).execute(connection).await.map_err(&action)?;
        }
        if change.password_hash.is_some() || change.disabled == Some(true) {
            let others = "DELETE FROM sessions WHERE kind = 'account' AND subject = ? AND id <> ?";
            query(others).bind(name).bind(change.keep_session.unwrap_or_default()).execute(connection).await.map_err(&action)?;
        }
        let changed = if there == 0 { Changed::Unknown } else { left(connection, before).await? };
        if changed == Changed::Done {
            audit::insert(connection, now, audit).await?;
            writing.commit().await.map_err(&action)?;
        } else {
            writing.rollback().await.map_err(&action)?;
        }
        Ok(changed)
    }

    /// Removes an account with its sessions and notes who did.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remove_account(&self, name: &str, now: Millis, audit: &Audit) -> Result<Changed, LedgerError> {
        let action = LedgerError::sql("remove an account");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let before = take_turn(connection).await?;
        let removed = query("DELETE FROM accounts WHERE name = ?").bind(name).execute(connection).await.map_err(&action)?;
        let sessions = "DELETE FROM sessions WHERE kind = 'account' AND subject = ?";
        query(sessions).bind(name).execute(connection).await.map_err(&action)?;
        let changed = if removed == 0 { Changed::Unknown } else { left(connection, before).await? };
        if changed == Changed::Done {
            crash_point!("ledger::account_removed");
            audit::insert(connection, now, audit).await?;
            writing.commit().await.map_err(&action)?;
        } else {
            writing.rollback().await.map_err(&action)?;
        }
        Ok(changed)
    }

    /// Changes what codes have to do with an account, and notes it where `audit` says so. False: there is no such account, or, of
    /// [`Totp::On`], another one was offered, or none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_totp(&self, name: &str, totp: Totp<'_>, now: Millis, audit: Option<&Audit>) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("change an account's codes");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        let change = match totp {
            Totp::Offered(secret) => {
                query("UPDATE accounts SET totp_pending = ? WHERE name = ? AND totp_secret IS NULL").bind(secret).bind(name)
            }
            Totp::On(secret, step) => query(
                "UPDATE accounts SET totp_secret = totp_pending, totp_step = ? WHERE name = ? AND totp_secret IS NULL AND totp_pending = ?",
            )
            .bind(step)
            .bind(name)
            .bind(secret),
            Totp::Off => query("UPDATE accounts SET totp_secret = NULL WHERE name = ? AND totp_secret IS NOT NULL").bind(name),
        };
        if change.execute(connection).await.map_err(&action)? == 0 {
            writing.rollback().await.map_err(&action)?;
            return Ok(false);
        }
        if !matches!(totp, Totp::Offered(_)) {
            let done = "UPDATE accounts SET totp_pending = NULL WHERE name = ?";
            query(done).bind(name).execute(connection).await.map_err(&action)?;
        }
        if let Some(audit) = audit {
            audit::insert(connection, now, audit).await?;
        }
        writing.commit().await.map_err(&action)?;
        Ok(true)
    }

    /// Takes the code of a step. False: it, or a later one, was taken before.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn take_totp_step(&self, name: &str, step: i64) -> Result<bool, LedgerError> {
        let taken = query("UPDATE accounts SET totp_step = ?1 WHERE name = ?2 AND totp_step < ?1")
            .bind(step)
            .bind(name)
            .execute(&mut self.writer().await?.connection())
            .await;
        taken.map(|rows| rows > 0).map_err(LedgerError::sql("take a code"))
    }
}

/// Takes turns with whoever else takes administrators away. Returns how many there are.
pub(crate) async fn take_turn(connection: &mut Connection<'_>) -> Result<i64, LedgerError> {
    query(TAKE_TURN).execute(connection).await.map_err(LedgerError::sql("take turns"))?;
    count(connection).await
}

/// Whether somebody is left who may do everything, if there was somebody before.
pub(crate) async fn left(connection: &mut Connection<'_>, before: i64) -> Result<Changed, LedgerError> {
    Ok(if before == 0 || count(connection).await? > 0 { Changed::Done } else { Changed::LastAdmin })
}

async fn count(connection: &mut Connection<'_>) -> Result<i64, LedgerError> {
    query(ADMINS).fetch_long(connection).await.map_err(LedgerError::sql("count administrators"))
}

fn account(row: &Row) -> Result<AccountRow, LedgerError> {
    let mut columns = Columns::of(row, "accounts");
    Ok(AccountRow {
        name: columns.take()?,
        role: columns.take()?,
        password_hash: columns.take()?,
        totp_secret: columns.take()?,
        totp_pending: columns.take()?,
        totp_step: columns.take()?,
        disabled: columns.take()?,
        created_at: columns.time("created_at")?,
        last_signed_in_at: columns.time_or_none("last_signed_in_at")?,
    })
}
