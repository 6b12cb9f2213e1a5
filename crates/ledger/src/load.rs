//! What a restarting engine needs, read back as the events that would lead there.
//!
//! One read transaction sees one state: the offset and the rows that belong to it. The caller replays the journal
//! after that offset, and since every event carries a whole state and a version, overlap is harmless.
//!
//! A million claims come through here before a restarted node is ready; `claims` says how they come quickly.

mod claims;
mod one;

pub use one::{Loaded, LoadedOffer};

use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::parked_event;
use crate::rows::claim::standby_columns;
use crate::rows::offer::offer_columns;
use crate::rows::zone::{StoredZone, zone_columns};
use crate::rows::{self, Columns};
use crate::sql::{Connection, Query, Row, Stored, query};
use bunho_domain::claim::Standby;
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent};
use bunho_journal::crash_point;
use std::collections::BTreeMap;

const ZONES: &str = concat!("SELECT ", zone_columns!(), " FROM zones WHERE deleted_at IS NULL ORDER BY number");
const OFFERS: &str = concat!("SELECT ", offer_columns!(), " FROM offers WHERE deleted_at IS NULL ORDER BY number");
const STANDBY: &str = concat!("SELECT ", standby_columns!(), " FROM standby ORDER BY id");
/// Events that the guards refused, oldest first. Of what could not be read nobody knows what it is about.
const PARKED: &str =
    "SELECT payload FROM parked_events WHERE resolved_at IS NULL AND reason <> 'unreadable' ORDER BY journal_offset, event_index";
/// Numbers of things whose definition was refused have been given out too; those are in the parked events.
const HIGHEST_NUMBERS: &str = "SELECT (SELECT coalesce(max(number), 0) FROM offers), (SELECT coalesce(max(number), 0) FROM zones)";
/// The last minute that each zone has told: its line goes on from there.
const MINUTES: &str = "
    SELECT m.zone_id, m.minute, m.entered, m.waiting, m.dropped, m.entry_limit, z.number
    FROM zones z JOIN zone_minutes m ON m.zone_id = z.id AND m.minute = (SELECT max(minute) FROM zone_minutes WHERE zone_id = z.id)
    WHERE z.deleted_at IS NULL ORDER BY z.number";
/// Where the zone's number stands in that.
const ZONE_OF_MINUTE: usize = 6;
/// In the order in which it happened, so that an engine can append to its window log.
const TICKETS: &str = "
    SELECT zone_number, epoch, seq, admitted_at AS at, 0 AS has_left FROM tickets WHERE admitted_at IS NOT NULL
    UNION ALL
    SELECT zone_number, epoch, seq, left_at, 1 FROM tickets WHERE left_at IS NOT NULL
    ORDER BY 4, 5, 1, 2, 3";

/// Takes each event as it is read.
type Sink<'a> = dyn FnMut(Event) + Send + 'a;

impl Ledger {
    /// Streams everything that is live into `sink`: zones (defined, then what they reserved and their front), offers,
    /// their claims in the order of taking, their standby, what was parked of these offers, then admissions and leaves
    /// in the order of time. Returns the journal offset that this state stands for.
    ///
    /// Claims and standby carry their offer's stored version, which is at least the version they were written with.
    /// What was parked and is not resolved has happened all the same: the engine had it, and is to have it again.
    ///
    /// # Errors
    /// The database cannot be read, or holds something that this program did not write.
    pub async fn load(&self, sink: &mut Sink<'_>) -> Result<u64, LedgerError> {
        let mut snapshot = self.begin_snapshot().await?;
        let snapshot = &mut snapshot.connection();
        let offset = crate::projector::read_offset(snapshot).await?;
        let zones = load_zones(snapshot, sink).await?;
        crash_point!("ledger::zones_loaded");
        let offers = load_offers(snapshot, sink).await?;
        claims::load(snapshot, &offers, sink).await?;
        crash_point!("ledger::claims_loaded");
        load_standby(snapshot, &offers, sink).await?;
        load_parked(snapshot, &offers, sink).await?;
        load_tickets(snapshot, &zones, sink).await?;
        crash_point!("ledger::loaded");
        Ok(offset)
    }

    /// The highest offer number and zone number ever given, deleted ones included; 0 where there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn highest_numbers(&self) -> Result<(u32, u32), LedgerError> {
        let mut reader = self.reader().await?;
        let connection = &mut reader.connection();
        let action = LedgerError::sql("read the highest numbers");
        let row = query(HIGHEST_NUMBERS).fetch_one(connection).await.map_err(action)?;
        let mut columns = Columns::of(&row, "offers");
        let (mut offer, mut zone): (u32, u32) = (columns.take()?, columns.take()?);
        each(connection, "SELECT payload FROM parked_events", "read the highest numbers", |row| {
            let payload: &str = Columns::of(row, "parked_events").take()?;
            // A person may have edited it; what is not JSON names no number.
            let payload: serde_json::Value = serde_json::from_str(payload).unwrap_or_default();
            let number = |name: &str| payload[name].as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(0);
            (offer, zone) = (offer.max(number("offer_number")), zone.max(number("zone_number")));
            Ok(())
        })
        .await?;
        Ok((offer, zone))
    }
}

