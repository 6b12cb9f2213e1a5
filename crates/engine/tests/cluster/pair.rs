//! The domain's own model beside the cluster engine: the same commands at the same time, and everything compared.
//!
//! The model surrounds a decision as every engine does: what is due is settled first in bounded rounds, on the granted offer too, each
//! a record; then it is decided, in a record of its own.

use crate::redis::{audit, fresh_tag};
use bunho_domain::event::{Event, OfferEvent};
use bunho_domain::limits::SETTLE_MOST;
use bunho_domain::offer::settings::OfferSettings;
use bunho_domain::offer::{Offer, Step};
use bunho_domain::time::Millis;
use bunho_engine::cluster::redis::{Decider, Home, MemoryJournal, Of};
use bunho_journal::{Audit, Record};

/// Offer 0 may grant offer 1, after which the tag is named.
pub struct Model {
    pub offers: [Offer; 2],
    pub records: Vec<Record>,
}

impl Model {
    fn record(&mut self, at: Millis, events: Vec<Event>, audit: Option<&Audit>) {
        if !events.is_empty() {
            self.records.push(Record { at, events, audit: audit.cloned() });
        }
    }

    /// None: there is no such offer any more.
    pub fn decide<T>(
        &mut self,
        which: usize,
        now: Millis,
        audit: Option<&Audit>,
        decision: impl FnOnce(&mut Offer, &mut Step<'_>) -> T,
    ) -> Option<T> {
        if self.offers[which].is_deleted() {
            return None;
        }
        let grants = which == 0 && self.offers[0].settings().grants.is_some() && !self.offers[1].is_deleted();
        loop {
            let mut events = Vec::new();
            let [first, second] = &mut self.offers;
            let (offer, mut granted) = if which == 0 { (first, grants.then_some(second)) } else { (second, None) };
            let granted_more =
                granted.as_mut().is_some_and(|granted| granted.settle(SETTLE_MOST, &mut Step { now, grants: None, events: &mut events }));
            let more = offer.settle(SETTLE_MOST, &mut Step { now, grants: granted, events: &mut events }) || granted_more;
            self.record(now, events, None);
            if !more {
                break;
            }
        }
        let mut events = Vec::new();
        let [first, second] = &mut self.offers;
        let (offer, granted) = if which == 0 { (first, grants.then_some(second)) } else { (second, None) };
        let decided = decision(offer, &mut Step { now, grants: granted, events: &mut events });
        self.record(now, events, audit);
        Some(decided)
    }

    /// Every event of one offer so far.
    pub fn events_of(&self, number: u32) -> Vec<OfferEvent> {
        let events = self.records.iter().flat_map(|record| &record.events);
        events
            .filter_map(|event| match event {
                Event::Offer(event) if event.offer == number => Some(event.clone()),
                _ => None,
            })
            .collect()
    }
}

/// Creates both offers on both sides.
pub async fn create(cluster: &Decider, settings: [OfferSettings; 2], now: Millis) -> (Model, [Home; 2]) {
    let tag = fresh_tag();
    let homes = [Home { tag, offer: tag + 1, epoch: 1 }, Home { tag, offer: tag, epoch: 1 }];
    let [first, second] = settings;
    let offers = [Offer::new(homes[0].offer, first), Offer::new(homes[1].offer, second)];
    let mut model = Model { offers, records: Vec::new() };
    for which in [1, 0] {
        let mut events = Vec::new();
        model.offers[which].create(&mut Step { now, grants: None, events: &mut events });
        model.record(now, events, Some(&audit()));
        cluster.create(homes[which], model.offers[which].settings(), &audit()).await.unwrap();
    }
    (model, homes)
}

/// What was shipped of a tag, in the order of the outbox.
pub fn shipped(journal: &MemoryJournal, tag: u32) -> Vec<Record> {
    let mut entries: Vec<_> = journal.entries().into_iter().filter(|entry| entry.tag == Of::Offer(tag)).collect();
    entries.sort_by_key(|entry| entry.id);
    assert!(entries.windows(2).all(|pair| pair[0].id != pair[1].id), "an entry was shipped twice, though nothing went wrong");
    entries.into_iter().map(|entry| entry.record.clone()).collect()
}
