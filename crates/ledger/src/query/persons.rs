//! What the ledger has of one person, and how it goes.
//!
//! Claims and standby of offers that live are forgotten by the engine; the projector writes what the engine did. What only the ledger has is
//! forgotten here: rows of deleted offers, and what was written down about the person beside them. Nothing is deleted that is
//! counted: a claim stays a claim, of a pseudonym.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::rows::claim::{first_place, last_place};
use crate::sql::{Connection, Text, query};
use crate::words;
use bunho_domain::claim::Status;
use bunho_domain::ids::{ClaimId, StandbyId, UserId};
use serde_json::Value;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection as _, Row};
use std::time::Duration;

/// What the ledger has of a person.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonRows {
    /// Claims, in the order of their offers' numbers and of taking, each with what it is.
    pub claims: Vec<(ClaimId, Status)>,
    /// Places on standby, in the same order.
    pub places: Vec<StandbyId>,
    /// Parked events about the person that nobody has mended.
    pub parked: u64,
    /// Messages about the person that wait for a webhook.
    pub messages: u64,
}

/// What was forgotten of a person besides claims and standby of offers that live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsForgotten {
    /// Entries of the audit log that named the person.
    pub audit_entries: u64,
    /// Parked events that had been mended; their rows are deleted.
    pub parked_events: u64,
    /// Messages to webhooks that had been given up; their rows are deleted.
    pub messages: u64,
}

/// A statement over the rows in one of whose columns the bound text stands: MySQL and SQLite have one name for the place of a text in another, PostgreSQL
/// has another.
macro_rules! rows_with {
    ($before:literal, $column:literal) => {
        Text { postgres: concat!($before, "strpos(", $column, ", ?) > 0"), ..Text::same(concat!($before, "instr(", $column, ", ?) > 0")) }
    };
}
const AUDITED: Text = rows_with!("SELECT id, detail FROM audit_log WHERE ", "detail");
const PARKED: Text = rows_with!("SELECT count(*) FROM parked_events WHERE resolved_at IS NULL AND ", "payload");
const UNPARK: Text = rows_with!("DELETE FROM parked_events WHERE resolved_at IS NOT NULL AND ", "payload");
const WAITING: Text = rows_with!("SELECT count(*) FROM webhook_deliveries WHERE dead = 0 AND ", "body");
const GIVEN_UP: Text = rows_with!("DELETE FROM webhook_deliveries WHERE dead = 1 AND ", "body");

/// What stands in the audit log in a forgotten person's place.
const FORGOTTEN: &str = "(forgotten)";

/// How often, and how far apart, the write-ahead log is asked to be emptied: a reader may be in the middle of a list.
const CHECKPOINTS_MAX: u32 = 50;
const CHECKPOINT_WAIT: Duration = Duration::from_millis(100);

