//! One offer or one zone, for an engine that recovers just that.

use super::{Sink, Versions, claims, each_of, tell_minute, tell_ticket, tell_zone};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::parked_event;
use crate::rows::claim::standby_columns;
use crate::rows::offer::offer_columns;
use crate::rows::zone::zone_columns;
use crate::rows::{self, Columns};
use crate::sql::{Connection, query};
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneChange, ZoneEvent};

const OFFER: &str = concat!("SELECT ", offer_columns!(), " FROM offers WHERE number = ? AND deleted_at IS NULL");
const ZONE: &str = concat!("SELECT ", zone_columns!(), " FROM zones WHERE number = ? AND deleted_at IS NULL");
/// Ids begin with the offer's number, and are the primary key.
const STANDBY: &str = concat!("SELECT ", standby_columns!(), " FROM standby WHERE id >= ? AND id < ? ORDER BY id");
const PARKED: &str =
    "SELECT payload FROM parked_events WHERE resolved_at IS NULL AND offer_id IN (?, ?) ORDER BY journal_offset, event_index";
const MINUTE: &str = "SELECT zone_id, minute, entered, waiting, dropped, entry_limit FROM zone_minutes
    WHERE zone_id = ? ORDER BY minute DESC LIMIT 1";
const TICKETS: &str = "
    SELECT zone_number, epoch, seq, admitted_at AS at, 0 AS has_left FROM tickets WHERE zone_number = ?1 AND admitted_at IS NOT NULL
    UNION ALL
    SELECT zone_number, epoch, seq, left_at, 1 FROM tickets WHERE zone_number = ?1 AND left_at IS NOT NULL
    ORDER BY 4, 5, 2, 3";

impl Ledger {
    /// Streams an offer into `sink` as [`Self::load`] does all of them: its definition, its claims in the order of taking, its standby, and
    /// what of it is parked, each with the offer's newest version. Of a deleted one it tells only that. False: it was never defined here.
    ///
    /// # Errors
    /// The database cannot be read, or holds something that this program did not write.
    pub async fn load_offer(&self, number: u32, sink: &mut Sink<'_>) -> Result<bool, LedgerError> {
        let mut transaction = self.begin_snapshot().await?;
        let snapshot = &mut transaction.connection();
        let action = LedgerError::sql("load an offer");
        let found = query(OFFER).bind(number).fetch_optional(snapshot).await.map_err(&action)?;
        let Some(row) = found else {
            let gone = query("SELECT version FROM offers WHERE number = ?").bind(number).fetch_optional(snapshot).await.map_err(&action)?;
            let Some(row) = gone else { return Ok(false) };
            let version = Columns::of(&row, "offers").take::<i64>()?.cast_unsigned();
            sink(Event::Offer(OfferEvent { offer: number, version, change: OfferChange::Deleted }));
            return Ok(true);
        };
        let offer = rows::offer::offer(&row)?;
        drop(row);
        let (version, id) = (offer.version, offer.settings.id.clone());
        let mut tell = |change| sink(Event::Offer(OfferEvent { offer: number, version, change }));
        tell(OfferChange::Defined(Box::new(offer.settings)));
        load_standing(snapshot, number, version, sink).await?;
        let mut tell = |change| sink(Event::Offer(OfferEvent { offer: number, version, change }));
        let unnamed = format!("#{number}");
        each_of(query(PARKED).bind(id.as_str()).bind(&unnamed), snapshot, "load parked events", |row| {
            match parked_event(Columns::of(row, "parked_events").take()?) {
                Some(Event::Offer(event)) if event.offer == number => tell(event.change),
                // Another offer had its id, or a person edited it.
                _ => {}
            }
            Ok(())
        })
        .await?;
        transaction.rollback().await.map_err(action)?;
        Ok(true)
    }

    /// Streams a zone into `sink` as [`Self::load`] does all of them: its definition, what it reserved, its front, its last minute, admissions
    /// and leaves in the order of time. Of a deleted one it tells only that. False: it was never defined here.
    ///
    /// # Errors
    /// The database cannot be read, or holds something that this program did not write.
    pub async fn load_zone(&self, number: u32, sink: &mut Sink<'_>) -> Result<bool, LedgerError> {
        let mut transaction = self.begin_snapshot().await?;
        let snapshot = &mut transaction.connection();
        let action = LedgerError::sql("load a zone");
        let found = query(ZONE).bind(number).fetch_optional(snapshot).await.map_err(&action)?;
        let Some(row) = found else {
            let gone = query("SELECT count(*) FROM zones WHERE number = ?").bind(number).fetch_long(snapshot).await.map_err(&action)?;
            if gone > 0 {
                sink(Event::Zone(ZoneEvent { zone: number, change: ZoneChange::Deleted }));
            }
            return Ok(gone > 0);
        };
        let zone = rows::zone::zone(&row)?;
        drop(row);
        let id = zone.settings.id.clone();
        tell_zone(zone, sink);
        each_of(query(MINUTE).bind(id.as_str()), snapshot, "load minutes", |row| tell_minute(number, row, sink)).await?;
        each_of(query(TICKETS).bind(number), snapshot, "load tickets", |row| tell_ticket(row, &[number], sink)).await?;
        transaction.rollback().await.map_err(action)?;
        Ok(true)
    }
}

/// Its claims and its standby.
async fn load_standing(snapshot: &mut Connection<'_>, number: u32, version: u64, sink: &mut Sink<'_>) -> Result<(), LedgerError> {
    claims::load(snapshot, &Versions::from([(number, version)]), sink).await?;
    // The sign after a hyphen.
    let (first, end) = (format!("{number:08x}-"), format!("{number:08x}."));
    each_of(query(STANDBY).bind(&first).bind(&end), snapshot, "load standby", |row| {
        let change = OfferChange::Standby(Box::new(rows::claim::standby(row)?));
        sink(Event::Offer(OfferEvent { offer: number, version, change }));
        Ok(())
    })
    .await
}