/// Versions of the live offers by number.
type Versions = BTreeMap<u32, u64>;

async fn load_zones(snapshot: &mut Connection<'_>, sink: &mut Sink<'_>) -> Result<Vec<u32>, LedgerError> {
    let mut numbers = Vec::new();
    each(snapshot, ZONES, "load zones", |row| {
        let zone = rows::zone::zone(row)?;
        numbers.push(zone.number);
        tell_zone(zone, sink);
        Ok(())
    })
    .await?;
    each(snapshot, MINUTES, "load minutes", |row| {
        let zone = <u32 as Stored>::read(row, ZONE_OF_MINUTE).map_err(LedgerError::sql("read a row"))?;
        tell_minute(zone, row, sink)
    })
    .await?;
    Ok(numbers)
}

fn tell_zone(zone: StoredZone, sink: &mut Sink<'_>) {
    let mut tell = |change| sink(Event::Zone(ZoneEvent { zone: zone.number, change }));
    tell(ZoneChange::Defined(Box::new(zone.settings)));
    if zone.reserved_upto > 0 {
        tell(ZoneChange::Reserved { epoch: zone.reserved_epoch, upto: zone.reserved_upto });
    }
    if zone.front_seq > 0 {
        tell(ZoneChange::Front { epoch: zone.front_epoch, seq: zone.front_seq });
    }
}

fn tell_minute(zone: u32, row: &Row, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    let minute = rows::zone::minute(row)?;
    sink(Event::Zone(ZoneEvent { zone, change: ZoneChange::Minute(minute) }));
    Ok(())
}

async fn load_offers(snapshot: &mut Connection<'_>, sink: &mut Sink<'_>) -> Result<Versions, LedgerError> {
    let mut versions = Versions::new();
    each(snapshot, OFFERS, "load offers", |row| {
        let offer = rows::offer::offer(row)?;
        versions.insert(offer.number, offer.version);
        let change = OfferChange::Defined(Box::new(offer.settings));
        sink(Event::Offer(OfferEvent { offer: offer.number, version: offer.version, change }));
        Ok(())
    })
    .await?;
    Ok(versions)
}

async fn load_standby(snapshot: &mut Connection<'_>, offers: &Versions, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    each(snapshot, STANDBY, "load standby", |row| {
        let standby: Standby = rows::claim::standby(row)?;
        let offer = standby.id.offer_number();
        if let Some(&version) = offers.get(&offer) {
            sink(Event::Offer(OfferEvent { offer, version, change: OfferChange::Standby(Box::new(standby)) }));
        }
        Ok(())
    })
    .await
}

async fn load_parked(snapshot: &mut Connection<'_>, offers: &Versions, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    each(snapshot, PARKED, "load parked events", |row| {
        let payload: &str = Columns::of(row, "parked_events").take()?;
        match parked_event(payload) {
            Some(Event::Offer(event)) => {
                // Of an offer whose own definition was refused, or that is deleted, there is nothing to add it to.
                if let Some(&version) = offers.get(&event.offer) {
                    sink(Event::Offer(OfferEvent { version, ..event }));
                }
            }
            // Another live zone has its id.
            Some(Event::Zone(_)) => {}
            None => tracing::warn!(payload, "a parked event is unreadable and was not loaded"),
        }
        Ok(())
    })
    .await
}

async fn load_tickets(snapshot: &mut Connection<'_>, zones: &[u32], sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    each(snapshot, TICKETS, "load tickets", |row| tell_ticket(row, zones, sink)).await
}

fn tell_ticket(row: &Row, zones: &[u32], sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    let mut columns = Columns::of(row, "tickets");
    let zone = columns.take()?;
    let ticket = TicketNumber { epoch: columns.take()?, seq: columns.take()? };
    let at = columns.time("at")?;
    let has_left: bool = columns.take()?;
    if zones.binary_search(&zone).is_ok() {
        let change = if has_left { ZoneChange::Left { ticket, at } } else { ZoneChange::Admitted { ticket, at } };
        sink(Event::Zone(ZoneEvent { zone, change }));
    }
    Ok(())
}

/// Runs `statement` and hands over each row.
async fn each(
    connection: &mut Connection<'_>,
    statement: &'static str,
    action: &'static str,
    on_row: impl FnMut(&Row) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    each_of(query(statement), connection, action, on_row).await
}

/// As [`each`], for a statement with values.
async fn each_of(
    query: Query<'_>,
    connection: &mut Connection<'_>,
    action: &'static str,
    on_row: impl FnMut(&Row) -> Result<(), LedgerError>,
) -> Result<(), LedgerError> {
    query.for_each(connection, LedgerError::sql(action), on_row).await
}
