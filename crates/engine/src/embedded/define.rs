//! Creating, editing and deleting zones and offers.
//!
//! One lock serialises these, so that what a definition refers to cannot vanish while it is checked, and
//! numbers are given once. What was defined is recorded in the journal together with its audit entry.

use super::{Embedded, GuardedZone, OfferCell, ZoneCell, until_durable};
use crate::Decided;
use crate::error::EngineError;
use crate::references::{self, Named};
use bunho_domain::event::{ZoneChange, ZoneEvent};
use bunho_domain::ids::{OfferId, ZoneId};
use bunho_domain::line::Line;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Offer, Step};
use bunho_journal::{Audit, Commit, crash_point};
use std::sync::Arc;

impl Embedded {
    pub(crate) async fn put_offer(&self, settings: OfferSettings, if_revision: Option<u32>, audit: Audit) -> Decided<bool> {
        let (decided, commit) = self.put_offer_locked(settings, if_revision, &audit)?;
        until_durable(commit).await?;
        Ok(decided)
    }

    fn put_offer_locked(
        &self,
        mut settings: OfferSettings,
        if_revision: Option<u32>,
        audit: &Audit,
    ) -> Result<(Result<bool, bunho_domain::offer::refusal::Refusal>, Option<Commit>), EngineError> {
        self.check_journal()?;
        let mut numbers = self.numbers.lock();
        self.check_offer_references(&settings)?;
        let zone = settings.zone.clone();
        if let Ok(cell) = self.offer_cell(&settings.id) {
            let (decided, commit) = self.locked(&cell, Some(audit), |offer, step| {
                let current = offer.settings().revision;
                if if_revision.is_some_and(|revision| revision != current) {
                    return Err(EngineError::Conflict { current });
                }
                Ok(offer.define(settings, step))
            })?;
            let decided = decided?;
            if decided.is_ok() {
                crash_point!("engine::offer_redefined");
                cell.zone.store(Arc::new(zone));
            }
            return Ok((decided.map(|()| false), commit));
        }
        if if_revision.is_some() {
            return Err(EngineError::UnknownOffer);
        }
        let now = self.clock.now();
        numbers.offer += 1;
        settings.revision = 1;
        let mut offer = Offer::new(numbers.offer, settings);
        let mut events = Vec::new();
        offer.create(&mut Step { now, grants: None, events: &mut events });
        let commit = self.record(now, &events, Some(audit));
        crash_point!("engine::offer_created");
        self.insert_offer(offer, Some(commit.clone()));
        Ok((Ok(true), Some(commit)))
    }

    /// Makes an offer known. Copies the registry: edits are rare, and who looks things up takes no lock.
    fn insert_offer(&self, offer: Offer, last: Option<Commit>) {
        let mut offers = (**self.offers.load()).clone();
        offers.insert(offer, last);
        self.offers.store(Arc::new(offers));
    }

    pub(crate) async fn delete_offer(&self, id: &OfferId, audit: Audit) -> Decided<()> {
        let (decided, commit) = {
            let _numbers = self.numbers.lock();
            let cell = self.offer_cell(id)?;
            if self.zones.load().by_id.values().any(|zone| zone.settings.load().offer.as_ref() == Some(id)) {
                return Err(EngineError::InUse("a zone is tied to it"));
            }
            let offers = self.offers.load_full();
            if offers.by_id.values().any(|other| other.guarded.lock().offer.settings().grants.as_ref() == Some(id)) {
                return Err(EngineError::InUse("another offer grants it"));
            }
            let (decided, commit) = self.locked(&cell, Some(&audit), Offer::delete)?;
            if decided.is_ok() {
                crash_point!("engine::offer_deleted");
                let number = cell.guarded.lock().offer.number();
                let mut offers = (*offers).clone();
                offers.by_id.remove(id);
                offers.by_number.remove(&number);
                self.offers.store(Arc::new(offers));
            }
            (decided, commit)
        };
        until_durable(commit).await?;
        Ok(decided)
    }

    fn check_offer_references(&self, settings: &OfferSettings) -> Result<(), EngineError> {
        let offers = self.offers.load();
        // Copied, so that no two offers are locked at once.
        let settings_of = |cell: &Arc<OfferCell>| cell.guarded.lock().offer.settings().clone();
        let granted = settings.grants.as_ref().and_then(|grants| offers.by_id.get(grants)).map(settings_of);
        let named = Named {
            zone_exists: settings.zone.as_ref().is_some_and(|zone| self.zone_cell(zone).is_ok()),
            granted: granted.as_ref(),
            is_granted: offers.by_id.values().any(|other| other.guarded.lock().offer.settings().grants.as_ref() == Some(&settings.id)),
        };
        references::check_offer(settings, &named)
    }

