//! What the projector keeps in memory about the tables: how much of each offer is taken, so that the capacity guard
//! needs no counter column and no sum per batch, and how long each zone's tickets are kept.

use super::multi_row::{MultiRow, Parts};
use super::prune::Sweeps;
use super::read_offset;
use crate::error::LedgerError;
use crate::rows::{self, Columns};
use crate::sql::{Binder, Connection, Row, Text, query};
use bunho_domain::claim::Claim;
use bunho_domain::line::settings::ZoneSettings;
use std::collections::HashMap;
use std::sync::Arc;

/// One live offer.
#[derive(Clone, Debug)]
pub(crate) struct OfferState {
    /// Its id in URLs and in `claims.offer_id`.
    pub(crate) id: Arc<str>,
    /// Of its definition.
    pub(crate) revision: u32,
    pub(crate) quantity: u64,
    /// Units of held and confirmed claims.
    pub(crate) taken: u64,
    pub(crate) guards: Guards,
}

/// What stands, or once stood, in the index `claims_user` of an offer's claims.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Guards {
    /// Ordinals of taken claims.
    pub(crate) ordinals: bool,
    /// Keys, or ordinals above 1.
    pub(crate) others: bool,
}

impl Guards {
    pub(crate) fn note(&mut self, claim: &Claim) {
        match claim.ordinal {
            Some(ordinal) if claim.status.is_taken() => {
                self.ordinals = true;
                self.others |= ordinal > 1;
            }
            _ => self.others |= claim.key.is_some(),
        }
    }

    /// Whether two claims of a user may have one key without colliding in the index: never where all are alike, as in a rush
    /// for one each, or where nobody is limited.
    pub(crate) fn may_hide_a_key(self) -> bool {
        self.ordinals && self.others
    }
}

/// The projector's memory; always what the last committed transaction left.
pub(crate) struct State {
    pub(crate) offset: u64,
    pub(crate) offers: HashMap<u32, OfferState>,
    /// Milliseconds for which tickets of each live zone are kept.
    pub(crate) keep_ms: HashMap<u32, i64>,
    pub(crate) sweeps: Sweeps,
    /// Events that wait to be mended.
    pub(crate) parked: u64,
    /// `Ledger::repairs` at the time of counting.
    pub(crate) repairs: u64,
    /// What `installation.repairs` said then: repairs of any node.
    pub(crate) repairs_of_all: i64,
}

impl State {
    /// Counts everything afresh. `snapshot` is a transaction.
    pub(crate) async fn seed(snapshot: &mut Connection<'_>, repairs: u64) -> Result<Self, LedgerError> {
        let parked = query("SELECT count(*) FROM parked_events WHERE resolved_at IS NULL")
            .fetch_long(snapshot)
            .await
            .map_err(LedgerError::sql("count parked events"))?;
        Ok(Self {
            offset: read_offset(snapshot).await?,
            offers: seed_offers(snapshot).await?,
            keep_ms: seed_zones(snapshot).await?,
            sweeps: seed_sweeps(snapshot).await?,
            parked: parked.cast_unsigned(),
            repairs,
            repairs_of_all: read_repairs(snapshot).await?,
        })
    }

    /// Counts nothing yet: other nodes write to most offers, and what they do would be missed.
    pub(crate) async fn without_offers(transaction: &mut Connection<'_>) -> Result<Self, LedgerError> {
        let parked = query("SELECT count(*) FROM parked_events WHERE resolved_at IS NULL")
            .fetch_long(transaction)
            .await
            .map_err(LedgerError::sql("count parked events"))?;
        Ok(Self {
            offset: 0,
            offers: HashMap::new(),
            keep_ms: seed_zones(transaction).await?,
            sweeps: seed_sweeps(transaction).await?,
            parked: parked.cast_unsigned(),
            repairs: 0,
            repairs_of_all: read_repairs(transaction).await?,
        })
    }

    /// Counts those of these offers that were not counted yet. Nobody else may be writing to them.
    pub(crate) async fn count(&mut self, connection: &mut Connection<'_>, offers: impl Iterator<Item = u32>) -> Result<(), LedgerError> {
        let new: Vec<u32> = offers.filter(|number| !self.offers.contains_key(number)).collect();
        let bind = |number: &u32, binder: &mut Binder| {
            binder.value(*number);
        };
        for row in TAKEN_OF.read(connection, &new, bind).await.map_err(LedgerError::sql("count what is taken"))? {
            let (number, counted) = offer(&row)?;
            self.offers.insert(number, counted);
        }
        Ok(())
    }
}

/// The longest window that a zone may have: its log holds so much whatever the window is, so that an edit which lengthens it
/// finds what it counts, and after a restart it must be there too.
const WINDOW_SECONDS_MAX: u32 = 60;

