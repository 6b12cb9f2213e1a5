//! A disk in memory that forgets what was not synced, and a committer that does one thing at a time when it is told to.
//!
//! What is modelled is what a file system and fjall together promise, and no more:
//!
//! * A write is seen by whoever reads, at once, and is on the disk after the next successful sync. A process that is killed
//!   leaves its writes to the system; a power cut leaves any prefix of those that were not synced, the last of them possibly torn:
//!   cut short, or of the right length with a hole. A torn chunk at the very end is dropped when the disk is opened, as
//!   fjall drops a batch whose checksum fails; anywhere else it is damage.
//! * After a failed sync the writes can still be read, a later sync says that all is well, and a power cut loses them all the
//!   same: what Linux does, and why the journal marks a failure and begins a new store (`folder`).
//! * Trimming is a write like any other: a power cut may undo it.
//!
//! [`Journal::simulated`](crate::Journal::simulated) runs the journal's own code on it.

use crate::JournalError;
use crate::chunk::{Chunk, Stored};
use crate::committer::{give_up, publish};
use crate::journal::Shared;
use crate::pending::{Batch, Fate, State};
use crate::store::Kept;
use crate::wire::Record;
use bunho_domain::time::Millis;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// The disk. Clones are the same disk; it outlives the processes that use it.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

/// How a machine or a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process is killed; what it wrote is in the system's memory and will be found.
    Kill,
    /// The power goes: of what was not synced, so many writes survive, and the next one as it is torn.
    PowerCut {
        /// Writes and trims that reached the disk all the same.
        kept: usize,
        /// What became of the write after them.
        torn: Option<Tear>,
    },
}

/// What a torn write leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// The first so many thousandths of it.
    Cut(u16),
    /// All of its length, with zeros from so many thousandths of it on.
    Hole(u16),
}

#[derive(Default)]
struct Platter {
    /// What a power cut leaves.
    safe: Image,
    /// What whoever reads sees.
    seen: Image,
    /// What is seen and not safe, in the order of writing.
    unsynced: Vec<Op>,
    /// First offset that a failed process refused.
    marker: Option<u64>,
    /// Latest time that was noted, and what a power cut leaves of it.
    time: Millis,
    safe_time: Millis,
    fails_next_write: bool,
    fails_next_sync: bool,
}

#[derive(Clone, Default)]
struct Image {
    chunks: BTreeMap<u64, Value>,
    trimmed: u64,
}

#[derive(Clone)]
struct Value {
    bytes: Arc<[u8]>,
    /// Of the bytes as they were to be written.
    checksum: u64,
}

#[derive(Clone)]
enum Op {
    Write {
        first: u64,
        value: Value,
        /// A sync failed while it was under way: it will never be safe.
        lost: bool,
    },
    Trim(u64),
}

impl Image {
    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { first, value, .. } => {
                self.chunks.insert(*first, value.clone());
            }
            Op::Trim(upto) => {
                self.trimmed = self.trimmed.max(*upto);
                self.chunks = self.chunks.split_off(&(self.trimmed + 1));
            }
        }
    }

    /// Drops a torn chunk at the very end.
    fn drop_torn_tail(&mut self) {
        if let Some((&first, value)) = self.chunks.last_key_value()
            && value.stored(first).is_err()
        {
            self.chunks.remove(&first);
        }
    }
}

impl Value {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), checksum: checksum(bytes) }
    }

    fn torn(&self, tear: Tear) -> Self {
        let place = |thousandths: u16| self.bytes.len() * usize::from(thousandths.min(999)) / 1_000;
        let bytes = match tear {
            Tear::Cut(at) => self.bytes[..place(at)].into(),
            Tear::Hole(at) => {
                let mut bytes = self.bytes.to_vec();
                bytes[place(at)..].fill(0);
                bytes.into()
            }
        };
        Self { bytes, checksum: self.checksum }
    }

    fn stored(&self, first: u64) -> Result<Stored<'_>, JournalError> {
        let stored = Stored::parse(first, &self.bytes)?;
        // What fjall's own checksum tells: that bytes of the right layout are not the ones that were written. Cut ones have no right layout.
        if checksum(&self.bytes) == self.checksum || bunho_domain::planted::is(bunho_domain::planted::Bug::TornChunk) {
            Ok(stored)
        } else {
            Err(JournalError::Corrupt { offset: first, what: format!("the batch of record {first} is not as it was written") })
        }
    }
}

fn checksum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

