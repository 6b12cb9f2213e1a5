//! What was acknowledged, told beside the store: so that a store which has lost something cannot pass for a whole one.
//!
//! One line of fixed length, written over in place after each sync and before anybody is woken. It is not synced itself: that
//! would double the cost of a batch. So it is exact while the machine runs, however the process ends, and after an orderly
//! close; after a power cut it is some seconds old, and a lower bound. [`Told::exact`] says which.
//!
//! It also keeps the time: a restart with an earlier system clock must not be before what was already told to anyone.

use crate::JournalError;
use bunho_domain::time::Millis;
use parking_lot::Mutex;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use xxhash_rust::xxh3::xxh3_64;

/// The file's name in the journal's folder.
pub(crate) const WITNESS: &str = "witness";

/// A line's length: within one sector, so that it is written whole or not at all.
const LINE_BYTES: usize = 192;
const CHECK_DIGITS: usize = 16;

/// What a witness says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Last record that was acknowledged, at least.
    pub(crate) acknowledged: u64,
    /// Latest time that the clock has told, at least.
    pub(crate) time: Millis,
    /// Times up to this in records are known to come from a clock that was ahead.
    pub(crate) disbelieved: Millis,
    /// `closed` after an orderly close, else the boot of the machine that wrote it.
    written_in: String,
}

const CLOSED: &str = "closed";

impl Told {
    /// What the witness of a folder says. None: there is none, or it cannot be read.
    pub(crate) fn read(dir: &Path) -> Result<Option<Self>, JournalError> {
        let path = dir.join(WITNESS);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(JournalError::io("read", &path)(error)),
        }
    }

    /// Whether no record after [`Self::acknowledged`] was acknowledged.
    pub(crate) fn exact(&self) -> bool {
        self.written_in == CLOSED || boot().is_some_and(|boot| boot == self.written_in)
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes.get(..LINE_BYTES)?).ok()?;
        let (check, rest) = text.split_at_checked(CHECK_DIGITS)?;
        if u64::from_str_radix(check, 16).ok()? != xxh3_64(rest.as_bytes()) {
            return None;
        }
        let field = |name: &str| rest.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        Some(Self {
            acknowledged: field("acknowledged")?.parse().ok()?,
            time: Millis(field("time")?.parse().ok()?),
            disbelieved: Millis(field("disbelieved")?.parse().ok()?),
            written_in: field("in")?.into(),
        })
    }

    fn line(&self) -> String {
        let Self { acknowledged, time, disbelieved, written_in } = self;
        let fields = format!(" acknowledged={acknowledged} time={} disbelieved={} in={written_in}", time.0, disbelieved.0);
        let rest = format!("{fields:<width$}\n", width = LINE_BYTES - CHECK_DIGITS - 1);
        format!("{:016x}{rest}", xxh3_64(rest.as_bytes()))
    }
}

/// The witness of an open journal.
pub(crate) struct Witness {
    path: PathBuf,
    file: File,
    told: Mutex<Told>,
    /// Said once; the journal goes on without.
    silent: AtomicBool,
}

impl Witness {
    /// Opens or makes the witness of a journal whose last record is `acknowledged`, and keeps of `earlier` what is about time.
    pub(crate) fn open(dir: &Path, earlier: Option<Told>, acknowledged: u64) -> Result<Self, JournalError> {
        let path = dir.join(WITNESS);
        let open = || OpenOptions::new().create(true).truncate(false).write(true).open(&path);
        let file = open().map_err(JournalError::io("open", &path))?;
        let told = Told { acknowledged, written_in: boot().unwrap_or_else(|| "unknown".into()), ..earlier.unwrap_or_default() };
        let witness = Self { path, file, told: Mutex::new(told), silent: AtomicBool::new(false) };
        witness.write_synced()?;
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(JournalError::io("sync", dir))?;
        Ok(witness)
    }

