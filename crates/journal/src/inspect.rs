//! A look at the store's files before fjall opens them, since opening is not harmless.
//!
//! fjall cuts a journal file off at the first thing it cannot read, removes table files that a damaged list of them does not
//! name, removes whole keyspaces that a damaged directory does not know, and starts a missing file anew. Each is right for what a
//! crash leaves and silent loss for what damage does. Here the two are told apart, and damage is refused while everything is
//! still there.
//!
//! **The end of the log.** What cannot be read at the very end of the last file may go where nobody was told of it:
//!
//! * While the witness is exact (no power cut since), that is a comparison: whether the last record that can be read is the
//!   last that was acknowledged, or a later one.
//! * After a power cut the witness is a lower bound, as is what a chunk behind the hole says was durable when it was written. Then
//!   the end must also look like a write that did not reach the disk ([`LogFile::looks_torn`]). What passes is an acknowledged end
//!   that rotted in just the way in which unwritten sectors look, within the seconds before a power cut; the ledger, which
//!   follows within a fraction of a second and is synced, is compared with what is left when the server starts.
//!
//! What goes is kept beside the store, and said.

use crate::JournalError;
use crate::fjall_log::{Broken, LogFile};
use crate::folder::Folder;
use crate::store::Kept;
use crate::witness::Told;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::xxh3_128;

/// fjall writes it when the store is complete; without it nothing was ever stored.
const VERSION: &str = "version";
const KEYSPACES: &str = "keyspaces";
/// Names the newest list of a keyspace's tables, with a checksum that fjall itself does not compare.
const CURRENT: &str = "current";
const TABLES: &str = "tables";

/// What to do about an end that cannot be read and does not look like one that was cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    Refuse,
    /// The operator has accepted the loss.
    Cut,
}

/// What the files say, before fjall has opened them.
#[derive(Default)]
pub(crate) struct Found {
    /// The store must hold this record and all before it that were not trimmed; 0: nothing is known.
    pub(crate) expected: u64,
    cut: Option<Tail>,
}

/// Makes sure that opening the store destroys nothing that was acknowledged, and takes away an end that cannot be read. Whether that was
/// acknowledged is known once the store is open, since records may be in tables only: [`Found::checked`].
pub(crate) fn inspect(folder: &Folder, told: &Told, damage: Damage) -> Result<Found, JournalError> {
    let store = folder.store();
    if !exists(&store)? {
        return if told.acknowledged == 0 { Ok(Found::default()) } else { Err(lost(1, told.acknowledged, &store, "is missing")) };
    }
    let logs = log_files(&store)?;
    if !exists(&store.join(VERSION))? {
        remove_unfinished(&store, &logs, told)?;
        return Ok(Found::default());
    }
    check_log_numbers(&store, &logs)?;
    let (logged, cut) = read_logs(&logs)?;
    if logged > 0 || told.acknowledged > 0 {
        check_directory(&store)?;
    }
    let mut found = Found { expected: logged.max(told.acknowledged), cut };
    if let Some(tail) = &found.cut {
        if damage == Damage::Refuse {
            found.expected = found.expected.max(tail.durable());
            tail.may_go(logged, found.expected, told)?;
        }
        tail.cut(folder)?;
    }
    Ok(found)
}

impl Found {
    /// Takes what opening the store has said. Where records are missing, or it cannot be opened, what was cut is put back and the
    /// whole refused.
    pub(crate) fn checked<S>(self, folder: &Folder, opened: Result<(S, Kept), JournalError>) -> Result<(S, Kept), JournalError> {
        let Self { expected, cut } = self;
        let refused = match (opened, &cut) {
            (Ok((store, kept)), _) if kept.last >= expected => {
                if let Some(tail) = cut {
                    tail.tell(kept.last);
                }
                return Ok((store, kept));
            }
            (Ok((_, kept)), Some(tail)) => lost(kept.last + 1, expected, &tail.path, &tail.damaged()),
            (Ok((_, kept)), None) => lost(kept.last + 1, expected, &folder.store(), "is not whole"),
            (Err(error), _) => error,
        };
        if let Some(tail) = cut {
            tail.put_back()?;
        }
        Err(refused)
    }
}

