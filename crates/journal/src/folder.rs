//! The journal's folder: who may use it, whether its last user failed, and how a whole store is replaced.
//!
//! ```text
//! lock          locked while a process has the journal open
//! store/        fjall's files
//! store.new/    a store being built, or complete and about to become `store`
//! store.old/    what was `store` before; removed at the next start at the latest
//! spare         room kept for the marker, so that it can be written on a full disk
//! poisoned      the marker: a write or sync failed; says the first offset nobody was told about
//! witness       what was acknowledged, so that a store which has lost something cannot pass for a whole one
//! torn-tail     what a start last removed from the end of the store's log, for whoever wants to look
//! ```
//!
//! **Why a failed sync leads to a new store.** After a failed `fdatasync` Linux marks the pages clean: they can be
//! read, a later sync says they are fine, and still they are not on disk. Appending after them would put good records
//! behind a hole. So the next start copies what is known to be durable into new files and throws the old ones away.
//!
//! **Replacing** is two renames, old away and new in place. A crash between them leaves no `store` and a complete
//! `store.new`; `store.new` beside a `store` is unfinished and is removed.

use crate::JournalError;
use crate::crash_point;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_64;

const LOCK: &str = "lock";
const STORE: &str = "store";
const STORE_NEW: &str = "store.new";
const STORE_OLD: &str = "store.old";
const SPARE: &str = "spare";
const MARKER: &str = "poisoned";
const TORN_TAIL: &str = "torn-tail";

/// A marker's length: `check `, sixteen digits, ` refused_from `, twenty digits, spaces. Always the same, so that writing over the spare
/// needs no space.
const MARKER_BYTES: usize = 64;
const MARKER_WORD: &str = "refused_from";
/// Before a checksum of the rest. An operator who writes a marker by hand leaves both away.
const CHECK_WORD: &str = "check";
const _: () = assert!(CHECK_WORD.len() + 1 + 16 + 1 + MARKER_WORD.len() + 1 + 20 < MARKER_BYTES);

/// The folder, locked.
pub(crate) struct Folder {
    dir: PathBuf,
    /// Held open: the operating system ends the lock with the process, however that ends.
    _lock: File,
}

/// Half a second in all.
const LOCK_ATTEMPTS: u32 = 26;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

impl Folder {
    /// Creates the folder where it is missing, locks it, and finishes a replacement that a crash cut short.
    pub(crate) fn lock(dir: &Path) -> Result<Self, JournalError> {
        fs::create_dir_all(dir).map_err(JournalError::io("create", dir))?;
        let path = dir.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(JournalError::io("open", &path))?;
        match try_lock(&lock) {
            // For whoever comes second; the lock holds without it.
            Ok(()) => drop(lock.set_len(0).and_then(|()| (&lock).write_all(std::process::id().to_string().as_bytes()))),
            Err(TryLockError::WouldBlock) => return Err(JournalError::Locked { dir: dir.into(), by: read_holder(&path) }),
            Err(TryLockError::Error(source)) => return Err(JournalError::io("lock", &path)(source)),
        }
        let folder = Self { dir: dir.into(), _lock: lock };
        folder.finish_replacement()?;
        Ok(folder)
    }

