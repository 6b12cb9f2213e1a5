//! Rows of `claim_rows` and `claim_history`.

use super::batch::{Batch, ClaimStates};
use super::guard::{Known, units_taken};
use super::multi_row::Kind::{Long, Text};
use super::multi_row::{self, Conflict, MultiRow, Parts};
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::rows::claim::{first_place, last_place, place};
use crate::sql::{Binder, Connection, Dialect, query};
use crate::words;
use bunho_domain::claim::{Claim, Status};
use bunho_domain::ids::ClaimId;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// In the order of [`bind_claim`].
const CLAIM_COLUMNS: &[(&str, multi_row::Kind)] = &[
    ("place", Long),
    ("id", Text),
    ("user_id", Text),
    ("quantity", Long),
    ("status", Text),
    ("version", Long),
    ("idempotency_key", Text),
    ("attributes", Text),
    ("created_ms", Long),
    ("hold_expires_ms", Long),
    ("updated_ms", Long),
    ("ordinal", Long),
    ("granted", Text),
    ("event", Long),
    ("journal_offset", Long),
];

/// Claims that are not there. In SQLite a constraint ends it with the rows before kept, so SQLite need not copy each page that it
/// touches in order to undo them, which was a quarter of the projector's time; what it left is then written row by row
/// as [`CLAIMS`], for which a row that is there already is no change.
pub(crate) static NEW_CLAIMS: MultiRow =
    MultiRow::insert("claim_rows", CLAIM_COLUMNS, Conflict::Refuse).sqlite_verb("INSERT OR FAIL").guarded().one_by_one(&CLAIMS);

/// Sets only what changes in the life of a claim: also whose it is, what was attached to it and its key, when it is forgotten. Another claim in its place is refused: there is one id to a place.
pub(crate) static CLAIMS: MultiRow = MultiRow::insert(
    "claim_rows",
    CLAIM_COLUMNS,
    Conflict::Custom {
        standard: " ON CONFLICT (place) DO UPDATE SET user_id = excluded.user_id, \
                   idempotency_key = excluded.idempotency_key, attributes = excluded.attributes, quantity = excluded.quantity, status = excluded.status, version = excluded.version, \
                   hold_expires_ms = excluded.hold_expires_ms, updated_ms = excluded.updated_ms, granted = excluded.granted, \
                   event = excluded.event, journal_offset = excluded.journal_offset, \
                   id = CASE WHEN excluded.id = claim_rows.id THEN claim_rows.id END \
                   WHERE excluded.version > claim_rows.version OR excluded.id <> claim_rows.id",
        // See `Conflict::mysql` for the first column and the last. An id belongs to one place, so it tells both.
        mysql: " ON DUPLICATE KEY UPDATE id = CASE WHEN VALUES(id) = id THEN id END, \
                user_id = CASE WHEN VALUES(version) > version THEN VALUES(user_id) ELSE user_id END, \
                idempotency_key = CASE WHEN VALUES(version) > version THEN VALUES(idempotency_key) ELSE idempotency_key END, \
                attributes = CASE WHEN VALUES(version) > version THEN VALUES(attributes) ELSE attributes END, \
                quantity = CASE WHEN VALUES(version) > version THEN VALUES(quantity) ELSE quantity END, \
                status = CASE WHEN VALUES(version) > version THEN VALUES(status) ELSE status END, \
                hold_expires_ms = CASE WHEN VALUES(version) > version THEN VALUES(hold_expires_ms) ELSE hold_expires_ms END, \
                updated_ms = CASE WHEN VALUES(version) > version THEN VALUES(updated_ms) ELSE updated_ms END, \
                granted = CASE WHEN VALUES(version) > version THEN VALUES(granted) ELSE granted END, \
                event = CASE WHEN VALUES(version) > version THEN VALUES(event) ELSE event END, \
                journal_offset = CASE WHEN VALUES(version) > version THEN VALUES(journal_offset) ELSE journal_offset END, \
                version = CASE WHEN VALUES(version) > version THEN VALUES(version) ELSE version END",
    },
)
.guarded();

