//! What happens when Redis is empty, behind the topic, or may be.
//!
//! 1. The directory: `recovering`, under an epoch one higher, by compare-and-set: whoever succeeds for the lowest number does it, and nobody else.
//! 2. Redis: suspended under that epoch. From here on no outbox entry of an older epoch can be removed, so no answer that depends on one can be given.
//! 3. What the outbox still holds goes to Kafka; then a *fence*, with the key of the offer and so into its partition.
//! 4. The projector reaches the fence. What comes behind it with an older epoch it drops: nobody was answered about it, and nobody will be.
//! 5. SQL now has what is true. Where Redis has the same version of an offer it was merely in doubt; else what it has is thrown away and
//!    loaded from SQL. A line is always told what must not be forgotten, and its tickets bring the rest back.
//! 6. It goes on, and the directory says `live`.
//!
//! A node may die between any two of these. The entry then stays `recovering`, and after [`TAKE_OVER_AFTER`] another node begins at 1 under the next epoch.

mod doubts;

pub(super) use doubts::{Doubt, Doubts};

use super::Cluster;
use super::redis::line;
use super::redis::{self, DecideError};
use bunho_domain::event::{Event, OfferChange, OfferEvent, ZoneChange};
use bunho_journal::crash_point;
use bunho_journal::kafka::cloudevents::{self, Content, Message};
use bunho_journal::kafka::{Place, ProduceError};
use bunho_ledger::directory::{Directory, Entry, Kind, Standing};
use bunho_ledger::{LedgerError, Loaded};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, watch};

/// How much is loaded from the ledger.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Load {
    /// Offers whose state in Redis is not the ledger's, and every line.
    WhatDiffers,
    /// Everything: somebody may have mended the ledger by hand.
    Everything,
}

/// Recoveries under way at once on one node: all of a lost Redis takes many, and each mostly waits.
const AT_ONCE: usize = 16;
/// How long the projector may take to reach a fence before that is said. It is waited for all the same.
const FENCE_WAIT: Duration = Duration::from_secs(30);
/// What stands in the directory as being recovered, or made, for so long is taken over: whoever began it is dead or hangs.
pub(super) const TAKE_OVER_AFTER: Duration = Duration::from_secs(15);
/// Before something that could not be recovered is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// Claims that are in memory at once on their way from the ledger into Redis.
const CLAIMS_MOST: usize = 4_096;

/// Looks at what other nodes are at before it is said to be left.
const RESTORES_MAX: u32 = 5;

/// Why not everything could be restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The directory cannot be read or written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Other nodes are at so many all the time.
    #[error("other nodes restore {0} of them at the moment: see their logs, and try again")]
    Left(usize),
}

/// Why something could not be recovered this time.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Redis(#[from] DecideError),
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error("Kafka did not take the fence")]
    Kafka(#[from] ProduceError),
    #[error("another node has taken it over")]
    TakenOver,
    #[error("Redis or the topic knows a later epoch")]
    Outdated,
    #[error("the definition of {0} is parked in the ledger: mend what stands in its way, see `bunho reconcile`")]
    Parked(String),
}

