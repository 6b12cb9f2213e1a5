//! Rows of `claims` and `claim_events`.

use super::batch::{Batch, ClaimStates};
use super::guard::{Known, units_taken};
use super::multi_row::{Binder, MultiRow};
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::words;
use bunho_domain::claim::Claim;
use bunho_domain::ids::ClaimId;
use sqlx::SqliteConnection;
use std::collections::HashMap;

macro_rules! claims_into {
    () => {
        " INTO claims (id, offer_id, user_id, quantity, status, version, idempotency_key, attributes, created_at, \
         hold_expires_at, updated_at, offer_number, ordinal, granted) VALUES "
    };
}
const CLAIM_ROW: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

/// Claims that were looked up and are not there. A constraint ends it with the rows before kept, so SQLite need not copy
/// each page that it touches in order to undo them, which was a quarter of the projector's time; what it left is then
/// written row by row as [`CLAIMS`], for which a row that is there already is no change.
pub(crate) static NEW_CLAIMS: MultiRow = MultiRow::new(concat!("INSERT OR FAIL", claims_into!()), CLAIM_ROW, "").one_by_one(&CLAIMS);

/// Sets only what changes in the life of a claim, which leaves the indexes on the rest alone.
pub(crate) static CLAIMS: MultiRow = MultiRow::new(
    concat!("INSERT", claims_into!()),
    CLAIM_ROW,
    " ON CONFLICT (id) DO UPDATE SET quantity = excluded.quantity, status = excluded.status, version = excluded.version, \
     hold_expires_at = excluded.hold_expires_at, updated_at = excluded.updated_at, granted = excluded.granted \
     WHERE excluded.version > claims.version",
);

/// Sets everything, whatever the version: the engine's word in a repair.
static CLAIMS_WHOLE: MultiRow = MultiRow::new(
    concat!("INSERT", claims_into!()),
    CLAIM_ROW,
    " ON CONFLICT (id) DO UPDATE SET offer_id = excluded.offer_id, user_id = excluded.user_id, quantity = excluded.quantity, \
     status = excluded.status, version = excluded.version, idempotency_key = excluded.idempotency_key, \
     attributes = excluded.attributes, created_at = excluded.created_at, hold_expires_at = excluded.hold_expires_at, \
     updated_at = excluded.updated_at, ordinal = excluded.ordinal, granted = excluded.granted",
);

macro_rules! history_into {
    () => {
        " INTO claim_events (claim_id, version, offer_id, status, quantity, at, journal_offset) VALUES "
    };
}
const HISTORY_ROW: &str = "(?,?,?,?,?,?,?)";

/// A version that is there already is ignored, again without anything to undo.
pub(crate) static HISTORY: MultiRow = MultiRow::new(concat!("INSERT OR IGNORE", history_into!()), HISTORY_ROW, "");

static HISTORY_WHOLE: MultiRow = MultiRow::new(
    concat!("INSERT", history_into!()),
    HISTORY_ROW,
    " ON CONFLICT (claim_id, version) DO UPDATE SET status = excluded.status, quantity = excluded.quantity, at = excluded.at",
);

static KNOWN: MultiRow = MultiRow::new("SELECT id, version, status, quantity FROM claims WHERE id IN (", "?", ")");

/// One row of `claim_events`.
#[derive(Clone, Copy)]
pub(crate) struct HistoryRow<'a> {
    pub(crate) offer_id: &'a str,
    pub(crate) claim: &'a Claim,
    pub(crate) journal_offset: u64,
}

pub(crate) fn bind_claim(binder: &mut Binder, offer_id: &str, claim: &Claim) {
    binder
        .shown(claim.id)
        .text(offer_id)
        .text(claim.user.as_str())
        .value(claim.quantity)
        .value(words::status(claim.status))
        .value(claim.version)
        .text_or_null(claim.key.as_ref().map(|key| key.as_str()))
        .text_or_null(claim.attributes.as_deref())
        .time(claim.created_at)
        .time_or_null(claim.hold_expires_at)
        .time(claim.updated_at)
        .value(claim.id.offer_number())
        .value(claim.ordinal)
        .shown_or_null(claim.granted);
}

pub(crate) fn bind_history(row: &HistoryRow<'_>, binder: &mut Binder) {
    binder
        .shown(row.claim.id)
        .value(row.claim.version)
        .text(row.offer_id)
        .value(words::status(row.claim.status))
        .value(row.claim.quantity)
        .time(row.claim.updated_at)
        .long(row.journal_offset);
}

/// Writes claims as they are, whatever version is stored; returns the indexes of those that a constraint refused.
pub(crate) async fn write_whole(connection: &mut SqliteConnection, offer_id: &str, claims: &[&Claim]) -> Result<Vec<usize>, LedgerError> {
    CLAIMS_WHOLE
        .write(connection, claims, |claim, binder| bind_claim(binder, offer_id, claim))
        .await
        .map_err(LedgerError::sql("repair claims"))
}

/// Writes the history of claims that [`write_whole`] wrote.
pub(crate) async fn write_whole_history(connection: &mut SqliteConnection, rows: &[HistoryRow<'_>]) -> Result<(), LedgerError> {
    HISTORY_WHOLE.write(connection, rows, bind_history).await.map(drop).map_err(LedgerError::sql("repair the history of claims"))
}

/// Looks up what the ledger holds of the batch's claims, by their index in the batch.
pub(crate) async fn known(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<HashMap<usize, Known>, LedgerError> {
    let action = LedgerError::sql("look claims up");
    let mut known = HashMap::new();
    let mut rest: &[ClaimStates<'_>] = &batch.claims;
    while !rest.is_empty() {
        let (text, length) = KNOWN.chunk(rest.len());
        let (chunk, after) = rest.split_at(length);
        rest = after;
        let mut binder = Binder::default();
        for claim in chunk {
            binder.shown(claim.last().id);
        }
        let arguments = binder.finish().map_err(&action)?;
        for row in sqlx::query_with(text, arguments).fetch_all(&mut *connection).await.map_err(&action)? {
            let mut columns = Columns::of(&row, "claims");
            let id = columns.id("id", ClaimId::parse)?;
            let version = columns.take()?;
            let status = columns.parsed("status", words::parse_status)?;
            let quantity = columns.take()?;
            if let Some(&index) = batch.claim_index.get(&id) {
                known.insert(index, Known { version, units_taken: units_taken(quantity, status) });
            }
        }
    }
    Ok(known)
}
