//! Writing the engine's claims over the ledger's.

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::{ClaimRow, is_twin, read_offset, write_whole};
use crate::rows::claim::{claim, claim_columns, place};
use crate::sql::{Connection, query};
use crate::timestamp::Timestamp;
use bunho_domain::claim::Claim;
use bunho_domain::ids::ClaimId;
use bunho_domain::time::Millis;
use bunho_journal::crash_point;
use std::collections::HashSet;

/// A claim that the ledger has otherwise.
pub(super) struct Wrong<'a> {
    pub(super) engine: &'a Claim,
    /// How the ledger had it when the two were compared.
    pub(super) ledger: Option<&'a Claim>,
}

/// What came of a repair. What is neither was changed by somebody else since it was compared, and is left alone.
pub(super) struct Written {
    pub(super) claims: u64,
    /// Those that a constraint refused; all of them where the ledger does not have the offer.
    pub(super) refused: u64,
}

impl Ledger {
    /// Writes the engine's claims of offer `number` as they are, with their history, and resolves the events about them that were parked.
    ///
    /// Not over a row that is no longer the one compared: a projector has been there with a state that may be newer than the one at hand,
    /// and would never write it again.
    pub(super) async fn write_claims(&self, number: u32, wrong: &[Wrong<'_>], at: Millis) -> Result<Written, LedgerError> {
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
            return Ok(Written { claims: 0, refused: wrong.len() as u64 });
        }
        // Those that free a place first, as the projector does.
        let mut ordered = Vec::with_capacity(wrong.len());
        for Wrong { engine, ledger } in wrong {
            if stored(connection, engine.id).await?.as_ref() == *ledger {
                ordered.push(*engine);
            }
        }
        let overtaken = wrong.len() - ordered.len();
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
        Ok(Written { claims: written.len() as u64, refused: (wrong.len() - overtaken - written.len()) as u64 })
    }
}

async fn stored(connection: &mut Connection<'_>, id: ClaimId) -> Result<Option<Claim>, LedgerError> {
    let row = query(concat!("SELECT ", claim_columns!(), " FROM claim_rows WHERE place = ? AND id = ?"))
        .bind(place(id))
        .bind(&id.to_string())
        .fetch_optional(connection)
        .await
        .map_err(LedgerError::sql("read a claim to be repaired"))?;
    row.as_ref().map(claim).transpose()
}
