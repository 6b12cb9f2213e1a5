//! The part of the guard that the unique index on users cannot see: a key on a taken claim with an ordinal, which stands in
//! the index under its ordinal, and the same key on another claim of that user and offer.
//!
//! Both are found in that index all the same: the other one either stands there under the key, or is one of the claims
//! there under ordinals, of which a user has no more than the limit of the offer ([`bunho_domain::limits::ORDINAL_LIMIT_MAX`]).

use super::batch::ClaimStates;
use super::guard::Working;
use super::multi_row::{MultiRow, Parts};
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::rows::claim::place;
use crate::sql::{Binder, Connection, query};
use bunho_domain::claim::Claim;
use std::collections::{BTreeMap, HashSet};

/// As the index has it in SQLite.
macro_rules! guard {
    () => {
        "(CASE WHEN c.ordinal IS NOT NULL AND c.status IN ('held', 'confirmed') THEN c.ordinal ELSE c.idempotency_key END)"
    };
}

/// And in PostgreSQL, word for word: that is what lets the index be used.
macro_rules! postgres_guard {
    () => {
        "(CASE WHEN c.ordinal IS NOT NULL AND c.status IN ('held', 'confirmed') THEN chr(1) || c.ordinal ELSE c.idempotency_key END COLLATE \"C\")"
    };
}

/// Pairs of one of the claims and another claim with its key. In SQLite's index every whole number comes before every text, and
/// nulls are in no comparison; the unary plus keeps a key from being compared as a number. In the others an ordinal is a text
/// that begins with U+0001, which comes before whatever a key can begin with.
static TWINS: MultiRow = MultiRow::select(
    Parts {
        head: "WITH new (place) AS (VALUES ",
        row: "(?)",
        between: ",",
        tail: concat!(
            ") SELECT n.place, c.place FROM new CROSS JOIN claim_rows n ON n.place = new.place CROSS JOIN claim_rows c INDEXED BY claims_user \
             ON c.user_id = n.user_id AND c.place >> 32 = n.place >> 32 AND ",
            guard!(),
            " < '' WHERE c.place <> n.place AND c.idempotency_key = n.idempotency_key \
             UNION ALL \
             SELECT n.place, c.place FROM new CROSS JOIN claim_rows n ON n.place = new.place CROSS JOIN claim_rows c INDEXED BY claims_user \
             ON c.user_id = n.user_id AND c.place >> 32 = n.place >> 32 AND ",
            guard!(),
            " = +n.idempotency_key WHERE c.place <> n.place AND n.ordinal IS NOT NULL AND n.status IN ('held', 'confirmed')"
        ),
    },
    concat!(
        "WITH n AS (SELECT * FROM claim_rows WHERE place = ANY($1)) \
         SELECT n.place, c.place FROM n JOIN claim_rows c ON c.user_id = n.user_id AND (c.place >> 32) = (n.place >> 32) AND ",
        postgres_guard!(),
        " < chr(2) WHERE c.place <> n.place AND c.idempotency_key = n.idempotency_key \
         UNION ALL \
         SELECT n.place, c.place FROM n JOIN claim_rows c ON c.user_id = n.user_id AND (c.place >> 32) = (n.place >> 32) AND ",
        postgres_guard!(),
        " = n.idempotency_key WHERE c.place <> n.place AND n.ordinal IS NOT NULL AND n.status IN ('held', 'confirmed')"
    ),
    Parts {
        // One reading of the index finds both kinds: what a user has in an offer is little.
        head: "SELECT n.place, c.place FROM claim_rows n JOIN claim_rows c FORCE INDEX (claims_user) \
               ON c.user_id = n.user_id AND c.offer_key = n.offer_key AND (c.guard < CHAR(2 USING utf8mb4) OR c.guard = n.idempotency_key) \
               WHERE c.place <> n.place AND c.idempotency_key = n.idempotency_key AND n.place IN (",
        row: "?",
        between: ",",
        tail: ")",
    },
);

/// Of the claims just written those whose key another claim had before them, as indexes into `claims` like `new`, which
/// are looked at where that can be ([`super::state::Guards`]). One that changes keeps its key.
pub(crate) async fn find(
    connection: &mut Connection<'_>,
    claims: &[ClaimStates<'_>],
    new: &[usize],
    working: &Working,
) -> Result<Vec<usize>, LedgerError> {
    let action = LedgerError::sql("look for keys used twice");
    let may_hide_a_key = |index: &&usize| {
        let claim = &claims[**index];
        claim.last().key.is_some() && working.get(&claim.offer).is_some_and(|offer| offer.guards.may_hide_a_key())
    };
    // Asked of the offers first, of which there are fewer.
    let any = working.values().any(|offer| offer.guards.may_hide_a_key());
    let new: Vec<usize> = if any { new.iter().filter(may_hide_a_key).copied().collect() } else { Vec::new() };
    let mut pairs: Vec<(i64, i64)> = Vec::new();
    let bind = |index: &usize, binder: &mut Binder| {
        binder.value(place(claims[*index].last().id));
    };
    for row in TWINS.read(connection, &new, bind).await.map_err(&action)? {
        let mut columns = Columns::of(&row, "claims");
        pairs.push((columns.take()?, columns.take()?));
    }
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    pairs.sort_unstable();
    let places: BTreeMap<i64, usize> = new.iter().map(|&index| (place(claims[index].last().id), index)).collect();
    let mut refused = HashSet::new();
    let mut found = Vec::new();
    for (one, other) in pairs {
        let Some(&index) = places.get(&one) else { continue };
        // Of two new ones the later is refused; of three the first stays.
        let other_stays = !refused.contains(&other) && (other < one || !places.contains_key(&other));
        if other_stays && refused.insert(one) {
            found.push(index);
        }
    }
    Ok(found)
}

/// Whether another claim has the key of `claim`; in a repair, before it is written.
pub(crate) async fn is_twin(connection: &mut Connection<'_>, claim: &Claim) -> Result<bool, LedgerError> {
    let Some(key) = &claim.key else { return Ok(false) };
    let twins =
        query("SELECT count(*) FROM claim_rows WHERE user_id = ?1 AND (place >> 32) = (?2 >> 32) AND idempotency_key = ?3 AND place <> ?2")
            .bind(claim.user.as_str())
            .bind(place(claim.id))
            .bind(key.as_str())
            .fetch_long(connection)
            .await
            .map_err(LedgerError::sql("look for keys used twice"))?;
    Ok(twins > 0)
}

/// Takes back the row of a claim that [`find`] found.
pub(crate) async fn remove(connection: &mut Connection<'_>, claim: &ClaimStates<'_>) -> Result<(), LedgerError> {
    query("DELETE FROM claim_rows WHERE place = ?")
        .bind(place(claim.last().id))
        .execute(connection)
        .await
        .map(drop)
        .map_err(LedgerError::sql("take back a claim whose key is used twice"))
}
