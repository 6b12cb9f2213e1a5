//! What operators do to an offer: create, edit, restock, close, delete.

use super::refusal::Refusal;
use super::settings::OfferSettings;
use super::{Offer, OfferState, Step};
use crate::event::OfferChange;
use crate::limits::QUANTITY_MAX;

impl Offer {
    /// Emits the event that creates it; once, for an offer made by [`Offer::new`].
    pub fn create(&mut self, step: &mut Step<'_>) {
        self.emit(OfferChange::Defined(Box::new(self.settings.clone())), step);
    }

    /// Replaces the settings. The caller has checked them by themselves with [`OfferSettings::check`].
    ///
    /// # Errors
    /// [`Refusal::QuantityTaken`] when fewer units would be left than are taken; [`Refusal::InUse`] when passes are to take one claim each while
    /// people wait on standby, who would be served without any.
    pub fn define(&mut self, mut settings: OfferSettings, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        let taken = self.taken();
        if settings.quantity < taken {
            return Err(Refusal::QuantityTaken { taken });
        }
        if settings.pass_once && self.waits.count > 0 {
            return Err(Refusal::InUse);
        }
        settings.revision = self.settings.revision + 1;
        // Who waits is served by the next settling: what this edit grants is then locked, not what the old one did.
        self.emit(OfferChange::Defined(Box::new(settings)), step);
        Ok(())
    }

    /// Adds units, or takes away units that nobody has.
    ///
    /// # Errors
    /// [`Refusal::QuantityTaken`] below what is taken; [`Refusal::QuantityInvalid`] above [`QUANTITY_MAX`].
    pub fn restock(&mut self, delta: i64, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        let taken = self.taken();
        let quantity = i64::from(self.settings.quantity).saturating_add(delta);
        if quantity < i64::from(taken) {
            return Err(Refusal::QuantityTaken { taken });
        }
        let quantity = u32::try_from(quantity).ok().filter(|&quantity| quantity <= QUANTITY_MAX);
        self.set_quantity(quantity.ok_or(Refusal::QuantityInvalid { min: taken, max: QUANTITY_MAX })?, step);
        self.serve_waiting(step);
        Ok(())
    }

    /// Ends it now. Holds can still be confirmed until their deadline. Twice, too.
    pub fn close(&mut self, step: &mut Step<'_>) {
        self.settle_all(step);
        if self.settings.closes_at.is_none_or(|closes_at| closes_at > step.now) {
            let mut settings = self.settings.clone();
            settings.closes_at = Some(step.now);
            // An offer that is closed before it opened never opens.
            settings.opens_at = settings.opens_at.filter(|&opens_at| opens_at <= step.now);
            settings.revision += 1;
            self.emit(OfferChange::Defined(Box::new(settings)), step);
        }
    }

    /// Deletes it.
    ///
    /// # Errors
    /// [`Refusal::InUse`] while units are taken, or people wait on the standby of an offer that is not closed.
    pub fn delete(&mut self, step: &mut Step<'_>) -> Result<(), Refusal> {
        self.settle_all(step);
        if self.taken() > 0 || (self.waits.count > 0 && self.state_at(step.now) != OfferState::Closed) {
            return Err(Refusal::InUse);
        }
        self.emit(OfferChange::Deleted, step);
        Ok(())
    }

    pub(super) fn set_quantity(&mut self, quantity: u32, step: &mut Step<'_>) {
        let mut settings = self.settings.clone();
        settings.quantity = quantity;
        settings.revision += 1;
        self.emit(OfferChange::Defined(Box::new(settings)), step);
    }
}
