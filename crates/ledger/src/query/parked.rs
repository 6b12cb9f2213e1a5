//! Events that a guard refused and nobody has mended.

use super::page;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::query;
use bunho_domain::time::Millis;

/// One parked event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedRow {
    /// Its record in the journal; in a topic, its partition from the 48th bit on and its offset below.
    pub journal_offset: u64,
    /// Its place in the record.
    pub event_index: u32,
    /// The claim it is about.
    pub claim_id: Option<String>,
    /// The offer it is about; `#` and its number where it has no row.
    pub offer_id: Option<String>,
    /// Why it was refused: `capacity`, `duplicate`, `unknown_offer`, `id_in_use`, `unreadable`.
    pub reason: String,
    /// What it said, as JSON.
    pub payload: String,
    /// When it was decided.
    pub parked_at: Millis,
}

impl Ledger {
    /// Parked events that are not resolved, oldest first: at most `limit` (200) after `cursor`, which is the
    /// `journal_offset` and `event_index` of the last one seen.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn parked_events(&self, cursor: Option<(u64, u32)>, limit: usize) -> Result<Vec<ParkedRow>, LedgerError> {
        let (offset, index) = cursor.map_or((-1, 0), |(offset, index)| (offset.cast_signed(), index));
        let rows = query(
            "SELECT journal_offset, event_index, claim_id, offer_id, reason, payload, parked_at FROM parked_events
             WHERE resolved_at IS NULL AND (journal_offset, event_index) > (?, ?) ORDER BY journal_offset, event_index LIMIT ?",
        )
        .bind(offset)
        .bind(index)
        .bind(page(limit) as i64)
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list parked events"))?;
        rows.iter()
            .map(|row| {
                let mut columns = Columns::of(row, "parked_events");
                Ok(ParkedRow {
                    journal_offset: columns.take::<i64>()?.cast_unsigned(),
                    event_index: columns.take()?,
                    claim_id: columns.take()?,
                    offer_id: columns.take()?,
                    reason: columns.take()?,
                    payload: columns.take()?,
                    parked_at: columns.time("parked_at")?,
                })
            })
            .collect()
    }
}
