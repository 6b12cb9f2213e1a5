//! Writing the engine's claims over the ledger's.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::{ClaimRow, is_twin, read_offset, write_whole};
use crate::sql::query;
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
        let connection = &mut writing.connection();
        if self.is_shared() {
            // Projectors of any node wait, and then count afresh.
            query("SELECT name FROM projector_offsets ORDER BY name FOR UPDATE").fetch_all(connection).await.map_err(&action)?;
            query("UPDATE installation SET repairs = repairs + 1").execute(connection).await.map_err(&action)?;
        }
        let defined = query("SELECT count(*) FROM offers WHERE number = ?").bind(number).fetch_long(connection).await.map_err(&action)?;
        if defined == 0 {
            return Ok(claims.len() as u64);
        }
        // Those that free a place first, as the projector does.
        let mut ordered = claims.to_vec();
        ordered.sort_by_key(|claim| claim.status.is_taken());
        let journal_offset = read_offset(connection).await?;
        let mut rows = Vec::with_capacity(ordered.len());
        for claim in ordered {
            if !is_twin(connection, claim).await? {
                rows.push(ClaimRow { claim, journal_offset });
            }
        }
        let refused: HashSet<usize> = write_whole(connection, &rows).await?.into_iter().collect();
        let written: Vec<&ClaimRow<'_>> =
            rows.iter().enumerate().filter(|(index, _)| !refused.contains(index)).map(|(_, row)| row).collect();
        let resolved_at = Timestamp::new(at);
        for row in &written {
            query("UPDATE parked_events SET resolved_at = ? WHERE claim_id = ? AND resolved_at IS NULL")
                .bind(resolved_at.as_str())
                .bind(&row.claim.id.to_string())
                .execute(connection)
                .await
                .map_err(&action)?;
        }
        // Said while this is the only connection that writes: the projector counts afresh before its next batch.
        crash_point!("ledger::repaired");
        self.note_repair();
        writing.commit().await.map_err(&action)?;
        Ok((claims.len() - written.len()) as u64)
    }
}
