//! Rows of `claim_rows` and `claim_history`.

use super::batch::{Batch, ClaimStates};
use super::guard::{Known, units_taken};
use super::multi_row::{Binder, MultiRow};
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::rows::claim::{first_place, place};
use crate::words;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::ClaimId;
use sqlx::SqliteConnection;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

macro_rules! claims_into {
    () => {
        " INTO claim_rows (place, id, user_id, quantity, status, version, idempotency_key, attributes, created_ms, \
         hold_expires_ms, updated_ms, ordinal, granted, event, journal_offset) VALUES "
    };
}
const CLAIM_ROW: &str = "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

/// Claims that are not there. A constraint ends it with the rows before kept, so SQLite need not copy each page that it
/// touches in order to undo them, which was a quarter of the projector's time; what it left is then written row by row
/// as [`CLAIMS`], for which a row that is there already is no change.
pub(crate) static NEW_CLAIMS: MultiRow = MultiRow::new(concat!("INSERT OR FAIL", claims_into!()), CLAIM_ROW, "").one_by_one(&CLAIMS);

/// Sets only what changes in the life of a claim. Another claim in its place is refused: there is one id to a place.
pub(crate) static CLAIMS: MultiRow = MultiRow::new(
    concat!("INSERT", claims_into!()),
    CLAIM_ROW,
    " ON CONFLICT (place) DO UPDATE SET quantity = excluded.quantity, status = excluded.status, version = excluded.version, \
     hold_expires_ms = excluded.hold_expires_ms, updated_ms = excluded.updated_ms, granted = excluded.granted, \
     event = excluded.event, journal_offset = excluded.journal_offset, \
     id = CASE WHEN excluded.id = claim_rows.id THEN claim_rows.id END \
     WHERE excluded.version > claim_rows.version OR excluded.id <> claim_rows.id",
);

/// Sets everything, whatever the version: the engine's word in a repair.
static CLAIMS_WHOLE: MultiRow = MultiRow::new(
    concat!("INSERT", claims_into!()),
    CLAIM_ROW,
    " ON CONFLICT (place) DO UPDATE SET id = excluded.id, user_id = excluded.user_id, \
     quantity = excluded.quantity, status = excluded.status, version = excluded.version, idempotency_key = excluded.idempotency_key, \
     attributes = excluded.attributes, created_ms = excluded.created_ms, hold_expires_ms = excluded.hold_expires_ms, \
     updated_ms = excluded.updated_ms, ordinal = excluded.ordinal, granted = excluded.granted, event = excluded.event, \
     journal_offset = excluded.journal_offset",
);

/// States that others followed. One that is there already is ignored, again without anything to undo.
static HISTORY: MultiRow =
    MultiRow::new("INSERT OR IGNORE INTO claim_history (place, event, at_ms, journal_offset) VALUES ", "(?,?,?,?)", "");

/// The last place of each offer: what comes after it is new, and need not be looked up.
static LAST_PLACES: MultiRow = MultiRow::new(
    "SELECT (SELECT max(place) FROM claim_rows WHERE place >= column1 AND place <= (column1 | 4294967295)) FROM (VALUES ",
    "(?)",
    ")",
);

static KNOWN: MultiRow = MultiRow::new("SELECT id, version, status, quantity FROM claim_rows WHERE place IN (", "?", ")");

static STATUS_TEXTS: LazyLock<[Arc<str>; 5]> = LazyLock::new(|| {
    [Status::Held, Status::Confirmed, Status::Released, Status::Expired, Status::Returned].map(|status| words::status(status).into())
});

/// One state of a claim.
#[derive(Clone, Copy)]
pub(crate) struct ClaimRow<'a> {
    pub(crate) claim: &'a Claim,
    pub(crate) journal_offset: u64,
}

