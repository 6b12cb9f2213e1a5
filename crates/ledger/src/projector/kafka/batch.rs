//! One transaction of records from the topic.

use super::fences::Fences;
use super::positions::{self, Positions};
use super::retry::{self, Retry, Tried};
use super::{Ended, KafkaProjector};
use crate::error::LedgerError;
use crate::projector::apply;
use crate::projector::batch::{Batch, Place};
use crate::projector::park::{self, Parked};
use crate::projector::state::{self, State};
use crate::sql::Connection;
use bunho_domain::time::Millis;
use bunho_journal::kafka::{Content, Kind, Received};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bits of `journal_offset` below the partition: 2^48 records of a partition are more than it will ever have.
const OFFSET_BITS: u32 = 48;
/// The highest offset in a partition.
pub(super) const OFFSET_MAX: i64 = (1 << OFFSET_BITS) - 1;
/// What a guard refused is mostly in the tables a moment later; what is not after so long is said.
pub(super) const SAID_AFTER: Duration = Duration::from_secs(5);

/// What a member keeps between batches; nothing of it is of use to another assignment.
#[derive(Default)]
pub(super) struct Work {
    /// By partition, where the next record that is handed out is to go on.
    next: HashMap<i32, i64>,
    known: Option<Known>,
    /// Parked and not said yet.
    unsaid: BTreeMap<(u64, u32), (Instant, Parked)>,
    /// Fences of which it was said that something stands behind them.
    said: HashSet<(Kind, u32, u32)>,
}

/// What is known of the tables.
struct Known {
    state: State,
    fences: Fences,
    retry: Retry,
}

impl Known {
    async fn read(connection: &mut Connection<'_>, partitions: impl Iterator<Item = i32>) -> Result<Self, LedgerError> {
        let state = State::without_offers(connection).await?;
        Ok(Self { state, fences: Fences::read(connection).await?, retry: Retry::read(connection, partitions).await? })
    }
}

impl Work {
    pub(super) fn reading_from(next: HashMap<i32, i64>) -> Self {
        Self { next, ..Self::default() }
    }
}

/// Records brought down to what counts.
struct Sifted<'a> {
    batch: Batch<'a>,
    unreadable: Vec<Parked>,
    raised: Fences,
    /// What stood behind a fence, by what it was about and the epoch that the fence began.
    fenced: BTreeMap<(Kind, u32, u32), u64>,
}

impl KafkaProjector {
    /// Applies `records` in one transaction, but for those that are applied already. Without records: tries again what was parked of offers
    /// whose batch came during a pause, under the locks of all of this member's partitions.
    pub(super) async fn apply(&self, work: &mut Work, records: &[Received]) -> Result<Result<(), Ended>, LedgerError> {
        let (first, end) = spans(records);
        let mut transaction = self.ledger.begin_write().await?;
        let mut connection = transaction.connection();
        let mut partitions: Vec<i32> = if records.is_empty() { work.next.keys().copied().collect() } else { end.keys().copied().collect() };
        partitions.sort_unstable();
        let stored = positions::lock(&mut connection, &partitions).await?;
        let mut is_as_left = true;
        for partition in &partitions {
            let stored = stored.get(partition).copied().unwrap_or(0);
            let read = work.next.get(partition).copied().unwrap_or_else(|| first[partition]);
            if stored < read {
                return Ok(Err(Ended::SetBack { partition: *partition, stored, read }));
            }
            is_as_left &= stored == read;
        }
        let known = match work.known.take() {
            Some(known) if is_as_left && known.state.repairs_of_all == state::read_repairs(&mut connection).await? => known,
            _ => Known::read(&mut connection, work.next.keys().copied()).await?,
        };
        let Known { mut state, mut fences, mut retry } = known;
        let mut sifted = sift(records, &stored, &fences);
        let touched: Vec<u32> = if records.is_empty() { retry.take_missed() } else { sifted.batch.offers.keys().copied().collect() };
        state.count(&mut connection, touched.iter().copied()).await?;
        let tried = retry.events(&mut connection, &partitions, touched.iter().copied()).await?;
        for (place, event) in tried.values() {
            sifted.batch.at = sifted.batch.at.max(place.at);
            sifted.batch.add(*place, event);
        }
        let applied = apply::apply(&mut connection, &state, &sifted.batch).await?;
        park::write(&mut connection, &sifted.unreadable).await?;
        let again: BTreeSet<(u64, u32)> = applied.parked().iter().map(Parked::key).collect();
        let healed: Vec<(u64, u32)> = tried.keys().filter(|key| !again.contains(key)).copied().collect();
        retry::resolve(&mut connection, &healed, sifted.batch.at).await?;
        sifted.raised.write(&mut connection).await?;
        positions::write(&mut connection, &end).await?;
        // Until it is known to be committed nothing is known of the tables.
        transaction.commit().await.map_err(LedgerError::sql("commit a batch"))?;

        let Sifted { unreadable, raised, fenced, .. } = sifted;
        fences.merge(raised);
        work.say_fenced(&fenced);
        self.fenced.fetch_add(fenced.values().sum(), Ordering::Relaxed);
        let still: Vec<u32> = applied.parked().iter().filter_map(Parked::offer_number).collect();
        retry.done(self.options.retry_pause, &healed, still.iter().copied(), &tried);
        still.into_iter().for_each(|offer| retry.note(offer));
        let parked = applied.enter(&mut state);
        state.parked = (state.parked + self.note_parked(work, unreadable, parked, &tried)).saturating_sub(healed.len() as u64);
        healed.iter().for_each(|key| drop(work.unsaid.remove(key)));
        self.parked.send_replace(state.parked);
        work.next.extend(end);
        work.known = Some(Known { state, fences, retry });
        Ok(Ok(()))
    }

