//! Where entries of the outbox go: the seam between Redis, which decides, and the journal, which makes true.
//!
//! The order of things for one tag (see `tag.rs`): a run writes entries and answers with them; they are shipped in the order of the outbox;
//! once the journal has them they are removed under a check of the epoch; and only when they are gone from the outbox are the
//! answers that depend on them given. What a node did not ship itself, since it died or lost the answer, any other node reads from the
//! outbox and ships. So an entry may be shipped twice, never not at all: whoever reads the journal goes by versions.

use super::link::EntryId;
use super::of::Of;
use bunho_journal::Record;
use parking_lot::Mutex;
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

/// What makes entries durable.
#[derive(Clone)]
pub enum Shipper {
    /// Whoever receives, such as the writer to Kafka.
    Channel(mpsc::Sender<Shipment>),
    /// A list in memory, for tests.
    Memory(Arc<MemoryJournal>),
}

/// A journal for tests, which can be made to stop.
pub struct MemoryJournal {
    entries: Mutex<Vec<Arc<Entry>>>,
    open: watch::Sender<bool>,
}

impl Default for MemoryJournal {
    fn default() -> Self {
        Self { entries: Mutex::default(), open: watch::Sender::new(true) }
    }
}

impl MemoryJournal {
    /// Everything that was shipped, in the order in which it came.
    #[must_use]
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        self.entries.lock().clone()
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
            Self::Channel(shipments) => {
                let (done, has) = oneshot::channel();
                shipments.send(Shipment { entries, done }).await.is_ok() && has.await.unwrap_or(false)
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
}