pub(crate) fn bind_claim(row: &ClaimRow<'_>, binder: &mut Binder) {
    let claim = row.claim;
    binder
        .value(place(claim.id))
        .shown(claim.id)
        .value(claim.user.shared().clone())
        .value(claim.quantity)
        .value(STATUS_TEXTS[words::status_code(claim.status) as usize - 1].clone())
        .value(claim.version)
        .value(claim.key.as_ref().map(|key| key.shared().clone()))
        .text_or_null(claim.attributes.as_deref())
        .value(claim.created_at.0)
        .value(claim.hold_expires_at.map(|at| at.0))
        .value(claim.updated_at.0)
        .value(claim.ordinal)
        .shown_or_null(claim.granted)
        .value(event(claim))
        .long(row.journal_offset);
}

/// What `claim_rows.event` and `claim_history.event` say of a state.
fn event(claim: &Claim) -> i64 {
    i64::from(claim.version) << 35 | i64::from(claim.quantity) << 3 | words::status_code(claim.status)
}

/// Writes states that others followed.
pub(crate) async fn write_history(connection: &mut SqliteConnection, rows: &[ClaimRow<'_>]) -> Result<(), LedgerError> {
    let bind = |row: &ClaimRow<'_>, binder: &mut Binder| {
        binder.value(place(row.claim.id)).value(event(row.claim)).value(row.claim.updated_at.0).long(row.journal_offset);
    };
    HISTORY.write(connection, rows, bind).await.map(drop).map_err(LedgerError::sql("write the history of claims"))
}

/// Writes claims as they are, whatever version is stored; returns the indexes of those that a constraint refused.
pub(crate) async fn write_whole(connection: &mut SqliteConnection, rows: &[ClaimRow<'_>]) -> Result<Vec<usize>, LedgerError> {
    let refused = CLAIMS_WHOLE.write(connection, rows, bind_claim).await.map_err(LedgerError::sql("repair claims"))?;
    for row in rows {
        // Of what was stored before, only lower versions are its past.
        sqlx::query("DELETE FROM claim_history WHERE place = ?1 AND event >> 35 >= (SELECT event >> 35 FROM claim_rows WHERE place = ?1)")
            .bind(place(row.claim.id))
            .execute(&mut *connection)
            .await
            .map_err(LedgerError::sql("repair the history of claims"))?;
    }
    Ok(refused)
}

/// Looks up what the ledger holds of the batch's claims, by their index in the batch.
pub(crate) async fn known(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<HashMap<usize, Known>, LedgerError> {
    let action = LedgerError::sql("look claims up");
    let last_places = last_places(connection, batch).await?;
    let is_new = |claim: &&ClaimStates<'_>| last_places.get(&claim.offer).is_some_and(|last| *last < Some(place(claim.last().id)));
    let old: Vec<&ClaimStates<'_>> = batch.claims.iter().filter(|claim| !is_new(claim)).collect();
    let mut known = HashMap::new();
    let mut rest: &[&ClaimStates<'_>] = &old;
    while !rest.is_empty() {
        let (text, length) = KNOWN.chunk(rest.len());
        let (chunk, after) = rest.split_at(length);
        rest = after;
        let mut binder = Binder::default();
        for claim in chunk {
            binder.value(place(claim.last().id));
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

/// The last place of each offer of which the batch has claims.
async fn last_places(connection: &mut SqliteConnection, batch: &Batch<'_>) -> Result<HashMap<u32, Option<i64>>, LedgerError> {
    let action = LedgerError::sql("look for the last claims");
    let mut last_places = HashMap::with_capacity(batch.offers.len());
    let offers: Vec<u32> = batch.offers.keys().copied().collect();
    let mut rest: &[u32] = &offers;
    while !rest.is_empty() {
        let (text, length) = LAST_PLACES.chunk(rest.len());
        let (chunk, after) = rest.split_at(length);
        rest = after;
        let mut binder = Binder::default();
        for &offer in chunk {
            binder.value(first_place(offer));
        }
        let arguments = binder.finish().map_err(&action)?;
        let rows = sqlx::query_with(text, arguments).fetch_all(&mut *connection).await.map_err(&action)?;
        for (&offer, row) in chunk.iter().zip(&rows) {
            last_places.insert(offer, Columns::of(row, "claims").take()?);
        }
    }
    Ok(last_places)
}
