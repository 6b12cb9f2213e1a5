//! What a node knows of Redis, Kafka and itself, for whoever watches it. What a primary says of itself is asked here, every few seconds and in a
//! task of its own: a scrape must not ask, since Redis may hang just then.

use super::Cluster;
use super::redis::PrimaryFigures;
use crate::seen::{OfferSeen, ZoneSeen};
use bunho_journal::kafka::End;
use bunho_journal::measure::{Behind, SpreadRead};
use futures_util::future::join_all;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, timeout};

/// How often primaries are asked: twice in the fifteen seconds that scrapes are usually apart.
const ASKED_EVERY: Duration = Duration::from_secs(5);
/// How long one may take. Its commands have a patience of their own.
const ANSWERED_WITHIN: Duration = Duration::from_secs(3);
/// What was learnt longer ago is not shown. Offers and zones are looked at every second.
const SHOWN_FOR: Duration = Duration::from_secs(10);
/// Offers and zones in particular: a line that was last seen ten seconds ago may be another one.
pub(super) const STATE_SHOWN_FOR: Duration = Duration::from_secs(5);

/// What a node knows of Redis, Kafka and itself.
#[derive(Clone, Debug)]
pub struct ClusterFigures {
    /// Times that something was sent to Redis: runs of commands, and questions.
    pub round_trips: u64,
    /// Microseconds until a run of commands was answered, or given up.
    pub run_us: SpreadRead,
    /// Commands in a run.
    pub run_commands: SpreadRead,
    /// Entries that this node has to bring into Kafka and has not removed from Redis.
    pub outbox: u64,
    /// Microseconds until Kafka acknowledged a message, or it was given up.
    pub produce_us: SpreadRead,
    /// Times that this node restored offers or a zone.
    pub recoveries: u64,
    /// What primaries say of themselves, by address.
    pub primaries: Vec<(String, PrimaryFigures)>,
}

/// What is kept for that.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) recoveries: AtomicU64,
    primaries: Mutex<HashMap<String, (Instant, PrimaryFigures)>>,
    behind: Mutex<HashMap<i32, Partition>>,
}

/// A partition of the topic, and how far the ledger has it.
#[derive(Debug, Default)]
struct Partition {
    end: u64,
    done: u64,
    behind: Behind,
}

impl Cluster {
    /// What this node knows of Redis, Kafka and itself.
    #[must_use]
    pub fn figures(&self) -> ClusterFigures {
        let link = self.decider.figures();
        let primaries = self.figures.primaries.lock();
        let mut primaries: Vec<_> = primaries
            .iter()
            .filter(|(_, (at, _))| at.elapsed() < SHOWN_FOR)
            .map(|(address, (_, figures))| (address.clone(), *figures))
            .collect();
        primaries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        ClusterFigures {
            round_trips: link.round_trips.load(Ordering::Relaxed),
            run_us: link.run_us.read(),
            run_commands: link.run_commands.read(),
            outbox: link.outbox.load(Ordering::Relaxed),
            produce_us: self.producer.took_us(),
            recoveries: self.figures.recoveries.load(Ordering::Relaxed),
            primaries,
        }
    }

    pub(crate) fn offers_seen(&self) -> Vec<OfferSeen> {
        let known = self.directory.known();
        let seen = known.offers.values().map(|cell| OfferSeen {
            id: cell.id.clone(),
            stock: cell.seen().map(|state| state.stock),
            suspended: Some(!cell.place.is_live()),
            refused: cell.refused.read(),
        });
        seen.collect()
    }

    pub(crate) fn zones_seen(&self) -> Vec<ZoneSeen> {
        let known = self.directory.known();
        let seen = known.zones.values().map(|cell| {
            let suspended = !cell.place.is_live();
            ZoneSeen { id: cell.id.clone(), status: cell.seen().filter(|_| !suspended), suspended }
        });
        seen.collect()
    }

    /// Time that all primaries together have spent in scripts, asked now: it takes three seconds at most. None: one of them did not say.
    pub async fn script_time(&self) -> Option<Duration> {
        let told = self.told_by_primaries().await;
        told.into_iter().map(|(_, figures)| Some(Duration::from_micros(figures?.script_us))).sum()
    }

    /// What each primary says of itself, by address, if it does so in time.
    async fn told_by_primaries(&self) -> Vec<(String, Option<PrimaryFigures>)> {
        let decider = &self.decider;
        let asked = decider.primaries().into_iter().map(|address| async move {
            let figures = timeout(ANSWERED_WITHIN, decider.primary_figures(&address)).await;
            (format!("{}:{}", address.0, address.1), figures.ok().flatten())
        });
        join_all(asked).await
    }

    /// Asks primaries for their figures until `shutdown` says so.
    pub(super) async fn ask_primaries(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        let mut interval = tokio::time::interval(ASKED_EVERY);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = interval.tick() => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            let answered = self.told_by_primaries().await;
            let mut primaries = self.figures.primaries.lock();
            // Whoever is no primary any more goes; whoever did not answer is shown no longer once that is too old.
            primaries.retain(|address, _| answered.iter().any(|(asked, _)| asked == address));
            for (address, figures) in answered {
                if let Some(figures) = figures {
                    let before = primaries.get(&address).map(|(_, before)| *before);
                    primaries.insert(address, (Instant::now(), figures.after(before)));
                }
            }
        }
    }

    /// Takes in how far topic and ledger have come, as far as each was learnt. How long the ledger is behind, in its slowest partition.
    pub(super) fn look_how_far_behind(&self, ends: Option<&[End]>, positions: Option<&BTreeMap<i32, i64>>) -> Duration {
        let mut partitions = self.figures.behind.lock();
        for end in ends.unwrap_or_default() {
            partitions.entry(end.partition).or_default().end = end.end.max(0).cast_unsigned();
        }
        let now = Instant::now();
        let look = |(number, partition): (&i32, &mut Partition)| {
            if let Some(position) = positions.and_then(|positions| positions.get(number)) {
                partition.done = (*position).max(0).cast_unsigned();
            }
            partition.behind.look(now, partition.end, partition.done)
        };
        partitions.iter_mut().map(look).max().unwrap_or_default()
    }
}
