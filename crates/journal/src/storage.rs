//! Where chunks go: into fjall's files, or into the memory of a simulation.
//!
//! Everything above (batches, offsets, who waits, what a failure means) is the same code for both, so what a simulation
//! finds there is a finding about the journal.

use crate::JournalError;
use crate::chunk::Chunk;
use crate::folder::Folder;
use crate::store::Store;
use crate::wire::Record;
use bunho_domain::planted::{self, Bug};

/// One of the two.
pub(crate) enum Storage {
    /// Files in a folder.
    Fjall {
        // Before the folder: its files are closed before the lock is given back.
        store: Store,
        folder: Folder,
    },
    /// A disk in memory.
    #[cfg(feature = "simulation")]
    Simulated(crate::simulated::Disk),
}

impl Storage {
    /// Writes one chunk; it is durable after the next [`Self::sync`].
    pub(crate) fn write(&self, chunk: &Chunk) -> Result<(), JournalError> {
        match self {
            Self::Fjall { store, .. } => store.write(chunk),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => disk.write(chunk),
        }
    }

    /// Makes everything written durable.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        match self {
            Self::Fjall { store, .. } => store.sync(),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => disk.sync(),
        }
    }

    /// As [`Store::read`].
    pub(crate) fn read(
        &self,
        after: u64,
        durable: u64,
        most_records: usize,
        trimmed: impl FnOnce() -> u64,
    ) -> Result<Vec<(u64, Record)>, JournalError> {
        match self {
            Self::Fjall { store, .. } => store.read(after, durable, most_records, trimmed),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => disk.read(after, durable, most_records, trimmed()),
        }
    }

    /// As [`Store::trim`].
    pub(crate) fn trim(&self, trimmed: u64, upto: u64, announce: impl FnOnce(u64)) -> Result<Option<u64>, JournalError> {
        match self {
            Self::Fjall { store, .. } => store.trim(trimmed, upto, announce),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => disk.trim(trimmed, upto, announce),
        }
    }

    /// As [`Store::reclaim`].
    pub(crate) fn reclaim(&self) -> Result<(), JournalError> {
        match self {
            Self::Fjall { store, .. } => store.reclaim(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Leaves word that records from `refused` on were refused.
    pub(crate) fn mark(&self, refused: u64) -> Result<(), JournalError> {
        if planted::is(Bug::FailedSyncUnmarked) {
            return Ok(());
        }
        match self {
            Self::Fjall { folder, .. } => folder.mark(refused),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => {
                disk.mark(refused);
                Ok(())
            }
        }
    }
}
