//! Forgets admissions and leaves that no restart needs any more.
//!
//! Tickets leave a line nearly in the order of their numbers, but only nearly, so no range can simply be cut off. A
//! cursor per zone walks the primary key page by page and deletes what is old in each page. A zone is walked while it
//! is written to, twice as fast as it is written; so its table stays below twice what it must keep, the work per batch
//! is bounded, and a quiet zone costs nothing.

use super::batch::Batch;
use super::state::State;
use crate::error::LedgerError;
use crate::rows::Columns;
use crate::sql::{Connection, Text, query};
use crate::timestamp::Timestamp;
use bunho_domain::event::TicketNumber;
use bunho_domain::time::Millis;
use std::collections::BTreeMap;

/// Rows that a step visits in one zone at least; small batches then take a page as cheaply as a row.
const PAGE_ROWS_MIN: u32 = 1_000;
/// Zones that a step visits at most; the others wait for their turn.
const ZONES_MAX: usize = 16;

/// The zones to be walked: each with the last ticket visited, none at the start.
pub(crate) type Sweeps = BTreeMap<u32, Option<TicketNumber>>;

/// One step in each of some zones; `redefined` are the zones of this batch. Returns the sweeps as they are once the
/// transaction is committed.
pub(crate) async fn step(
    connection: &mut Connection<'_>,
    state: &State,
    batch: &Batch<'_>,
    redefined: &[(u32, Option<i64>)],
) -> Result<Sweeps, LedgerError> {
    let mut written: BTreeMap<u32, u32> = BTreeMap::new();
    for (zone, _) in batch.tickets.keys() {
        *written.entry(*zone).or_default() += 1;
    }
    let mut sweeps = state.sweeps.clone();
    let deleted = redefined.iter().filter(|(_, keep_ms)| keep_ms.is_none()).map(|(zone, _)| *zone);
    for zone in written.keys().copied().chain(deleted) {
        sweeps.entry(zone).or_default();
    }
    // Zones that were written to come first, so that each is walked at least as fast as it grows.
    let mut turns: Vec<u32> = sweeps.keys().copied().collect();
    turns.sort_by_key(|zone| std::cmp::Reverse(written.get(zone).copied().unwrap_or(0)));
    turns.truncate(ZONES_MAX);
    for zone in turns {
        let page = (written.get(&zone).copied().unwrap_or(0) * 2).max(PAGE_ROWS_MIN);
        let redefined = redefined.iter().rfind(|(number, _)| *number == zone).map(|(_, keep_ms)| *keep_ms);
        // None: a deleted zone keeps nothing.
        let keep_ms = redefined.unwrap_or_else(|| state.keep_ms.get(&zone).copied());
        let from = sweeps.remove(&zone).flatten();
        let upto = page_end(connection, zone, from, page).await?;
        delete(connection, zone, from, upto, keep_ms.map(|keep_ms| batch.at.plus_ms(-keep_ms))).await?;
        // At the end of the table the zone is done until it is written to again.
        if upto.is_some() {
            sweeps.insert(zone, upto);
        }
    }
    Ok(sweeps)
}

/// The ticket `rows` rows after `from`; none where there are not that many.
async fn page_end(
    connection: &mut Connection<'_>,
    zone: u32,
    from: Option<TicketNumber>,
    rows: u32,
) -> Result<Option<TicketNumber>, LedgerError> {
    let (epoch, seq) = bounds(from, -1);
    // MySQL does not seek by rows of columns, so it is told the same by single ones.
    let row = query(Text {
        mysql: "SELECT epoch, seq FROM tickets WHERE zone_number = ?1 AND (epoch > ?2 OR (epoch = ?2 AND seq > ?3)) \
                ORDER BY zone_number, epoch, seq LIMIT 1 OFFSET ?4",
        ..Text::same(
            "SELECT epoch, seq FROM tickets WHERE zone_number = ?1 AND (epoch, seq) > (?2, ?3) ORDER BY epoch, seq LIMIT 1 OFFSET ?4",
        )
    })
    .bind(zone)
    .bind(epoch)
    .bind(seq)
    .bind(rows - 1)
    .fetch_optional(connection)
    .await
    .map_err(LedgerError::sql("page through tickets"))?;
    row.map(|row| {
        let mut columns = Columns::of(&row, "tickets");
        Ok(TicketNumber { epoch: columns.take()?, seq: columns.take()? })
    })
    .transpose()
}

/// Deletes what is older than `before` within a page; none: everything. At or above the front a restart still needs to know
/// who has been admitted or has left, however long ago: below it the front says that for all.
async fn delete(
    connection: &mut Connection<'_>,
    zone: u32,
    from: Option<TicketNumber>,
    upto: Option<TicketNumber>,
    before: Option<Millis>,
) -> Result<(), LedgerError> {
    let ((from_epoch, from_seq), (upto_epoch, upto_seq)) = (bounds(from, -1), bounds(upto, i64::MAX));
    const PAGE: Text = Text {
        mysql: "DELETE FROM tickets WHERE zone_number = ?1 AND (epoch > ?2 OR (epoch = ?2 AND seq > ?3)) \
                AND (epoch < ?4 OR (epoch = ?4 AND seq <= ?5))",
        ..Text::same("DELETE FROM tickets WHERE zone_number = ?1 AND (epoch, seq) > (?2, ?3) AND (epoch, seq) <= (?4, ?5)")
    };
    const ENDED: Text = Text {
        mysql: "DELETE FROM tickets WHERE zone_number = ?1 AND (epoch > ?2 OR (epoch = ?2 AND seq > ?3)) \
                AND (epoch < ?4 OR (epoch = ?4 AND seq <= ?5)) AND coalesce(admitted_at, '') < ?6 AND coalesce(left_at, '') < ?6 \
                AND EXISTS (SELECT 1 FROM zones WHERE number = ?1 AND (front_epoch > tickets.epoch OR (front_epoch = tickets.epoch AND front_seq > tickets.seq)))",
        ..Text::same(
            "DELETE FROM tickets WHERE zone_number = ?1 AND (epoch, seq) > (?2, ?3) AND (epoch, seq) <= (?4, ?5)
             AND coalesce(admitted_at, '') < ?6 AND coalesce(left_at, '') < ?6
             AND (epoch, seq) < (SELECT front_epoch, front_seq FROM zones WHERE number = ?1)",
        )
    };
    let mut query = query(if before.is_some() { ENDED } else { PAGE });
    query = query.bind(zone).bind(from_epoch).bind(from_seq).bind(upto_epoch).bind(upto_seq);
    let before = before.map(Timestamp::new);
    if let Some(before) = &before {
        query = query.bind(before.as_str());
    }
    query.execute(connection).await.map_err(LedgerError::sql("prune tickets"))?;
    Ok(())
}

fn bounds(ticket: Option<TicketNumber>, without: i64) -> (i64, i64) {
    ticket.map_or((without, without), |ticket| (ticket.epoch.into(), ticket.seq.into()))
}