/// The part of the last log file that cannot be read.
struct Tail {
    path: PathBuf,
    at: usize,
    broken: Broken,
    log: LogFile,
}

impl Tail {
    fn damaged(&self) -> String {
        format!("cannot be read from byte {} on", self.at)
    }

    /// Last record that was durable when something behind the unreadable part was written; 0: nothing there says.
    fn durable(&self) -> u64 {
        let chunks = self.log.batches_after(self.at).flat_map(|batch| batch.chunks);
        chunks.map(|chunk| chunk.batch_first - 1).max().unwrap_or(0)
    }

    /// Whether this can be something that nobody was told of. The logs hold records up to `logged`, those up to `expected` were acknowledged.
    fn may_go(&self, logged: u64, expected: u64, told: &Told) -> Result<(), JournalError> {
        if told.exact() || self.log.looks_torn(self.at, self.broken) {
            return Ok(());
        }
        let damaged = format!("{}, and not because a write was cut short", self.damaged());
        Err(if expected > logged {
            lost(logged + 1, expected, &self.path, &damaged)
        } else {
            let what = format!("{} {damaged}: records after {logged}, if there were any, are lost", self.path.display());
            JournalError::Corrupt { offset: logged + 1, what }
        })
    }

    fn removed(&self) -> &[u8] {
        &self.log.bytes[self.at..]
    }

    fn cut(&self, folder: &Folder) -> Result<(), JournalError> {
        folder.keep_tail(self.removed())?;
        self.write(|file| file.set_len(self.at as u64))
    }

    fn put_back(&self) -> Result<(), JournalError> {
        self.write(|file| file.write_all_at(self.removed(), self.at as u64))
    }

    fn write(&self, write: impl FnOnce(&File) -> std::io::Result<()>) -> Result<(), JournalError> {
        let file = OpenOptions::new().write(true).open(&self.path).map_err(JournalError::io("open", &self.path))?;
        write(&file).and_then(|()| file.sync_all()).map_err(JournalError::io("write", &self.path))
    }

    fn tell(&self, last: u64) {
        tracing::warn!(
            last,
            bytes = self.removed().len(),
            "{} ended in something unfinished behind the last record; it was removed and is kept as `torn-tail`",
            self.path.display()
        );
    }
}

/// Reads all log files, oldest first. Only the last one may end in something unreadable: the others were synced when they were full.
fn read_logs(logs: &[(u64, PathBuf)]) -> Result<(u64, Option<Tail>), JournalError> {
    let (mut last, mut sequence) = (0, None);
    for (i, (_, path)) in logs.iter().enumerate() {
        let log = LogFile::read(path).map_err(JournalError::io("read", path))?;
        let mut at = 0;
        while at < log.bytes.len() {
            let batch = match log.batch(at) {
                Ok(batch) => batch,
                Err(broken) if i + 1 == logs.len() => {
                    return Ok((last, Some(Tail { path: path.clone(), at, broken, log })));
                }
                Err(_) => {
                    let what = format!(
                        "{} cannot be read from byte {at} on, though it was complete: records after {last} may be lost",
                        path.display()
                    );
                    return Err(JournalError::Corrupt { offset: last + 1, what });
                }
            };
            if sequence.is_some_and(|before| batch.sequence <= before) {
                let what = format!("{} holds writes that are out of order at byte {at}: records after {last} may be lost", path.display());
                return Err(JournalError::Corrupt { offset: last + 1, what });
            }
            sequence = Some(batch.sequence);
            last = batch.chunks.iter().map(|chunk| chunk.last).fold(last, u64::max);
            at = batch.end;
        }
    }
    Ok((last, None))
}

/// fjall's journal files with their numbers, oldest first.
fn log_files(store: &Path) -> Result<Vec<(u64, PathBuf)>, JournalError> {
    let mut logs = Vec::new();
    for path in list(store)? {
        if path.extension().is_some_and(|extension| extension == "jnl") {
            let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
            logs.push((number.ok_or_else(|| unknown(&path, "does not belong in the journal's store"))?, path));
        }
    }
    logs.sort_unstable();
    Ok(logs)
}