impl Disk {
    /// Ends whatever used the disk. Handles of before must not be used any more.
    pub fn crash(&self, crash: Crash) {
        let mut platter = self.0.lock();
        platter.fails_next_write = false;
        platter.fails_next_sync = false;
        let Crash::PowerCut { kept, torn } = crash else { return };
        let unsynced = std::mem::take(&mut platter.unsynced);
        for op in unsynced.iter().take(kept).filter(|op| !op.is_lost()) {
            platter.safe.apply(op);
        }
        if let (Some(tear), Some(Op::Write { first, value, lost: false })) = (torn, unsynced.get(kept)) {
            let op = Op::Write { first: *first, value: value.torn(tear), lost: false };
            platter.safe.apply(&op);
        }
        platter.seen = platter.safe.clone();
        platter.time = platter.safe_time;
    }

    /// The clock has told this time.
    pub(crate) fn note_time(&self, now: Millis) {
        let mut platter = self.0.lock();
        platter.time = platter.time.max(now);
    }

    /// The latest time that was noted.
    #[must_use]
    pub fn time(&self) -> Millis {
        self.0.lock().time
    }

    /// The process dies in the middle of a write, which is its last.
    pub fn tear_last_write(&self, tear: Tear) {
        let mut platter = self.0.lock();
        if let Some(Op::Write { first, value, lost: false }) = platter.unsynced.pop() {
            let op = Op::Write { first, value: value.torn(tear), lost: false };
            platter.seen.apply(&op);
            platter.unsynced.push(op);
        }
    }

    /// The next write fails, having written nothing.
    pub fn fail_next_write(&self) {
        self.0.lock().fails_next_write = true;
    }

    /// The next sync fails.
    pub fn fail_next_sync(&self) {
        self.0.lock().fails_next_sync = true;
    }

    /// Writes and trims that a power cut could take away.
    #[must_use]
    pub fn unsynced(&self) -> usize {
        self.0.lock().unsynced.len()
    }

    /// Last record that a power cut leaves.
    ///
    /// # Errors
    /// What is there is damaged.
    pub fn safe_upto(&self) -> Result<u64, JournalError> {
        let platter = self.0.lock();
        let safe = &platter.safe;
        safe.chunks.last_key_value().map_or(Ok(safe.trimmed), |(&first, value)| Ok(value.stored(first)?.last()))
    }

    /// The records after `after` that a power cut leaves, read without the journal's help.
    ///
    /// # Errors
    /// What is there is damaged.
    pub fn safe_records(&self, after: u64) -> Result<Vec<(u64, Record)>, JournalError> {
        let platter = self.0.lock();
        let chunks = &platter.safe.chunks;
        let begin = chunks.range(..=after + 1).next_back().map_or(0, |(&first, _)| first);
        let mut records = Vec::new();
        for (&first, value) in chunks.range(begin..) {
            for (offset, bytes) in value.stored(first)?.records().filter(|&(offset, _)| offset > after) {
                records.push((offset, Record::decode(bytes).map_err(|source| JournalError::Undecodable { offset, source })?));
            }
        }
        Ok(records)
    }

    /// What a start does: as `Journal::open` with `folder` and `store` does it to files.
    pub(crate) fn open(&self) -> Result<Kept, JournalError> {
        let mut platter = self.0.lock();
        let platter = &mut *platter;
        // Opening the witness syncs it; afterwards it is only written.
        platter.safe_time = platter.time;
        platter.seen.drop_torn_tail();
        platter.safe.drop_torn_tail();
        let seen = &platter.seen;
        platter.unsynced.retain(|op| !matches!(op, Op::Write { first, lost: false, .. } if !seen.chunks.contains_key(first)));
        if let Some(refused) = platter.marker.take() {
            // What is not refused is copied into new files, from what can be read, and synced there.
            platter.seen.chunks.retain(|&first, _| first < refused);
            platter.safe = platter.seen.clone();
            platter.unsynced.clear();
        }
        platter.sync();
        let trimmed = platter.seen.trimmed;
        let mut last = trimmed;
        for (&first, value) in &platter.seen.chunks {
            if first != last + 1 {
                return Err(JournalError::gap(last + 1, first.saturating_sub(1)));
            }
            last = value.stored(first)?.last();
        }
        Ok(Kept { trimmed, last })
    }

