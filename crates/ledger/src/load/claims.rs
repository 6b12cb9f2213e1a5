//! A million claims in half a second: a page of claims as one text.
//!
//! Row by row, most of the time goes into handing each value from SQLite's thread to ours (an allocation each, under
//! SQLite's one lock). So SQLite joins the columns of a claim, and the claims of a page, with separators that no
//! column can hold; that was measured five times as fast. While a page is taken apart here, SQLite makes the next.

use super::{Sink, Versions};
use crate::error::LedgerError;
use crate::rows::claim::{claim_columns, first_place, last_place};
use crate::rows::{self, Columns};
use crate::sql::{Connection, Dialect, query};
use crate::words;
use bunho_domain::claim::Claim;
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::ids::{ClaimId, IdempotencyKey, UserId};
use bunho_domain::time::Millis;

/// Between columns: US, the unit separator. Ids, keys and times have no control characters, and JSON escapes them.
const UNIT: char = '\u{1f}';
/// Between claims: RS, the record separator.
const RECORD: char = '\u{1e}';

/// Claims come in the order of the subquery, which is that of its index; [`take_apart`] makes sure. 500 claims are
/// some 75 KB, and at most 2 MB with the longest attributes.
const PAGE: &str = "
    SELECT max(place), group_concat(line, char(30)) FROM (
        SELECT place, concat_ws(char(31), id, user_id, quantity, status, version, coalesce(idempotency_key, ''),
            coalesce(attributes, ''), created_ms, updated_ms, coalesce(hold_expires_ms, ''), coalesce(ordinal, ''),
            coalesce(granted, '')) AS line
        FROM claim_rows WHERE place >= ?1 AND place <= ?2 ORDER BY place LIMIT 500)";

/// One page: the last place, and the claims' lines.
type Page = Option<(i64, String)>;

/// Streams the claims of live offers in the order of their ids. Deleted offers' claims are not even read.
pub(super) async fn load(snapshot: &mut Connection<'_>, offers: &Versions, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    if snapshot.dialect() != Dialect::Sqlite {
        return stream(snapshot, offers, sink).await;
    }
    for (first, last) in runs(offers) {
        let end = last_place(last);
        let mut page = read(snapshot, first_place(first), end).await?;
        while let Some((upto, lines)) = page {
            let (next, taken) = tokio::join!(
                biased;
                read(snapshot, upto.saturating_add(1), end),
                async { take_apart(&lines, offers, sink) },
            );
            taken?;
            page = next?;
        }
    }
    Ok(())
}

/// As rows that the server sends while they are read here: no thread to hand values over, and no page to wait for.
async fn stream(snapshot: &mut Connection<'_>, offers: &Versions, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    for (first, last) in runs(offers) {
        let rows = query(concat!("SELECT ", claim_columns!(), " FROM claim_rows WHERE place >= ? AND place <= ? ORDER BY place"));
        let rows = rows.bind(first_place(first)).bind(last_place(last));
        rows.for_each(snapshot, LedgerError::sql("load claims"), |row| {
            let claim = rows::claim::claim(row)?;
            let offer = claim.id.offer_number();
            if let Some(&version) = offers.get(&offer) {
                sink(Event::Offer(OfferEvent { offer, version, change: OfferChange::Claim(Box::new(claim)) }));
            }
            Ok(())
        })
        .await?;
    }
    Ok(())
}

/// Ranges of offer numbers without a deleted one between them, and of which the places are in the same order.
fn runs(offers: &Versions) -> Vec<(u32, u32)> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for &number in offers.keys() {
        match runs.last_mut() {
            Some((_, last)) if number == *last + 1 && number != 1 << 31 => *last = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

async fn read(snapshot: &mut Connection<'_>, from: i64, end: i64) -> Result<Page, LedgerError> {
    let row = query(PAGE).bind(from).bind(end).fetch_one(snapshot).await.map_err(LedgerError::sql("load claims"))?;
    let mut columns = Columns::of(&row, "claims");
    let (last, lines): (Option<i64>, Option<String>) = (columns.take()?, columns.take()?);
    Ok(last.zip(lines))
}

fn take_apart(lines: &str, offers: &Versions, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    let mut previous = None;
    for line in lines.split(RECORD) {
        let claim = claim(line).filter(|claim| previous < Some(claim.id)).ok_or_else(|| LedgerError::Unreadable {
            table: "claims",
            column: "row",
            value: line.to_owned(),
        })?;
        previous = Some(claim.id);
        let offer = claim.id.offer_number();
        if let Some(&version) = offers.get(&offer) {
            sink(Event::Offer(OfferEvent { offer, version, change: OfferChange::Claim(Box::new(claim)) }));
        }
    }
    Ok(())
}

/// Reads one line; none where a column is not what this program writes.
fn claim(line: &str) -> Option<Claim> {
    let mut columns = line.split(UNIT);
    Some(Claim {
        id: ClaimId::parse(columns.next()?).ok()?,
        user: UserId::parse(columns.next()?).ok()?,
        quantity: columns.next()?.parse().ok()?,
        status: words::parse_status(columns.next()?)?,
        version: columns.next()?.parse().ok()?,
        key: unless_empty(columns.next()?, |text| IdempotencyKey::parse(text).ok())?,
        attributes: unless_empty(columns.next()?, |text| Some(text.into()))?,
        created_at: Millis(columns.next()?.parse().ok()?),
        updated_at: Millis(columns.next()?.parse().ok()?),
        hold_expires_at: unless_empty(columns.next()?, |text| text.parse().ok().map(Millis))?,
        ordinal: unless_empty(columns.next()?, |text| text.parse().ok())?,
        granted: unless_empty(columns.next()?, |text| ClaimId::parse(text).ok())?,
    })
    .filter(|_| columns.next().is_none())
}

/// A null column comes as an empty text; none of them is ever empty otherwise.
fn unless_empty<T>(text: &str, parse: impl FnOnce(&str) -> Option<T>) -> Option<Option<T>> {
    if text.is_empty() { Some(None) } else { parse(text).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_leave_deleted_offers_out() {
        let check = |numbers: &[u32], expected: &[(u32, u32)]| {
            let offers = numbers.iter().map(|number| (*number, 1)).collect();
            assert_eq!(runs(&offers), expected);
        };
        check(&[], &[]);
        check(&[1, 2, 3, 5, 7, 8], &[(1, 3), (5, 5), (7, 8)]);
        check(&[u32::MAX], &[(u32::MAX, u32::MAX)]);
        check(&[0x7fff_ffff, 0x8000_0000], &[(0x7fff_ffff, 0x7fff_ffff), (0x8000_0000, 0x8000_0000)]);
    }
}
