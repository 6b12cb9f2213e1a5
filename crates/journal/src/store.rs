//! Chunks in fjall: written in order, synced together, read by offset, trimmed from the front.
//!
//! What matters of fjall 3.1 here. A write goes to fjall's own journal file and to a sorted table in memory; a full
//! table is written out by a worker thread, and journal files that hold nothing else are then deleted. `persist` with
//! `SyncData` is one `fdatasync` of the active journal file, and with `manual_journal_persist` nothing else happens
//! between our calls: fjall has no timer that syncs. When it changes journal files, it syncs the full one first.
//!
//! Trimming writes a tombstone per chunk. Disk space comes back by itself for a chunk trimmed before its table is
//! written out (the usual case, since the projector is seconds behind): it never reaches a table file at all. After a
//! projector was far behind, gigabytes of trimmed chunks would lie under few tombstones that give compaction no reason
//! to run (measured: 1 GiB stayed through 200 MiB of later writes), so [`Store::reclaim`] asks for it.

use crate::JournalError;
use crate::chunk::{Chunk, Stored};
use crate::crash_point;
use crate::wire::Record;
use fjall::config::FilterPolicy;
use fjall::{CompressionType, Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Block cache. Tailing reads come from memory tables; only a projector far behind reads files, once and in order.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;

/// Size at which a memory table is written out: about 100,000 records of 150 bytes. Twice this (one filling, one being
/// written) is what the store holds in memory.
const TABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Sealed journal files of fjall; the least that it accepts. They are what a restart replays, at some 500 MB a second.
const FJALL_JOURNALS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// fjall's threads that write and compact tables. Two would hand compactions to each other in a busy loop while one
/// works, and the machine's cores belong to claims.
const WORKERS: usize = 1;

/// Encoded bytes that one read gives at most, beyond its first record. The records of one read are decoded together, to some
/// four times as much, and a record of many expired holds is as long as [`bunho_domain::limits::SETTLE_MOST`] claims.
const READ_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Chunks forgotten in one atomic step. Bounds the step's memory and how long the committer waits behind it.
const TRIM_CHUNKS_MAX: usize = 512;

/// Bytes that must have been trimmed, and lie in table files, before all tables are compacted. Each such compaction
/// writes at most as much as was trimmed since the last one, so it at most doubles what the journal writes in all.
const RECLAIM_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// How long a compaction waits for the tombstones to be written out: a table of 16 MiB takes about 50 ms.
const RECLAIM_WAITS_MAX: u32 = 100;
const RECLAIM_WAIT: Duration = Duration::from_millis(20);

/// Records are numbered from 1.
const NO_RECORD: u64 = 0;

/// What fills a journal file up so that fjall begins another one, which it does beyond 64,000,000 bytes; and the pause after each piece.
const FILLER_BYTES: usize = 1 << 20;
const FILLERS: usize = 64;
const _: () = assert!(FILLER_BYTES * FILLERS > 64_000_000);
/// What [`Store::erase_trimmed`] may have on the disk at a time: the pieces in the journal file, and once more in tables.
const ERASE_BYTES: u64 = 2 * (FILLER_BYTES * FILLERS) as u64;
const FILLER_WAIT: Duration = Duration::from_millis(5);
/// Records that arrive meanwhile may keep the old file in use; each try takes it further.
const ERASE_TRIES: u32 = 20;

/// Key of the last trimmed offset, in the keyspace `meta`.
const TRIMMED: &[u8] = b"trimmed";
/// Key of nothing, in the same keyspace: see [`Store::step_past`].
const RECLAIMED: &[u8] = b"reclaimed";

/// What a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Last record that was trimmed; 0: none.
    pub(crate) trimmed: u64,
    /// Last record.
    pub(crate) last: u64,
}