impl Ledger {
    /// Everything that is kept of a person by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn person(&self, user: &UserId) -> Result<PersonRows, LedgerError> {
        let action = LedgerError::sql("look for what is kept of a person");
        let mut reader = self.reader().await?;
        let connection = &mut reader.connection();
        let mut found = PersonRows::default();
        for row in query("SELECT id, status FROM claim_rows WHERE user_id = ? ORDER BY place")
            .bind(user.as_str())
            .fetch_all(connection)
            .await
            .map_err(&action)?
        {
            let mut columns = Columns::of(&row, "claims");
            found.claims.push((columns.id("id", ClaimId::parse)?, columns.parsed("status", words::parse_status)?));
        }
        let places = query("SELECT id FROM standby WHERE user_id = ? ORDER BY id").bind(user.as_str());
        for row in places.fetch_all(connection).await.map_err(&action)? {
            found.places.push(Columns::of(&row, "standby").id("id", StandbyId::parse)?);
        }
        let parked = query(PARKED).bind(&*in_json(user)).fetch_long(connection).await.map_err(&action)?;
        found.parked = parked.cast_unsigned();
        let messages = query(WAITING).bind(&*in_json(user)).fetch_long(connection).await.map_err(&action)?;
        found.messages = messages.cast_unsigned();
        Ok(found)
    }

    /// Puts a pseudonym in a person's place in a deleted offer, which no engine knows any more. How many claims and places.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_in_deleted_offer(&self, offer: u32, user: &UserId, pseudonym: &UserId) -> Result<(u64, u64), LedgerError> {
        let action = LedgerError::sql("forget a person in a deleted offer");
        let mut writing = self.begin_write().await?;
        let claims = query(
            "UPDATE claim_rows SET user_id = ?, idempotency_key = NULL, attributes = NULL WHERE user_id = ? AND place >= ? AND place <= ?
             AND EXISTS (SELECT 1 FROM offers WHERE number = ? AND deleted_at IS NOT NULL)",
        )
        .bind(pseudonym.as_str())
        .bind(user.as_str())
        .bind(first_place(offer))
        .bind(last_place(offer))
        .bind(i64::from(offer))
        .execute(&mut writing.connection())
        .await
        .map_err(&action)?;
        let places = query(
            "UPDATE standby SET user_id = ? WHERE user_id = ? AND offer_number = ?
             AND EXISTS (SELECT 1 FROM offers WHERE number = ? AND deleted_at IS NOT NULL)",
        )
        .bind(pseudonym.as_str())
        .bind(user.as_str())
        .bind(i64::from(offer))
        .bind(i64::from(offer))
        .execute(&mut writing.connection())
        .await
        .map_err(&action)?;
        writing.commit().await.map_err(&action)?;
        Ok((claims, places))
    }

    /// Takes a person's name out of the audit log, and mended parked events and messages that were given up about them out of the database.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_notes(&self, user: &UserId) -> Result<RowsForgotten, LedgerError> {
        let action = LedgerError::sql("forget what was noted of a person");
        let mut writing = self.begin_write().await?;
        let mut forgotten = RowsForgotten::default();
        let found = query(AUDITED).bind(&*in_json(user)).fetch_all(&mut writing.connection()).await.map_err(&action)?;
        for row in &found {
            let mut columns = Columns::of(row, "audit_log");
            let (id, detail): (i64, &str) = (columns.take()?, columns.take()?);
            let Some(detail) = without(detail, user) else { continue };
            let changed = query("UPDATE audit_log SET detail = ? WHERE id = ?").bind(&*detail).bind(id);
            forgotten.audit_entries += changed.execute(&mut writing.connection()).await.map_err(&action)?;
        }
        forgotten.parked_events = query(UNPARK).bind(&*in_json(user)).execute(&mut writing.connection()).await.map_err(&action)?;
        forgotten.messages = query(GIVEN_UP).bind(&*in_json(user)).execute(&mut writing.connection()).await.map_err(&action)?;
        writing.commit().await.map_err(&action)?;
        Ok(forgotten)
    }

    /// Leaves nothing of what was forgotten in the file: a SQLite file is written anew without free space, and its write-ahead log emptied. Claims
    /// go on; what is decided meanwhile is projected afterwards. False: somebody reads for too long, and the log still has old pages. A
    /// database on a server does this by itself, in its own time.
    ///
    /// # Errors
    /// The file cannot be written; the disk needs room for it twice more.
    pub async fn wipe(&self) -> Result<bool, LedgerError> {
        let action = LedgerError::sql("write itself anew");
        let Some(path) = self.path() else { return Ok(true) };
        {
            let mut writer = self.writer().await?;
            let connection = &mut writer.connection();
            // What it needs on the way is as large as the file, and goes to a file too.
            run(connection, "PRAGMA temp_store = FILE").await.map_err(&action)?;
            let vacuumed = run(connection, "VACUUM").await;
            run(connection, "PRAGMA temp_store = MEMORY").await.map_err(&action)?;
            vacuumed.map_err(&action)?;
        }
        // By a connection of its own that waits for nobody: the writer is the projector's, which need not wait for a reader.
        let options = SqliteConnectOptions::new().filename(path).busy_timeout(Duration::ZERO).disable_statement_logging();
        let mut connection = options.connect().await.map_err(&action)?;
        let mut is_empty = false;
        for _ in 0..CHECKPOINTS_MAX {
            let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut connection).await.map_err(&action)?;
            is_empty = row.try_get::<i64, _>(0).map_err(&action)? == 0;
            if is_empty {
                break;
            }
            tokio::time::sleep(CHECKPOINT_WAIT).await;
        }
        connection.close().await.map_err(&action)?;
        Ok(is_empty)
    }
}

async fn run(connection: &mut Connection<'_>, statement: &'static str) -> Result<(), sqlx::Error> {
    query(statement).execute(connection).await.map(drop)
}

/// A user's id as it stands in JSON, with its quotes.
fn in_json(user: &UserId) -> String {
    Value::from(user.as_str()).to_string()
}

/// A detail in which the user's id is replaced wherever it stands as a whole text. None: it does not.
fn without(detail: &str, user: &UserId) -> Option<String> {
    let mut value: Value = serde_json::from_str(detail).ok()?;
    replace(&mut value, user.as_str()).then(|| value.to_string())
}

fn replace(value: &mut Value, user: &str) -> bool {
    match value {
        Value::String(text) if text == user => {
            FORGOTTEN.clone_into(text);
            true
        }
        // All of them, not only up to the first.
        Value::Array(values) => values.iter_mut().fold(false, |any, value| replace(value, user) | any),
        Value::Object(fields) => fields.values_mut().fold(false, |any, value| replace(value, user) | any),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_wherever_it_stands_alone() {
        let user = UserId::parse("kim \"k\"").expect("a user");
        let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
        let check = |detail: &str, expected: Option<&str>| {
            assert_eq!(without(detail, &user).as_deref().map(read), expected.map(read), "{detail}");
        };
        check(
            r#"{"before":{"user":"kim \"k\""},"after":["kim \"k\"",1]}"#,
            Some(r#"{"before":{"user":"(forgotten)"},"after":["(forgotten)",1]}"#),
        );
        check(r#"{"user":"kim \"k\" the other"}"#, None);
        check("not JSON", None);
    }
}
