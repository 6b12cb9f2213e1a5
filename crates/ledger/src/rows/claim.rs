//! Rows of `claims` and `standby`.

use super::Columns;
use crate::error::LedgerError;
use crate::sql::Row;
use crate::words;
use bunho_domain::claim::{Claim, Standby};
use bunho_domain::ids::{ClaimId, IdempotencyKey, OfferId, StandbyId, UserId};
use bunho_domain::time::Millis;

/// What [`claim`] reads, in its order. A macro, so that statements can be put together at compile time.
macro_rules! claim_columns {
    () => {
        "id, user_id, quantity, status, version, idempotency_key, attributes, created_ms, updated_ms, hold_expires_ms, ordinal, granted"
    };
}
pub(crate) use claim_columns;

/// What [`claim_row`] reads after them.
macro_rules! offer_column {
    () => {
        ", (SELECT id FROM offers WHERE number = ((place >> 32) & 4294967295)) AS offer_id"
    };
}
pub(crate) use offer_column;

/// What [`standby`] reads, in its order.
macro_rules! standby_columns {
    () => {
        "id, user_id, quantity, status, version, created_at, updated_at, claim_id"
    };
}
pub(crate) use standby_columns;

/// The primary key of a claim: its offer's number, then its place there.
pub(crate) const fn place(id: ClaimId) -> i64 {
    first_place(id.offer_number()) | id.seq() as i64
}

/// The lowest key that a claim of `offer` can have. Offers from 2^31 on come before the others, as SQLite has signed numbers.
pub(crate) const fn first_place(offer: u32) -> i64 {
    ((offer as u64) << 32).cast_signed()
}

/// The highest.
pub(crate) const fn last_place(offer: u32) -> i64 {
    first_place(offer) | u32::MAX as i64
}

/// A claim with the id that its offer has in SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRow {
    /// The offer.
    pub offer: OfferId,
    /// The claim.
    pub claim: Claim,
}

pub(crate) fn claim(row: &Row) -> Result<Claim, LedgerError> {
    read_claim(&mut Columns::of(row, "claims"))
}

/// As [`claim`], with the offer's id after its columns.
pub(crate) fn claim_row(row: &Row) -> Result<ClaimRow, LedgerError> {
    let mut columns = Columns::of(row, "claims");
    let claim = read_claim(&mut columns)?;
    Ok(ClaimRow { offer: columns.id("offer_id", OfferId::parse)?, claim })
}

fn read_claim(columns: &mut Columns<'_>) -> Result<Claim, LedgerError> {
    Ok(Claim {
        id: columns.id("id", ClaimId::parse)?,
        user: columns.id("user_id", UserId::parse)?,
        quantity: columns.take()?,
        status: columns.parsed("status", words::parse_status)?,
        version: columns.take()?,
        key: columns.id_or_none("idempotency_key", IdempotencyKey::parse)?,
        attributes: columns.text_or_none()?,
        created_at: Millis(columns.take()?),
        updated_at: Millis(columns.take()?),
        hold_expires_at: columns.take::<Option<i64>>()?.map(Millis),
        ordinal: columns.take()?,
        granted: columns.id_or_none("granted", ClaimId::parse)?,
    })
}

pub(crate) fn standby(row: &Row) -> Result<Standby, LedgerError> {
    let mut columns = Columns::of(row, "standby");
    Ok(Standby {
        id: columns.id("id", StandbyId::parse)?,
        user: columns.id("user_id", UserId::parse)?,
        quantity: columns.take()?,
        status: columns.parsed("status", words::parse_standby)?,
        version: columns.take()?,
        created_at: columns.time("created_at")?,
        updated_at: columns.time("updated_at")?,
        claim: columns.id_or_none("claim_id", ClaimId::parse)?,
    })
}