/// Sets everything, whatever the version: the engine's word in a repair.
static CLAIMS_WHOLE: MultiRow = MultiRow::insert(
    "claim_rows",
    CLAIM_COLUMNS,
    Conflict::Replace {
        key: "place",
        columns: &[
            "id",
            "user_id",
            "quantity",
            "status",
            "version",
            "idempotency_key",
            "attributes",
            "created_ms",
            "hold_expires_ms",
            "updated_ms",
            "ordinal",
            "granted",
            "event",
            "journal_offset",
        ],
        newer: None,
    },
)
.guarded();

/// States that others followed. One that is there already is ignored, in SQLite again without anything to undo.
static HISTORY: MultiRow = MultiRow::insert(
    "claim_history",
    &[("place", Long), ("event", Long), ("at_ms", Long), ("journal_offset", Long)],
    Conflict::Keep { key: "place, event" },
);

/// The states that stand now, before others follow. In SQLite a trigger of the schema does it.
static SUPERSEDE: MultiRow = MultiRow::select(
    Parts { head: "SELECT ", row: "?", between: ",", tail: "" },
    "INSERT INTO claim_history SELECT place, event, updated_ms, journal_offset FROM claim_rows WHERE place = ANY($1) \
     ON CONFLICT (place, event) DO NOTHING",
    Parts {
        head: "INSERT INTO claim_history (place, event, at_ms, journal_offset) \
               SELECT c.place, c.event, c.updated_ms, c.journal_offset FROM claim_rows c WHERE c.place IN (",
        row: "?",
        between: ",",
        tail: ") ON DUPLICATE KEY UPDATE claim_history.at_ms = claim_history.at_ms",
    },
);

/// The last place of each offer, by its first: what comes after it is new, and need not be looked up.
static LAST_PLACES: MultiRow = MultiRow::select(
    Parts {
        head: "SELECT column1, (SELECT max(place) FROM claim_rows WHERE place >= column1 AND place <= column2) FROM (VALUES ",
        row: "(?,?)",
        between: ",",
        tail: ")",
    },
    "SELECT f, (SELECT max(place) FROM claim_rows WHERE place >= f AND place <= l) FROM UNNEST($1::bigint[], $2::bigint[]) AS o (f, l)",
    Parts {
        head: "",
        row: "SELECT CAST(? AS SIGNED), (SELECT max(place) FROM claim_rows WHERE place >= ? AND place <= ?)",
        between: " UNION ALL ",
        tail: "",
    },
);

static KNOWN: MultiRow = MultiRow::select(
    Parts { head: "SELECT id, version, status, quantity FROM claim_rows WHERE place IN (", row: "?", between: ",", tail: ")" },
    "SELECT id, version, status, quantity FROM claim_rows WHERE place = ANY($1)",
    Parts { head: "SELECT id, version, status, quantity FROM claim_rows WHERE place IN (", row: "?", between: ",", tail: ")" },
);

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
pub(crate) async fn write_history(connection: &mut Connection<'_>, rows: &[ClaimRow<'_>]) -> Result<(), LedgerError> {
    let bind = |row: &ClaimRow<'_>, binder: &mut Binder| {
        binder.value(place(row.claim.id)).value(event(row.claim)).value(row.claim.updated_at.0).long(row.journal_offset);
    };
    HISTORY.write(connection, rows, bind).await.map(drop).map_err(LedgerError::sql("write the history of claims"))
}

/// Notes the present states of claims that are about to change.
pub(crate) async fn supersede(connection: &mut Connection<'_>, batch: &Batch<'_>, changed: &[usize]) -> Result<(), LedgerError> {
    let places: Vec<i64> = changed.iter().map(|&index| place(batch.claims[index].last().id)).collect();
    supersede_places(connection, &places).await
}

