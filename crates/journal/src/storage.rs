//! Where chunks go: into fjall's files, or into the memory of a simulation.
//!
//! Everything above (batches, offsets, who waits, what a failure means) is the same code for both, so what a simulation
//! finds there is a finding about the journal.

use crate::JournalError;
use crate::chunk::Chunk;
use crate::folder::Folder;
use crate::store::Store;
use crate::wire::Record;
use crate::witness::Witness;
use bunho_domain::planted::{self, Bug};
use bunho_domain::time::Millis;
use std::path::Path;

/// One of the two.
pub(crate) enum Storage {
    /// Files in a folder.
    Fjall {
        // Before the folder: its files are closed before the lock is given back.
        store: Store,
        folder: Folder,
        witness: Witness,
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

    /// As [`Store::erase_trimmed`].
    pub(crate) fn erase_trimmed(&self) -> Result<bool, JournalError> {
        match self {
            Self::Fjall { store, .. } => store.erase_trimmed(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Ok(true),
        }
    }

    /// As [`Store::erase_room`]; none: nothing is written.
    pub(crate) fn erase_room(&self) -> Option<(&Path, u64)> {
        match self {
            Self::Fjall { store, .. } => Some(store.erase_room()),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => None,
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

    /// As [`Witness::acknowledge`].
    pub(crate) fn acknowledge(&self, acknowledged: u64) {
        match self {
            Self::Fjall { witness, .. } => witness.acknowledge(acknowledged),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => {}
        }
    }

    /// As [`Witness::note_time`].
    pub(crate) fn note_time(&self, now: Millis) {
        match self {
            Self::Fjall { witness, .. } => witness.note_time(now),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => disk.note_time(now),
        }
    }

    /// As [`Witness::time`].
    pub(crate) fn time(&self) -> Millis {
        match self {
            Self::Fjall { witness, .. } => witness.time(),
            #[cfg(feature = "simulation")]
            Self::Simulated(disk) => disk.time(),
        }
    }

    /// As [`Witness::disbelieved`].
    pub(crate) fn disbelieved(&self) -> Millis {
        match self {
            Self::Fjall { witness, .. } => witness.disbelieved(),
            // Nobody gives a simulated machine an operator's word about its clock.
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Millis::default(),
        }
    }

    /// As [`Witness::disbelieve`].
    pub(crate) fn disbelieve(&self, latest: Millis, now: Millis) -> Result<(), JournalError> {
        match self {
            Self::Fjall { witness, .. } => witness.disbelieve(latest, now),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// As [`Witness::close`].
    pub(crate) fn close(&self) {
        match self {
            Self::Fjall { witness, .. } => witness.close(),
            #[cfg(feature = "simulation")]
            Self::Simulated(_) => {}
        }
    }
}
