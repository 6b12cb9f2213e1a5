//! The ledger against itself: what its constraints and its projector promise, counted from the rows.

use super::{Oversold, Report};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use bunho_domain::ids::OfferId;

/// Offers named one by one at most.
const OVERSOLD_MAX: i64 = 100;

/// Places and keys that more than one claim has. The unique indexes forbid it, so a count above 0 says that they were
/// dropped or are damaged; the unary plus keeps the statement from reading those very indexes.
const DUPLICATES: &str = "
    SELECT (SELECT count(*) FROM (
        SELECT 1 FROM claim_rows WHERE ordinal IS NOT NULL AND status IN ('held', 'confirmed')
        GROUP BY place >> 32, +user_id, +ordinal HAVING count(*) > 1))
    + (SELECT count(*) FROM (
        SELECT 1 FROM claim_rows WHERE idempotency_key IS NOT NULL
        GROUP BY place >> 32, +user_id, +idempotency_key HAVING count(*) > 1))";

const HISTORY_DIFFERS: &str = "
    SELECT (SELECT count(*) FROM claim_rows WHERE event IS NOT (version << 35) | (quantity << 3) |
        CASE status WHEN 'held' THEN 1 WHEN 'confirmed' THEN 2 WHEN 'released' THEN 3 WHEN 'expired' THEN 4 WHEN 'returned' THEN 5 END)
    + (SELECT count(DISTINCT place) FROM claim_history h
       WHERE NOT EXISTS (SELECT 1 FROM claim_rows c WHERE c.place = h.place AND c.event >> 35 > h.event >> 35))";

const OVERSOLD: &str = "
    SELECT id, quantity, taken FROM (
        SELECT number, id, quantity, (SELECT coalesce(sum(c.quantity), 0) FROM claim_rows c
            WHERE c.place >= number << 32 AND c.place <= (number << 32) | 4294967295 AND c.status IN ('held', 'confirmed')) AS taken
        FROM offers WHERE deleted_at IS NULL)
    WHERE taken > quantity ORDER BY number LIMIT ?";

/// Fills in what the ledger alone can tell.
pub(super) async fn check(ledger: &Ledger, report: &mut Report) -> Result<(), LedgerError> {
    report.duplicates = count(ledger, DUPLICATES).await?;
    report.history_differs = count(ledger, HISTORY_DIFFERS).await?;
    report.parked = count(ledger, "SELECT count(*) FROM parked_events WHERE resolved_at IS NULL").await?;
    let rows =
        sqlx::query(OVERSOLD).bind(OVERSOLD_MAX).fetch_all(ledger.readers()).await.map_err(LedgerError::sql("look for oversold offers"))?;
    for row in &rows {
        let mut columns = Columns::of(row, "offers");
        let offer = columns.id("id", OfferId::parse)?;
        let (quantity, taken) = (columns.take::<i64>()?.cast_unsigned(), columns.take::<i64>()?.cast_unsigned());
        report.oversold.push(Oversold { offer, quantity, taken });
    }
    Ok(())
}

pub(super) async fn live_offers(ledger: &Ledger) -> Result<Vec<(u32, OfferId)>, LedgerError> {
    let rows = sqlx::query("SELECT number, id FROM offers WHERE deleted_at IS NULL ORDER BY number")
        .fetch_all(ledger.readers())
        .await
        .map_err(LedgerError::sql("list offers"))?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "offers");
            Ok((columns.take()?, columns.id("id", OfferId::parse)?))
        })
        .collect()
}

async fn count(ledger: &Ledger, statement: &'static str) -> Result<u64, LedgerError> {
    let count: i64 = sqlx::query_scalar(statement).fetch_one(ledger.readers()).await.map_err(LedgerError::sql("check itself"))?;
    Ok(count.cast_unsigned())
}
