//! Bringing a line back that Redis has lost or that is behind the journal: what events told, as commands of bounded length.
//!
//! Waiting is not written down: the tickets carry it. What must not be forgotten is gathered here from the ledger and the journal, in any order and any
//! number of times, as `bunho_domain::line::Line::replay` does it, and then told to the script.

use super::{AdmittedFact, Command, FACTS_MOST};
use bunho_domain::event::{TicketNumber, ZoneChange};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::time::Millis;
use std::collections::{BTreeMap, BTreeSet};

/// What is known of one zone.
#[derive(Clone, Debug)]
pub struct Facts {
    settings: ZoneSettings,
    version: u64,
    admitted: BTreeMap<TicketNumber, Millis>,
    left: BTreeSet<TicketNumber>,
    reserved: Option<(u32, u32)>,
    front: Option<(u32, u32)>,
    minute: Option<Millis>,
}

/// The same, sorted for sending.
#[derive(Clone, Debug)]
pub struct Sorted {
    settings: ZoneSettings,
    version: u64,
    reserved: u32,
    front: u32,
    minute: Option<Millis>,
    admitted: Vec<AdmittedFact>,
    left: Vec<u32>,
}

impl Facts {
    /// Nothing but settings, and the zone's version in the journal.
    #[must_use]
    pub const fn new(settings: ZoneSettings, version: u64) -> Self {
        Self { settings, version, admitted: BTreeMap::new(), left: BTreeSet::new(), reserved: None, front: None, minute: None }
    }

    /// Takes in what happened.
    pub fn take(&mut self, change: &ZoneChange) {
        match change {
            ZoneChange::Defined(settings) => {
                if (settings.epoch, settings.revision) >= (self.settings.epoch, self.settings.revision) {
                    self.settings = (**settings).clone();
                }
            }
            ZoneChange::Reserved { epoch, upto } => self.reserved = self.reserved.max(Some((*epoch, *upto))),
            ZoneChange::Admitted { ticket, at } => {
                self.admitted.insert(*ticket, *at);
            }
            ZoneChange::Left { ticket, .. } => {
                self.left.insert(*ticket);
            }
            ZoneChange::Minute(row) => self.minute = self.minute.max(Some(row.minute)),
            ZoneChange::Front { epoch, seq } => self.front = self.front.max(Some((*epoch, *seq))),
            ZoneChange::Deleted => {}
        }
    }

    /// Where the clock that dated these facts was ahead of Redis's: what it dated later than `now` counts as of now.
    pub fn redate(&mut self, now: Millis) {
        self.minute = self.minute.map(|minute| minute.min(now));
        for at in self.admitted.values_mut() {
            *at = (*at).min(now);
        }
    }

    /// In the order in which they are sent.
    #[must_use]
    pub fn sorted(self) -> Sorted {
        let epoch = self.settings.epoch;
        let of_this_epoch = |told: Option<(u32, u32)>| told.filter(|(of, _)| *of == epoch).map_or(0, |(_, number)| number);
        let fact = |(ticket, at): (&TicketNumber, &Millis)| AdmittedFact { ticket: *ticket, at: *at, left: self.left.contains(ticket) };
        let mut admitted: Vec<AdmittedFact> = self.admitted.iter().map(fact).collect();
        admitted.sort_by_key(|fact| fact.at);
        Sorted {
            version: self.version,
            reserved: of_this_epoch(self.reserved),
            front: of_this_epoch(self.front),
            minute: self.minute,
            admitted,
            left: self.left.iter().filter(|ticket| ticket.epoch == epoch).map(|ticket| ticket.seq).collect(),
            settings: self.settings,
        }
    }
}

impl Sorted {
    /// The latest that the journal has.
    #[must_use]
    pub const fn settings(&self) -> &ZoneSettings {
        &self.settings
    }

    /// The commands to a suspended zone, each a run of its own, the last of which lets it go on. `now` is for a zone that knows no later time.
    pub fn commands(&self, now: Millis) -> impl Iterator<Item = Command<'_>> {
        let restore = Command::Restore {
            settings: &self.settings,
            reserved: self.reserved,
            front: self.front,
            latest: self.admitted.last().map_or(now, |fact| fact.at.max(now)),
            minute: self.minute,
            version: self.version,
        };
        let admitted = self.admitted.chunks(FACTS_MOST).map(Command::Admitted);
        let left = self.left.chunks(FACTS_MOST).map(Command::Left);
        std::iter::once(restore).chain(admitted).chain(left).chain(std::iter::once(Command::Recover))
    }
}