/// The open store.
pub(crate) struct Store {
    // Keyspaces before the database: its files are closed when the last of the three is dropped.
    chunks: Keyspace,
    meta: Keyspace,
    db: Database,
    dir: PathBuf,
    /// Bytes trimmed since the tables were last compacted.
    trimmed_bytes: AtomicU64,
}

impl Store {
    /// Opens or creates the store in `dir`.
    pub(crate) fn open(dir: &Path) -> Result<Self, JournalError> {
        let db = Database::builder(dir)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(FJALL_JOURNALS_BYTES_MAX)
            .worker_threads(WORKERS)
            .manual_journal_persist(true)
            // Recovery compares checksums by compressing again; that must not depend on the compressor's version.
            .journal_compression(CompressionType::None)
            .open()
            .map_err(JournalError::store("open"))?;
        let options = || {
            KeyspaceCreateOptions::default()
                .manual_journal_persist(true)
                .max_memtable_size(TABLE_BYTES_MAX)
                // Only ranges are read, which filters do not help.
                .filter_policy(FilterPolicy::disabled())
        };
        let chunks = db.keyspace("chunks", options).map_err(JournalError::store("open its chunks"))?;
        let meta = db.keyspace("meta", options).map_err(JournalError::store("open its meta data"))?;
        Ok(Self { chunks, meta, db, dir: dir.to_owned(), trimmed_bytes: AtomicU64::new(0) })
    }

    /// Reads what is there and makes sure that nothing between its ends is missing.
    pub(crate) fn check(&self) -> Result<Kept, JournalError> {
        let trimmed = match self.meta.get(TRIMMED).map_err(JournalError::store("read its meta data"))? {
            Some(bytes) => offset_of(&bytes)?,
            None => 0,
        };
        let mut last = trimmed;
        for entry in self.chunks.range(key(trimmed + 1)..) {
            let (key, value) = read_entry(entry)?;
            let first = offset_of(&key)?;
            if first != last + 1 {
                return Err(JournalError::gap(last + 1, first.saturating_sub(1)));
            }
            last = Stored::parse(first, &value)?.last();
        }
        Ok(Kept { trimmed, last })
    }

    /// Writes one chunk; it is durable after the next [`Self::sync`].
    pub(crate) fn write(&self, chunk: &Chunk) -> Result<(), JournalError> {
        self.chunks.insert(key(chunk.first()), chunk.bytes()).map_err(JournalError::store("write"))
    }

