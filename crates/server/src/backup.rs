//! A backup of an embedded installation: a folder that is whole or is not there, and that says itself whether it still is what it was.
//!
//! ```text
//! DIR/ledger.db           every result up to one journal record, in a file of its own
//! DIR/keys/…              what signs tickets and passes
//! DIR/admin.key           the first admin key, where the folder has it
//! DIR/installation.id     whose it is
//! DIR/manifest.json       what there is: lengths and SHA-256 of all files, the record's offset, and a seal over itself
//! ```
//!
//! The journal is not in it: the backup is made when the ledger holds what was decided before, and a restart builds its state from the ledger
//! alone, behind which a new journal begins (as after `bunho rebuild`). So there are no two files from two moments that could contradict
//! each other.
//!
//! Everything is written under another name and moved into place at the end. It holds secrets, so it is its owner's alone.

use crate::exit::Failure;
use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};
use std::time::SystemTime;

/// The form that this release writes and reads.
const FORM: u32 = 1;

/// The ledger's copy.
pub const LEDGER: &str = "ledger.db";
const MANIFEST: &str = "manifest.json";
/// Held locked while the backup is made; not part of it.
const LOCK: &str = "lock";

/// Files of a data folder that stand in a backup beside the ledger and what is in `keys/`, where they are there.
const FILES: &[&str] = &["installation.id", "admin.key"];
const KEYS: &str = "keys";

/// Larger files of keys than this are none of ours.
const SECRET_BYTES_MAX: u64 = 1 << 20;
/// A manifest names some ten files; this is a thousand of them.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;

/// What a backup is.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// The form.
    bunho_backup: u32,
    /// The release that made it.
    pub version: String,
    /// Whose it is.
    pub installation: String,
    /// The journal record up to which the ledger has everything.
    pub offset: u64,
    /// Version of the ledger's schema.
    pub schema: i64,
    /// Claims in it.
    pub claims: u64,
    /// When it was begun.
    pub made_at: String,
    /// All other files.
    pub files: Vec<Filed>,
    /// SHA-256 of all of the above.
    seal: String,
}

/// A file of a backup.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Filed {
    /// Below the backup's folder, with `/`.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    sha256: String,
}

/// What its maker knows of a backup besides the files.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Whose it is.
    pub installation: String,
    /// The journal record up to which the ledger has everything.
    pub offset: u64,
    /// Version of the ledger's schema.
    pub schema: i64,
    /// Claims in it.
    pub claims: u64,
    /// When it was begun.
    pub made_at: String,
}

/// A backup that is being made. Dropped before [`Making::finish`] it takes what it wrote away.
#[derive(Debug)]
pub struct Making {
    target: PathBuf,
    partial: PathBuf,
    files: Vec<Filed>,
    finished: bool,
    /// Locked until it is closed, so that two do not write into one folder.
    _lock: File,
}