    pub(crate) async fn put_zone(&self, settings: ZoneSettings, if_revision: Option<u32>, audit: Audit) -> Result<bool, EngineError> {
        let (created, commit) = self.put_zone_locked(settings, if_revision, &audit)?;
        until_durable(commit).await?;
        Ok(created)
    }

    fn put_zone_locked(
        &self,
        mut settings: ZoneSettings,
        if_revision: Option<u32>,
        audit: &Audit,
    ) -> Result<(bool, Option<Commit>), EngineError> {
        self.check_journal()?;
        let mut numbers = self.numbers.lock();
        if let Some(offer) = &settings.offer
            && self.offer_cell(offer).is_err()
        {
            return Err(EngineError::Reference { field: "offer", reason: "must name an offer that exists" });
        }
        if let Ok(cell) = self.zone_cell(&settings.id) {
            let mut guarded = cell.lock()?;
            let current = guarded.line.settings().revision;
            if if_revision.is_some_and(|revision| revision != current) {
                return Err(EngineError::Conflict { current });
            }
            // Neither is a setting: pausing and resetting are actions of their own.
            settings.paused = guarded.line.settings().paused;
            settings.epoch = guarded.line.settings().epoch;
            let commit = self.redefine(&cell, &mut guarded, settings, audit);
            return Ok((false, commit));
        }
        if if_revision.is_some() {
            return Err(EngineError::UnknownZone);
        }
        let now = self.clock.now();
        numbers.zone += 1;
        settings.revision = 1;
        settings.epoch = 1;
        let number = numbers.zone;
        let mut line = Line::new(number, settings.clone(), self.nonce(), now);
        let mut events = vec![ZoneEvent { zone: number, change: ZoneChange::Defined(Box::new(settings)) }];
        line.reserve(&mut events);
        let cell = ZoneCell::new(line);
        let commit = self.record_zone(&mut cell.guarded.lock(), now, events, Some(audit));
        crash_point!("engine::zone_created");
        let mut zones = (**self.zones.load()).clone();
        zones.insert(cell);
        self.zones.store(Arc::new(zones));
        Ok((true, commit))
    }

    pub(crate) async fn pause_zone(&self, zone: &ZoneId, paused: bool, audit: Audit) -> Result<(), EngineError> {
        self.edit_zone(zone, &audit, |settings| settings.paused = paused).await
    }

    pub(crate) async fn reset_zone(&self, zone: &ZoneId, audit: Audit) -> Result<(), EngineError> {
        self.edit_zone(zone, &audit, |settings| settings.epoch += 1).await
    }

    async fn edit_zone(&self, zone: &ZoneId, audit: &Audit, edit: impl FnOnce(&mut ZoneSettings)) -> Result<(), EngineError> {
        self.check_journal()?;
        let commit = {
            let _numbers = self.numbers.lock();
            let cell = self.zone_cell(zone)?;
            let mut guarded = cell.lock()?;
            let mut settings = guarded.line.settings().clone();
            edit(&mut settings);
            self.redefine(&cell, &mut guarded, settings, audit)
        };
        until_durable(commit).await
    }

    fn redefine(&self, cell: &ZoneCell, guarded: &mut GuardedZone, mut settings: ZoneSettings, audit: &Audit) -> Option<Commit> {
        let now = self.clock.now();
        settings.revision = guarded.line.settings().revision + 1;
        let tied_before = guarded.line.settings().offer.clone();
        let mut events = Vec::new();
        guarded.line.define(settings, now, &mut events);
        guarded.line.reserve(&mut events);
        crash_point!("engine::zone_redefined");
        cell.settings.store(Arc::new(guarded.line.settings().clone()));
        if tied_before != guarded.line.settings().offer {
            cell.left.store(-1, std::sync::atomic::Ordering::Relaxed);
        }
        self.record_zone(guarded, now, events, Some(audit))
    }

    pub(crate) async fn delete_zone(&self, id: &ZoneId, audit: Audit) -> Result<(), EngineError> {
        self.check_journal()?;
        let commit = {
            let _numbers = self.numbers.lock();
            let cell = self.zone_cell(id)?;
            let offers = self.offers.load();
            if offers.by_id.values().any(|offer| (**offer.zone.load()).as_ref() == Some(id)) {
                return Err(EngineError::InUse("an offer wants its pass"));
            }
            let mut guarded = cell.lock()?;
            if guarded.line.has_live() {
                return Err(EngineError::InUse("people wait or are inside"));
            }
            let events = vec![ZoneEvent { zone: cell.number, change: ZoneChange::Deleted }];
            let commit = self.record_zone(&mut guarded, self.clock.now(), events, Some(&audit));
            crash_point!("engine::zone_deleted");
            guarded.deleted = true;
            let mut zones = (**self.zones.load()).clone();
            zones.by_id.remove(id);
            self.zones.store(Arc::new(zones));
            commit
        };
        until_durable(commit).await
    }
}
