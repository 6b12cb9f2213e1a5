//! Which nodes run.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Row, Text, query};
use bunho_domain::time::Millis;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRow {
    /// Its name.
    pub node: String,
    /// Which release it runs.
    pub version: String,
    /// Since when.
    pub started_at: Millis,
    /// When it last said so.
    pub seen_at: Millis,
}

const SEEN: Text = Text {
    mysql: "INSERT INTO nodes (node, version, started_ms, seen_ms) VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE
        version = VALUES(version), started_ms = VALUES(started_ms), seen_ms = VALUES(seen_ms)",
    ..Text::same(
        "INSERT INTO nodes (node, version, started_ms, seen_ms) VALUES (?, ?, ?, ?) ON CONFLICT (node) DO UPDATE
        SET version = excluded.version, started_ms = excluded.started_ms, seen_ms = excluded.seen_ms",
    )
};

impl Ledger {
    /// Says that a node runs, and forgets those that have not said so since `forget`.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn note_node(&self, node: &NodeRow, forget: Millis) -> Result<(), LedgerError> {
        let action = LedgerError::sql("say that a node runs");
        let mut writer = self.writer().await?;
        let connection = &mut writer.connection();
        query(SEEN)
            .bind(&node.node)
            .bind(&node.version)
            .bind(node.started_at.0)
            .bind(node.seen_at.0)
            .execute(connection)
            .await
            .map_err(&action)?;
        query("DELETE FROM nodes WHERE seen_ms < ?").bind(forget.0).execute(connection).await.map(drop).map_err(&action)
    }

    /// Every node that is not forgotten, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn nodes(&self) -> Result<Vec<NodeRow>, LedgerError> {
        let rows = query("SELECT node, version, started_ms, seen_ms FROM nodes ORDER BY node");
        let rows = rows.fetch_all(&mut self.reader().await?.connection()).await;
        let read = |row: &Row| {
            let mut columns = Columns::of(row, "nodes");
            Ok(NodeRow {
                node: columns.take()?,
                version: columns.take()?,
                started_at: Millis(columns.take()?),
                seen_at: Millis(columns.take()?),
            })
        };
        rows.map_err(LedgerError::sql("list nodes"))?.iter().map(read).collect()
    }
}