impl Making {
    /// Begins a backup that will be the folder `target`, which must not be there.
    ///
    /// # Errors
    /// It is there, another backup of that name is being made, or its place cannot be written.
    pub fn begin(target: &Path) -> Result<Self, Failure> {
        if target.file_name().is_none() || target.symlink_metadata().is_ok() {
            return Err(Failure::configuration(format_args!(
                "{} is there already\n  mend: name a folder that is not there; nothing is written over",
                target.display()
            )));
        }
        let mut partial = target.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let failed = |error: std::io::Error| cannot_write(&partial, &error);
        match make_folder(&partial) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => take_over(&partial)?,
            Err(error) => return Err(failed(error)),
        }
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(partial.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::configuration(format_args!(
                    "another backup is being written to {}\n  mend: wait for it, or name another folder",
                    partial.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Whatever else is in it is of one that was cut off.
        for entry in fs::read_dir(&partial).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.file_name().is_some_and(|name| name != LOCK) {
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) }.map_err(failed)?;
            }
        }
        Ok(Self { target: target.to_owned(), partial, files: Vec::new(), finished: false, _lock: lock })
    }

    /// Where the ledger's copy is to be written; [`Self::take_ledger`] is told when it is there.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.partial.join(LEDGER)
    }

    /// The ledger's copy is written.
    ///
    /// # Errors
    /// It cannot be read back, or not be synced.
    pub fn take_ledger(&mut self) -> Result<(), Failure> {
        let path = self.ledger();
        let sync = || {
            let file = File::open(&path)?;
            file.set_permissions(Permissions::from_mode(0o600))?;
            file.sync_all()
        };
        sync().map_err(|error| cannot_write(&path, &error))?;
        self.note(LEDGER.into())
    }

    /// Copies what signs tickets and passes from `secrets`, and what else stands in the data folder `data`.
    ///
    /// # Errors
    /// Something cannot be read or written.
    pub fn take_secrets(&mut self, data: &Path, secrets: &Path) -> Result<(), Failure> {
        make_folder(&self.partial.join(KEYS)).map_err(|error| cannot_write(&self.partial, &error))?;
        let folder = secrets.join(KEYS);
        let unreadable = |error: std::io::Error| Failure::data(format_args!("{} cannot be read: {error}", folder.display()));
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // Files that are being written stand under another name until they are whole.
            if entry.file_type().map_err(unreadable)?.is_file() && !name.ends_with(".partial") {
                self.copy_secret(&entry.path(), format!("{KEYS}/{name}"))?;
            }
        }
        for name in FILES {
            let path = data.join(name);
            if path.exists() {
                self.copy_secret(&path, (*name).into())?;
            }
        }
        Ok(())
    }

    fn copy_secret(&mut self, from: &Path, name: String) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        let mut read = || {
            let file = File::open(from)?;
            let changed_at = file.metadata()?.modified()?;
            file.take(SECRET_BYTES_MAX + 1).read_to_end(&mut bytes)?;
            Ok(changed_at)
        };
        let changed_at =
            read().map_err(|error: std::io::Error| Failure::data(format_args!("{} cannot be read: {error}", from.display())))?;
        if bytes.len() as u64 > SECRET_BYTES_MAX {
            return Err(Failure::data(format_args!("{} is too large to be a key\n  mend: take it out of the folder", from.display())));
        }
        write_file(&self.partial.join(&name), &bytes, Some(changed_at))?;
        self.note(name)
    }

    fn note(&mut self, name: String) -> Result<(), Failure> {
        let (bytes, sha256) = digest(&self.partial.join(&name))?;
        self.files.push(Filed { name, bytes, sha256 });
        Ok(())
    }

    /// Writes the manifest, and gives the backup its name. It is on the disk after this.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn finish(mut self, facts: Facts) -> Result<Manifest, Failure> {
        let Facts { installation, offset, schema, claims, made_at } = facts;
        let (version, files) = (env!("CARGO_PKG_VERSION").into(), std::mem::take(&mut self.files));
        let unsealed = Manifest { bunho_backup: FORM, version, installation, offset, schema, claims, made_at, files, seal: String::new() };
        let manifest = Manifest { seal: seal(&unsealed)?, ..unsealed };
        let text = serde_json::to_string_pretty(&manifest).map_err(Failure::internal)?;
        write_file(&self.partial.join(MANIFEST), text.as_bytes(), None)?;
        let place = || {
            fs::remove_file(self.partial.join(LOCK))?;
            sync_folder(&self.partial.join(KEYS))?;
            sync_folder(&self.partial)?;
            fs::rename(&self.partial, &self.target)?;
            sync_folder(self.target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))
        };
        place().map_err(|error| cannot_write(&self.target, &error))?;
        self.finished = true;
        Ok(manifest)
    }
}

impl Drop for Making {
    fn drop(&mut self) {
        if !self.finished {
            let _ = fs::remove_dir_all(&self.partial);
        }
    }
}

/// Reads what a backup says of itself, and compares all of its files with that.
///
/// # Errors
/// It is no backup, not whole, or damaged.
pub fn check(folder: &Path) -> Result<Manifest, Failure> {
    let damaged = |why: &dyn std::fmt::Display| {
        Failure::data(format_args!("{} is not a whole backup: {why}\n  mend: restore another one", folder.display()))
    };
    let mut text = String::new();
    File::open(folder.join(MANIFEST))
        .and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| damaged(&format_args!("{MANIFEST} cannot be read: {error}")))?;
    let manifest: Manifest = serde_json::from_str(&text).map_err(|error| damaged(&format_args!("{MANIFEST} is damaged: {error}")))?;
    if manifest.bunho_backup != FORM {
        return Err(damaged(&format_args!("it is of form {}, and this release reads {FORM}", manifest.bunho_backup)));
    }
    if seal(&Manifest { seal: String::new(), ..manifest.clone() })? != manifest.seal {
        return Err(damaged(&format_args!("{MANIFEST} is not what was written")));
    }
    for file in &manifest.files {
        if !is_below(&file.name) {
            return Err(damaged(&format_args!("it names a file {:?}", file.name)));
        }
        let (bytes, sha256) = digest(&folder.join(&file.name)).map_err(|failure| damaged(&failure))?;
        if (bytes, &sha256) != (file.bytes, &file.sha256) {
            return Err(damaged(&format_args!("{} has {bytes} bytes and is not what was written ({} bytes)", file.name, file.bytes)));
        }
    }
    if !manifest.files.iter().any(|file| file.name == LEDGER) {
        return Err(damaged(&format_args!("it has no {LEDGER}")));
    }
    Ok(manifest)
}

