//! Where entries of the outbox go: the seam between Redis, which decides, and the journal, which makes true.
//!
//! The order of things for one tag (see `tag.rs`): a run writes entries and answers with them; they are shipped in the order of the outbox;
//! once the journal has them they are removed under a check of the epoch; and only when they are gone from the outbox are the
//! answers that depend on them given. What a node did not ship itself, since it died or lost the answer, any other node reads from the
//! outbox and ships. So an entry may be shipped twice, never not at all: whoever reads the journal goes by versions.
//!
//! A primary that was cut off may go on for a moment after its replica was promoted, and its removals say nothing. Its replicas do not
//! confirm them either; then the directory is asked before an answer is given: the epoch that it has was there before any fence of the next.

use super::link::EntryId;
use super::of::Of;
use bunho_journal::Record;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

/// One entry of the outbox.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its id in its tag's outbox.
    pub id: EntryId,
    /// The tag.
    pub tag: Of,
    /// The offer or zone that decided.
    pub of: Of,
    /// Its epoch then: of its state, where it is a zone.
    pub epoch: u32,
    /// Its version after.
    pub version: u64,
    /// What happened: belongs into the journal as it is, each event under the key of what it is about.
    pub record: Record,
}

/// Entries of one tag that must be in the journal, in their order, before `done` is told so.
pub struct Shipment {
    /// In the order of the outbox.
    pub entries: Vec<Arc<Entry>>,
    /// Whether the journal has all of them now. Dropped or false: they are shipped again, a little later.
    pub done: oneshot::Sender<bool>,
}

/// Something that was decided by a Redis node which may not be the one any more whose word counts.
pub struct Question {
    /// The offer or zone that decided.
    pub of: Of,
    /// Its epoch then.
    pub epoch: u32,
    /// Whether that is still its epoch. Dropped: nobody knows.
    pub is_current: oneshot::Sender<bool>,
}

/// What the task of a tag has for the rest of the node.
pub enum Errand {
    /// To be made durable.
    Ship(Shipment),
    /// To be asked of whoever says which epoch counts.
    Ask(Question),
}

/// What makes entries durable.
#[derive(Clone)]
pub enum Shipper {
    /// Whoever receives, such as the writer to Kafka.
    Channel(mpsc::Sender<Errand>),
    /// A list in memory, for tests.
    Memory(Arc<MemoryJournal>),
}

/// A journal for tests, which can be made to stop.
pub struct MemoryJournal {
    entries: Mutex<Vec<Arc<Entry>>>,
    open: watch::Sender<bool>,
    /// Epochs before these have ended.
    ended: Mutex<BTreeMap<Of, u32>>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self { entries: Mutex::default(), open: watch::Sender::new(true), ended: Mutex::default() }
    }
}

impl MemoryJournal {
    /// Everything that was shipped, in the order in which it came.
    #[must_use]
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().clone()
    }

    /// Says from which epoch on an offer or zone counts: another Redis node decides by now.
    pub fn end_before(&self, of: Of, epoch: u32) {
        self.ended.lock().insert(of, epoch);
    }

    fn is_current(&self, of: Of, epoch: u32) -> bool {
        self.ended.lock().get(&of).is_none_or(|counts| epoch >= *counts)
    }

    /// Stops acknowledging, or goes on. What came meanwhile has not been written.
    pub fn set_open(&self, open: bool) {
        self.open.send_replace(open);
    }
}

impl Shipper {
    /// True once the journal has the entries.
    pub(super) async fn ship(&self, entries: Vec<Arc<Entry>>) -> bool {
        match self {
            Self::Channel(errands) => {
                let (done, has) = oneshot::channel();
                errands.send(Errand::Ship(Shipment { entries, done })).await.is_ok() && has.await.unwrap_or(false)
            }
            Self::Memory(journal) => {
                let mut open = journal.open.subscribe();
                if open.wait_for(|open| *open).await.is_err() {
                    return false;
                }
                journal.entries.lock().extend(entries);
                true
            }
        }
    }

    /// Whether the epoch still counts, as of some moment after this was asked.
    pub(super) async fn is_current(&self, of: Of, epoch: u32) -> bool {
        match self {
            Self::Channel(errands) => {
                let (is_current, answer) = oneshot::channel();
                errands.send(Errand::Ask(Question { of, epoch, is_current })).await.is_ok() && answer.await.unwrap_or(false)
            }
            Self::Memory(journal) => journal.is_current(of, epoch),
        }
    }
}
