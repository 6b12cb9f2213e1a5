//! What the ledger has of one person, and how it goes.
//!
//! Claims and standby of offers that live are forgotten by the engine; the projector writes what the engine did. What only the ledger has is
//! forgotten here: rows of deleted offers, and what was written down about the person beside them. Nothing is deleted that is
//! counted: a claim stays a claim, of a pseudonym.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::names::{IN_AUDIT, NOBODY};
use crate::rows::Columns;
use crate::rows::claim::{first_place, last_place};
use crate::sql::{Connection, query};
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

const AUDITED: &str = "SELECT id, detail FROM audit_log WHERE user_id = ?";
const PARKED: &str = "SELECT count(*) FROM parked_events WHERE user_id = ? AND resolved_at IS NULL";
/// Of what nobody could read nobody can say whom it names, so it goes with anybody once somebody has done with it.
const UNPARK: &str = "DELETE FROM parked_events WHERE resolved_at IS NOT NULL AND (user_id = ? OR reason = 'unreadable')";
const WAITING: &str = "SELECT count(*) FROM webhook_deliveries WHERE user_id = ? AND dead = 0";
const GIVEN_UP: &str = "DELETE FROM webhook_deliveries WHERE user_id = ? AND dead = 1";

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
        self.name_rows().await?;
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
        let parked = query(PARKED).bind(user.as_str()).fetch_long(connection).await.map_err(&action)?;
        found.parked = parked.cast_unsigned();
        let messages = query(WAITING).bind(user.as_str()).fetch_long(connection).await.map_err(&action)?;
        found.messages = messages.cast_unsigned();
        Ok(found)
    }

    /// Records of a topic that nobody could read and nobody has done with, kept as they came: whom they name cannot be known.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn unreadable_events(&self) -> Result<u64, LedgerError> {
        let count = query("SELECT count(*) FROM parked_events WHERE reason = 'unreadable' AND resolved_at IS NULL");
        let count = count.fetch_long(&mut self.reader().await?.connection()).await;
        count.map(i64::cast_unsigned).map_err(LedgerError::sql("count what could not be read"))
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
        self.name_rows().await?;
        let mut writing = self.begin_write().await?;
        let mut forgotten = RowsForgotten::default();
        let found = query(AUDITED).bind(user.as_str()).fetch_all(&mut writing.connection()).await.map_err(&action)?;
        for row in &found {
            let mut columns = Columns::of(row, "audit_log");
            let (id, detail): (i64, Option<&str>) = (columns.take()?, columns.take()?);
            let detail = detail.and_then(|detail| without(detail, user)).or(detail.map(ToOwned::to_owned));
            let changed = query("UPDATE audit_log SET detail = ?, user_id = ? WHERE id = ?").bind(detail.as_deref()).bind(NOBODY).bind(id);
            forgotten.audit_entries += changed.execute(&mut writing.connection()).await.map_err(&action)?;
        }
        forgotten.parked_events = query(UNPARK).bind(user.as_str()).execute(&mut writing.connection()).await.map_err(&action)?;
        forgotten.messages = query(GIVEN_UP).bind(user.as_str()).execute(&mut writing.connection()).await.map_err(&action)?;
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

/// A detail in which the user's name is replaced. None: it is not there.
fn without(detail: &str, user: &UserId) -> Option<String> {
    let mut value: Value = serde_json::from_str(detail).ok()?;
    let mut any = false;
    for place in IN_AUDIT {
        if let Some(name) = value.pointer_mut(place).filter(|name| name.as_str() == Some(user.as_str())) {
            *name = FORGOTTEN.into();
            any = true;
        }
    }
    any.then(|| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_goes_where_a_user_stands_and_the_same_word_elsewhere_stays() {
        let check = |user: &str, detail: &str, expected: Option<&str>| {
            let read = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
            let user = UserId::parse(user).expect("a user");
            assert_eq!(without(detail, &user).as_deref().map(read), expected.map(read), "{detail}");
        };
        let kim = "kim \"k\"";
        check(
            kim,
            r#"{"body":null,"before":{"user":"kim \"k\""},"after":{"user":"kim \"k\"","quantity":1}}"#,
            Some(r#"{"body":null,"before":{"user":"(forgotten)"},"after":{"user":"(forgotten)","quantity":1}}"#),
        );
        check(
            "held",
            r#"{"before":{"user":"held","status":"held"},"after":null}"#,
            Some(r#"{"before":{"user":"(forgotten)","status":"held"},"after":null}"#),
        );
        check("default", r#"{"before":{"app":"default"},"after":{"app":"default"}}"#, None);
        check(kim, r#"{"before":{"user":"kim \"k\" the other"}}"#, None);
        check(kim, "not JSON", None);
    }
}
