//! One stored value: consecutive records, as many as were waiting, up to a bound.
//!
//! Layout, little endian: number of records (u32), offset of the first record of its batch (u64), then for each record its
//! length (u32) and its bytes. Its key is the offset of its first record. One value for many records keeps the store's cost
//! per record near that of a copy.
//!
//! A batch is written only when the one before it is durable. So each chunk says of all records before its batch that they
//! were acknowledged, and a hole among them is damage, not the torn end of something nobody was told of.

use crate::JournalError;
use bunho_domain::planted::{self, Bug};

const COUNT_BYTES: usize = size_of::<u32>();
const BATCH_BYTES: usize = size_of::<u64>();
const LENGTH_BYTES: usize = size_of::<u32>();

/// A chunk that is being filled.
#[derive(Debug)]
pub(crate) struct Chunk {
    first: u64,
    count: u32,
    bytes: Vec<u8>,
}

impl Chunk {
    /// An empty chunk whose first record will be `first`, in the batch that begins at `batch_first`; `buffer` lends its memory.
    pub(crate) fn starting_at(first: u64, batch_first: u64, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.extend_from_slice(&[0; COUNT_BYTES]);
        buffer.extend_from_slice(&batch_first.to_le_bytes());
        Self { first, count: 0, bytes: buffer }
    }

    /// Adds one encoded record. Its length was checked against [`RECORD_BYTES_MAX`].
    pub(crate) fn push(&mut self, record: &[u8]) {
        debug_assert!(record.len() <= RECORD_BYTES_MAX);
        let length = record.len() as u32;
        self.count += 1;
        self.bytes[..COUNT_BYTES].copy_from_slice(&self.count.to_le_bytes());
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(record);
    }

    /// Whether a record of `length` bytes still belongs here. A first one always does.
    pub(crate) fn has_room(&self, length: usize, records_max: usize, bytes_max: usize) -> bool {
        self.count == 0 || ((self.count as usize) < records_max && self.bytes.len() + LENGTH_BYTES + length <= bytes_max)
    }

    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }
}

/// Longest record: 16 MiB. A decision's events are a few hundred bytes, settings at most a few thousand; the bound only
/// keeps the length within its four bytes and one record within memory.
pub(crate) const RECORD_BYTES_MAX: usize = 16 * 1024 * 1024;
const _: () = assert!(RECORD_BYTES_MAX <= u32::MAX as usize);

/// A chunk that was read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stored<'a> {
    first: u64,
    batch_first: u64,
    count: u32,
    body: &'a [u8],
}

impl<'a> Stored<'a> {
    /// Reads a chunk and checks that its records fill it exactly.
    pub(crate) fn parse(first: u64, bytes: &'a [u8]) -> Result<Self, JournalError> {
        let damaged = |what: &str| JournalError::Corrupt { offset: first, what: format!("the batch of record {first} {what}") };
        let (count, rest) = bytes.split_first_chunk::<COUNT_BYTES>().ok_or_else(|| damaged("is cut short"))?;
        let (batch_first, body) = rest.split_first_chunk::<BATCH_BYTES>().ok_or_else(|| damaged("is cut short"))?;
        let (count, batch_first) = (u32::from_le_bytes(*count), u64::from_le_bytes(*batch_first));
        if batch_first == 0 || batch_first > first {
            return Err(damaged("says that it belongs to a later one"));
        }
        if count == 0 || first.checked_add(u64::from(count)).is_none() {
            return Err(damaged("has an impossible number of records"));
        }
        let stored = Self { first, batch_first, count, body };
        if planted::is(Bug::TornChunk) {
            return Ok(stored);
        }
        let filled = stored.records().map(|(_, record)| LENGTH_BYTES + record.len()).sum::<usize>();
        if stored.records().count() != count as usize || filled != body.len() {
            return Err(damaged("does not hold as many records as it says"));
        }
        Ok(stored)
    }

    /// Offset of its last record.
    pub(crate) fn last(&self) -> u64 {
        self.first + u64::from(self.count) - 1
    }

    /// Offset of the first record of its batch: all before it were durable when this was written.
    pub(crate) fn batch_first(&self) -> u64 {
        self.batch_first
    }

    /// The records with their offsets.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u64, &'a [u8])> + use<'a> {
        let mut rest = self.body;
        (self.first..self.first + u64::from(self.count)).map_while(move |offset| {
            let (length, after) = rest.split_first_chunk()?;
            let (record, after) = after.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            rest = after;
            Some((offset, record))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_with_their_offsets() {
        let mut chunk = Chunk::starting_at(7, 5, vec![1, 2, 3]);
        chunk.push(b"one");
        chunk.push(b"");
        chunk.push(b"three");
        let stored = Stored::parse(7, chunk.bytes()).unwrap();
        assert_eq!((stored.last(), stored.batch_first()), (9, 5));
        assert_eq!(stored.records().collect::<Vec<_>>(), [(7, &b"one"[..]), (8, b""), (9, b"three")]);
    }

    #[test]
    fn anything_else_is_damage() {
        let mut chunk = Chunk::starting_at(1, 1, Vec::new());
        chunk.push(b"one");
        let good = chunk.into_buffer();
        let mut longer = good.clone();
        longer.push(0);
        let mut more = good.clone();
        more[0] = 2;
        for bad in [&[][..], &[0, 0, 0, 0], &good[..good.len() - 1], &longer, &more] {
            assert!(matches!(Stored::parse(1, bad), Err(JournalError::Corrupt { offset: 1, .. })), "{bad:?}");
        }
        assert!(Stored::parse(u64::MAX, &good).is_err());
    }

    #[test]
    fn a_chunk_is_full_at_either_bound_but_takes_one_record_of_any_size() {
        let mut chunk = Chunk::starting_at(1, 1, Vec::new());
        assert!(chunk.has_room(1_000, 2, 100));
        chunk.push(&[0; 40]);
        assert!(chunk.has_room(40, 2, 100), "12 + 44 + 44 bytes");
        assert!(!chunk.has_room(60, 2, 100));
        chunk.push(b"");
        assert!(!chunk.has_room(0, 2, 100), "two records");
    }
}
