//! Creating, editing and deleting zones and offers, on one node at a time.
//!
//! An edit holds the directory's lock, so that what a definition refers to does not vanish while it is checked. The lock is politeness: a node
//! that hangs loses it, and what keeps such a node from doing harm later is that Redis checks epochs and revisions, and the directory compares before it sets.
//!
//! What is made stands in the directory as `making` before Redis knows it, and as `live` after Redis and Kafka have it. A node that
//! dies in between leaves a `making` behind, which recovery finishes or takes away: see `recovery.rs`.

use super::Cluster;
use super::directory::{Known, OfferCell};
use super::redis::ZoneDeletion;
use crate::Decided;
use crate::error::EngineError;
use crate::references::{self, Named};
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::OfferSettings;
use bunho_journal::{Audit, crash_point};
use bunho_ledger::directory::{DirectoryLock, Entry, Kind, Standing};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use std::sync::Arc;

/// Offers or zones that are read at once for checking what refers to what.
const READ_AT_ONCE: usize = 64;

impl Cluster {
    pub(crate) async fn put_offer(&self, mut settings: OfferSettings, if_revision: Option<u32>, audit: Audit) -> Decided<bool> {
        let (_lock, known) = self.lock_edits().await?;
        let offers = self.all_offers(&known).await?;
        let granted = settings.grants.as_ref().and_then(|grants| offers.iter().find(|(_, other)| other.id == *grants));
        let named = Named {
            zone_exists: settings.zone.as_ref().is_some_and(|zone| known.zones.contains_key(zone)),
            granted: granted.map(|(_, settings)| settings),
            is_granted: offers.iter().any(|(_, other)| other.grants.as_ref() == Some(&settings.id)),
        };
        references::check_offer(&settings, &named)?;
        // Whoever grants has the tag of what it grants, so that both change in one step; and a tag is for good.
        let tag = granted.map(|(cell, _)| cell.place.number());
        if granted.is_some_and(|(cell, _)| cell.place.entry().tag != cell.place.number()) {
            return Err(EngineError::Reference { field: "grants", reason: "must name an offer that was not made to grant another" });
        }
        if let Some(cell) = known.offers.get(&settings.id) {
            if tag.is_some_and(|tag| tag != cell.place.entry().tag) {
                return Err(EngineError::Reference {
                    field: "grants",
                    reason: "must be what it was when the offer was made, or null: on a cluster an offer lives with what it grants",
                });
            }
            let defined = self.at_offer(cell, |home| self.decider.define(home, &settings, if_revision, &audit)).await?;
            self.show_offer(cell).await;
            self.until_in_ledger().await?;
            return Ok(defined.map(|()| false));
        }
        if if_revision.is_some() {
            return Err(EngineError::UnknownOffer);
        }
        settings.revision = 1;
        let entry = self.add(Kind::Offer, settings.id.as_str(), tag).await?;
        self.decider.create((&entry).into(), &settings, &audit).await?;
        self.went_live(&entry).await?;
        self.until_in_ledger().await?;
        Ok(Ok(true))
    }

    pub(crate) async fn restock(&self, offer: &OfferId, delta: i64, audit: Audit) -> Decided<()> {
        let cell = self.directory.offer(offer).await?;
        let restocked = self.at_offer(&cell, |home| self.decider.restock(home, delta, &audit)).await?;
        self.show_offer(&cell).await;
        self.until_in_ledger().await?;
        Ok(restocked)
    }

    pub(crate) async fn close_offer(&self, offer: &OfferId, audit: Audit) -> Decided<()> {
        let cell = self.directory.offer(offer).await?;
        let closed = self.at_offer(&cell, |home| self.decider.close(home, &audit)).await?;
        self.show_offer(&cell).await;
        self.until_in_ledger().await?;
        Ok(closed)
    }

    pub(crate) async fn delete_offer(&self, id: &OfferId, audit: Audit) -> Decided<()> {
        let (_lock, known) = self.lock_edits().await?;
        let cell = known.offers.get(id).cloned().ok_or(EngineError::UnknownOffer)?;
        if self.all_zones(&known).await?.iter().any(|zone| zone.offer.as_ref() == Some(id)) {
            return Err(EngineError::InUse("a zone is tied to it"));
        }
        if self.all_offers(&known).await?.iter().any(|(_, other)| other.grants.as_ref() == Some(id)) {
            return Err(EngineError::InUse("another offer grants it"));
        }
        let deleted = self.at_offer(&cell, |home| self.decider.delete(home, &audit)).await?;
        if deleted.is_ok() {
            let entry = cell.place.entry();
            self.is_deleted(&entry).await?;
            if let Err(error) = self.decider.forget((&*entry).into()).await {
                tracing::warn!(offer = id.as_str(), %error, "what is left of a deleted offer stays in Redis");
            }
        }
        self.until_in_ledger().await?;
        Ok(deleted)
    }

    pub(crate) async fn put_zone(&self, mut settings: ZoneSettings, if_revision: Option<u32>, audit: Audit) -> Result<bool, EngineError> {
        let (_lock, known) = self.lock_edits().await?;
        if settings.offer.as_ref().is_some_and(|offer| !known.offers.contains_key(offer)) {
            return Err(EngineError::Reference { field: "offer", reason: "must name an offer that exists" });
        }
        if known.zones.contains_key(&settings.id) {
            let id = settings.id.clone();
            let edit = |current: &ZoneSettings| {
                // Neither is a setting: pausing and resetting are actions of their own.
                settings.paused = current.paused;
                settings.epoch = current.epoch;
                settings
            };
            self.edit_zone(&id, if_revision, &audit, edit).await?;
            return Ok(false);
        }
        if if_revision.is_some() {
            return Err(EngineError::UnknownZone);
        }
        settings.revision = 1;
        settings.epoch = 1;
        let entry = self.add(Kind::Zone, settings.id.as_str(), None).await?;
        self.decider.create_zone((&entry).into(), &settings, &audit).await?;
        self.went_live(&entry).await?;
        self.until_in_ledger().await?;
        Ok(true)
    }

