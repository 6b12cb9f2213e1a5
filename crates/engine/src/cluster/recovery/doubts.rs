//! What waits for recovery on this node, and what is under way.

use bunho_ledger::directory::{Entry, Kind};
use parking_lot::Mutex;
use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::Notify;

/// Something whose state in Redis must be restored: offers are by their tag, as those of one tag change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cluster) enum Doubt {
    Offers(u32),
    Zone(u32),
}

impl Doubt {
    pub(in crate::cluster) const fn of(entry: &Entry) -> Self {
        match entry.kind {
            Kind::Offer => Self::Offers(entry.tag),
            Kind::Zone => Self::Zone(entry.number),
        }
    }
}

/// What waits.
#[derive(Default)]
pub(in crate::cluster) struct Doubts {
    /// Each with the reason.
    waiting: Mutex<BTreeMap<Doubt, String>>,
    under_way: Arc<Mutex<BTreeSet<Doubt>>>,
    news: Notify,
}

/// One that is seen to until this is dropped, however that comes.
pub(super) struct UnderWay {
    pub(super) doubt: Doubt,
    all: Arc<Mutex<BTreeSet<Doubt>>>,
}

impl Doubts {
    /// However many requests meet it, it is one doubt.
    pub(in crate::cluster) fn add(&self, doubt: Doubt, why: &dyn Display) {
        if !self.under_way.lock().contains(&doubt)
            && let Vacant(place) = self.waiting.lock().entry(doubt)
        {
            place.insert(why.to_string());
            self.news.notify_one();
        }
    }

    /// The next one, with the reason.
    pub(super) async fn next(&self) -> (UnderWay, String) {
        loop {
            let first = self.waiting.lock().pop_first();
            match first {
                Some((doubt, why)) if self.under_way.lock().insert(doubt) => {
                    return (UnderWay { doubt, all: self.under_way.clone() }, why);
                }
                Some(_) => {}
                None => self.news.notified().await,
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.all.lock().remove(&self.doubt);
    }
}