    pub(crate) fn write(&self, chunk: &Chunk) -> Result<(), JournalError> {
        let mut platter = self.0.lock();
        if std::mem::take(&mut platter.fails_next_write) {
            return Err(failed("write"));
        }
        let op = Op::Write { first: chunk.first(), value: Value::new(chunk.bytes()), lost: false };
        platter.seen.apply(&op);
        platter.unsynced.push(op);
        Ok(())
    }

    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        let mut platter = self.0.lock();
        if std::mem::take(&mut platter.fails_next_sync) {
            for op in &mut platter.unsynced {
                if let Op::Write { lost, .. } = op {
                    *lost = true;
                }
            }
            return Err(failed("sync"));
        }
        platter.sync();
        Ok(())
    }

    /// As `Store::read`.
    pub(crate) fn read(&self, after: u64, durable: u64, most_records: usize, trimmed: u64) -> Result<Vec<(u64, Record)>, JournalError> {
        if after >= durable || most_records == 0 {
            return Ok(Vec::new());
        }
        if after < trimmed {
            return Err(JournalError::Trimmed { after, trimmed });
        }
        let platter = self.0.lock();
        let chunks = &platter.seen.chunks;
        let begin = chunks.range(trimmed + 1..=after + 1).next_back().map(|(&first, _)| first);
        let begin = begin.ok_or_else(|| JournalError::gap(trimmed + 1, after + 1))?;
        let mut expected = begin;
        let mut records = Vec::new();
        for (&first, value) in chunks.range(begin..=durable) {
            if first != expected {
                return Err(JournalError::gap(expected, first.saturating_sub(1)));
            }
            let stored = value.stored(first)?;
            for (offset, bytes) in stored.records().filter(|&(offset, _)| offset > after) {
                if records.len() == most_records {
                    return Ok(records);
                }
                records.push((offset, Record::decode(bytes).map_err(|source| JournalError::Undecodable { offset, source })?));
            }
            expected = stored.last() + 1;
        }
        if expected <= durable { Err(JournalError::gap(expected, durable)) } else { Ok(records) }
    }

    /// As `Store::trim`.
    pub(crate) fn trim(&self, trimmed: u64, upto: u64, announce: impl FnOnce(u64)) -> Result<Option<u64>, JournalError> {
        if upto <= trimmed {
            return Ok(None);
        }
        let mut platter = self.0.lock();
        let mut new_trimmed = trimmed;
        for (&first, value) in platter.seen.chunks.range(trimmed + 1..=upto) {
            let last = value.stored(first)?.last();
            if last > upto {
                break;
            }
            new_trimmed = last;
        }
        if new_trimmed == trimmed {
            return Ok(None);
        }
        announce(new_trimmed);
        let op = Op::Trim(new_trimmed);
        platter.seen.apply(&op);
        platter.unsynced.push(op);
        Ok(Some(new_trimmed))
    }

    pub(crate) fn mark(&self, refused: u64) {
        self.0.lock().marker = Some(refused);
    }
}

impl Platter {
    fn sync(&mut self) {
        for op in self.unsynced.extract_if(.., |op| !op.is_lost()) {
            self.safe.apply(&op);
        }
    }
}

impl Op {
    const fn is_lost(&self) -> bool {
        matches!(self, Self::Write { lost: true, .. })
    }
}

fn failed(what: &'static str) -> JournalError {
    JournalError::Io { what, path: "the simulated disk".into(), source: std::io::Error::other("simulated") }
}

/// What the committer thread does, one thing at a time.
pub struct Committer {
    shared: Arc<Shared>,
    stage: Stage,
}

enum Stage {
    Idle,
    /// So many of its chunks are written.
    Writing(Batch, usize),
    Synced(Batch),
}

/// What one step did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Did {
    /// There was nothing to do, or the journal has ended.
    Nothing,
    /// Took the open batch.
    Took,
    /// Wrote a chunk.
    Wrote,
    /// Synced.
    Synced,
    /// Told those who wait.
    Published,
    /// Failed, and poisoned the journal.
    Failed,
}

impl Committer {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared, stage: Stage::Idle }
    }

    /// Does the next thing.
    pub fn step(&mut self) -> Did {
        match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => {
                let mut pending = self.shared.pending.lock();
                if matches!(pending.state, State::Ended(_)) {
                    return Did::Nothing;
                }
                if let Some(batch) = pending.take() {
                    self.stage = Stage::Writing(batch, 0);
                    return Did::Took;
                }
                if pending.state == State::Closing {
                    pending.end(Fate::Closed);
                    drop(pending);
                    self.shared.end(Fate::Closed);
                }
                Did::Nothing
            }
            Stage::Writing(batch, written) => {
                let done = match batch.chunks.get(written) {
                    Some(chunk) => self.shared.store.write(chunk).map(|()| Did::Wrote),
                    None => self.shared.store.sync().map(|()| Did::Synced),
                };
                match done {
                    Ok(Did::Synced) => self.stage = Stage::Synced(batch),
                    Ok(_) => self.stage = Stage::Writing(batch, written + 1),
                    Err(error) => {
                        give_up(&self.shared, &batch, Some(&error));
                        return Did::Failed;
                    }
                }
                done.unwrap_or(Did::Failed)
            }
            Stage::Synced(batch) => {
                publish(&self.shared, batch);
                Did::Published
            }
        }
    }
}