impl Cluster {
    /// Recovers whatever is in doubt, until `shutdown` says so.
    pub(super) async fn recover(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            let (under_way, why) = tokio::select! {
                next = self.doubts.next() => next,
                _ = shutdown.wait_for(|stop| *stop) => return,
            };
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let (cluster, mut shutdown) = (self.clone(), shutdown.clone());
            tokio::spawn(async move {
                let _place = place;
                tokio::select! {
                    _ = cluster.recover_one(under_way.doubt, &why, Load::WhatDiffers) => {}
                    // Another node takes it over.
                    _ = shutdown.wait_for(|stop| *stop) => {}
                }
                drop(under_way);
            });
        }
    }

    /// False: there was nothing to do, or another node is at it.
    async fn recover_one(&self, doubt: Doubt, why: &str, load: Load) -> bool {
        let began = Instant::now();
        let (mut said, mut ours) = (Said::default(), None);
        loop {
            match self.recover_under_next_epoch(doubt, why, load, &mut ours).await {
                Ok(false) | Err(Failed::TakenOver) => return false,
                Ok(true) => {
                    tracing::warn!(?doubt, elapsed_ms = began.elapsed().as_millis() as u64, "restored");
                    self.figures.recoveries.fetch_add(1, Ordering::Relaxed);
                    return true;
                }
                Err(error) => said.failed(doubt, &error),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Throws away what Redis has of every offer and line, and loads it from the ledger; for an operator who has brought the ledger back and
    /// has waited until it caught up with the topic. What the topic has told it since that copy was made gets into the directory first.
    /// `told` hears of each that is done: how many of how many.
    ///
    /// # Errors
    /// The ledger cannot be used, or other nodes are at some of them all the time.
    pub async fn restore_everything(self: &Arc<Self>, mut told: impl FnMut(usize, usize)) -> Result<(), RestoreError> {
        let found = self.ledger.directory_complete().await?;
        if found > 0 {
            tracing::warn!(found, "offers and zones that the directory did not know are in it again");
        }
        let (mut restored, mut left) = (BTreeSet::new(), BTreeSet::new());
        for _ in 0..RESTORES_MAX {
            let entries = self.ledger.directory().await?.entries;
            let living = entries.iter().filter(|entry| entry.standing != Standing::Deleted);
            left = living.map(Doubt::of).filter(|doubt| !restored.contains(doubt)).collect();
            let all = restored.len() + left.len();
            for doubt in &left {
                told(restored.len(), all);
                if self.recover_one(*doubt, "an operator asked for it", Load::Everything).await {
                    restored.insert(*doubt);
                }
            }
            if restored.len() == all {
                told(all, all);
                return Ok(());
            }
            // Another node is at some of them, or began and died; once it is done, or given up, it is this one's turn.
            tokio::time::sleep(TAKE_OVER_AFTER).await;
        }
        Err(RestoreError::Left(left.len()))
    }

    /// False: there was nothing to do. `ours`: the epoch under which this node has begun.
    async fn recover_under_next_epoch(&self, doubt: Doubt, why: &str, load: Load, ours: &mut Option<u32>) -> Result<bool, Failed> {
        let Some(entries) = self.take_over(doubt, ours).await? else { return Ok(false) };
        tracing::warn!(?doubt, why, entries = entries.len(), epoch = entries[0].epoch, "suspended, to be restored from the ledger");
        let living = self.holding(&entries, self.restore(doubt, load, &entries)).await??;
        // From here on others decide, so what fails is done again under another epoch.
        for entry in &entries {
            self.set(entry, if living.contains(&entry.number) { Standing::Live } else { Standing::Deleted }).await?;
            crash_point!("cluster::partly_live");
        }
        self.look_again().await;
        Ok(true)
    }

    /// Does `work` and tells the other nodes all the while that somebody is at it: a million claims take longer than
    /// [`TAKE_OVER_AFTER`]. Who is taken over all the same stops at once.
    async fn holding<T>(&self, entries: &[Entry], work: impl Future<Output = T>) -> Result<T, Failed> {
        let hold = async {
            loop {
                tokio::time::sleep(TAKE_OVER_AFTER / 5).await;
                for entry in entries {
                    // A database that is away is a matter of the work.
                    if let Ok(false) = self.ledger.directory_change(entry, Standing::Recovering, entry.epoch).await {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            done = work => Ok(done),
            () = hold => Err(Failed::TakenOver),
        }
    }

    /// Steps 2 to 6, until they succeed: nobody decides before the directory says that it is live, so each may be done again. Numbers of what
    /// was not deleted.
    async fn restore(&self, doubt: Doubt, load: Load, entries: &[Entry]) -> Result<BTreeSet<u32>, Failed> {
        let mut said = Said::default();
        loop {
            let restored = match doubt {
                Doubt::Offers(tag) => self.restore_offers(tag, load, entries).await,
                Doubt::Zone(_) => self.restore_zone(&entries[0]).await,
            };
            match restored {
                Err(Failed::Redis(DecideError::Epoch { .. })) => return Err(Failed::Outdated),
                Ok(_) | Err(Failed::Outdated) => return restored,
                Err(error) => said.failed(doubt, &error),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn restore_offers(&self, tag: u32, load: Load, entries: &[Entry]) -> Result<BTreeSet<u32>, Failed> {
        for entry in entries {
            match self.decider.suspend(entry.into(), entry.epoch).await {
                Ok(()) | Err(DecideError::UnknownOffer) => {}
                Err(error) => return Err(error.into()),
            }
        }
        crash_point!("cluster::suspended");
        self.decider.drain(tag).await?;
        crash_point!("cluster::drained");
        self.fence(entries).await?;
        crash_point!("cluster::fenced");
        let numbers: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
        let in_redis = self.decider.versions(tag, &numbers).await?;
        let mut restored = Vec::new();
        for (entry, in_redis) in entries.iter().zip(in_redis) {
            let in_redis = in_redis.filter(|_| load == Load::WhatDiffers);
            if let Some(version) = self.restore_offer(entry, in_redis).await? {
                restored.push((entry, version));
            }
        }
        crash_point!("cluster::loaded");
        // Only when all of them have their state: one changes another.
        for (entry, version) in &restored {
            self.decider.resume((*entry).into(), *version).await?;
            crash_point!("cluster::partly_resumed");
        }
        Ok(restored.into_iter().map(|(entry, _)| entry.number).collect())
    }

    /// The version that it has now. None: the ledger says that it was deleted, or never came to be.
    async fn restore_offer(&self, entry: &Entry, in_redis: Option<redis::Standing>) -> Result<Option<u64>, Failed> {
        let home = entry.into();
        let offer = match self.ledger.load_offer(entry.number).await? {
            Loaded::Offer(offer) => offer,
            Loaded::Parked => return Err(Failed::Parked(entry.id.clone())),
            Loaded::Gone => {
                self.decider.forget(home).await?;
                return Ok(None);
            }
        };
        // A state of that version is that state: versions are given by Redis alone, each once in an epoch, and what an epoch before this
        // one has given and the ledger has not is dropped by the fence.
        if offer.is_whole && in_redis.is_some_and(|state| state.version == offer.version && !state.broken && !state.deleted) {
            return Ok(Some(offer.version));
        }
        self.decider.forget(home).await?;
        crash_point!("cluster::forgotten");
        self.decider.create_suspended(home, &offer.settings).await?;
        // Whoever looks at a half of it must not take it for the whole, so the version comes with the last piece.
        let event = |version, change| OfferEvent { offer: entry.number, version, change };
        let pieces = offer.events.iter().map(|told| event(0, told.change.clone()));
        self.decider.load(home, &pieces.collect::<Vec<_>>()).await?;
        let mut last = None;
        loop {
            let claims = self.ledger.claims_between(entry.number, last, None, CLAIMS_MOST).await?;
            let Some(newest) = claims.last() else { break };
            last = Some(newest.id);
            let pieces = claims.into_iter().map(|claim| event(0, OfferChange::Claim(Box::new(claim))));
            self.decider.load(home, &pieces.collect::<Vec<_>>()).await?;
            crash_point!("cluster::partly_loaded");
        }
        let version = offer.version;
        self.decider.load(home, &[event(version, OfferChange::Defined(Box::new(offer.settings)))]).await?;
        Ok(Some(version))
    }

    async fn restore_zone(&self, entry: &Entry) -> Result<BTreeSet<u32>, Failed> {
        let home = entry.into();
        match self.decider.suspend_zone(home, entry.epoch).await {
            Ok(()) | Err(DecideError::UnknownZone) => {}
            Err(error) => return Err(error.into()),
        }
        self.decider.drain_zone(entry.number).await?;
        self.fence(std::slice::from_ref(entry)).await?;
        let mut facts: Option<line::Facts> = None;
        let found = self
            .ledger
            .load_zone(entry.number, &mut |event| {
                let Event::Zone(event) = event else { return };
                match (&mut facts, &event.change) {
                    (Some(facts), change) => facts.take(change),
                    (none, ZoneChange::Defined(settings)) => *none = Some(line::Facts::new((**settings).clone(), 0)),
                    _ => {}
                }
            })
            .await?;
        match facts.filter(|_| found) {
            Some(facts) => {
                crash_point!("cluster::line_found");
                self.decider.restore_zone(home, facts).await?;
                crash_point!("cluster::line_restored");
                Ok(BTreeSet::from([entry.number]))
            }
            None => {
                self.decider.forget_zone(home).await?;
                Ok(BTreeSet::new())
            }
        }
    }

    /// Makes entries ours to recover, under the next epoch. None: there are none, or another node is at it.
    async fn take_over(&self, doubt: Doubt, ours: &mut Option<u32>) -> Result<Option<Vec<Entry>>, Failed> {
        let Directory { read_ms, mut entries, .. } = self.ledger.directory().await?;
        entries.retain(|entry| entry.standing != Standing::Deleted && Doubt::of(entry) == doubt);
        let is_at_it = |entry: &Entry| {
            let is_fresh = read_ms - entry.changed_ms < TAKE_OVER_AFTER.as_millis() as i64;
            entry.standing != Standing::Live && is_fresh && *ours != Some(entry.epoch)
        };
        if entries.is_empty() || entries.iter().any(is_at_it) {
            return Ok(None);
        }
        // One for all of them: what one of them decides about another carries its own.
        let epoch = self.highest_epoch(doubt, &entries).await?.checked_add(1).ok_or(Failed::Outdated)?;
        *ours = Some(epoch);
        for entry in &mut entries {
            if !self.ledger.directory_change(entry, Standing::Recovering, epoch).await? {
                return Err(Failed::TakenOver);
            }
            (entry.epoch, entry.standing) = (epoch, Standing::Recovering);
            crash_point!("cluster::partly_taken_over");
        }
        crash_point!("cluster::taken_over");
        self.look_again().await;
        Ok(Some(entries))
    }

    /// The highest that anybody knows. A database that was brought back from a copy knows less than Redis, or than the topic.
    async fn highest_epoch(&self, doubt: Doubt, entries: &[Entry]) -> Result<u32, Failed> {
        let numbers: Vec<u32> = entries.iter().map(|entry| entry.number).collect();
        let in_redis = match doubt {
            Doubt::Offers(tag) => self.decider.versions(tag, &numbers).await?,
            Doubt::Zone(number) => vec![self.decider.zone_version(number).await?],
        };
        let mut highest = in_redis.into_iter().flatten().map(|standing| standing.epoch).max().unwrap_or(0);
        for entry in entries {
            highest = highest.max(entry.epoch).max(self.ledger.fenced(entry.kind, entry.number).await?);
        }
        Ok(highest)
    }

    /// Puts fences into the topic and waits until the ledger is past them.
    async fn fence(&self, entries: &[Entry]) -> Result<(), Failed> {
        let at = self.now();
        let mut positions: BTreeMap<i32, i64> = BTreeMap::new();
        // What one grants has a lower number and is fenced last. As its events are shipped first, whoever grants and counts has granted what counts.
        for entry in entries.iter().rev() {
            let of = match entry.kind {
                Kind::Offer => cloudevents::Kind::Offer,
                Kind::Zone => cloudevents::Kind::Zone,
            };
            let fence = Message { at, epoch: entry.epoch, content: Content::Fence { of, number: entry.number }, audit: None };
            let Place { partition, offset } = self.producer.produce(&entry.id, &fence)?.await?;
            let position = positions.entry(partition).or_default();
            *position = (*position).max(offset + 1);
        }
        while !self.ledger.reached(&positions, FENCE_WAIT).await? {
            tracing::warn!(?positions, "the ledger is behind what is to be restored from it; it is waited for");
        }
        for entry in entries {
            if self.ledger.fenced(entry.kind, entry.number).await? != entry.epoch {
                return Err(Failed::Outdated);
            }
        }
        Ok(())
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

/// Says why something failed, once as long as that is the reason.
#[derive(Default)]
struct Said(String);

impl Said {
    fn failed(&mut self, doubt: Doubt, error: &Failed) {
        let why = error.to_string();
        if why != self.0 {
            let error = error as &dyn std::error::Error;
            tracing::error!(?doubt, error, "cannot be restored at the moment; it is tried again");
            self.0 = why;
        }
    }
}
