//! The batch that fills while the one before it is written, and those who wait for either.

use crate::JournalError;
use crate::chunk::Chunk;
use crate::journal::Options;
use std::sync::Arc;
use tokio::sync::SetOnce;

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Durable,
    Poisoned,
    Closed,
}

impl Fate {
    pub(crate) fn result(self) -> Result<(), JournalError> {
        match self {
            Self::Durable => Ok(()),
            Self::Poisoned => Err(JournalError::Poisoned),
            Self::Closed => Err(JournalError::Closed),
        }
    }
}

/// A batch's fate, decided once; wakes those who wait for this batch and nobody else.
pub(crate) type Ack = Arc<SetOnce<Fate>>;

/// One appended record on its way to the disk.
#[derive(Clone, Debug)]
pub struct Commit {
    pub(crate) offset: u64,
    pub(crate) batch: Ack,
}

impl Commit {
    /// The record's offset. Of a refused record: the one it would have had.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the record is durable.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        self.batch.get() == Some(&Fate::Durable)
    }

    /// Waits until the record is durable. May be dropped and asked again.
    ///
    /// # Errors
    /// [`JournalError::Poisoned`] where its batch could not be made durable: nobody may be told of the record.
    /// [`JournalError::Closed`] where it was appended after the journal was closed.
    pub async fn durable(&self) -> Result<(), JournalError> {
        self.batch.wait().await.result()
    }
}

/// Whether records are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// What was taken is still written, nothing more is taken.
    Closing,
    /// Nothing is taken or written any more, because of a failure or because the journal was closed.
    Ended(Fate),
}

/// A batch.
pub(crate) struct Batch {
    /// At least one, and none is empty once the batch is taken.
    pub(crate) chunks: Vec<Chunk>,
    /// Bytes of its records.
    pub(crate) bytes: usize,
    pub(crate) ack: Ack,
}

impl Batch {
    fn starting_at(first: u64, buffer: Vec<u8>) -> Self {
        Self { chunks: vec![Chunk::starting_at(first, first, buffer)], bytes: 0, ack: Ack::default() }
    }

    fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Offset of its first record; where it has none, of the record that comes next.
    pub(crate) fn first(&self) -> u64 {
        self.chunks.first().map_or(0, Chunk::first)
    }
}

/// What became of a record that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// It opens a batch: the committer may be asleep.
    First,
    /// It joined a batch that the committer already knows of.
    Joined,
    /// The journal has ended.
    Refused,
}

/// The batch that the committer is writing.
struct Flight {
    last: u64,
    ack: Ack,
}

/// What is appended and not yet durable. Lives behind one mutex, held for a copy of one record.
pub(crate) struct Pending {
    pub(crate) state: State,
    options: Options,
    /// The offset that the next record gets.
    next: u64,
    open: Batch,
    flight: Option<Flight>,
    /// Emptied buffers, for chunks to come.
    spare: Vec<Vec<u8>>,
}

/// Buffers kept for reuse: one filling, one being written, and two for a burst.
const SPARE_BUFFERS_MAX: usize = 4;

impl Pending {
    pub(crate) fn new(next: u64, options: Options) -> Self {
        let open = Batch::starting_at(next, Vec::new());
        Self { state: State::Running, options, next, open, flight: None, spare: Vec::new() }
    }

    /// Takes one encoded record, which is never empty, into the open batch.
    pub(crate) fn push(&mut self, record: &[u8]) -> (Commit, Pushed) {
        let refused = match self.state {
            State::Running => None,
            State::Closing => Some(Fate::Closed),
            State::Ended(fate) => Some(fate),
        };
        if let Some(fate) = refused {
            return (Commit { offset: self.next, batch: Arc::new(SetOnce::new_with(Some(fate))) }, Pushed::Refused);
        }
        let pushed = if self.open.is_empty() { Pushed::First } else { Pushed::Joined };
        let Options { batch_records_max, batch_bytes_max } = self.options;
        match self.open.chunks.last_mut() {
            Some(chunk) if chunk.has_room(record.len(), batch_records_max, batch_bytes_max) => chunk.push(record),
            _ => {
                let mut chunk = Chunk::starting_at(self.next, self.open.first(), self.spare.pop().unwrap_or_default());
                chunk.push(record);
                self.open.chunks.push(chunk);
            }
        }
        self.open.bytes += record.len();
        let commit = Commit { offset: self.next, batch: Arc::clone(&self.open.ack) };
        self.next += 1;
        (commit, pushed)
    }

    /// The offset given out last.
    pub(crate) fn last(&self) -> u64 {
        self.next - 1
    }

    /// Takes the open batch for writing, unless it is empty.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.open.is_empty() {
            return None;
        }
        let next_batch = Batch::starting_at(self.next, self.spare.pop().unwrap_or_default());
        let batch = std::mem::replace(&mut self.open, next_batch);
        self.flight = Some(Flight { last: self.last(), ack: Arc::clone(&batch.ack) });
        Some(batch)
    }

    /// Last record of the batch that was taken and has not landed.
    pub(crate) fn in_flight_upto(&self) -> Option<u64> {
        self.flight.as_ref().map(|flight| flight.last)
    }

    /// The batch taken last is durable; its buffers come back.
    pub(crate) fn landed(&mut self, chunks: Vec<Chunk>) {
        self.flight = None;
        // One record longer than a batch may be leaves a buffer that is not worth keeping.
        let kept_bytes_max = self.options.batch_bytes_max.saturating_mul(2);
        let buffers = chunks.into_iter().map(Chunk::into_buffer).filter(|buffer| buffer.capacity() <= kept_bytes_max);
        let room = SPARE_BUFFERS_MAX.saturating_sub(self.spare.len());
        self.spare.extend(buffers.take(room));
    }

    /// Takes nothing more and gives up the open batch, whose waiters the caller tells.
    pub(crate) fn end(&mut self, fate: Fate) -> Batch {
        self.state = State::Ended(fate);
        std::mem::replace(&mut self.open, Batch::starting_at(self.next, Vec::new()))
    }

    /// The batch that holds a record which is not durable yet; none where it was not appended, or has just become durable.
    pub(crate) fn batch_of(&self, offset: u64) -> Option<Ack> {
        if offset >= self.next {
            return None;
        }
        match &self.flight {
            Some(flight) if offset <= flight.last => Some(Arc::clone(&flight.ack)),
            _ if offset >= self.open.first() => Some(Arc::clone(&self.open.ack)),
            _ => None,
        }
    }
}
