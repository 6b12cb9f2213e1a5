//! Writing the engine's claims over the ledger's.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::{HistoryRow, read_offset, write_whole, write_whole_history};
use crate::timestamp::Timestamp;
use bunho_domain::claim::Claim;
use bunho_domain::time::Millis;
use bunho_journal::crash_point;
use std::collections::HashSet;

impl Ledger {
    /// Writes `claims` of offer `number` as they are, with their history, and resolves the events about them that were
    /// parked. Returns how many a constraint refused; all of them where the ledger does not have the offer.
    pub(crate) async fn write_claims(&self, number: u32, claims: &[&Claim], at: Millis) -> Result<u64, LedgerError> {
        let action = LedgerError::sql("repair claims");
        let mut writing = self.begin_write().await?;
        let offer_id: Option<String> = sqlx::query_scalar("SELECT id FROM offers WHERE number = ?")
            .bind(number)
            .fetch_optional(&mut *writing)
            .await
            .map_err(&action)?;
        let Some(offer_id) = offer_id else { return Ok(claims.len() as u64) };
        // Those that free a place first, as the projector does.
        let mut ordered = claims.to_vec();
        ordered.sort_by_key(|claim| claim.status.is_taken());
        let refused: HashSet<usize> = write_whole(&mut writing, &offer_id, &ordered).await?.into_iter().collect();
        let journal_offset = read_offset(&mut writing).await?;
        let written: Vec<HistoryRow<'_>> = ordered
            .iter()
            .enumerate()
            .filter(|(index, _)| !refused.contains(index))
            .map(|(_, claim)| HistoryRow { offer_id: &offer_id, claim, journal_offset })
            .collect();
        write_whole_history(&mut writing, &written).await?;
        let resolved_at = Timestamp::new(at);
        for row in &written {
            sqlx::query("UPDATE parked_events SET resolved_at = ? WHERE claim_id = ? AND resolved_at IS NULL")
                .bind(resolved_at.as_str())
                .bind(row.claim.id.to_string())
                .execute(&mut *writing)
                .await
                .map_err(&action)?;
        }
        // Said while this is the only connection that writes: the projector counts afresh before its next batch.
        crash_point!("ledger::repaired");
        self.note_repair();
        writing.commit().await.map_err(&action)?;
        Ok(refused.len() as u64)
    }
}