    pub(crate) async fn pause_zone(&self, zone: &ZoneId, paused: bool, audit: Audit) -> Result<(), EngineError> {
        let _lock = self.lock_edits().await?;
        self.edit_zone(zone, None, &audit, |current| ZoneSettings { paused, ..current.clone() }).await
    }

    pub(crate) async fn reset_zone(&self, zone: &ZoneId, audit: Audit) -> Result<(), EngineError> {
        let _lock = self.lock_edits().await?;
        self.edit_zone(zone, None, &audit, |current| ZoneSettings { epoch: current.epoch + 1, ..current.clone() }).await
    }

    /// Under the lock, so that the revision that was read is the one that is replaced; if it is not, somebody's lock was lost.
    async fn edit_zone(
        &self,
        zone: &ZoneId,
        if_revision: Option<u32>,
        audit: &Audit,
        edit: impl FnOnce(&ZoneSettings) -> ZoneSettings,
    ) -> Result<(), EngineError> {
        let cell = self.directory.zone(zone).await?;
        let current = self.read_zone(&cell).await?.settings;
        if if_revision.is_some_and(|revision| revision != current.revision) {
            return Err(EngineError::Conflict { current: current.revision });
        }
        let settings = ZoneSettings { revision: current.revision + 1, ..edit(&current) };
        self.at_zone(&cell, |home| self.decider.define_zone(home, &settings, Some(current.revision), audit)).await?;
        // As in `show_offer`.
        let _ = self.read_zone(&cell).await;
        self.until_in_ledger().await
    }

    pub(crate) async fn delete_zone(&self, id: &ZoneId, audit: Audit) -> Result<(), EngineError> {
        let (_lock, known) = self.lock_edits().await?;
        let cell = known.zones.get(id).cloned().ok_or(EngineError::UnknownZone)?;
        if self.all_offers(&known).await?.iter().any(|(_, offer)| offer.zone.as_ref() == Some(id)) {
            return Err(EngineError::InUse("an offer wants its pass"));
        }
        if self.at_zone(&cell, |home| self.decider.delete_zone(home, &audit)).await? == ZoneDeletion::InUse {
            return Err(EngineError::InUse("people wait or are inside"));
        }
        let entry = cell.place.entry();
        self.is_deleted(&entry).await?;
        if let Err(error) = self.decider.forget_zone((&*entry).into()).await {
            tracing::warn!(zone = id.as_str(), %error, "what is left of a deleted zone stays in Redis");
        }
        self.until_in_ledger().await
    }

    /// Shows what an edit did. That is done, whether it can be read at the moment or not: the background reads it within a second.
    async fn show_offer(&self, cell: &OfferCell) {
        let _ = self.read_offer(cell).await;
    }

    /// The lock, and what the directory says under it.
    async fn lock_edits(&self) -> Result<(DirectoryLock, Arc<Known>), EngineError> {
        let lock = self.ledger.directory_lock().await.map_err(EngineError::unavailable)?;
        self.directory.refresh().await?;
        Ok((lock, self.directory.known()))
    }

    async fn add(&self, kind: Kind, id: &str, tag: Option<u32>) -> Result<Entry, EngineError> {
        let added = self.ledger.directory_add(kind, id, tag).await.map_err(EngineError::unavailable)?;
        crash_point!("cluster::listed");
        added.ok_or_else(|| EngineError::unavailable("another edit under this name has not ended"))
    }

    async fn went_live(&self, entry: &Entry) -> Result<(), EngineError> {
        crash_point!("cluster::made");
        let changed = self.ledger.directory_change(entry, Standing::Live, entry.epoch).await.map_err(EngineError::indeterminate)?;
        if !changed {
            return Err(EngineError::indeterminate("another node has finished or undone it"));
        }
        self.directory.refresh().await.map_err(EngineError::indeterminate)
    }

    async fn is_deleted(&self, entry: &Entry) -> Result<(), EngineError> {
        crash_point!("cluster::deleted");
        self.ledger.directory_change(entry, Standing::Deleted, entry.epoch).await.map_err(EngineError::indeterminate)?;
        crash_point!("cluster::delisted");
        self.directory.refresh().await.map_err(EngineError::indeterminate)
    }

    /// Every offer's settings, as Redis has them now.
    async fn all_offers(&self, known: &Known) -> Result<Vec<(Arc<OfferCell>, OfferSettings)>, EngineError> {
        let mut reads = Vec::with_capacity(known.offers.len());
        for cell in known.offers.values() {
            reads.push(self.offer_settings(cell));
        }
        stream::iter(reads).buffer_unordered(READ_AT_ONCE).try_collect().await
    }

    async fn offer_settings(&self, cell: &Arc<OfferCell>) -> Result<(Arc<OfferCell>, OfferSettings), EngineError> {
        Ok((cell.clone(), self.read_offer(cell).await?.settings))
    }

    async fn all_zones(&self, known: &Known) -> Result<Vec<Arc<ZoneSettings>>, EngineError> {
        let mut reads = Vec::with_capacity(known.zones.len());
        for cell in known.zones.values() {
            reads.push(self.read_zone(cell));
        }
        stream::iter(reads).buffer_unordered(READ_AT_ONCE).map_ok(|report| report.settings).try_collect().await
    }
}
