//! The ledger against itself: what its constraints and its projector promise, counted from the rows.

use super::{Oversold, Report};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::sql::{Text, query};
use bunho_domain::ids::OfferId;

/// Offers named one by one at most.
const OVERSOLD_MAX: i64 = 100;

/// Places and keys that more than one claim has. The unique indexes forbid it, so a count above 0 says that they were
/// dropped or are damaged; what is done to the columns keeps the statement from reading those very indexes.
const DUPLICATES: Text = Text {
    sqlite: "
    SELECT (SELECT count(*) FROM (
        SELECT 1 AS one FROM claim_rows WHERE ordinal IS NOT NULL AND status IN ('held', 'confirmed')
        GROUP BY place >> 32, +user_id, +ordinal HAVING count(*) > 1) AS places)
    + (SELECT count(*) FROM (
        SELECT 1 AS one FROM claim_rows WHERE idempotency_key IS NOT NULL
        GROUP BY place >> 32, +user_id, +idempotency_key HAVING count(*) > 1) AS names)",
    postgres: "
    SELECT (SELECT count(*) FROM (
        SELECT 1 AS one FROM claim_rows WHERE ordinal IS NOT NULL AND status IN ('held', 'confirmed')
        GROUP BY place >> 32, (user_id || ''), (ordinal + 0) HAVING count(*) > 1) AS places)
    + (SELECT count(*) FROM (
        SELECT 1 AS one FROM claim_rows WHERE idempotency_key IS NOT NULL
        GROUP BY place >> 32, (user_id || ''), (idempotency_key || '') HAVING count(*) > 1) AS names)",
    mysql: "
    SELECT (SELECT count(*) FROM (
        SELECT 1 AS one FROM claim_rows WHERE ordinal IS NOT NULL AND status IN ('held', 'confirmed')
        GROUP BY place >> 32, CONCAT(user_id, ''), (ordinal + 0) HAVING count(*) > 1) AS places)
    + (SELECT count(*) FROM (
        SELECT 1 AS one FROM claim_rows WHERE idempotency_key IS NOT NULL
        GROUP BY place >> 32, CONCAT(user_id, ''), CONCAT(idempotency_key, '') HAVING count(*) > 1) AS names)",
};

/// Shifts and other operations on bits bind as tightly as one another in PostgreSQL, hence the parentheses.
const HISTORY_DIFFERS: Text = Text {
    sqlite: "
    SELECT (SELECT count(*) FROM claim_rows WHERE event IS NOT ((version << 35) | (quantity << 3) |
        CASE status WHEN 'held' THEN 1 WHEN 'confirmed' THEN 2 WHEN 'released' THEN 3 WHEN 'expired' THEN 4 WHEN 'returned' THEN 5 END))
    + (SELECT count(DISTINCT place) FROM claim_history h
       WHERE NOT EXISTS (SELECT 1 FROM claim_rows c WHERE c.place = h.place AND c.event >> 35 > h.event >> 35))",
    postgres: "
    SELECT (SELECT count(*) FROM claim_rows WHERE event IS DISTINCT FROM ((version << 35) | (quantity << 3) |
        CASE status WHEN 'held' THEN 1 WHEN 'confirmed' THEN 2 WHEN 'released' THEN 3 WHEN 'expired' THEN 4 WHEN 'returned' THEN 5 END))
    + (SELECT count(DISTINCT place) FROM claim_history h
       WHERE NOT EXISTS (SELECT 1 FROM claim_rows c WHERE c.place = h.place AND (c.event >> 35) > (h.event >> 35)))",
    mysql: "
    SELECT (SELECT count(*) FROM claim_rows WHERE NOT (event <=> ((version << 35) | (quantity << 3) |
        CASE status WHEN 'held' THEN 1 WHEN 'confirmed' THEN 2 WHEN 'released' THEN 3 WHEN 'expired' THEN 4 WHEN 'returned' THEN 5 END)))
    + (SELECT count(DISTINCT place) FROM claim_history h
       WHERE NOT EXISTS (SELECT 1 FROM claim_rows c WHERE c.place = h.place AND (c.event >> 35) > (h.event >> 35)))",
};

const OVERSOLD: Text = Text {
    mysql: "
    SELECT id, quantity, taken FROM (
        SELECT number, id, quantity, (SELECT CAST(coalesce(sum(c.quantity), 0) AS SIGNED) FROM claim_rows c
            WHERE c.place >= CAST(number << 32 AS SIGNED) AND c.place <= CAST((number << 32) | 4294967295 AS SIGNED) AND c.status IN ('held', 'confirmed')) AS taken
        FROM offers WHERE deleted_at IS NULL) AS sold
    WHERE taken > quantity ORDER BY number LIMIT ?",
    ..Text::same(
        "
    SELECT id, quantity, taken FROM (
        SELECT number, id, quantity, (SELECT CAST(coalesce(sum(c.quantity), 0) AS BIGINT) FROM claim_rows c
            WHERE c.place >= (number << 32) AND c.place <= ((number << 32) | 4294967295) AND c.status IN ('held', 'confirmed')) AS taken
        FROM offers WHERE deleted_at IS NULL) AS sold
    WHERE taken > quantity ORDER BY number LIMIT ?",
    )
};

/// Fills in what the ledger alone can tell.
pub(super) async fn check(ledger: &Ledger, report: &mut Report) -> Result<(), LedgerError> {
    report.duplicates = count(ledger, DUPLICATES).await?;
    report.history_differs = count(ledger, HISTORY_DIFFERS).await?;
    report.parked = count(ledger, "SELECT count(*) FROM parked_events WHERE resolved_at IS NULL").await?;
    let rows = query(OVERSOLD)
        .bind(OVERSOLD_MAX)
        .fetch_all(&mut ledger.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("look for oversold offers"))?;
    for row in &rows {
        let mut columns = Columns::of(row, "offers");
        let offer = columns.id("id", OfferId::parse)?;
        let (quantity, taken) = (columns.take::<i64>()?.cast_unsigned(), columns.take::<i64>()?.cast_unsigned());
        report.oversold.push(Oversold { offer, quantity, taken });
    }
    Ok(())
}

pub(super) async fn live_offers(ledger: &Ledger) -> Result<Vec<(u32, OfferId)>, LedgerError> {
    let rows = query("SELECT number, id FROM offers WHERE deleted_at IS NULL ORDER BY number")
        .fetch_all(&mut ledger.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list offers"))?;
    rows.iter()
        .map(|row| {
            let mut columns = Columns::of(row, "offers");
            Ok((columns.take()?, columns.id("id", OfferId::parse)?))
        })
        .collect()
}

async fn count(ledger: &Ledger, statement: impl Into<Text>) -> Result<u64, LedgerError> {
    let count = query(statement).fetch_long(&mut ledger.reader().await?.connection()).await.map_err(LedgerError::sql("check itself"))?;
    Ok(count.cast_unsigned())
}
