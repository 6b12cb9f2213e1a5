//! Sessions that were ended before their time, where several nodes must know it. Those that live stand nowhere: their tokens are signed.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::sql::{Row, Text, query};
use bunho_domain::time::Millis;

const END: Text = Text {
    mysql: "INSERT INTO ended_sessions (id, ended_ms, ends_ms) VALUES (?, ?, ?) ON DUPLICATE KEY UPDATE id = VALUES(id)",
    ..Text::same("INSERT INTO ended_sessions (id, ended_ms, ends_ms) VALUES (?, ?, ?) ON CONFLICT (id) DO NOTHING")
};

impl Ledger {
    /// Notes that a session has ended, which would have ended at `ends_at` by itself; forgets those whose time is over.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn end_session(&self, id: &str, now: Millis, ends_at: Millis) -> Result<(), LedgerError> {
        let action = LedgerError::sql("end a session");
        let mut writing = self.begin_write().await?;
        let connection = &mut writing.connection();
        query("DELETE FROM ended_sessions WHERE ends_ms < ?").bind(now.0).execute(connection).await.map_err(&action)?;
        query(END).bind(id).bind(now.0).bind(ends_at.0).execute(connection).await.map_err(&action)?;
        writing.commit().await.map_err(&action)
    }

    /// Sessions that were ended at `since` or later: each one's id, and when it would have ended by itself.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sessions_ended(&self, since: Millis) -> Result<Vec<(String, Millis)>, LedgerError> {
        let action = LedgerError::sql("list ended sessions");
        let rows = query("SELECT id, ends_ms FROM ended_sessions WHERE ended_ms >= ?")
            .bind(since.0)
            .fetch_all(&mut self.reader().await?.connection())
            .await
            .map_err(&action)?;
        let read = |row: &Row| Ok((row.text(0)?.unwrap_or_default().to_owned(), Millis(row.long(1)?.unwrap_or(i64::MAX))));
        rows.iter().map(read).collect::<Result<_, sqlx::Error>>().map_err(action)
    }
}
