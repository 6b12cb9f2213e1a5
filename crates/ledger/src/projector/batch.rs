//! Many records, brought down to what has to be written: of each thing the last state, of each claim every version.

use bunho_domain::claim::{Claim, Standby};
use bunho_domain::event::{Event, OfferChange, OfferEvent, TicketNumber, ZoneChange, ZoneEvent, ZoneMinute};
use bunho_domain::ids::{ClaimId, StandbyId};
use bunho_domain::line::settings::ZoneSettings;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::time::Millis;
use bunho_journal::kafka::cloudevents;
use bunho_journal::{Audit, Record};
use std::collections::{BTreeMap, HashMap};

/// Where an event stands in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) index: u32,
    pub(crate) at: Millis,
}

/// One whole state of something, and where it came from.
#[derive(Debug)]
pub(crate) struct Placed<'a, T> {
    pub(crate) place: Place,
    pub(crate) state: &'a T,
}

// By hand, because a derive would ask the same of T.
impl<T> Clone for Placed<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Placed<'_, T> {}

/// A claim's states in this batch, oldest first; never empty.
pub(crate) struct ClaimStates<'a> {
    pub(crate) offer: u32,
    pub(crate) states: Vec<Placed<'a, Claim>>,
}

impl<'a> ClaimStates<'a> {
    /// The newest of them.
    pub(crate) fn newest(&self) -> Placed<'a, Claim> {
        self.states[self.states.len() - 1]
    }

    /// The newest of them, without its place.
    pub(crate) fn last(&self) -> &'a Claim {
        self.newest().state
    }
}

/// What happened to one offer's own row.
#[derive(Default)]
pub(crate) struct OfferDraft<'a> {
    /// Highest version of any of its events.
    pub(crate) version: u64,
    /// Its definitions with their versions, in the order of their revisions.
    pub(crate) defined: Vec<(u64, Placed<'a, OfferSettings>)>,
    pub(crate) deleted_at: Option<Millis>,
}

/// What happened to one zone's own row.
#[derive(Default)]
pub(crate) struct ZoneDraft<'a> {
    pub(crate) defined: Option<Placed<'a, ZoneSettings>>,
    /// Highest reservation: epoch, then number.
    pub(crate) reserved: Option<(u32, u32)>,
    /// Highest front: epoch, then number.
    pub(crate) front: Option<(u32, u32)>,
    pub(crate) deleted_at: Option<Millis>,
}

/// When a ticket was admitted and when it left.
#[derive(Clone, Copy, Default)]
pub(crate) struct TicketDraft {
    pub(crate) admitted_at: Option<Millis>,
    pub(crate) left_at: Option<Millis>,
}

/// Who did something.
pub(crate) struct AuditDraft<'a> {
    pub(crate) place: Place,
    pub(crate) audit: &'a Audit,
    /// The id of the message that carried it. A message may be in the topic twice, at two offsets.
    pub(crate) event: Option<String>,
}

/// Everything that one transaction writes. Ordered maps where rows go into tables in key order.
#[derive(Default)]
pub(crate) struct Batch<'a> {
    /// Offset of the last record; of no use with records of several partitions.
    pub(crate) upto: u64,
    /// Time of the latest record; the projector's `now`.
    pub(crate) at: Millis,
    pub(crate) offers: BTreeMap<u32, OfferDraft<'a>>,
    /// In the order in which they were first met.
    pub(crate) claims: Vec<ClaimStates<'a>>,
    pub(crate) claim_index: HashMap<ClaimId, usize>,
    pub(crate) standby: BTreeMap<StandbyId, Placed<'a, Standby>>,
    pub(crate) zones: BTreeMap<u32, ZoneDraft<'a>>,
    pub(crate) tickets: BTreeMap<(u32, TicketNumber), TicketDraft>,
    pub(crate) minutes: BTreeMap<(&'a str, Millis), &'a ZoneMinute>,
    pub(crate) audits: Vec<AuditDraft<'a>>,
}