    /// Where the store is.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join(STORE)
    }

    /// Where the next store is built: empty now.
    pub(crate) fn new_store(&self) -> Result<PathBuf, JournalError> {
        let new = self.dir.join(STORE_NEW);
        remove(&new)?;
        Ok(new)
    }

    /// Puts the store that was built (and closed) in place of the old one, and removes the marker, which told of the old.
    pub(crate) fn replace_store(&self) -> Result<(), JournalError> {
        let (store, new, old) = (self.store(), self.dir.join(STORE_NEW), self.dir.join(STORE_OLD));
        sync_tree(&new)?;
        crash_point!("journal::new_store_complete");
        remove(&old)?;
        if exists(&store)? {
            fs::rename(&store, &old).map_err(JournalError::io("rename", &store))?;
        }
        crash_point!("journal::old_store_away");
        fs::rename(&new, &store).map_err(JournalError::io("rename", &new))?;
        crash_point!("journal::new_store_in_place");
        sync(&self.dir)?;
        remove(&self.dir.join(MARKER))?;
        crash_point!("journal::marker_removed");
        sync(&self.dir)?;
        remove(&old)
    }

    fn finish_replacement(&self) -> Result<(), JournalError> {
        let (store, new) = (self.store(), self.dir.join(STORE_NEW));
        if exists(&new)? {
            if exists(&store)? {
                remove(&new)?;
            } else {
                fs::rename(&new, &store).map_err(JournalError::io("rename", &new))?;
            }
        }
        sync(&self.dir)?;
        remove(&self.dir.join(STORE_OLD))
    }

    /// Syncs every file of the store. What a killed process wrote is seen by the next one without being on disk; it
    /// must be before anyone is shown it.
    pub(crate) fn sync_store(&self) -> Result<(), JournalError> {
        // The folder's own name. A parent that may not be read was not made by us.
        if let Some(parent) = self.dir.parent()
            && let Ok(parent_file) = File::open(parent)
        {
            parent_file.sync_all().map_err(JournalError::io("sync", parent))?;
        }
        sync(&self.dir)?;
        let store = self.store();
        if exists(&store)? { sync_tree(&store) } else { Ok(()) }
    }

    /// Sets aside the room for a marker.
    pub(crate) fn keep_room_for_marker(&self) -> Result<(), JournalError> {
        let spare = self.dir.join(SPARE);
        fs::write(&spare, [b' '; MARKER_BYTES]).map_err(JournalError::io("write", &spare))?;
        sync(&spare)?;
        sync(&self.dir)
    }

    /// Leaves word that records from `refused` on were refused. It appears whole or not at all.
    pub(crate) fn mark(&self, refused: u64) -> Result<(), JournalError> {
        let (spare, marker) = (self.dir.join(SPARE), self.dir.join(MARKER));
        let text = format!("{:<width$}\n", marker_line(refused), width = MARKER_BYTES - 1);
        let mut file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&spare).map_err(JournalError::io("open", &spare))?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(JournalError::io("write", &spare))?;
        crash_point!("journal::marker_written");
        fs::rename(&spare, &marker).map_err(JournalError::io("rename", &spare))?;
        crash_point!("journal::marker_placed");
        sync(&self.dir)
    }

    /// The first refused offset, where a marker was left. Records up to `acknowledged` are known not to have been refused.
    pub(crate) fn marked(&self, acknowledged: u64) -> Result<Option<u64>, JournalError> {
        let path = self.dir.join(MARKER);
        if !exists(&path)? {
            return Ok(None);
        }
        let bytes = fs::read(&path).map_err(JournalError::io("read", &path))?;
        let refused = std::str::from_utf8(&bytes).ok().and_then(|text| read_marker(text.trim()));
        // A marker never refuses what was acknowledged before.
        match refused.filter(|&refused| refused > acknowledged) {
            Some(refused) => Ok(Some(refused)),
            None => Err(JournalError::Marker { path, acknowledged }),
        }
    }

    /// The folder itself.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps what is about to be removed from the end of the store's log.
    pub(crate) fn keep_tail(&self, removed: &[u8]) -> Result<(), JournalError> {
        let path = self.dir.join(TORN_TAIL);
        fs::write(&path, removed).map_err(JournalError::io("write", &path))?;
        sync(&path)?;
        sync(&self.dir)
    }
}

/// Tries for a moment: a process that starts another one lends it the lock until that one runs its own program.
fn try_lock(lock: &File) -> Result<(), TryLockError> {
    for _ in 1..LOCK_ATTEMPTS {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            done => return done,
        }
    }
    lock.try_lock()
}

fn read_holder(lock: &Path) -> String {
    match fs::read_to_string(lock).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
        Some(process) => format!("process {process}"),
        None => "another process".into(),
    }
}

fn marker_line(refused: u64) -> String {
    let word = format!("{MARKER_WORD} {refused}");
    format!("{CHECK_WORD} {:016x} {word}", xxh3_64(word.as_bytes()))
}

/// The offset in a marker's line. One without a checksum was written before there were any.
pub(crate) fn read_marker(line: &str) -> Option<u64> {
    let offset = |line: &str| line.strip_prefix(MARKER_WORD)?.trim().parse().ok();
    match line.find(MARKER_WORD)? {
        0 => offset(line),
        at => offset(&line[at..]).filter(|&refused| marker_line(refused) == line),
    }
}

fn exists(path: &Path) -> Result<bool, JournalError> {
    path.try_exists().map_err(JournalError::io("look for", path))
}

/// Removes a file or a folder with all it holds; one that is not there is fine.
fn remove(path: &Path) -> Result<(), JournalError> {
    if !exists(path)? {
        return Ok(());
    }
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(JournalError::io("remove", path))
}

fn sync(path: &Path) -> Result<(), JournalError> {
    File::open(path).and_then(|file| file.sync_all()).map_err(JournalError::io("sync", path))
}

/// Files first, then the folder that names them.
fn sync_tree(dir: &Path) -> Result<(), JournalError> {
    for entry in fs::read_dir(dir).map_err(JournalError::io("list", dir))? {
        let path = entry.map_err(JournalError::io("list", dir))?.path();
        if path.is_dir() { sync_tree(&path)? } else { sync(&path)? }
    }
    sync(dir)
}
