//! A zone's history.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::zone::minute;
use crate::sql::query;
use crate::timestamp::Timestamp;
use bunho_domain::event::ZoneMinute;
use bunho_domain::ids::ZoneId;
use bunho_domain::time::Millis;

/// Minutes of one answer at most: a week, 7 × 24 × 60.
const MINUTES_MAX: i64 = 10_080;

impl Ledger {
    /// A zone's minutes from `from` up to but not including `to`, oldest first; at most a week of them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn zone_minutes(&self, zone: &ZoneId, from: Millis, to: Millis) -> Result<Vec<ZoneMinute>, LedgerError> {
        let (from, to) = (Timestamp::new(from), Timestamp::new(to));
        let rows = query(
            "SELECT zone_id, minute, entered, waiting, dropped, entry_limit FROM zone_minutes
             WHERE zone_id = ? AND minute >= ? AND minute < ? ORDER BY minute LIMIT ?",
        )
        .bind(zone.as_str())
        .bind(from.as_str())
        .bind(to.as_str())
        .bind(MINUTES_MAX)
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list a zone's minutes"))?;
        rows.iter().map(minute).collect()
    }

    /// All zones' minutes from `from` on, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn minutes_since(&self, from: Millis) -> Result<Vec<ZoneMinute>, LedgerError> {
        let rows = query(
            "SELECT zone_id, minute, entered, waiting, dropped, entry_limit FROM zone_minutes WHERE minute >= ? ORDER BY minute, zone_id",
        )
        .bind(Timestamp::new(from).as_str())
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list all zones' minutes"))?;
        rows.iter().map(minute).collect()
    }
}