impl<'a> Batch<'a> {
    /// Goes through `records` in order.
    pub(crate) fn of(records: &'a [(u64, Record)]) -> Self {
        let mut batch = Self::default();
        for (offset, record) in records {
            batch.upto = *offset;
            let place = Place { offset: *offset, index: 0, at: record.at };
            batch.add_audit(place, record.audit.as_ref(), None);
            for (index, event) in (0..).zip(&record.events) {
                batch.add(Place { index, ..place }, event);
            }
        }
        batch
    }

    /// Who did what happens next; the event where it is one that may come twice.
    pub(crate) fn add_audit(&mut self, place: Place, audit: Option<&'a Audit>, event: Option<&Event>) {
        self.at = self.at.max(place.at);
        self.audits.extend(audit.map(|audit| AuditDraft { place, audit, event: event.map(cloudevents::id) }));
    }

    /// What happened next.
    pub(crate) fn add(&mut self, place: Place, event: &'a Event) {
        match event {
            Event::Offer(event) => self.add_offer(place, event),
            Event::Zone(event) => self.add_zone(place, event),
        }
    }

    fn add_offer(&mut self, place: Place, event: &'a OfferEvent) {
        let draft = self.offers.entry(event.offer).or_default();
        draft.version = draft.version.max(event.version);
        match &event.change {
            OfferChange::Defined(settings) => {
                let at = draft.defined.partition_point(|(_, other)| other.state.revision <= settings.revision);
                draft.defined.insert(at, (event.version, Placed { place, state: &**settings }));
            }
            OfferChange::Deleted => draft.deleted_at = Some(place.at),
            OfferChange::Claim(claim) => self.add_claim(place, event.offer, claim),
            OfferChange::Standby(standby) => {
                let newest = self.standby.entry(standby.id).or_insert(Placed { place, state: &**standby });
                if standby.version > newest.state.version {
                    *newest = Placed { place, state: &**standby };
                }
            }
        }
    }

    fn add_claim(&mut self, place: Place, offer: u32, claim: &'a Claim) {
        let next = self.claims.len();
        let index = *self.claim_index.entry(claim.id).or_insert(next);
        if index == next {
            self.claims.push(ClaimStates { offer, states: Vec::with_capacity(1) });
        }
        let states = &mut self.claims[index].states;
        // A version that was already met is a repetition. A lower one comes later only where several nodes write.
        let newer = states.iter().rposition(|state| state.state.version <= claim.version);
        if newer.is_none_or(|at| states[at].state.version < claim.version) {
            states.insert(newer.map_or(0, |at| at + 1), Placed { place, state: claim });
        }
    }

    fn add_zone(&mut self, place: Place, event: &'a ZoneEvent) {
        let zone = event.zone;
        match &event.change {
            ZoneChange::Defined(settings) => {
                let draft = self.zone(zone);
                if draft.defined.is_none_or(|other| other.state.revision <= settings.revision) {
                    draft.defined = Some(Placed { place, state: &**settings });
                }
            }
            ZoneChange::Deleted => self.zone(zone).deleted_at = Some(place.at),
            ZoneChange::Reserved { epoch, upto } => {
                let draft = self.zone(zone);
                draft.reserved = draft.reserved.max(Some((*epoch, *upto)));
            }
            ZoneChange::Front { epoch, seq } => {
                let draft = self.zone(zone);
                draft.front = draft.front.max(Some((*epoch, *seq)));
            }
            ZoneChange::Admitted { ticket, at } => self.tickets.entry((zone, *ticket)).or_default().admitted_at = Some(*at),
            ZoneChange::Left { ticket, at } => self.tickets.entry((zone, *ticket)).or_default().left_at = Some(*at),
            ZoneChange::Minute(minute) => {
                self.minutes.insert((minute.zone.as_str(), minute.minute), minute);
            }
        }
    }

    fn zone(&mut self, number: u32) -> &mut ZoneDraft<'a> {
        self.zones.entry(number).or_default()
    }
}