/// Copies the files of a backup into a data folder that has none of them. What was copied is compared with the manifest. Files keep their times: that of the first
/// secret of tickets is all that tells how old it is.
///
/// # Errors
/// Something cannot be read or written, or is not what it was.
pub fn place(folder: &Path, manifest: &Manifest, data: &Path) -> Result<(), Failure> {
    make_folder(&data.join(KEYS)).map_err(|error| cannot_write(data, &error))?;
    for file in &manifest.files {
        let (from, to) = (folder.join(&file.name), data.join(&file.name));
        let copy = || {
            let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&to)?;
            let mut source = File::open(&from)?;
            std::io::copy(&mut source, &mut target)?;
            target.set_modified(source.metadata()?.modified()?)?;
            target.sync_all()
        };
        copy().map_err(|error| cannot_write(&to, &error))?;
        if digest(&to)? != (file.bytes, file.sha256.clone()) {
            return Err(Failure::data(format_args!("{} changed while it was read\n  mend: restore again", from.display())));
        }
    }
    sync_folder(&data.join(KEYS)).and_then(|()| sync_folder(data)).map_err(|error| cannot_write(data, &error))
}

fn seal(unsealed: &Manifest) -> Result<String, Failure> {
    let bytes = serde_json::to_vec(unsealed).map_err(Failure::internal)?;
    Ok(hex(&Sha256::digest(&bytes)))
}

/// Whether a name leads to the backup's own folder or its `keys/`, and nowhere else.
fn is_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    let is_plain = |part: Option<Component<'_>>| matches!(part, Some(Component::Normal(_)));
    match name.split_once('/') {
        None => is_plain(parts.next()) && parts.next().is_none() && name != MANIFEST,
        Some((folder, _)) => folder == KEYS && is_plain(parts.next()) && is_plain(parts.next()) && parts.next().is_none(),
    }
}

/// The length and the SHA-256 of a file.
fn digest(path: &Path) -> Result<(u64, String), Failure> {
    let read = || {
        let (mut file, mut hash, mut bytes) = (File::open(path)?, Sha256::new(), 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let length = file.read(&mut buffer)?;
            if length == 0 {
                return Ok((bytes, hex(&hash.finalize())));
            }
            bytes += length as u64;
            hash.update(&buffer[..length]);
        }
    };
    read().map_err(|error: std::io::Error| Failure::data(format_args!("{} cannot be read: {error}", path.display())))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_file(path: &Path, bytes: &[u8], changed_at: Option<SystemTime>) -> Result<(), Failure> {
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        if let Some(changed_at) = changed_at {
            file.set_modified(changed_at)?;
        }
        file.sync_all()
    };
    write().map_err(|error: std::io::Error| cannot_write(path, &error))
}

fn make_folder(path: &Path) -> std::io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Takes what a backup that was cut off has left, and nothing else: what is in it is cleared away, and secrets are written there.
fn take_over(partial: &Path) -> Result<(), Failure> {
    let left = || -> std::io::Result<bool> {
        let found = partial.symlink_metadata()?;
        if !found.is_dir() || found.uid() != geteuid().as_raw() {
            return Ok(false);
        }
        let has_lock = partial.join(LOCK).symlink_metadata().is_ok_and(|lock| lock.is_file());
        // Cut off before its lock was there.
        if !has_lock && fs::read_dir(partial)?.next().is_some() {
            return Ok(false);
        }
        fs::set_permissions(partial, Permissions::from_mode(0o700))?;
        Ok(true)
    };
    if left().map_err(|error| cannot_write(partial, &error))? {
        return Ok(());
    }
    Err(Failure::configuration(format_args!(
        "{} is there, and is not what a backup of this user left\n  mend: take it away, or name another folder",
        partial.display()
    )))
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(path)?.sync_all()
}

