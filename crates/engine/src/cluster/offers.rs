//! Claims, standby and stock: found by id, decided where they live.

use super::Cluster;
use super::directory::OfferCell;
use super::redis::{DecideError, Home, ReadOffer};
use crate::Decided;
use crate::error::EngineError;
use bunho_domain::claim::Claim;
use bunho_domain::ids::{ClaimId, OfferId, StandbyId, ZoneId};
use bunho_domain::offer::refusal::Refusal;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Actor, ClaimRequest, ForgetRequest, Forgotten, Restock, StandbyRequest, StandbyView, Stock, Taken};
use bunho_journal::Audit;
use std::sync::Arc;
use tokio::sync::watch;

impl Cluster {
    pub(crate) async fn claim(&self, offer: &OfferId, request: ClaimRequest<'_>) -> Decided<Taken> {
        let cell = self.directory.offer(offer).await?;
        let taken = self.at_offer(&cell, |home| self.decider.claim(home, request)).await?;
        self.until_in_ledger().await?;
        Ok(cell.refused.counted(taken))
    }

    pub(crate) async fn confirm(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        let Some(cell) = self.offer_of_claim(claim.offer_number()).await? else { return Ok(Err(Refusal::UnknownClaim)) };
        let confirmed = self.at_offer(&cell, |home| self.decider.confirm(home, actor, claim)).await?;
        self.until_in_ledger().await?;
        Ok(cell.refused.counted(confirmed))
    }

    pub(crate) async fn release(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        let Some(cell) = self.offer_of_claim(claim.offer_number()).await? else { return Ok(Err(Refusal::UnknownClaim)) };
        let released = self.at_offer(&cell, |home| self.decider.release(home, actor, claim)).await?;
        self.until_in_ledger().await?;
        Ok(cell.refused.counted(released))
    }

    pub(crate) async fn take_back(&self, claim: ClaimId, restock: Restock, audit: Audit) -> Decided<Claim> {
        let Some(cell) = self.offer_of_claim(claim.offer_number()).await? else { return Ok(Err(Refusal::UnknownClaim)) };
        let returned = self.at_offer(&cell, |home| self.decider.take_back(home, claim, restock, &audit)).await?;
        self.until_in_ledger().await?;
        Ok(returned)
    }

    pub(crate) async fn read_claim(&self, actor: Actor<'_>, claim: ClaimId) -> Decided<Claim> {
        let Some(cell) = self.offer_of_claim(claim.offer_number()).await? else { return Ok(Err(Refusal::UnknownClaim)) };
        let read = self.at_offer(&cell, |home| self.decider.read_claim(home, actor, claim)).await?;
        Ok(cell.refused.counted(read))
    }

    pub(crate) async fn join_standby(&self, offer: &OfferId, request: StandbyRequest<'_>) -> Decided<StandbyView> {
        let cell = self.directory.offer(offer).await?;
        let view = self.at_offer(&cell, |home| self.decider.join_standby(home, request)).await?;
        self.until_in_ledger().await?;
        Ok(cell.refused.counted(view))
    }

    pub(crate) async fn read_standby(&self, actor: Actor<'_>, standby: StandbyId) -> Decided<StandbyView> {
        let Some(cell) = self.offer_of_claim(standby.offer_number()).await? else { return Ok(Err(Refusal::UnknownStandby)) };
        let read = self.at_offer(&cell, |home| self.decider.read_standby(home, actor, standby)).await?;
        Ok(cell.refused.counted(read))
    }

    pub(crate) async fn leave_standby(&self, actor: Actor<'_>, standby: StandbyId) -> Decided<()> {
        let Some(cell) = self.offer_of_claim(standby.offer_number()).await? else { return Ok(Err(Refusal::UnknownStandby)) };
        let left = self.at_offer(&cell, |home| self.decider.leave_standby(home, actor, standby)).await?;
        self.until_in_ledger().await?;
        Ok(cell.refused.counted(left))
    }

    pub(crate) async fn forget(&self, number: u32, request: ForgetRequest<'_>) -> Decided<Forgotten> {
        let cell = self.directory.offer_of(number).await?;
        let forgotten = self.at_offer(&cell, |home| self.decider.forget_user(home, request)).await?;
        self.until_in_ledger().await?;
        Ok(forgotten)
    }

    pub(crate) async fn offer(&self, offer: &OfferId) -> Result<(OfferSettings, Stock), EngineError> {
        let cell = self.directory.offer(offer).await?;
        let state = self.read_offer(&cell).await?;
        Ok((state.settings, state.stock))
    }

    /// Reads an offer from Redis, settling what is due, and keeps what it said.
    pub(super) async fn read_offer(&self, cell: &OfferCell) -> Result<ReadOffer, EngineError> {
        let state = self.at_offer(cell, |home| self.decider.offer(home)).await?;
        cell.show(state.clone());
        Ok(state)
    }

    pub(crate) async fn watch_stock(&self, offer: &OfferId) -> Result<watch::Receiver<Option<Stock>>, EngineError> {
        Ok(self.directory.offer(offer).await?.stock.subscribe())
    }

    pub(crate) async fn offer_ids(&self) -> Result<Vec<OfferId>, EngineError> {
        self.directory.refresh().await?;
        Ok(self.directory.known().offers.keys().cloned().collect())
    }

    pub(crate) async fn offer_numbers(&self) -> Result<Vec<u32>, EngineError> {
        self.directory.refresh().await?;
        Ok(self.directory.known().offers_by_number.keys().copied().collect())
    }

    pub(crate) async fn offer_id(&self, number: u32) -> Result<OfferId, EngineError> {
        Ok(self.directory.offer_of(number).await?.id.clone())
    }

    pub(crate) async fn offer_number(&self, offer: &OfferId) -> Result<u32, EngineError> {
        Ok(self.directory.offer(offer).await?.place.number())
    }

    /// The zone whose pass an offer wants, as this node knows it: an edit on another node is seen within a second.
    pub(crate) async fn zone_of(&self, offer: &OfferId) -> Result<Option<ZoneId>, EngineError> {
        let cell = self.directory.offer(offer).await?;
        if let Some(state) = &*cell.shown.load() {
            return Ok(state.settings.zone.clone());
        }
        Ok(self.read_offer(&cell).await?.settings.zone)
    }

    pub(crate) async fn claims_from(&self, number: u32, from: u32, most: u32) -> Result<(Vec<Claim>, Option<u32>), EngineError> {
        let cell = match self.directory.offer_of(number).await {
            Err(EngineError::UnknownOffer) => return Ok((Vec::new(), None)),
            found => found?,
        };
        self.at_offer(&cell, |home| self.decider.claims_from(home, from, most)).await
    }

    async fn offer_of_claim(&self, number: u32) -> Result<Option<Arc<OfferCell>>, EngineError> {
        match self.directory.offer_of(number).await {
            Err(EngineError::UnknownOffer) => Ok(None),
            found => found.map(Some),
        }
    }

    pub(super) async fn at_offer<T, F>(&self, cell: &OfferCell, ask: impl Fn(Home) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, DecideError>>,
    {
        self.ask_at(&cell.place, |entry| ask(entry.into())).await
    }
}
