//! The waiting lines: found by id, decided where they live. Tickets are signed and checked here; the line in Redis knows them by number.

use super::Cluster;
use super::background::tell_line_what_is_left;
use super::directory::ZoneCell;
use super::redis::DecideError;
use super::redis::line::ZoneHome;
use crate::error::EngineError;
use crate::types::{Entry, Subject, ZoneReport};
use bunho_domain::ids::ZoneId;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Join, OfferLeft, Poll, PollRefusal};
use bunho_domain::ticket::{KeyHash, Ticket};
use std::sync::Arc;

impl Cluster {
    pub(crate) async fn join(&self, zone: &ZoneId, client_key: Option<&str>) -> Result<Entry, EngineError> {
        let cell = self.directory.zone(zone).await?;
        let join = Join {
            nonce: client_key.map_or_else(|| self.nonce(), |key| self.ticket_keys.load().client_nonce(zone, key)),
            keyed: client_key.is_some(),
        };
        let left = self.left(&cell).await;
        let issued = self.at_zone(&cell, |home| self.decider.join(home, join, left)).await?;
        let number = cell.place.number();
        let bound_to = match client_key {
            Some(key) if self.known_settings(&cell).await?.door.pass_bound => Some(KeyHash::of(key)),
            _ => None,
        };
        let ticket = Ticket { zone_number: number, number: issued.number, issued_at: issued.issued_at, nonce: issued.nonce, bound_to };
        let token = self.ticket_keys.load().encode(&ticket, zone);
        self.entry(&cell, Some(token), Subject { zone: number, ticket: issued.number, bound_to }, issued.answer).await
    }

    pub(crate) async fn poll(&self, zone: &ZoneId, token: &str) -> Result<Entry, EngineError> {
        let cell = self.directory.zone(zone).await?;
        let (poll, bound_to) = self.read_ticket(&cell, zone, token)?;
        let left = self.left(&cell).await;
        let answer = self.at_zone(&cell, |home| self.decider.poll(home, poll, left)).await?;
        match answer {
            Ok(answer) => self.entry(&cell, None, Subject { zone: cell.place.number(), ticket: poll.number, bound_to }, answer).await,
            Err(PollRefusal::Gone) => Err(EngineError::TicketGone),
            Err(PollRefusal::TooFast { retry_ms }) => Err(EngineError::TooFast { retry_ms }),
        }
    }

    pub(crate) async fn leave(&self, zone: &ZoneId, token: &str) -> Result<(), EngineError> {
        let cell = self.directory.zone(zone).await?;
        let (poll, _) = self.read_ticket(&cell, zone, token)?;
        self.at_zone(&cell, |home| self.decider.leave(home, poll)).await
    }

    pub(crate) async fn zone(&self, zone: &ZoneId) -> Result<ZoneReport, EngineError> {
        let cell = self.directory.zone(zone).await?;
        self.read_zone(&cell).await
    }

    /// Every zone that answers. One that is being restored is left out, as it has no numbers.
    pub(crate) async fn zones(&self) -> Result<Vec<ZoneReport>, EngineError> {
        self.directory.refresh().await?;
        let known = self.directory.known();
        let mut reads = Vec::with_capacity(known.zones.len());
        for cell in known.zones.values() {
            reads.push(self.read_zone(cell));
        }
        Ok(futures_util::future::join_all(reads).await.into_iter().filter_map(Result::ok).collect())
    }

    /// Reads a zone from Redis and keeps its settings.
    pub(super) async fn read_zone(&self, cell: &ZoneCell) -> Result<ZoneReport, EngineError> {
        let left = cell.left();
        let mut report = self.at_zone(cell, |home| self.decider.zone(home, left)).await?;
        let settings = Arc::new(report.settings.clone());
        cell.settings.store(Some(settings.clone()));
        if left == OfferLeft::Unknown {
            self.look_at_what_stops(&settings).await;
        }
        tell_line_what_is_left(&self.directory.known(), cell, &settings);
        let known = cell.left();
        if left == OfferLeft::Unknown && known != left {
            // The first look, which did not know of what to ask for yet.
            report = self.at_zone(cell, |home| self.decider.zone(home, known)).await?;
        }
        cell.show(report.status);
        Ok(ZoneReport { settings, status: report.status })
    }

    pub(crate) async fn zone_generation(&self, zone: &ZoneId) -> Result<(u32, u32), EngineError> {
        let cell = self.directory.zone(zone).await?;
        Ok((cell.place.number(), self.known_settings(&cell).await?.epoch))
    }

    pub(crate) async fn zone_settings(&self, zone: &ZoneId) -> Result<(u32, Arc<ZoneSettings>), EngineError> {
        let cell = self.directory.zone(zone).await?;
        Ok((cell.place.number(), self.known_settings(&cell).await?))
    }

    /// A zone's settings as this node knows them: an edit on another node is seen within a second.
    pub(super) async fn known_settings(&self, cell: &ZoneCell) -> Result<Arc<ZoneSettings>, EngineError> {
        match cell.settings.load_full() {
            Some(settings) => Ok(settings),
            None => Ok(self.read_zone(cell).await?.settings),
        }
    }

    /// What is left of the offer that stops the line, as the background keeps it; looked up where this node has not looked yet.
    async fn left(&self, cell: &ZoneCell) -> OfferLeft {
        if cell.left() == OfferLeft::Unknown
            && let Ok(settings) = self.known_settings(cell).await
        {
            self.look_at_what_stops(&settings).await;
            tell_line_what_is_left(&self.directory.known(), cell, &settings);
        }
        cell.left()
    }

    /// Reads the tied offer if this node has never done so. One that does not answer stays unknown, and the line waits.
    async fn look_at_what_stops(&self, settings: &ZoneSettings) {
        if let Some(offer) = &settings.offer
            && let Ok(offer) = self.directory.offer(offer).await
            && offer.shown.load().is_none()
            && offer.place.is_live()
        {
            let _ = self.read_offer(&offer).await;
        }
    }

    async fn entry(&self, cell: &ZoneCell, token: Option<String>, subject: Subject, answer: Answer) -> Result<Entry, EngineError> {
        let remaining = match cell.left() {
            OfferLeft::Some(left) => Some(left),
            OfferLeft::Untied | OfferLeft::Unknown => None,
        };
        Ok(Entry { token, subject, answer, zone: self.known_settings(cell).await?, remaining })
    }

    fn read_ticket(&self, cell: &ZoneCell, zone: &ZoneId, token: &str) -> Result<(Poll, Option<KeyHash>), EngineError> {
        let ticket = self.ticket_keys.load().decode(token, zone).map_err(|_| EngineError::TicketInvalid)?;
        // A zone deleted and made again under the same name has another number; its tickets have ended.
        if ticket.zone_number == cell.place.number() {
            Ok((Poll { number: ticket.number, nonce: ticket.nonce, issued_at: ticket.issued_at }, ticket.bound_to))
        } else {
            Err(EngineError::TicketGone)
        }
    }

    pub(super) async fn at_zone<T, F>(&self, cell: &ZoneCell, ask: impl Fn(ZoneHome) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, DecideError>>,
    {
        self.ask_at(&cell.place, |entry| ask(entry.into())).await
    }
}
