//! One offer or one zone, for an engine that recovers just that.

use super::{Sink, each_of, tell_minute, tell_ticket, tell_zone};
use crate::error::LedgerError;
use crate::ledger::Ledger;
use crate::projector::parked_event;
use crate::rows::claim::standby_columns;
use crate::rows::offer::offer_columns;
use crate::rows::zone::zone_columns;
use crate::rows::{self, Columns};
use crate::sql::{Connection, query};
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::offer::settings::OfferSettings;

const OFFER: &str = concat!("SELECT ", offer_columns!(), " FROM offers WHERE number = ? AND deleted_at IS NULL");
const ZONE: &str = concat!("SELECT ", zone_columns!(), " FROM zones WHERE number = ? AND deleted_at IS NULL");
/// Ids begin with the offer's number, and are the primary key.
const STANDBY: &str = concat!("SELECT ", standby_columns!(), " FROM standby WHERE id >= ? AND id < ? ORDER BY id");
const PARKED: &str =
    "SELECT payload FROM parked_events WHERE resolved_at IS NULL AND offer_id IN (?, ?) ORDER BY journal_offset, event_index";
const ALL_PARKED: &str = "SELECT payload FROM parked_events WHERE resolved_at IS NULL AND reason <> 'unreadable'";
const MINUTE: &str = "SELECT zone_id, minute, entered, waiting, dropped, entry_limit FROM zone_minutes
    WHERE zone_id = ? ORDER BY minute DESC LIMIT 1";
const TICKETS: &str = "
    SELECT zone_number, epoch, seq, admitted_at AS at, 0 AS has_left FROM tickets WHERE zone_number = ?1 AND admitted_at IS NOT NULL
    UNION ALL
    SELECT zone_number, epoch, seq, left_at, 1 FROM tickets WHERE zone_number = ?1 AND left_at IS NOT NULL
    ORDER BY 4, 5, 2, 3";

/// What the ledger has under an offer's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// An offer.
    Offer(Box<LoadedOffer>),
    /// Its definition was refused and waits to be mended: there was, and is, such an offer.
    Parked,
    /// It was deleted, or never defined here.
    Gone,
}

/// What the ledger has of an offer, besides its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedOffer {
    /// Of the newest event about it.
    pub version: u64,
    /// Its definition.
    pub settings: OfferSettings,
    /// Its standby, and what of it is parked: that has happened all the same. All with `version`.
    pub events: Vec<OfferEvent>,
    /// Nothing of it is parked.
    pub is_whole: bool,
}

impl Ledger {
    /// An offer without its claims, for which there is [`Self::claims_between`].
    ///
    /// # Errors
    /// The database cannot be read, or holds something that this program did not write.
    pub async fn load_offer(&self, number: u32) -> Result<Loaded, LedgerError> {
        let mut transaction = self.begin_snapshot().await?;
        let snapshot = &mut transaction.connection();
        let action = LedgerError::sql("load an offer");
        let Some(row) = query(OFFER).bind(number).fetch_optional(snapshot).await.map_err(&action)? else {
            return if is_parked(snapshot, number).await? { Ok(Loaded::Parked) } else { Ok(Loaded::Gone) };
        };
        let offer = rows::offer::offer(&row)?;
        drop(row);
        let mut loaded = LoadedOffer { version: offer.version, settings: offer.settings, events: Vec::new(), is_whole: true };
        let event = |change| OfferEvent { offer: number, version: offer.version, change };
        // The sign after a hyphen.
        let (first, end) = (format!("{number:08x}-"), format!("{number:08x}."));
        each_of(query(STANDBY).bind(&first).bind(&end), snapshot, "load standby", |row| {
            loaded.events.push(event(OfferChange::Standby(Box::new(rows::claim::standby(row)?))));
            Ok(())
        })
        .await?;
        let unnamed = format!("#{number}");
        each_of(query(PARKED).bind(loaded.settings.id.as_str()).bind(&unnamed), snapshot, "load parked events", |row| {
            match parked_event(Columns::of(row, "parked_events").take()?) {
                Some(Event::Offer(parked)) if parked.offer == number => {
                    loaded.events.push(event(parked.change));
                    loaded.is_whole = false;
                }
                // Another offer had its id, or a person edited it.
                _ => {}
            }
            Ok(())
        })
        .await?;
        transaction.rollback().await.map_err(action)?;
        Ok(Loaded::Offer(Box::new(loaded)))
    }

    /// Streams a zone into `sink` as [`Self::load`] does all of them: its definition, what it reserved, its front, its last minute, admissions
    /// and leaves in the order of time. False: it was deleted, or never defined here.
    ///
    /// # Errors
    /// The database cannot be read, or holds something that this program did not write.
    pub async fn load_zone(&self, number: u32, sink: &mut Sink<'_>) -> Result<bool, LedgerError> {
        let mut transaction = self.begin_snapshot().await?;
        let snapshot = &mut transaction.connection();
        let action = LedgerError::sql("load a zone");
        let Some(row) = query(ZONE).bind(number).fetch_optional(snapshot).await.map_err(&action)? else { return Ok(false) };
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

/// Whether something of an offer that has no row is parked.
async fn is_parked(snapshot: &mut Connection<'_>, number: u32) -> Result<bool, LedgerError> {
    let action = LedgerError::sql("load an offer");
    let rows = query("SELECT count(*) FROM offers WHERE number = ?").bind(number).fetch_long(snapshot).await.map_err(action)?;
    let mut found = false;
    if rows == 0 {
        each_of(query(ALL_PARKED), snapshot, "load parked events", |row| {
            let event = parked_event(Columns::of(row, "parked_events").take()?);
            found |= matches!(event, Some(Event::Offer(event)) if event.offer == number);
            Ok(())
        })
        .await?;
    }
    Ok(found)
}
