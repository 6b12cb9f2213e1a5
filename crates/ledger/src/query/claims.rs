//! Claims as lists.

use super::page;
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::rows::claim::{ClaimRow, claim, claim_columns, claim_row, first_place, last_place, offer_column, place};
use crate::sql::{self, Row, query};
use crate::words;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::{ClaimId, OfferId, UserId};

/// Which claims of a user.
#[derive(Clone, Copy, Debug)]
pub struct ClaimQuery<'a> {
    /// Whose.
    pub user: &'a UserId,
    /// Only of this offer (and of deleted ones that had its id).
    pub offer: Option<&'a OfferId>,
    /// Only those that stand so.
    pub status: Option<Status>,
    /// Only those after this one in the list.
    pub cursor: Option<ClaimId>,
    /// At most so many; 200 is the most.
    pub limit: usize,
}

/// A page of claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPage {
    /// The claims.
    pub claims: Vec<ClaimRow>,
    /// The next page's cursor; none: there is no more.
    pub next: Option<ClaimId>,
}

impl Ledger {
    /// A user's claims, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn claims_of_user(&self, query: &ClaimQuery<'_>) -> Result<ClaimPage, LedgerError> {
        let limit = page(query.limit);
        let cursor = query.cursor.map(place);
        // ?n is named once and bound once: ?1 user, ?2 offer, ?3 status, ?4 cursor, ?5 limit.
        let rows = sql::query(concat!(
            "SELECT ",
            claim_columns!(),
            offer_column!(),
            " FROM claim_rows
             WHERE user_id = ?1 AND (?2 IS NULL OR (SELECT id FROM offers WHERE number = ((place >> 32) & 4294967295)) = ?2) AND (?3 IS NULL OR status = ?3)
             AND (?4 IS NULL OR (created_ms, place) < ((SELECT created_ms FROM claim_rows WHERE place = ?4), ?4))
             ORDER BY created_ms DESC, place DESC LIMIT ?5"
        ))
        .bind(query.user.as_str())
        .bind(query.offer.map(OfferId::as_str))
        .bind(query.status.map(words::status))
        .bind(cursor)
        .bind(one_more(limit))
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list a user's claims"))?;
        to_page(&rows, limit)
    }

    /// An offer's claims by the offer's number, in the order of taking; at most 200.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn claims_of_offer(
        &self,
        offer: u32,
        status: Option<Status>,
        cursor: Option<ClaimId>,
        limit: usize,
    ) -> Result<ClaimPage, LedgerError> {
        let limit = page(limit);
        // Places begin with the offer's number, so an offer is a range of the primary key. The bounds stand alone and not
        // inside an OR: that is what lets SQLite seek to them.
        let rows = query(concat!(
            "SELECT ",
            claim_columns!(),
            offer_column!(),
            " FROM claim_rows WHERE place >= ?1 AND place <= ?2 AND (?3 IS NULL OR status = ?3) ORDER BY place LIMIT ?4"
        ))
        .bind(after_cursor(offer, cursor))
        .bind(last_place(offer))
        .bind(status.map(words::status))
        .bind(one_more(limit))
        .fetch_all(&mut self.reader().await?.connection())
        .await
        .map_err(LedgerError::sql("list an offer's claims"))?;
        to_page(&rows, limit)
    }

    /// One claim; also of an offer that was deleted.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn claim(&self, id: ClaimId) -> Result<Option<ClaimRow>, LedgerError> {
        let row = query(concat!("SELECT ", claim_columns!(), offer_column!(), " FROM claim_rows WHERE place = ? AND id = ?"))
            .bind(place(id))
            .bind(&id.to_string())
            .fetch_optional(&mut self.reader().await?.connection())
            .await
            .map_err(LedgerError::sql("read a claim"))?;
        row.as_ref().map(claim_row).transpose()
    }

    /// At most `most` claims of an offer after `after` and not after `upto`, in the order of taking; for
    /// reconciliation, which pages through whole offers.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn claims_between(
        &self,
        offer: u32,
        after: Option<ClaimId>,
        upto: Option<ClaimId>,
        most: usize,
    ) -> Result<Vec<Claim>, LedgerError> {
        let rows = query(concat!("SELECT ", claim_columns!(), " FROM claim_rows WHERE place >= ? AND place <= ? ORDER BY place LIMIT ?"))
            .bind(after_cursor(offer, after))
            .bind(upto.map_or_else(|| last_place(offer), place))
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .fetch_all(&mut self.reader().await?.connection())
            .await
            .map_err(LedgerError::sql("page through an offer's claims"))?;
        rows.iter().map(claim).collect()
    }
}

/// The first place that comes after the cursor, or the offer's first.
fn after_cursor(offer: u32, cursor: Option<ClaimId>) -> i64 {
    cursor.map_or_else(|| first_place(offer), |id| place(id).saturating_add(1))
}

/// One entry more than shown tells whether there is a next page.
fn one_more(limit: usize) -> i64 {
    limit as i64 + 1
}

fn to_page(rows: &[Row], limit: usize) -> Result<ClaimPage, LedgerError> {
    let claims = rows.iter().take(limit).map(claim_row).collect::<Result<Vec<_>, _>>()?;
    let next = if rows.len() > limit { claims.last().map(|row| row.claim.id) } else { None };
    Ok(ClaimPage { claims, next })
}