/// There is always one, and old ones are removed from the front: a gap is a file that somebody removed.
fn check_log_numbers(store: &Path, logs: &[(u64, PathBuf)]) -> Result<(), JournalError> {
    if logs.is_empty() {
        return Err(unknown(store, "has no log file (*.jnl) any more: records that were in no table yet are lost"));
    }
    match logs.windows(2).find(|pair| pair[1].0 != pair[0].0 + 1) {
        None => Ok(()),
        Some(pair) => Err(unknown(&store.join(format!("{}.jnl", pair[0].0 + 1)), "is missing: its records are lost")),
    }
}

/// A store whose making a crash cut short holds nothing, and fjall would refuse it for ever.
fn remove_unfinished(store: &Path, logs: &[(u64, PathBuf)], told: &Told) -> Result<(), JournalError> {
    let mut empty = told.acknowledged == 0;
    for (_, path) in logs {
        empty &= LogFile::read(path).map_err(JournalError::io("read", path))?.bytes.is_empty();
    }
    let keyspaces = store.join(KEYSPACES);
    empty &= !exists(&keyspaces)? || list(&keyspaces)?.is_empty();
    if !empty {
        return Err(unknown(&store.join(VERSION), "is missing: what the store holds cannot be read without it"));
    }
    tracing::warn!("{} was left unfinished when it was made; it is made again", store.display());
    fs::remove_dir_all(store).map_err(JournalError::io("remove", store))
}

/// fjall removes keyspaces that its directory (keyspace 0) does not know and tables that a keyspace's list does not name. So each list must
/// be there and be what was written.
fn check_directory(store: &Path) -> Result<(), JournalError> {
    let keyspaces = store.join(KEYSPACES);
    let folders = if exists(&keyspaces)? { list(&keyspaces)? } else { Vec::new() };
    let mut complete = 0;
    for folder in &folders {
        let current = folder.join(CURRENT);
        if exists(&current)? {
            check_list(folder, &current)?;
            complete += 1;
        } else if folder.ends_with("0") || (exists(&folder.join(TABLES))? && !list(&folder.join(TABLES))?.is_empty()) {
            return Err(unknown(&current, "is missing: the tables beside it cannot be read without it"));
        }
    }
    // The directory, the chunks and their meta data.
    if complete < 3 {
        return Err(unknown(&keyspaces, "is incomplete: the journal's tables are missing"));
    }
    Ok(())
}

fn check_list(folder: &Path, current: &Path) -> Result<(), JournalError> {
    let bytes = fs::read(current).map_err(JournalError::io("read", current))?;
    let parts = bytes.split_first_chunk::<8>().and_then(|(version, rest)| Some((version, rest.split_first_chunk::<16>()?)));
    let Some((version, (checksum, &[0]))) = parts else {
        return Err(unknown(current, "is damaged: the tables beside it cannot be read without it"));
    };
    let list = folder.join(format!("v{}", u64::from_le_bytes(*version)));
    if !exists(&list)? {
        return Err(unknown(&list, "is missing: the tables beside it cannot be read without it"));
    }
    let written = fs::read(&list).map_err(JournalError::io("read", &list))?;
    if xxh3_128(&written) != u128::from_le_bytes(*checksum) {
        return Err(unknown(&list, "is damaged: the tables beside it cannot be read without it"));
    }
    Ok(())
}

fn lost(from: u64, to: u64, path: &Path, how: &str) -> JournalError {
    JournalError::Corrupt { offset: from, what: format!("{} {how}: records {from} to {to} were acknowledged and are lost", path.display()) }
}

/// Damage of which it is not known which records it costs.
fn unknown(path: &Path, how: &str) -> JournalError {
    JournalError::Corrupt { offset: 0, what: format!("{} {how}", path.display()) }
}

fn exists(path: &Path) -> Result<bool, JournalError> {
    path.try_exists().map_err(JournalError::io("look for", path))
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, JournalError> {
    let entries = fs::read_dir(dir).and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect());
    entries.map_err(JournalError::io("list", dir))
}