    /// Makes everything written durable, with one `fdatasync`.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.db.persist(PersistMode::SyncData).map_err(JournalError::store("sync"))?;
        // fjall's worker syncs the same file before it writes out a table, and the system tells of a failed sync once. One that
        // failed for the worker while we waited for the file would look well to ours; fjall knows of it now, so it is asked again.
        self.db.persist(PersistMode::Buffer).map_err(JournalError::store("sync"))
    }

    /// Records after `after` up to `durable`, at most `most_records` and [`READ_BYTES_MAX`]. `trimmed` is asked for once the view that will be
    /// read is fixed: what is trimmed later is still in that view.
    pub(crate) fn read(
        &self,
        after: u64,
        durable: u64,
        most_records: usize,
        trimmed: impl FnOnce() -> u64,
    ) -> Result<Vec<(u64, Record)>, JournalError> {
        if after >= durable || most_records == 0 {
            return Ok(Vec::new());
        }
        let view = self.db.snapshot();
        let trimmed = trimmed();
        if after < trimmed {
            return Err(JournalError::Trimmed { after, trimmed });
        }
        // The chunk that holds the first record begins at or before it.
        let begin = match view.range(&self.chunks, key(trimmed + 1)..=key(after + 1)).next_back() {
            Some(entry) => offset_of(&entry.key().map_err(JournalError::store("read"))?)?,
            None => return Err(JournalError::gap(trimmed + 1, after + 1)),
        };
        let mut expected = begin;
        let mut room = READ_BYTES_MAX;
        let mut records = Vec::new();
        for entry in view.range(&self.chunks, key(begin)..=key(durable)) {
            let (key, value) = read_entry(entry)?;
            let first = offset_of(&key)?;
            if first != expected {
                return Err(JournalError::gap(expected, first.saturating_sub(1)));
            }
            let stored = Stored::parse(first, &value)?;
            for (offset, bytes) in stored.records().filter(|&(offset, _)| offset > after) {
                if records.len() == most_records || (bytes.len() > room && !records.is_empty()) {
                    return Ok(records);
                }
                room = room.saturating_sub(bytes.len());
                let record = Record::decode(bytes).map_err(|source| JournalError::Undecodable { offset, source })?;
                records.push((offset, record));
            }
            expected = stored.last() + 1;
        }
        if expected <= durable { Err(JournalError::gap(expected, durable)) } else { Ok(records) }
    }

    /// Forgets the first chunks after `trimmed` that end at or before `upto`. `announce` is told the new last
    /// trimmed offset before anything disappears. `None`: there is no such chunk.
    pub(crate) fn trim(&self, trimmed: u64, upto: u64, announce: impl FnOnce(u64)) -> Result<Option<u64>, JournalError> {
        if upto <= trimmed {
            return Ok(None);
        }
        let mut batch = self.db.batch();
        let mut new_trimmed = trimmed;
        let mut bytes = 0;
        for entry in self.chunks.range(key(trimmed + 1)..=key(upto)).take(TRIM_CHUNKS_MAX) {
            let (key, value) = read_entry(entry)?;
            let last = Stored::parse(offset_of(&key)?, &value)?.last();
            if last > upto {
                break;
            }
            batch.remove(&self.chunks, key);
            new_trimmed = last;
            bytes += value.len() as u64;
        }
        if new_trimmed == trimmed {
            return Ok(None);
        }
        batch.insert(&self.meta, TRIMMED, key(new_trimmed));
        announce(new_trimmed);
        crash_point!("journal::trim_announced");
        batch.commit().map_err(JournalError::store("trim"))?;
        crash_point!("journal::trimmed");
        self.trimmed_bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Some(new_trimmed))
    }

    /// Compacts the tables where most of what they hold has been trimmed. The committer is not held up.
    pub(crate) fn reclaim(&self) -> Result<(), JournalError> {
        let trimmed_bytes = self.trimmed_bytes.load(Ordering::Relaxed);
        let table_bytes = self.chunks.disk_space();
        if table_bytes < RECLAIM_BYTES_MIN || trimmed_bytes < RECLAIM_BYTES_MIN.max(table_bytes / 2) {
            return Ok(());
        }
        self.compact_trimmed()
    }

    fn compact_trimmed(&self) -> Result<(), JournalError> {
        // The tombstones are still in memory; only in a table do they meet what they remove.
        self.step_past()?;
        if Self::write_out(&self.chunks)? {
            self.chunks.major_compact().map_err(JournalError::store("compact"))?;
            self.trimmed_bytes.store(0, Ordering::Relaxed);
            // fjall removes replaced table files when a table is next written out, and sealed journal files when
            // no keyspace needs them: the few bytes of meta data are a table small enough to do it now.
            self.step_past()?;
            self.meta.rotate_memtable().map_err(JournalError::store("write out its meta data"))?;
        }
        Ok(())
    }

    /// Writes what is in memory of a keyspace out into a table. False: not within [`RECLAIM_WAITS_MAX`].
    fn write_out(keyspace: &Keyspace) -> Result<bool, JournalError> {
        keyspace.rotate_memtable().map_err(JournalError::store("write out a table"))?;
        for _ in 0..RECLAIM_WAITS_MAX {
            if keyspace.sealed_memtable_count() == 0 {
                return Ok(true);
            }
            std::thread::sleep(RECLAIM_WAIT);
        }
        Ok(false)
    }

    /// Leaves nothing of what was trimmed in the files: neither in tables nor in fjall's journal files. False: one of those could not be given up.
    ///
    /// fjall begins a new journal file only when it writes a table out and the file has 64 MB, and it cannot be told to. So the file is made that
    /// long, a piece at a time, between which the committer has its turns.
    pub(crate) fn erase_trimmed(&self) -> Result<bool, JournalError> {
        let before = self.journal_files()?;
        let nothing = vec![0; FILLER_BYTES];
        for _ in 0..FILLERS {
            self.meta.insert(RECLAIMED, nothing.as_slice()).map_err(JournalError::store("begin a new journal file"))?;
            std::thread::sleep(FILLER_WAIT);
        }
        let mut gone = false;
        for _ in 0..ERASE_TRIES {
            // The old file goes when both keyspaces have tables that are newer than all it holds; one without any table would keep it for
            // ever. No record has this key, and whoever reads begins behind it.
            self.chunks.insert(key(NO_RECORD), []).map_err(JournalError::store("begin a new journal file"))?;
            self.step_past()?;
            Self::write_out(&self.chunks)?;
            Self::write_out(&self.meta)?;
            let files = self.journal_files()?;
            gone = before.iter().all(|file| !files.contains(file));
            if gone {
                break;
            }
            std::thread::sleep(RECLAIM_WAIT);
        }
        // Afterwards: what is left of a compaction may count as older than the file.
        self.compact_trimmed()?;
        self.meta.major_compact().map_err(JournalError::store("compact its meta data"))?;
        Ok(gone)
    }

    /// Where [`Self::erase_trimmed`] writes, and the bytes that it needs there. A disk that is full poisons the store.
    pub(crate) fn erase_room(&self) -> (&Path, u64) {
        (&self.dir, ERASE_BYTES)
    }

    fn journal_files(&self) -> Result<Vec<PathBuf>, JournalError> {
        let listed = || {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(&self.dir)? {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == "jnl") {
                    files.push(path);
                }
            }
            Ok(files)
        };
        listed().map_err(JournalError::io("list the files of", &self.dir))
    }

    /// fjall drops only what was replaced before its last two writes; these are two writes.
    fn step_past(&self) -> Result<(), JournalError> {
        (0..2).try_for_each(|_| self.meta.insert(RECLAIMED, []).map_err(JournalError::store("write its meta data")))
    }

    /// Copies the records before `refused` into the empty store `into` and makes them durable there.
    pub(crate) fn copy_before(&self, refused: u64, into: &Self) -> Result<(), JournalError> {
        let kept = self.check()?;
        into.set_trimmed(kept.trimmed)?;
        for entry in self.chunks.range(key(kept.trimmed + 1)..) {
            let (key, value) = read_entry(entry)?;
            let first = offset_of(&key)?;
            if first >= refused {
                break;
            }
            let stored = Stored::parse(first, &value)?;
            let mut chunk = Chunk::starting_at(first, stored.batch_first(), Vec::with_capacity(value.len()));
            for (_, record) in stored.records().take_while(|&(offset, _)| offset < refused) {
                chunk.push(record);
            }
            into.write(&chunk)?;
        }
        into.sync()
    }

    /// Makes an empty store begin after `trimmed`.
    pub(crate) fn set_trimmed(&self, trimmed: u64) -> Result<(), JournalError> {
        self.meta.insert(TRIMMED, key(trimmed)).map_err(JournalError::store("write its meta data"))?;
        self.sync()
    }
}

/// Big endian, so that the store's order is the records' order.
fn key(offset: u64) -> [u8; 8] {
    offset.to_be_bytes()
}

fn offset_of(key: &[u8]) -> Result<u64, JournalError> {
    let bytes = key.try_into().map_err(|_| JournalError::Corrupt { offset: 0, what: format!("{key:?} is not an offset") })?;
    Ok(u64::from_be_bytes(bytes))
}

fn read_entry(entry: Guard) -> Result<fjall::KvPair, JournalError> {
    entry.into_inner().map_err(JournalError::store("read"))
}
