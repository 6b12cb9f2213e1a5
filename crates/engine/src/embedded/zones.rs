//! Joining, polling and leaving a zone's line.

use super::{Embedded, GuardedZone, ZoneCell, until_durable};
use crate::bulkhead::InFlight;
use crate::error::EngineError;
use crate::types::{Entry, Subject, ZoneReport};
use bunho_domain::event::{Event, ZoneChange, ZoneEvent};
use bunho_domain::ids::ZoneId;
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::line::{Answer, Join, JoinOutcome, OfferLeft, Poll, PollRefusal};
use bunho_domain::ticket::{KeyHash, Ticket};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Commit, crash_point};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Embedded {
    pub(crate) async fn join(&self, zone: &ZoneId, client_key: Option<&str>) -> Result<Entry, EngineError> {
        let cell = self.zone_cell(zone)?;
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        let join = Join {
            nonce: client_key.map_or_else(|| self.nonce(), |key| self.ticket_keys.load().client_nonce(zone, key)),
            keyed: client_key.is_some(),
        };
        loop {
            self.check_journal()?;
            let (outcome, commit, reservation) = {
                let mut guarded = cell.lock()?;
                let now = self.clock.now();
                self.take_reservation(&mut guarded);
                let mut events = Vec::new();
                guarded.line.reserve(&mut events);
                let outcome = guarded.line.join(join, cell.left(), now, &mut events);
                crash_point!("engine::joined");
                self.record_zone(&mut guarded, now, events, None);
                (outcome, guarded.last.clone(), guarded.reservation.as_ref().map(|(commit, ..)| commit.clone()))
            };
            let issued = match outcome {
                JoinOutcome::Issued(issued) => issued,
                JoinOutcome::Unreserved => {
                    // Without a reservation under way the numbers of this epoch are used up, all 2^32: a reset gives new ones.
                    let reservation = reservation.ok_or(EngineError::Overloaded)?;
                    until_durable(Some(reservation)).await?;
                    continue;
                }
            };
            if matches!(issued.answer, Answer::Admitted(_)) {
                until_durable(commit).await?;
            }
            let bound_to = client_key.filter(|_| cell.settings.load().door.pass_bound).map(KeyHash::of);
            let ticket =
                Ticket { zone_number: cell.number, number: issued.number, issued_at: issued.issued_at, nonce: issued.nonce, bound_to };
            let subject = Subject { zone: cell.number, ticket: issued.number, bound_to };
            return Ok(cell.entry(Some(self.ticket_keys.load().encode(&ticket, zone)), subject, issued.answer));
        }
    }

    pub(crate) async fn poll(&self, zone: &ZoneId, token: &str) -> Result<Entry, EngineError> {
        let cell = self.zone_cell(zone)?;
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        let (poll, bound_to) = self.read_ticket(&cell, zone, token)?;
        self.check_journal()?;
        let (answer, commit) = {
            let mut guarded = cell.lock()?;
            let now = self.clock.now();
            let mut events = Vec::new();
            let answer = guarded.line.poll(poll, cell.left(), now, &mut events);
            crash_point!("engine::polled");
            self.record_zone(&mut guarded, now, events, None);
            // Only an admission shows what a crash could take back; who waits is told nothing that binds.
            let commit = if matches!(answer, Ok(Answer::Admitted(_))) { guarded.last.clone() } else { None };
            (answer, commit)
        };
        until_durable(commit).await?;
        match answer {
            Ok(answer) => Ok(cell.entry(None, Subject { zone: cell.number, ticket: poll.number, bound_to }, answer)),
            Err(PollRefusal::Gone) => Err(EngineError::TicketGone),
            Err(PollRefusal::TooFast { retry_ms }) => Err(EngineError::TooFast { retry_ms }),
        }
    }

    pub(crate) async fn leave(&self, zone: &ZoneId, token: &str) -> Result<(), EngineError> {
        let cell = self.zone_cell(zone)?;
        let _in_flight = InFlight::enter(&cell.in_flight, self.options.in_flight_max)?;
        let (poll, _) = self.read_ticket(&cell, zone, token)?;
        self.check_journal()?;
        let commit = {
            let mut guarded = cell.lock()?;
            let now = self.clock.now();
            let mut events = Vec::new();
            guarded.line.leave(poll, now, &mut events);
            crash_point!("engine::left");
            self.record_zone(&mut guarded, now, events, None);
            guarded.last.clone()
        };
        until_durable(commit).await
    }

    pub(crate) fn zone(&self, zone: &ZoneId) -> Result<ZoneReport, EngineError> {
        let cell = self.zone_cell(zone)?;
        let status = cell.lock()?.line.status(cell.left(), self.clock.now());
        Ok(ZoneReport { settings: cell.settings.load_full(), status })
    }

    pub(crate) fn zone_generation(&self, zone: &ZoneId) -> Result<(u32, u32), EngineError> {
        let cell = self.zone_cell(zone)?;
        Ok((cell.number, cell.settings.load().epoch))
    }

    pub(crate) fn zone_settings(&self, zone: &ZoneId) -> Result<(u32, Arc<ZoneSettings>), EngineError> {
        let cell = self.zone_cell(zone)?;
        Ok((cell.number, cell.settings.load_full()))
    }

    pub(crate) fn zones(&self) -> Vec<ZoneReport> {
        let zones = self.zones.load();
        zones.by_id.keys().filter_map(|id| self.zone(id).ok()).collect()
    }

    fn read_ticket(&self, cell: &ZoneCell, zone: &ZoneId, token: &str) -> Result<(Poll, Option<KeyHash>), EngineError> {
        let ticket = self.ticket_keys.load().decode(token, zone).map_err(|_| EngineError::TicketInvalid)?;
        // A zone deleted and made again under the same name has another number; its tickets have ended.
        if ticket.zone_number == cell.number {
            Ok((Poll { number: ticket.number, nonce: ticket.nonce, issued_at: ticket.issued_at }, ticket.bound_to))
        } else {
            Err(EngineError::TicketGone)
        }
    }

    /// Records what happened in a zone, under its lock.
    pub(super) fn record_zone(
        &self,
        guarded: &mut GuardedZone,
        now: Millis,
        events: Vec<ZoneEvent>,
        audit: Option<&Audit>,
    ) -> Option<Commit> {
        if events.is_empty() {
            return None;
        }
        let reserved = events.iter().rev().find_map(|event| match event.change {
            ZoneChange::Reserved { epoch, upto } => Some((epoch, upto)),
            _ => None,
        });
        let events: Vec<Event> = events.into_iter().map(Event::Zone).collect();
        crash_point!("engine::zone_decided");
        let commit = self.record(now, &events, audit);
        crash_point!("engine::zone_recorded");
        if let Some((epoch, upto)) = reserved {
            crash_point!("engine::reservation_recorded");
            guarded.reservation = Some((commit.clone(), epoch, upto));
        }
        guarded.last = Some(commit.clone());
        Some(commit)
    }

    /// Lets the line use sequence numbers whose reservation has become durable.
    pub(super) fn take_reservation(&self, guarded: &mut GuardedZone) {
        if let Some((_, epoch, upto)) = guarded.reservation.take_if(|(commit, ..)| commit.is_durable()) {
            guarded.line.reserved(epoch, upto);
            crash_point!("engine::reservation_taken");
        }
    }
}

impl ZoneCell {
    pub(super) fn left(&self) -> OfferLeft {
        u32::try_from(self.left.load(Ordering::Relaxed)).map_or(OfferLeft::Untied, OfferLeft::Some)
    }

    fn entry(&self, token: Option<String>, subject: Subject, answer: Answer) -> Entry {
        let remaining = match self.left() {
            OfferLeft::Some(left) => Some(left),
            OfferLeft::Untied | OfferLeft::Unknown => None,
        };
        Entry { token, subject, answer, zone: self.settings.load_full(), remaining }
    }
}
