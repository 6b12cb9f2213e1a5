//! What planted bugs do that take more than a condition: see `bunho_domain::planted`. Never called in any other build.

use super::Embedded;
use bunho_domain::claim::Claim;
use bunho_domain::event::{Event, OfferChange, OfferEvent};
use bunho_domain::time::Millis;
use bunho_journal::{Audit, Commit};

impl Embedded {
    /// Records what happened to offer `number` and what happened to the one that it grants apart from each other.
    pub(super) fn record_apart(&self, now: Millis, events: &[Event], audit: Option<&Audit>, number: u32) -> Commit {
        let is_own = |event: &Event| matches!(event, Event::Offer(event) if event.offer == number);
        let (own, granted): (Vec<Event>, Vec<Event>) = events.iter().cloned().partition(is_own);
        let parts = [own, granted];
        let commits = parts.iter().filter(|part| !part.is_empty()).map(|part| self.record(now, part, audit));
        commits.last().unwrap_or_else(|| self.record(now, events, audit))
    }
}

/// The event of a claim that has lost its key.
pub(super) fn without_key(event: &OfferEvent) -> OfferEvent {
    let mut event = event.clone();
    if let OfferChange::Claim(claim) = &event.change {
        event.change = OfferChange::Claim(Box::new(Claim { key: None, ..(**claim).clone() }));
    }
    event
}