async fn supersede_places(connection: &mut Connection<'_>, places: &[i64]) -> Result<(), LedgerError> {
    if connection.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let noted = SUPERSEDE
        .write(connection, places, |place, binder| {
            binder.value(*place);
        })
        .await;
    noted.map(drop).map_err(LedgerError::sql("write the history of claims"))
}

/// Takes back what [`supersede`] noted of a claim whose change was refused: its state is not of the past.
pub(crate) async fn keep_present(connection: &mut Connection<'_>, claim: &ClaimStates<'_>) -> Result<(), LedgerError> {
    if connection.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    forget_from_present(connection, place(claim.last().id)).await
}

/// Of what is in the history, only lower versions than the present one are its past.
async fn forget_from_present(connection: &mut Connection<'_>, place: i64) -> Result<(), LedgerError> {
    query("DELETE FROM claim_history WHERE place = ?1 AND event >> 35 >= (SELECT event >> 35 FROM claim_rows WHERE place = ?1)")
        .bind(place)
        .execute(connection)
        .await
        .map(drop)
        .map_err(LedgerError::sql("repair the history of claims"))
}

/// Writes claims as they are, whatever version is stored; returns the indexes of those that a constraint refused.
pub(crate) async fn write_whole(connection: &mut Connection<'_>, rows: &[ClaimRow<'_>]) -> Result<Vec<usize>, LedgerError> {
    let places: Vec<i64> = rows.iter().map(|row| place(row.claim.id)).collect();
    supersede_places(connection, &places).await?;
    let refused = CLAIMS_WHOLE.write(connection, rows, bind_claim).await.map_err(LedgerError::sql("repair claims"))?;
    for place in places {
        forget_from_present(connection, place).await?;
    }
    Ok(refused)
}

/// Looks up what the ledger holds of the batch's claims, by their index in the batch.
pub(crate) async fn known(connection: &mut Connection<'_>, batch: &Batch<'_>) -> Result<HashMap<usize, Known>, LedgerError> {
    let action = LedgerError::sql("look claims up");
    let last_places = last_places(connection, batch).await?;
    let is_new = |claim: &&ClaimStates<'_>| last_places.get(&claim.offer).is_some_and(|last| *last < Some(place(claim.last().id)));
    let old: Vec<&ClaimStates<'_>> = batch.claims.iter().filter(|claim| !is_new(claim)).collect();
    let mut known = HashMap::new();
    for row in KNOWN
        .read(connection, &old, |claim, binder| {
            binder.value(place(claim.last().id));
        })
        .await
        .map_err(action)?
    {
        let mut columns = Columns::of(&row, "claims");
        let id = columns.id("id", ClaimId::parse)?;
        let version = columns.take()?;
        let status = columns.parsed("status", words::parse_status)?;
        let quantity = columns.take()?;
        if let Some(&index) = batch.claim_index.get(&id) {
            known.insert(index, Known { version, units_taken: units_taken(quantity, status) });
        }
    }
    Ok(known)
}

/// The last place of each offer of which the batch has claims.
async fn last_places(connection: &mut Connection<'_>, batch: &Batch<'_>) -> Result<HashMap<u32, Option<i64>>, LedgerError> {
    let offers: Vec<u32> = batch.offers.keys().copied().collect();
    let dialect = connection.dialect();
    let bind = |offer: &u32, binder: &mut Binder| {
        if dialect == Dialect::MySql {
            binder.value(first_place(*offer));
        }
        binder.value(first_place(*offer)).value(last_place(*offer));
    };
    let rows = LAST_PLACES.read(connection, &offers, bind).await.map_err(LedgerError::sql("look for the last claims"))?;
    let mut last_places = HashMap::with_capacity(rows.len());
    for row in &rows {
        let mut columns = Columns::of(row, "claims");
        let first: i64 = columns.take()?;
        last_places.insert((first.cast_unsigned() >> 32) as u32, columns.take()?);
    }
    Ok(last_places)
}
