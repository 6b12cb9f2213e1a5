//! What happens when Redis is empty, behind the topic, or may be.
//!
//! 1. The directory: `recovering`, under an epoch one higher, by compare-and-set: whoever succeeds for the lowest number does it, and nobody else.
//! 2. Redis: suspended under that epoch. From here on no outbox entry of an older epoch can be removed, so no answer that depends on one can be given.
//! 3. What the outbox still holds goes to Kafka; then a *fence*, with the key of the offer and so into its partition.
//! 4. The projector reaches the fence. What comes behind it with an older epoch it drops: nobody was answered about it, and nobody will be.
//! 5. SQL now has what is true. Where Redis has the same version it was merely in doubt; else what it has is thrown away and loaded from SQL.
//! 6. It goes on, and the directory says `live`.
//!
//! A node may die between any two of these. The entry then stays `recovering`, and after [`TAKE_OVER_AFTER`] another node begins at 1 under the next epoch.

use super::Cluster;
use super::redis::line::{self, ZoneHome};
use super::redis::{DecideError, Home};
use crate::error::EngineError;
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneChange};
use bunho_domain::offer::settings::OfferSettings;
use bunho_journal::kafka::cloudevents::{self, Content, Message};
use bunho_journal::kafka::{Place, ProduceError};
use bunho_ledger::LedgerError;
use bunho_ledger::directory::{Entry, Kind, Standing};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore, watch};

/// Something whose state in Redis must be restored: offers are by their tag, as those of one tag change together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Doubt {
    Offers(u32),
    Zone(u32),
}

/// What waits for recovery.
#[derive(Default)]
pub(super) struct Doubts {
    doubts: Mutex<BTreeSet<Doubt>>,
    under_way: Mutex<BTreeSet<Doubt>>,
    news: Notify,
}

impl Doubts {
    pub(super) fn offer(&self, tag: u32, why: &dyn std::fmt::Display) {
        self.add(Doubt::Offers(tag), why);
    }

    pub(super) fn zone(&self, number: u32, why: &dyn std::fmt::Display) {
        self.add(Doubt::Zone(number), why);
    }

    /// Said once, however many requests meet it.
    fn add(&self, doubt: Doubt, why: &dyn std::fmt::Display) {
        if !self.under_way.lock().contains(&doubt) && self.doubts.lock().insert(doubt) {
            tracing::warn!(?doubt, %why, "Redis does not have this as it should");
            self.news.notify_one();
        }
    }

    async fn next(&self) -> Doubt {
        loop {
            let first = self.doubts.lock().pop_first();
            if let Some(doubt) = first {
                if self.under_way.lock().insert(doubt) {
                    return doubt;
                }
                continue;
            }
            self.news.notified().await;
        }
    }

    fn ended(&self, doubt: Doubt) {
        self.under_way.lock().remove(&doubt);
    }
}

/// Recoveries under way at once on one node: all of a lost Redis takes many, and each mostly waits.
const AT_ONCE: usize = 16;
/// How long the projector may take to reach a fence.
const FENCE_WAIT: Duration = Duration::from_secs(30);
/// What stands in the directory as being recovered, or made, for so long is taken over: whoever began it is dead or hangs.
pub(super) const TAKE_OVER_AFTER: Duration = Duration::from_secs(15);
/// Before something that could not be recovered is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Events that are loaded into Redis by one command.
const LOAD_MOST: usize = 512;

/// Why something could not be recovered this time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Redis(#[from] DecideError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("Kafka did not take the fence")]
    Kafka(#[from] ProduceError),
    #[error("the ledger did not reach the fence in time")]
    LedgerBehind,
    #[error("another node has taken it over")]
    TakenOver,
}

