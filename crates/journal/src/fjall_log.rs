//! fjall's journal files, read before fjall reads them.
//!
//! fjall 3.1 takes the first thing it cannot read for the end of a file and cuts the rest off, without a word: one flipped bit
//! in the middle would cost everything after it. And of some torn ends it says that they are damage. So [`crate::inspect`]
//! looks first, with this reader, which changes nothing.
//!
//! Layout, little endian, of which a test holds us to fjall's own files (an upgrade that changes it cannot go unnoticed):
//!
//! ```text
//! batch    start item… end
//! start    1  items (u32)  sequence number (u64)
//! item     2  type (u8)  compression (u8)  keyspace (u64)  key length (u16)  value length (u32)  stored length (u32)  key  value
//! clear    4  keyspace (u64)
//! end      3  checksum of the items (u64, xxh3)  "FJL" 3
//! ```
//!
//! Files are made 64 MiB long and filled from the front; what follows the last batch is zeros.

use crate::chunk::Stored;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: [u8; 4] = *b"FJL\x03";
/// An end: tag, checksum, magic.
const END_BYTES: usize = 1 + 8 + MAGIC.len();
/// Type of an item that sets a value; the others remove one.
const SETS: u8 = 0;
/// Sequence numbers count writes. One beyond this was never given: it would take a century of a million writes a second.
const SEQUENCE_MAX: u64 = 1 << 52;
/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// Zeros up to a sector's end that a whole batch does not hold: numbers of eight bytes side by side have at most some ten.
const UNWRITTEN_BYTES_MIN: usize = 16;
/// Read at a time, so that the zeros at the end of a file need no memory.
const BLOCK_BYTES: usize = 1 << 20;

/// One batch of fjall's.
#[derive(Debug)]
pub(crate) struct LoggedBatch {
    /// Where the next one begins.
    pub(crate) end: usize,
    pub(crate) sequence: u64,
    /// The chunks it sets, as the first record's batch and the last record of each.
    pub(crate) chunks: Vec<ChunkSpan>,
}

/// What a chunk says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkSpan {
    pub(crate) batch_first: u64,
    pub(crate) last: u64,
}

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    /// They end before it does.
    EndsEarly,
    /// They are something else.
    Other,
}

/// What a file holds.
pub(crate) struct LogFile {
    /// Without the zeros at its end.
    pub(crate) bytes: Vec<u8>,
}

impl LogFile {
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let mut bytes = Vec::new();
        let mut block = vec![0; BLOCK_BYTES];
        let zeros = vec![0; BLOCK_BYTES];
        let mut length = 0;
        loop {
            let read = file.read(&mut block)?;
            if read == 0 {
                break;
            }
            if block[..read] != zeros[..read] {
                // The zeros before it belong to what is there.
                bytes.resize(length, 0);
                bytes.extend_from_slice(&block[..read]);
            }
            length += read;
        }
        bytes.truncate(bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1));
        Ok(Self { bytes })
    }

    /// The batch that begins at `at`.
    pub(crate) fn batch(&self, at: usize) -> Result<LoggedBatch, Broken> {
        let mut cursor = Cursor { bytes: &self.bytes, at };
        if cursor.u8()? != START {
            return Err(Broken::Other);
        }
        let items = cursor.u32()?;
        let sequence = cursor.u64()?;
        if items == 0 || sequence > SEQUENCE_MAX {
            return Err(Broken::Other);
        }
        let begin = cursor.at;
        let mut chunks = Vec::new();
        for _ in 0..items {
            chunks.extend(cursor.item()?);
        }
        let checksum = xxh3_64(&self.bytes[begin..cursor.at]);
        if cursor.u8()? != END {
            return Err(Broken::Other);
        }
        let expected = cursor.u64()?;
        if cursor.take(MAGIC.len())? != MAGIC || checksum != expected {
            return Err(Broken::Other);
        }
        Ok(LoggedBatch { end: cursor.at, sequence, chunks })
    }

    /// Whole batches after `at`, wherever they begin.
    pub(crate) fn batches_after(&self, at: usize) -> impl Iterator<Item = LoggedBatch> {
        let mut at = at + 1;
        std::iter::from_fn(move || {
            while let Some(next) = self.bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == START)) {
                at += next;
                if let Ok(batch) = self.batch(at) {
                    at = batch.end;
                    return Some(batch);
                }
                at += 1;
            }
            None
        })
    }

    /// Whether what begins at `at` and cannot be read looks like a write that did not reach the disk whole. A disk writes whole
    /// sectors, in any order: what is missing is either the end, or zeros up to the end of some sector. Damage looks
    /// otherwise: all is there, and some of it is wrong.
    pub(crate) fn looks_torn(&self, at: usize, broken: Broken) -> bool {
        let rest = &self.bytes[at..];
        let end_is_there = rest.len().checked_sub(END_BYTES).is_some_and(|end| rest[end] == END && rest.ends_with(&MAGIC));
        (broken == Broken::EndsEarly && !end_is_there) || self.has_unwritten_sector(at)
    }

    fn has_unwritten_sector(&self, at: usize) -> bool {
        let first_boundary = (at / SECTOR_BYTES + 1) * SECTOR_BYTES;
        (first_boundary..=self.bytes.len()).step_by(SECTOR_BYTES).any(|boundary| {
            let from = boundary - UNWRITTEN_BYTES_MIN;
            from >= at && self.bytes[from..boundary].iter().all(|&byte| byte == 0)
        })
    }
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Broken> {
        let end = self.at.checked_add(length).ok_or(Broken::EndsEarly)?;
        let taken = self.bytes.get(self.at..end).ok_or(Broken::EndsEarly)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.take(N)?.try_into().map_err(|_| Broken::Other)
    }

    fn u8(&mut self) -> Result<u8, Broken> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// Steps over an item; says what its chunk holds, if it sets one.
    fn item(&mut self) -> Result<Option<ChunkSpan>, Broken> {
        match self.u8()? {
            CLEAR => self.u64().map(|_| None),
            ITEM => {
                let kind = self.u8()?;
                let compression = self.u8()?;
                let _keyspace = self.u64()?;
                let key_length = u16::from_le_bytes(self.array()?);
                let (length, stored_length) = (self.u32()?, self.u32()?);
                if compression != 0 || length != stored_length {
                    return Err(Broken::Other);
                }
                let key = self.take(key_length.into())?;
                let value = self.take(stored_length as usize)?;
                Ok(if kind == SETS { span(key, value) } else { None })
            }
            _ => Err(Broken::Other),
        }
    }
}

/// Chunks are the only values under keys of eight bytes.
fn span(key: &[u8], value: &[u8]) -> Option<ChunkSpan> {
    let first = u64::from_be_bytes(key.try_into().ok()?);
    let stored = Stored::parse(first, value).ok()?;
    Some(ChunkSpan { batch_first: stored.batch_first(), last: stored.last() })
}