fn cannot_write(path: &Path, error: &std::io::Error) -> Failure {
    Failure::data(format_args!(
        "{} cannot be written: {error}\n  mend: look at the disk (space, permissions), or name another place",
        path.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Attack<'a> = &'a dyn Fn(&Path);

    /// When a key was made, after 1970.
    const LONG_AGO: std::time::Duration = std::time::Duration::from_secs(1_700_000_000);

    fn made(target: &Path) -> Manifest {
        let data = tempfile::tempdir().expect("a folder");
        make_folder(&data.path().join(KEYS)).expect("made");
        fs::write(data.path().join("keys/ticket.key"), b"secret").expect("written");
        let key = File::options().write(true).open(data.path().join("keys/ticket.key")).expect("there");
        key.set_modified(SystemTime::UNIX_EPOCH + LONG_AGO).expect("set");
        fs::write(data.path().join("keys/new.partial"), b"half").expect("written");
        fs::write(data.path().join("installation.id"), b"embedded-x").expect("written");
        let mut making = Making::begin(target).expect("begun");
        fs::write(making.ledger(), b"rows").expect("written");
        making.take_ledger().expect("taken");
        making.take_secrets(data.path(), data.path()).expect("taken");
        let facts = Facts { installation: "embedded-x".into(), offset: 7, schema: 1, claims: 2, made_at: "now".into() };
        making.finish(facts).expect("finished")
    }

    #[test]
    fn what_is_written_is_read_and_what_was_changed_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("backup");
        let manifest = made(&target);
        assert_eq!(manifest.files.iter().map(|file| &*file.name).collect::<Vec<_>>(), [LEDGER, "keys/ticket.key", "installation.id"]);
        assert_eq!(check(&target).expect("whole"), manifest);
        let data = tempfile::tempdir().expect("a folder");
        place(&target, &manifest, data.path()).expect("placed");
        let changed_at = fs::metadata(data.path().join("keys/ticket.key")).expect("there").modified().expect("a time");
        assert_eq!(changed_at, SystemTime::UNIX_EPOCH + LONG_AGO, "how old a key is outlives a restore");
        let attacks: [(&str, Attack<'_>); 6] = [
            ("not what was written", &|path| fs::write(path.join(LEDGER), b"rowz").expect("written")),
            ("not what was written", &|path| fs::write(path.join("keys/ticket.key"), b"secre").expect("written")),
            ("cannot be read", &|path| fs::remove_file(path.join("installation.id")).expect("removed")),
            ("cannot be read", &|path| fs::remove_file(path.join(MANIFEST)).expect("removed")),
            ("not what was written", &|path| {
                let text = fs::read_to_string(path.join(MANIFEST)).expect("text").replace("\"offset\": 7", "\"offset\": 8");
                fs::write(path.join(MANIFEST), text).expect("written");
            }),
            ("is damaged", &|path| {
                let text = fs::read_to_string(path.join(MANIFEST)).expect("text");
                fs::write(path.join(MANIFEST), &text[..text.len() / 2]).expect("written");
            }),
        ];
        for (number, (why, attack)) in attacks.into_iter().enumerate() {
            let target = folder.path().join(format!("attacked-{number}"));
            made(&target);
            attack(&target);
            let refused = check(&target).expect_err(why).to_string();
            assert!(refused.contains(why) && refused.contains("mend"), "{number}: {refused}");
        }
    }

    #[test]
    fn nothing_is_written_over_and_one_that_was_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let target = folder.path().join("backup");
        let first = Making::begin(&target).expect("begun");
        fs::write(first.ledger(), b"half").expect("written");
        assert!(Making::begin(&target).expect_err("two at once").to_string().contains("another backup"));
        drop(first);
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0);
        // What a killed one left is no obstacle.
        let partial = folder.path().join("backup.partial");
        fs::create_dir(&partial).expect("made");
        fs::set_permissions(&partial, Permissions::from_mode(0o777)).expect("set");
        fs::write(partial.join(LEDGER), b"half").expect("written");
        // What nobody here has begun is not cleared away.
        let refused = Making::begin(&target).expect_err("no lock").to_string();
        assert!(refused.contains("not what a backup") && partial.join(LEDGER).exists(), "{refused}");
        fs::write(partial.join(LOCK), b"").expect("written");
        made(&target);
        assert_eq!(fs::metadata(&target).expect("there").permissions().mode() & 0o777, 0o700);
        let elsewhere = folder.path().join("elsewhere");
        fs::create_dir(&elsewhere).expect("made");
        fs::write(elsewhere.join(LOCK), b"").expect("written");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join("other.partial")).expect("linked");
        let refused = Making::begin(&folder.path().join("other")).expect_err("a link").to_string();
        assert!(refused.contains("not what a backup"), "{refused}");
        fs::remove_file(folder.path().join("other.partial")).expect("removed");
        fs::remove_dir_all(&elsewhere).expect("removed");
        assert!(Making::begin(&target).expect_err("there").to_string().contains("there already"));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1);
    }

    #[test]
    fn a_name_leads_nowhere_else() {
        for (name, is_good) in [
            ("ledger.db", true),
            ("keys/ticket.key", true),
            ("", false),
            (MANIFEST, false),
            ("..", false),
            ("/etc/passwd", false),
            ("keys/../x", false),
            ("keys/a/b", false),
            ("other/x", false),
        ] {
            assert_eq!(is_below(name), is_good, "{name:?}");
        }
    }
}