impl Cluster {
    /// Recovers whatever is in doubt, until `shutdown` says so.
    pub(super) async fn recover(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let doubt = tokio::select! {
                doubt = self.doubts.next() => doubt,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (cluster, shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _place = place;
                cluster.recover_one(doubt, shutdown).await;
                cluster.doubts.ended(doubt);
            });
        }
    }

    async fn recover_one(&self, doubt: Doubt, shutdown: watch::Receiver<bool>) {
        let began = Instant::now();
        let mut last = String::new();
        while !*shutdown.borrow() {
            let outcome = match doubt {
                Doubt::Offers(tag) => self.recover_offers(tag).await,
                Doubt::Zone(number) => self.recover_zone(number).await,
            };
            match outcome {
                Ok(false) | Err(Failed::TakenOver) => return,
                Ok(true) => {
                    tracing::warn!(?doubt, elapsed_ms = began.elapsed().as_millis() as u64, "restored");
                    return;
                }
                Err(error) => {
                    let why = error.to_string();
                    if why != last {
                        tracing::error!(
                            ?doubt,
                            error = &error as &dyn std::error::Error,
                            "cannot be restored at the moment; it is tried again"
                        );
                        last = why;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    }

    /// Throws away what Redis has of every offer and line, and loads it from the ledger; for an operator who has brought the ledger back. `told`
    /// hears of each that is done: how many of how many.
    pub async fn restore_everything(self: &Arc<Self>, mut told: impl FnMut(usize, usize)) -> Result<(), EngineError> {
        self.directory.refresh().await?;
        let known = self.directory.known();
        let tags: BTreeSet<u32> = known.offers.values().map(|cell| cell.entry.load().tag).collect();
        let zones = known.zones_by_number.keys().map(|number| Doubt::Zone(*number));
        let doubts: Vec<Doubt> = tags.into_iter().map(Doubt::Offers).chain(zones).collect();
        let (_never, shutdown) = watch::channel(false);
        for (done, doubt) in doubts.iter().enumerate() {
            told(done, doubts.len());
            self.recover_one(*doubt, shutdown.clone()).await;
        }
        told(doubts.len(), doubts.len());
        Ok(())
    }

    /// False: there was nothing to do.
    async fn recover_offers(&self, tag: u32) -> Result<bool, Failed> {
        let Some(entries) = self.take_over(|entry| entry.kind == Kind::Offer && entry.tag == tag).await? else { return Ok(false) };
        tracing::warn!(tag, offers = entries.len(), epoch = entries[0].epoch, "offers are suspended and restored from the ledger");
        for entry in &entries {
            let home = home(entry);
            match self.decider.suspend(home, entry.epoch).await {
                Ok(()) | Err(DecideError::UnknownOffer) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.decider.drain(tag).await?;
        self.fence(&entries).await?;
        let mut known = Vec::new();
        for entry in &entries {
            if self.restore_offer(entry).await? {
                known.push(entry);
            } else {
                self.set(entry, Standing::Deleted).await?;
            }
        }
        // Only when all of them have their state: one changes another.
        for entry in &known {
            self.decider.resume(home(entry)).await?;
            self.set(entry, Standing::Live).await?;
        }
        self.look_again().await;
        Ok(true)
    }

    /// False: the ledger says that it was deleted, or never came to be.
    async fn restore_offer(&self, entry: &Entry) -> Result<bool, Failed> {
        let home = home(entry);
        let mut events = Vec::new();
        let found = self
            .ledger
            .load_offer(entry.number, &mut |event| {
                if let Event::Offer(event) = event {
                    events.push(event);
                }
            })
            .await?;
        let settings = events.iter().find_map(settings_of).cloned();
        let is_deleted = events.iter().any(|event| matches!(event.change, OfferChange::Deleted));
        self.decider.forget(home).await?;
        let Some(settings) = settings.filter(|_| found && !is_deleted) else { return Ok(false) };
        self.decider.create_suspended(home, &settings).await?;
        for events in events.chunks(LOAD_MOST) {
            self.decider.load(home, events).await?;
        }
        Ok(true)
    }

    async fn recover_zone(&self, number: u32) -> Result<bool, Failed> {
        let Some(entries) = self.take_over(|entry| entry.kind == Kind::Zone && entry.number == number).await? else { return Ok(false) };
        let entry = &entries[0];
        let home = ZoneHome { number, epoch: entry.epoch };
        tracing::warn!(number, epoch = entry.epoch, "a line is suspended and restored");
        match self.decider.suspend_zone(home, entry.epoch).await {
            Ok(()) | Err(DecideError::UnknownZone) => {}
            Err(error) => return Err(error.into()),
        }
        self.decider.drain_zone(number).await?;
        self.fence(&entries).await?;
        let mut facts: Option<line::Facts> = None;
        let mut is_deleted = false;
        let found = self
            .ledger
            .load_zone(number, &mut |event| {
                let Event::Zone(event) = event else { return };
                is_deleted |= matches!(event.change, ZoneChange::Deleted);
                match (&mut facts, &event.change) {
                    (Some(facts), change) => facts.take(change),
                    (none, ZoneChange::Defined(settings)) => *none = Some(line::Facts::new((**settings).clone(), 0)),
                    _ => {}
                }
            })
            .await?;
        match facts.filter(|_| found && !is_deleted) {
            Some(facts) => {
                self.decider.restore_zone(home, facts).await?;
                self.set(entry, Standing::Live).await?;
            }
            None => {
                self.decider.forget_zone(home).await?;
                self.set(entry, Standing::Deleted).await?;
            }
        }
        self.look_again().await;
        Ok(true)
    }

    /// Makes entries ours to recover, under the next epoch. None: there are none, or another node is at it.
    async fn take_over(&self, wanted: impl Fn(&Entry) -> bool) -> Result<Option<Vec<Entry>>, Failed> {
        let mut entries: Vec<Entry> = self.ledger.directory().await?.entries;
        entries.retain(|entry| entry.standing != Standing::Deleted && wanted(entry));
        entries.sort_unstable_by_key(|entry| entry.number);
        let now = self.now().0;
        let is_at_it = |entry: &Entry| entry.standing != Standing::Live && now - entry.changed_ms < TAKE_OVER_AFTER.as_millis() as i64;
        if entries.is_empty() || entries.iter().any(is_at_it) {
            return Ok(None);
        }
        // One for all of them: what one of them decides about another carries its own.
        let epoch = entries.iter().map(|entry| entry.epoch).max().unwrap_or(0) + 1;
        for entry in &mut entries {
            if !self.ledger.directory_change(entry, Standing::Recovering, epoch).await? {
                return Err(Failed::TakenOver);
            }
            (entry.epoch, entry.standing) = (epoch, Standing::Recovering);
        }
        self.look_again().await;
        Ok(Some(entries))
    }

    /// Puts fences into the topic and waits until the ledger is past them.
    async fn fence(&self, entries: &[Entry]) -> Result<(), Failed> {
        let at = self.now();
        let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
        for entry in entries {
            let of = match entry.kind {
                Kind::Offer => cloudevents::Kind::Offer,
                Kind::Zone => cloudevents::Kind::Zone,
            };
            let fence = Message { at, epoch: entry.epoch, content: Content::Fence { of, number: entry.number }, audit: None };
            let Place { partition, offset } = self.producer.produce(&entry.id, &fence)?.await?;
            let position = positions.entry(partition).or_default();
            *position = (*position).max(offset + 1);
        }
        if self.ledger.reached(&positions, FENCE_WAIT).await? { Ok(()) } else { Err(Failed::LedgerBehind) }
    }

    async fn set(&self, entry: &Entry, standing: Standing) -> Result<(), Failed> {
        if self.ledger.directory_change(entry, standing, entry.epoch).await? { Ok(()) } else { Err(Failed::TakenOver) }
    }

    /// The copy follows within a second by itself; this node need not wait for that.
    async fn look_again(&self) {
        if let Err(error) = self.directory.refresh().await {
            tracing::debug!(%error, "the directory cannot be read at the moment");
        }
    }
}

const fn home(entry: &Entry) -> Home {
    Home { tag: entry.tag, offer: entry.number, epoch: entry.epoch }
}

fn settings_of(event: &OfferEvent) -> Option<&OfferSettings> {
    match &event.change {
        OfferChange::Defined(settings) => Some(settings),
        _ => None,
    }
}
