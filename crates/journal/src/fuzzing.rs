//! What reads stored bytes and is nobody's interface, for the fuzz targets alone.

use crate::JournalError;
use crate::chunk::{Chunk, Stored};
use crate::folder;

/// A chunk that was read.
#[derive(Debug)]
pub struct Read<'a> {
    /// Its records with their offsets.
    pub records: Vec<(u64, &'a [u8])>,
    /// The chunk, written anew from them.
    pub again: Vec<u8>,
}

/// Reads a stored chunk.
///
/// # Errors
/// The bytes are no chunk.
pub fn chunk(first: u64, bytes: &[u8]) -> Result<Read<'_>, JournalError> {
    let stored = Stored::parse(first, bytes)?;
    let records: Vec<_> = stored.records().collect();
    let mut again = Chunk::starting_at(first, stored.batch_first(), Vec::new());
    records.iter().for_each(|(_, record)| again.push(record));
    Ok(Read { records, again: again.into_buffer() })
}

/// The offset that a marker's text says.
#[must_use]
pub fn marker(text: &str) -> Option<u64> {
    folder::read_marker(text.trim())
}