    /// Records up to `acknowledged` are durable; those who wait are about to hear of it.
    pub(crate) fn acknowledge(&self, acknowledged: u64) {
        let mut told = self.told.lock();
        told.acknowledged = told.acknowledged.max(acknowledged);
        self.write(&told);
    }

    /// The clock has told this time.
    pub(crate) fn note_time(&self, now: Millis) {
        let mut told = self.told.lock();
        if now > told.time && told.written_in != CLOSED {
            told.time = now;
            self.write(&told);
        }
    }

    /// The clock has gone back to `now` by an operator's word, and what records say of times up to `latest` is not believed.
    pub(crate) fn disbelieve(&self, latest: Millis, now: Millis) -> Result<(), JournalError> {
        {
            let mut told = self.told.lock();
            told.disbelieved = told.disbelieved.max(latest);
            told.time = now;
        }
        self.write_synced()
    }

    /// The journal was closed: this is all.
    pub(crate) fn close(&self) {
        self.told.lock().written_in = CLOSED.into();
        if let Err(error) = self.write_synced() {
            tracing::warn!(error = &error as &dyn std::error::Error, "the journal's witness could not be closed");
        }
    }

    pub(crate) fn time(&self) -> Millis {
        self.told.lock().time
    }

    pub(crate) fn disbelieved(&self) -> Millis {
        self.told.lock().disbelieved
    }

    fn write(&self, told: &Told) {
        // What it said before stays true, so a failure takes away only a check.
        if let Err(error) = self.file.write_all_at(told.line().as_bytes(), 0)
            && !self.silent.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "{} cannot be written; a damaged journal would be noticed later", self.path.display());
        }
    }

    fn write_synced(&self) -> Result<(), JournalError> {
        let line = self.told.lock().line();
        let written = self.file.write_all_at(line.as_bytes(), 0).and_then(|()| self.file.sync_data());
        written.map_err(JournalError::io("write", &self.path))
    }
}

/// Says that records up to `acknowledged` are all that counts, in a folder whose journal is not open.
pub(crate) fn rewrite(dir: &Path, acknowledged: u64) -> Result<(), JournalError> {
    let earlier = Told::read(dir)?;
    Witness::open(dir, earlier, acknowledged)?.close();
    Ok(())
}

/// Which boot of which machine this is. What was written in it is in the system's memory still, if it is not on the disk.
fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.trim();
    (!id.is_empty() && id.len() <= 64 && !id.contains(char::is_whitespace)).then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_was_written_or_nothing() {
        let told = Told { acknowledged: u64::MAX, time: Millis(i64::MAX), disbelieved: Millis(7), written_in: "b".repeat(64) };
        let line = told.line();
        assert_eq!(line.len(), LINE_BYTES);
        assert_eq!(Told::parse(line.as_bytes()), Some(told));
        for at in 0..LINE_BYTES {
            for bit in 0..8 {
                let mut flipped = line.clone().into_bytes();
                flipped[at] ^= 1 << bit;
                // The check's digits may change case.
                let same = flipped.eq_ignore_ascii_case(line.as_bytes()) && at < CHECK_DIGITS;
                assert_eq!(Told::parse(&flipped).is_some(), same, "byte {at} bit {bit}");
            }
            assert_eq!(Told::parse(&line.as_bytes()[..at]), None);
        }
    }

    #[test]
    fn it_is_exact_while_the_machine_runs_and_after_a_close() {
        let dir = tempfile::tempdir().unwrap();
        let witness = Witness::open(dir.path(), None, 3).unwrap();
        witness.acknowledge(5);
        witness.acknowledge(4);
        witness.note_time(Millis(9));
        let told = Told::read(dir.path()).unwrap().unwrap();
        assert_eq!((told.acknowledged, told.time, told.exact()), (5, Millis(9), boot().is_some()));
        assert!(!Told { written_in: "another".into(), ..told }.exact());
        witness.close();
        assert!(Told::read(dir.path()).unwrap().unwrap().exact());
    }
}
