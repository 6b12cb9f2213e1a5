//! What became of an offer's units, minute by minute, and what became of one claim: both counted from events.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::Columns;
use crate::rows::claim::{first_place, last_place, place};
use crate::sql::{Row, query};
use crate::words;
use bunho_domain::claim::Status;
use bunho_domain::ids::ClaimId;
use bunho_domain::time::Millis;

/// Units of one minute by what became of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoldUnits {
    /// Start of the minute.
    pub minute: Millis,
    /// What the claims became.
    pub status: Status,
    /// Whether that is how they began.
    pub is_first: bool,
    /// How many units.
    pub units: u64,
}

/// A state that a claim had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimEventRow {
    /// 1 when taken, one more with every change.
    pub version: u32,
    /// What it became.
    pub status: Status,
    /// Units.
    pub quantity: u32,
    /// When.
    pub at: Millis,
}

/// `event` is (version << 35) | (quantity << 3) | status. The sum is cast since PostgreSQL's and MySQL's have types of their own.
const UNITS: crate::sql::Text = crate::sql::Text {
    mysql: "SELECT at_ms - at_ms % 60000 AS at_minute, event & 7 AS became, CASE WHEN event >> 35 = 1 THEN 1 ELSE 0 END AS was_first,
        CAST(SUM((event >> 3) & 4294967295) AS SIGNED) FROM (
            SELECT event, updated_ms AS at_ms FROM claim_rows WHERE place >= ?1 AND place <= ?2 AND updated_ms >= ?3 AND updated_ms < ?4
            UNION ALL SELECT event, at_ms FROM claim_history WHERE place >= ?1 AND place <= ?2 AND at_ms >= ?3 AND at_ms < ?4) events
        GROUP BY at_minute, became, was_first ORDER BY at_minute, became, was_first",
    ..crate::sql::Text::same(
        "SELECT at_ms - at_ms % 60000 AS at_minute, event & 7 AS became, CASE WHEN event >> 35 = 1 THEN 1 ELSE 0 END AS was_first,
        CAST(SUM((event >> 3) & 4294967295) AS BIGINT) FROM (
            SELECT event, updated_ms AS at_ms FROM claim_rows WHERE place >= ?1 AND place <= ?2 AND updated_ms >= ?3 AND updated_ms < ?4
            UNION ALL SELECT event, at_ms FROM claim_history WHERE place >= ?1 AND place <= ?2 AND at_ms >= ?3 AND at_ms < ?4) events
        GROUP BY at_minute, became, was_first ORDER BY at_minute, became, was_first",
    )
};

impl Ledger {
    /// Units of an offer from `from` up to but not including `to`, by the minute and by what became of them, oldest first. Reads all claims of
    /// the offer: whoever is asked often remembers the answer.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sold_units(&self, offer: u32, from: Millis, to: Millis) -> Result<Vec<SoldUnits>, LedgerError> {
        let rows = query(UNITS)
            .bind(first_place(offer))
            .bind(last_place(offer))
            .bind(from.0)
            .bind(to.0)
            .fetch_all(&mut self.reader().await?.connection())
            .await
            .map_err(LedgerError::sql("count an offer's sales"))?;
        let read = |row: &Row| {
            let mut columns = Columns::of(row, "claim_events");
            let (minute, status, is_first) = (Millis(columns.take()?), status(columns.take()?)?, columns.take()?);
            Ok(SoldUnits { minute, status, is_first, units: columns.take::<i64>()?.cast_unsigned() })
        };
        rows.iter().map(read).collect()
    }

    /// Every state that a claim had, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn claim_states(&self, claim: ClaimId) -> Result<Vec<ClaimEventRow>, LedgerError> {
        let rows = query(
            "SELECT event, updated_ms AS at_ms FROM claim_rows WHERE place = ?1
             UNION ALL SELECT event, at_ms FROM claim_history WHERE place = ?1 ORDER BY event",
        )
        .bind(place(claim))
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list what became of a claim"))?;
        let read = |row: &Row| {
            let mut columns = Columns::of(row, "claim_events");
            let event: i64 = columns.take()?;
            let (version, quantity) = ((event >> 35) as u32, (event >> 3) as u32);
            Ok(ClaimEventRow { version, status: status(event & 7)?, quantity, at: Millis(columns.take()?) })
        };
        rows.iter().map(read).collect()
    }
}

fn status(code: i64) -> Result<Status, LedgerError> {
    words::status_of_code(code).ok_or_else(|| LedgerError::Unreadable { table: "claim_rows", column: "event", value: code.to_string() })
}