/// How long a restart needs to know of an admission or a leave: the window and the session count it, the pass is
/// answered again, and until abandonment and grace are over the ticket itself may come back.
pub(crate) fn keep_ms(settings: &ZoneSettings) -> i64 {
    let counted = WINDOW_SECONDS_MAX.max(settings.pass_ttl_seconds).max(settings.session_seconds);
    (i64::from(counted) + i64::from(settings.abandon_after_seconds) + i64::from(settings.resume_grace_seconds)) * 1_000
}

/// Units taken of live offers, and what stands in the index `claims_user` of their claims.
macro_rules! taken {
    ($bigint:literal, $first:literal, $last:literal) => {
        concat!(
            "SELECT o.number, o.id, o.revision, o.quantity,
                CAST(coalesce(sum(CASE WHEN c.status IN ('held', 'confirmed') THEN c.quantity END), 0) AS ",
            $bigint,
            "),
                coalesce(max(CASE WHEN c.ordinal IS NOT NULL AND c.status IN ('held', 'confirmed') THEN 1 ELSE 0 END), 0),
                coalesce(max(CASE WHEN c.ordinal > 1 OR (c.idempotency_key IS NOT NULL
                    AND (c.ordinal IS NULL OR c.status NOT IN ('held', 'confirmed'))) THEN 1 ELSE 0 END), 0)
             FROM offers o LEFT JOIN claim_rows c ON c.place >= ",
            $first,
            " AND c.place <= ",
            $last,
            " WHERE o.deleted_at IS NULL"
        )
    };
}
macro_rules! taken_standard {
    () => {
        taken!("BIGINT", "(o.number << 32)", "((o.number << 32) | 4294967295)")
    };
}
/// Shifts in MySQL are without sign.
macro_rules! taken_mysql {
    () => {
        taken!("SIGNED", "CAST(o.number << 32 AS SIGNED)", "CAST((o.number << 32) | 4294967295 AS SIGNED)")
    };
}
macro_rules! by_offer {
    () => {
        " GROUP BY o.number, o.id, o.revision, o.quantity"
    };
}

const TAKEN: Text = Text { mysql: concat!(taken_mysql!(), by_offer!()), ..Text::same(concat!(taken_standard!(), by_offer!())) };

static TAKEN_OF: MultiRow = MultiRow::select(
    Parts { head: concat!(taken_standard!(), " AND o.number IN ("), row: "?", between: ",", tail: concat!(")", by_offer!()) },
    concat!(taken_standard!(), " AND o.number = ANY($1)", by_offer!()),
    Parts { head: concat!(taken_mysql!(), " AND o.number IN ("), row: "?", between: ",", tail: concat!(")", by_offer!()) },
);

async fn seed_offers(snapshot: &mut Connection<'_>) -> Result<HashMap<u32, OfferState>, LedgerError> {
    let action = LedgerError::sql("count what is taken");
    // Each offer is a range of the primary key.
    let rows = query(TAKEN).fetch_all(snapshot).await.map_err(action)?;
    rows.iter().map(offer).collect()
}

fn offer(row: &Row) -> Result<(u32, OfferState), LedgerError> {
    let mut columns = Columns::of(row, "offers");
    let number = columns.take()?;
    let (id, revision) = (Arc::from(columns.take::<&str>()?), columns.take()?);
    let (quantity, taken) = (columns.take::<i64>()?.cast_unsigned(), columns.take::<i64>()?.cast_unsigned());
    let guards = Guards { ordinals: columns.take()?, others: columns.take()? };
    Ok((number, OfferState { id, revision, quantity, taken, guards }))
}

async fn seed_zones(snapshot: &mut Connection<'_>) -> Result<HashMap<u32, i64>, LedgerError> {
    let statement = concat!("SELECT ", rows::zone::zone_columns!(), " FROM zones WHERE deleted_at IS NULL");
    let rows = query(statement).fetch_all(snapshot).await.map_err(LedgerError::sql("read zones"))?;
    let mut keep = HashMap::with_capacity(rows.len());
    for row in &rows {
        let zone = rows::zone::zone(row)?;
        keep.insert(zone.number, keep_ms(&zone.settings));
    }
    Ok(keep)
}

/// Deleted zones whose tickets are not all gone yet: nothing is written to them any more that would bring them back.
async fn seed_sweeps(snapshot: &mut Connection<'_>) -> Result<Sweeps, LedgerError> {
    let rows =
        query("SELECT number FROM zones WHERE deleted_at IS NOT NULL AND EXISTS (SELECT 1 FROM tickets WHERE zone_number = zones.number)")
            .fetch_all(snapshot)
            .await
            .map_err(LedgerError::sql("look for tickets of deleted zones"))?;
    rows.iter().map(|row| Ok((Columns::of(row, "zones").take()?, None))).collect()
}

/// How often claims were written by others than a projector, as the database knows it.
pub(crate) async fn read_repairs(connection: &mut Connection<'_>) -> Result<i64, LedgerError> {
    query("SELECT repairs FROM installation").fetch_long(connection).await.map_err(LedgerError::sql("read what was repaired"))
}
