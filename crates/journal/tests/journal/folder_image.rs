//! A journal's folder held in memory, so that it can be damaged and written out thousands of times.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use xxhash_rust::xxh3::xxh3_64;

/// Files without the zeros at their ends, and how long they are with them.
#[derive(Clone)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<PathBuf, (Vec<u8>, u64)>,
    folders: Vec<PathBuf>,
}

impl Image {
    /// As `kill -9` would leave the folder now, if nobody writes meanwhile.
    pub(crate) fn of(dir: &Path) -> Self {
        let mut image = Self { files: BTreeMap::new(), folders: Vec::new() };
        image.take(dir, Path::new(""));
        image
    }

    fn take(&mut self, dir: &Path, inside: &Path) {
        for entry in fs::read_dir(dir.join(inside)).unwrap() {
            let path = inside.join(entry.unwrap().file_name());
            if dir.join(&path).is_dir() {
                self.folders.push(path.clone());
                self.take(dir, &path);
            } else {
                let mut bytes = fs::read(dir.join(&path)).unwrap();
                let length = bytes.len() as u64;
                bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
                // fjall makes a log of 64 MiB; a page of its zeros says the same, and is faster to read a thousand times.
                let length = length.min((bytes.len() as u64).next_multiple_of(4_096) + 4_096);
                self.files.insert(path, (bytes, length));
            }
        }
    }

    /// In memory where there is such a place: what is tested is not whether a sync reaches the disk.
    pub(crate) fn write(&self) -> TempDir {
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        for folder in &self.folders {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for path in self.files.keys() {
            self.write_file(dir.path(), path);
        }
        dir
    }

    pub(crate) fn write_file(&self, dir: &Path, path: &Path) {
        let (bytes, length) = &self.files[path];
        fs::write(dir.join(path), bytes).unwrap();
        fs::OpenOptions::new().write(true).open(dir.join(path)).unwrap().set_len(*length).unwrap();
    }

    /// fjall's journal files, oldest first.
    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        let number = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let mut logs: Vec<_> = self.files.keys().filter(|path| path.extension().is_some_and(|e| e == "jnl")).cloned().collect();
        logs.sort_by_key(number);
        logs
    }

    pub(crate) fn last_log(&self) -> PathBuf {
        self.logs().pop().unwrap()
    }

    pub(crate) fn bytes(&mut self, path: &Path) -> &mut Vec<u8> {
        &mut self.files.get_mut(path).unwrap().0
    }

    /// The file ends after `length` bytes.
    pub(crate) fn truncated(&self, path: &Path, length: usize) -> Self {
        let mut image = self.clone();
        image.bytes(path).truncate(length);
        image.files.get_mut(path).unwrap().1 = length as u64;
        image
    }

    pub(crate) fn flipped(&self, path: &Path, at: usize, bit: u32) -> Self {
        let mut image = self.clone();
        image.bytes(path)[at] ^= 1 << bit;
        image
    }

    pub(crate) fn zeroed(&self, path: &Path, range: std::ops::Range<usize>) -> Self {
        let mut image = self.clone();
        image.bytes(path)[range].fill(0);
        image
    }

    /// As found by another boot of the machine, after a power cut: what the witness says is of when `acknowledged` was the last record.
    pub(crate) fn after_power_cut(&self, acknowledged: u64) -> Self {
        self.witness(acknowledged, "another-boot")
    }

    /// The process was killed when `acknowledged` was the last record that anyone was told of.
    pub(crate) fn acknowledged(&self, acknowledged: u64) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        self.witness(acknowledged, boot.trim())
    }

    fn witness(&self, acknowledged: u64, written_in: &str) -> Self {
        let rest = format!("{:<175}\n", format!(" acknowledged={acknowledged} time=0 disbelieved=0 in={written_in}"));
        let mut image = self.clone();
        let line = format!("{:016x}{rest}", xxh3_64(rest.as_bytes())).into_bytes();
        image.files.insert("witness".into(), (line, 192));
        image
    }
}
