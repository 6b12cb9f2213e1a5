//! One zone's history: who was let in when, who left, and who stood in line meanwhile, as far as the clients themselves know.

use super::ensure;
use crate::machine::Finding;
use bunho_domain::event::{TicketNumber, ZoneChange, ZoneEvent};
use bunho_domain::line::POLL_SLACK_MS;
use bunho_domain::line::settings::ZoneSettings;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// One zone.
pub struct ZoneHistory {
    /// Its number.
    pub number: u32,
    /// As defined last.
    pub settings: ZoneSettings,
    /// Who was let in, and when.
    pub admitted: BTreeMap<TicketNumber, i64>,
    /// Who gave up a place or left.
    pub left: BTreeSet<TicketNumber>,
    window: VecDeque<i64>,
    reserved: BTreeMap<u32, u32>,
    front: BTreeMap<u32, u32>,
    /// Nobody is let in before this since the last restart.
    pub listens_until: i64,
    /// Tickets whose bearers poll as they were told, and so hold their places.
    pub present: BTreeMap<TicketNumber, Present>,
    /// Of each one let in: how many stood ahead.
    pub admitted_past: BTreeMap<TicketNumber, usize>,
}

/// A ticket that holds its place.
#[derive(Clone, Copy, Debug)]
pub struct Present {
    /// It was told its place after this record was decided.
    pub after: u64,
    /// It was told to poll by then, with the slack that everyone has.
    pub until: i64,
}

impl ZoneHistory {
    pub(super) fn new(number: u32, settings: ZoneSettings) -> Self {
        Self {
            number,
            settings,
            admitted: BTreeMap::new(),
            left: BTreeSet::new(),
            window: VecDeque::new(),
            reserved: BTreeMap::new(),
            front: BTreeMap::new(),
            listens_until: i64::MIN,
            present: BTreeMap::new(),
            admitted_past: BTreeMap::new(),
        }
    }

    /// A client was told its place at clock `clock_ms`, to poll after `period_ms`.
    pub fn holds_place(&mut self, ticket: TicketNumber, after: u64, clock_ms: i64, period_ms: u32) {
        // The engine's clock is never behind the system's, so this is not later than what the engine counts with.
        let until = clock_ms + i64::from(period_ms) + POLL_SLACK_MS;
        self.present.insert(ticket, Present { after, until });
    }

    /// A process starts with its clock at `clock_ms`: all that waited must come back first.
    pub fn restarted(&mut self, clock_ms: i64) {
        self.present.clear();
        if !self.reserved.is_empty() {
            self.listens_until = clock_ms + 2 * i64::from(self.settings.poll_interval_ms);
        }
    }

    pub(super) fn feed(&mut self, at: i64, event: &ZoneEvent, offset: u64) -> Result<(), Finding> {
        match &event.change {
            ZoneChange::Defined(settings) => {
                if settings.epoch != self.settings.epoch {
                    ensure!(settings.epoch > self.settings.epoch, "zone {} goes back to epoch {}", self.number, settings.epoch);
                    self.present.clear();
                    self.listens_until = i64::MIN;
                }
                self.settings = (**settings).clone();
            }
            ZoneChange::Reserved { epoch, upto } => {
                let before = self.reserved.insert(*epoch, *upto);
                ensure!(before.is_none_or(|before| before < *upto), "numbers up to {upto} of epoch {epoch} are reserved again");
            }
            ZoneChange::Admitted { ticket, at: admitted_at } => {
                ensure!(admitted_at.0 == at, "ticket {ticket:?} is let in at another time than its record's");
                self.admit(*ticket, at, offset)?;
            }
            ZoneChange::Left { ticket, .. } => {
                self.left.insert(*ticket);
                self.present.remove(ticket);
            }
            ZoneChange::Front { epoch, seq } => {
                let before = self.front.insert(*epoch, *seq);
                ensure!(before.is_none_or(|before| before < *seq), "the front goes back from {before:?} to {seq}");
                let mut ahead = self.present.range(..TicketNumber { epoch: *epoch, seq: *seq });
                let waits = ahead.find(|(ticket, present)| ticket.epoch == *epoch && present.after < offset && at < present.until);
                ensure!(waits.is_none(), "the front passes {seq}, but {waits:?} waits");
            }
            ZoneChange::Minute(_) | ZoneChange::Deleted => {}
        }
        Ok(())
    }

    fn admit(&mut self, ticket: TicketNumber, at: i64, offset: u64) -> Result<(), Finding> {
        let zone = &self.settings;
        let name = format!("ticket {}-{} of zone {}", ticket.epoch, ticket.seq, zone.id);
        ensure!(ticket.epoch == zone.epoch, "{name} is let in in epoch {}", zone.epoch);
        ensure!(!self.left.contains(&ticket), "{name} is let in after it left");
        ensure!(self.reserved.get(&ticket.epoch).is_some_and(|upto| ticket.seq < *upto), "{name} has no reserved number");
        ensure!(self.front.get(&ticket.epoch).is_none_or(|front| *front <= ticket.seq), "{name} is let in from behind the front");
        ensure!(!zone.paused, "{name} is let in though the zone is paused");
        ensure!(at >= self.listens_until, "{name} is let in at {at}, while the line listens until {}", self.listens_until);
        let window_ms = i64::from(zone.window_seconds) * 1_000;
        while self.window.front().is_some_and(|oldest| at - oldest >= window_ms.max(60_000)) {
            self.window.pop_front();
        }
        let entered = self.window.iter().filter(|entry| at - **entry < window_ms).count();
        let past = self.present.range(..ticket);
        let past = past.filter(|(other, present)| other.epoch == ticket.epoch && present.after < offset && at < present.until).count();
        if let Some(limit) = zone.entry_limit_per_minute {
            let limit = limit as usize;
            ensure!(entered < limit, "{name} is the {}th let in within {window_ms} ms, {limit} may be", entered + 1);
            ensure!(entered + past < limit, "{name} is let in past {past} who stand ahead, where {limit} may enter and {entered} have");
        }
        if let Some(limit) = zone.active_limit {
            let session_ms = i64::from(zone.session_seconds) * 1_000;
            let inside = self.admitted.iter().filter(|(other, since)| at - **since < session_ms && !self.left.contains(other)).count();
            ensure!(inside < limit as usize, "{name} is the {}th inside, {limit} may be", inside + 1);
        }
        let earlier = self.admitted.insert(ticket, at);
        ensure!(earlier.is_none(), "{name} is let in at {at}, and was at {earlier:?}");
        self.window.push_back(at);
        self.present.remove(&ticket);
        self.admitted_past.insert(ticket, past);
        Ok(())
    }
}
