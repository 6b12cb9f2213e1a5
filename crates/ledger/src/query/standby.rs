//! Who waits, or waited, for units of an offer.

use super::page;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::claim::{standby, standby_columns};
use crate::sql::query;
use bunho_domain::claim::{Standby, StandbyStatus};
use bunho_domain::ids::StandbyId;

/// A page of an offer's standby.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandbyPage {
    /// Each with its place among those who wait, from 1; none: it does not wait.
    pub places: Vec<(Standby, Option<u32>)>,
    /// The next page's cursor; none: there is no more.
    pub next: Option<StandbyId>,
}

impl Ledger {
    /// An offer's standby by the offer's number, in the order of joining; at most 200.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn standby_of_offer(&self, offer: u32, cursor: Option<StandbyId>, limit: usize) -> Result<StandbyPage, LedgerError> {
        let action = LedgerError::sql("list an offer's standby");
        let limit = page(limit);
        // An id begins with the offer's number, so an offer is a range of the primary key; ids sort in the order of joining.
        let (first, last) = (StandbyId::new(offer, 0, 0).to_string(), StandbyId::new(offer, u32::MAX, u64::MAX).to_string());
        let after = cursor.map(|id| id.to_string());
        let after = after.as_deref().unwrap_or_default();
        let mut snapshot = self.begin_snapshot().await?;
        let connection = &mut snapshot.connection();
        let ahead = match cursor {
            None => 0,
            Some(_) => query("SELECT count(*) FROM standby WHERE id >= ? AND id <= ? AND status = 'waiting'")
                .bind(&first)
                .bind(after)
                .fetch_long(connection)
                .await
                .map_err(&action)?,
        };
        let rows = query(concat!("SELECT ", standby_columns!(), " FROM standby WHERE id >= ? AND id <= ? AND id > ? ORDER BY id LIMIT ?"))
            .bind(&first)
            .bind(&last)
            .bind(after)
            .bind(limit as i64 + 1)
            .fetch_all(connection)
            .await
            .map_err(&action)?;
        snapshot.rollback().await.map_err(&action)?;
        let mut ahead = u32::try_from(ahead).unwrap_or(u32::MAX);
        let mut places = Vec::with_capacity(limit);
        for row in rows.iter().take(limit) {
            let standby = standby(row)?;
            let position = (standby.status == StandbyStatus::Waiting).then(|| {
                ahead = ahead.saturating_add(1);
                ahead
            });
            places.push((standby, position));
        }
        let next = if rows.len() > limit { places.last().map(|(standby, _)| standby.id) } else { None };
        Ok(StandbyPage { places, next })
    }
}