    /// Says of what cannot be read at once, and of what a guard refused if it is not mended by what follows. How many are new.
    fn note_parked(&self, work: &mut Work, unreadable: Vec<Parked>, parked: Vec<Parked>, tried: &Tried) -> u64 {
        unreadable.iter().for_each(Parked::log);
        let mut new = unreadable.len() as u64;
        for parked in parked {
            if !tried.contains_key(&parked.key()) {
                new += 1;
                work.unsaid.insert(parked.key(), (Instant::now(), parked));
            }
        }
        work.say_parked();
        new
    }
}

impl Work {
    /// When something is to be tried without a batch.
    pub(super) fn retry_due(&self) -> Option<Instant> {
        self.known.as_ref().and_then(|known| known.retry.due())
    }

    pub(super) fn has_unsaid(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// Says what was parked long enough ago.
    pub(super) fn say_parked(&mut self) {
        self.unsaid.retain(|_, (since, parked)| {
            let is_old = since.elapsed() >= SAID_AFTER;
            if is_old {
                parked.log();
            }
            !is_old
        });
    }

    fn say_fenced(&mut self, fenced: &BTreeMap<(Kind, u32, u32), u64>) {
        for (&(kind, number, epoch), messages) in fenced {
            if self.said.insert((kind, number, epoch)) {
                tracing::warn!(
                    ?kind,
                    number,
                    epoch,
                    messages,
                    "messages stand in the topic behind the fence that ended their epoch; nobody was answered about them, and they do not count"
                );
            }
        }
    }
}

/// Where a record of a partition stands, as one number.
pub(super) const fn journal_offset(partition: i32, offset: i64) -> u64 {
    (partition.cast_unsigned() as u64) << OFFSET_BITS | offset.cast_unsigned()
}

/// For each partition the first offset, and the one after the last.
fn spans(records: &[Received]) -> (Positions, Positions) {
    let (mut first, mut end) = (Positions::new(), Positions::new());
    for record in records {
        first.entry(record.partition).or_insert(record.offset);
        end.insert(record.partition, record.offset + 1);
    }
    (first, end)
}

fn sift<'a>(records: &'a [Received], stored: &Positions, fences: &Fences) -> Sifted<'a> {
    let mut sifted = Sifted { batch: Batch::default(), unreadable: Vec::new(), raised: Fences::default(), fenced: BTreeMap::new() };
    for record in records {
        if stored.get(&record.partition).is_some_and(|position| record.offset < *position) {
            continue;
        }
        let offset = journal_offset(record.partition, record.offset);
        match &record.message {
            Err(unread) => sifted.unreadable.push(Parked::unreadable(Place { offset, index: 0, at: now() }, unread)),
            Ok(message) => {
                let (kind, number) = message.about();
                let counts = fences.epoch((kind, number)).max(sifted.raised.epoch((kind, number)));
                match &message.content {
                    Content::Fence { .. } => sifted.raised.raise((kind, number), message.epoch),
                    Content::Event(_) if message.epoch < counts => *sifted.fenced.entry((kind, number, counts)).or_default() += 1,
                    Content::Event(event) => {
                        let place = Place { offset, index: 0, at: message.at };
                        sifted.batch.add_audit(place, message.audit.as_ref(), Some(event));
                        sifted.batch.add(place, event);
                    }
                }
            }
        }
    }
    sifted
}

/// When something is parked that does not say when it was decided.
fn now() -> Millis {
    Millis(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64))
}
