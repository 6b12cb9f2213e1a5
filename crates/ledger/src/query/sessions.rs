//! Sessions of the console: all that live, so that every node knows them and a restart ends none.

use super::audit;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Row, query};
use crate::timestamp::Timestamp;
use bunho_domain::time::Millis;
use bunho_journal::Audit;

/// Sessions at a time; beyond, those that end first make room. Each is some 300 bytes.
const SESSIONS_MAX: i64 = 1_000;

/// One session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id; the token is this under a MAC.
    pub id: String,
    /// `account` or `key`.
    pub kind: String,
    /// Name of the account, or id of the key.
    pub subject: String,
    /// When it was opened.
    pub opened_at: Millis,
    /// When it ends.
    pub ends_at: Millis,
    /// From where.
    pub address: String,
    /// With what.
    pub user_agent: Option<String>,
}

const ALL: &str =
    "SELECT id, kind, subject, opened_ms, ends_ms, address, user_agent FROM sessions WHERE ends_ms > ? ORDER BY opened_ms DESC, id";
const ONE: &str = "SELECT id, kind, subject, opened_ms, ends_ms, address, user_agent FROM sessions WHERE ends_ms > ? AND id = ?";
/// In a table of its own, since MySQL takes no LIMIT in IN.
const MAKE_ROOM: &str =
    "DELETE FROM sessions WHERE id IN (SELECT id FROM (SELECT id FROM sessions ORDER BY ends_ms DESC, id LIMIT 1000 OFFSET ?) rest)";

impl Ledger {
    /// Keeps a session and notes it, both or neither; forgets those whose time is over.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn insert_session(&self, session: &SessionRow, audit: &Audit) -> Result<(), LedgerError> {
        let action = LedgerError::sql("open a session");
        let now = session.opened_at;
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        query("DELETE FROM sessions WHERE ends_ms <= ?").bind(now.0).execute(connection).await.map_err(&action)?;
        query("INSERT INTO sessions (id, kind, subject, opened_ms, ends_ms, address, user_agent) VALUES (?, ?, ?, ?, ?, ?, ?)")
            .bind(&session.id)
            .bind(&session.kind)
            .bind(&session.subject)
            .bind(now.0)
            .bind(session.ends_at.0)
            .bind(&session.address)
            .bind(session.user_agent.as_deref())
            .execute(connection)
            .await
            .map_err(&action)?;
        query(MAKE_ROOM).bind(SESSIONS_MAX).execute(connection).await.map_err(&action)?;
        if session.kind == "account" {
            let noted = query("UPDATE accounts SET last_signed_in_at = ? WHERE name = ?");
            noted.bind(Timestamp::new(now).as_str()).bind(&session.subject).execute(connection).await.map_err(&action)?;
        }
        audit::insert(connection, now, audit).await?;
        writing.commit().await.map_err(&action)
    }

    /// Ends a session. False: there is none.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_session(&self, id: &str) -> Result<bool, LedgerError> {
        let ended = query("DELETE FROM sessions WHERE id = ?").bind(id).execute(&mut self.writer().await?.connection()).await;
        ended.map(|rows| rows > 0).map_err(LedgerError::sql("end a session"))
    }

    /// Every session that lives at `now`, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sessions(&self, now: Millis) -> Result<Vec<SessionRow>, LedgerError> {
        let rows = query(ALL).bind(now.0).fetch_all(&mut self.reader().await?.connection()).await;
        rows.map_err(LedgerError::sql("list sessions"))?.iter().map(session).collect()
    }

    /// One that lives at `now`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn session(&self, id: &str, now: Millis) -> Result<Option<SessionRow>, LedgerError> {
        let row = query(ONE).bind(now.0).bind(id).fetch_optional(&mut self.reader().await?.connection()).await;
        row.map_err(LedgerError::sql("read a session"))?.as_ref().map(session).transpose()
    }
}

fn session(row: &Row) -> Result<SessionRow, LedgerError> {
    let mut columns = Columns::of(row, "sessions");
    Ok(SessionRow {
        id: columns.take()?,
        kind: columns.take()?,
        subject: columns.take()?,
        opened_at: Millis(columns.take()?),
        ends_at: Millis(columns.take()?),
        address: columns.take()?,
        user_agent: columns.take()?,
    })
}
